//! How many connections there are, in all and from each client.
//!
//! Counted on the I/O threads. Promise: there are never more than the limits allow, nor than the process has file
//! descriptors for, some of which stay free for files and plugins; a trusted proxy, from which many clients come, is
//! counted in all only. Clients of Unix sockets, who have no address, count as one. What is refused is logged once a
//! minute at most. Caveat: the limit of descriptors is that of the last reload.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};

use super::service::Peer;
use crate::edge::config::fields::UNLIMITED;
use crate::edge::config::settings::limits::LimitSettings;

/// How often the log reports refused connections.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// Descriptors that are kept for anything but connections: a part of all, and at least so many.
const KEPT_DESCRIPTORS: usize = 64;

/// The part of an address by which clients are counted: an IPv4 address, or the /64 network of an IPv6 address, since a
/// client has all addresses of such a network.
pub(crate) fn counted(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() >> 64 << 64,
    }
}

/// What stands for the clients of Unix sockets, which no address does.
pub(crate) const UNIX: u128 = u128::MAX;

/// The connections of the process.
#[derive(Debug, Default)]
pub(crate) struct ConnectionCount {
    taken: AtomicUsize,
    max: AtomicUsize,
    max_per_client: AtomicUsize,
    lingering: AtomicUsize,
    clients: Mutex<HashMap<u128, usize>>,
    report: Mutex<Report>,
}

/// What has been refused since the last line in the log.
#[derive(Debug, Default)]
struct Report {
    last: Option<Instant>,
    refused: u64,
}

/// Refused connections that may be kept for a moment, so that their clients can read the answer.
const LINGERING: usize = 16;

/// What is asked for a place before a connection is served.
pub(crate) struct Gate {
    /// The connections.
    pub count: Arc<ConnectionCount>,
    /// Whether the other end is a trusted proxy, which is counted in all only.
    pub is_trusted: Box<dyn Fn(Peer) -> bool>,
}

impl Gate {
    /// A place for a connection from `peer`.
    ///
    /// # Errors
    /// Why there is none, which has been logged.
    pub(crate) fn enter(&self, peer: Peer) -> Result<ConnectionPlace, Crowded> {
        self.count.enter(peer, || (self.is_trusted)(peer))
    }

    /// Counts the connection of a trusted proxy as one of the client behind it.
    ///
    /// # Errors
    /// There are as many of this client, which has been logged.
    pub(crate) fn reveal(&self, place: &mut ConnectionPlace, client: Peer) -> Result<(), Crowded> {
        place.count_client(client, || (self.is_trusted)(client))
    }
}

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crowded {
    /// There are as many as may be.
    All,
    /// There are as many of this client.
    Client,
}

impl ConnectionCount {
    /// With these limits.
    pub(crate) fn new(limits: &LimitSettings) -> Arc<Self> {
        let count = Self::default();
        count.set_limits(limits);
        Arc::new(count)
    }

    /// How many there are.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Goes by other limits. Connections that are there stay.
    pub(crate) fn set_limits(&self, limits: &LimitSettings) {
        self.max.store(limits.connections.min(descriptors()), Ordering::Relaxed);
        self.max_per_client.store(limits.connections_per_client, Ordering::Relaxed);
    }

    /// Counts a connection from `peer` until the result is dropped; only in all if that `is_exempt`.
    ///
    /// # Errors
    /// Why there is no place for it, which has been logged.
    pub(crate) fn enter(
        self: &Arc<Self>,
        peer: Peer,
        is_exempt: impl FnOnce() -> bool,
    ) -> Result<ConnectionPlace, Crowded> {
        let max = self.max.load(Ordering::Relaxed);
        if self.taken.fetch_add(1, Ordering::Relaxed) >= max {
            self.taken.fetch_sub(1, Ordering::Relaxed);
            self.report(|refused| {
                tracing::warn!("too many connections: {refused} refused, since there are {max} already");
            });
            return Err(Crowded::All);
        }
        let mut place = ConnectionPlace { count: Arc::clone(self), client: None };
        place.count_client(peer, is_exempt)?;
        Ok(place)
    }

    /// A place for a refused connection that is kept for a moment; nothing if there are enough.
    pub(crate) fn linger(self: &Arc<Self>) -> Option<Lingering> {
        if self.lingering.fetch_add(1, Ordering::Relaxed) >= LINGERING {
            self.lingering.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Lingering(Arc::clone(self)))
    }

    fn report(&self, log: impl FnOnce(u64)) {
        let refused = {
            let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
            report.refused += 1;
            if report.last.is_some_and(|last| last.elapsed() < REPORT_EVERY) {
                return;
            }
            report.last = Some(Instant::now());
            std::mem::take(&mut report.refused)
        };
        log(refused);
    }
}

/// How many connections the process has descriptors for.
fn descriptors() -> usize {
    let Some(all) = getrlimit(Resource::Nofile).current else { return UNLIMITED };
    let all = usize::try_from(all).unwrap_or(UNLIMITED);
    all.saturating_sub((all / 10).max(KEPT_DESCRIPTORS)).max(1)
}

/// The place of a connection, free again when dropped.
#[derive(Debug)]
pub(crate) struct ConnectionPlace {
    count: Arc<ConnectionCount>,
    /// If it is counted by its client.
    client: Option<u128>,
}

impl ConnectionPlace {
    /// Counts it by its client as well, unless that `is_exempt`.
    fn count_client(&mut self, peer: Peer, is_exempt: impl FnOnce() -> bool) -> Result<(), Crowded> {
        let max = self.count.max_per_client.load(Ordering::Relaxed);
        let client = match peer {
            _ if max == UNLIMITED => return Ok(()),
            Peer::Ip(address) => counted(address.ip()),
            Peer::Unix => UNIX,
            // They have nothing in common.
            Peer::Unknown => return Ok(()),
        };
        if is_exempt() {
            return Ok(());
        }
        {
            let mut clients = self.count.clients.lock().unwrap_or_else(PoisonError::into_inner);
            let taken = clients.entry(client).or_insert(0);
            if *taken < max {
                *taken += 1;
                self.client = Some(client);
                return Ok(());
            }
        }
        self.count.report(|refused| {
            tracing::warn!("too many connections: {refused} refused, the last from {peer}, which has {max} already");
        });
        Err(Crowded::Client)
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        self.count.taken.fetch_sub(1, Ordering::Relaxed);
        let Some(client) = self.client else { return };
        let mut clients = self.count.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = clients.get_mut(&client) {
            *taken -= 1;
            if *taken == 0 {
                clients.remove(&client);
            }
        }
    }
}

/// The place of a refused connection, free again when dropped.
#[derive(Debug)]
pub(crate) struct Lingering(Arc<ConnectionCount>);

impl Drop for Lingering {
    fn drop(&mut self) {
        self.0.lingering.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(connections: usize, connections_per_client: usize) -> Arc<ConnectionCount> {
        ConnectionCount::new(&LimitSettings { connections, connections_per_client, ..LimitSettings::default() })
    }

    fn address(text: &str) -> Peer {
        Peer::Ip((text.parse::<IpAddr>().unwrap(), 80).into())
    }

    #[test]
    fn a_place_is_free_again_once_its_connection_has_ended() {
        let count = count(2, UNLIMITED);
        let places = [count.enter(address("10.0.0.1"), || false), count.enter(address("10.0.0.1"), || false)];
        assert!(places.iter().all(Result::is_ok));
        assert_eq!(Some(Crowded::All), count.enter(address("10.0.0.2"), || true).err());
        drop(places);
        assert!(count.enter(address("10.0.0.2"), || false).is_ok());
    }

    #[test]
    fn clients_of_ipv6_are_counted_by_their_network() {
        let count = count(9, 1);
        let held = count.enter(address("2001:db8:1:2::1"), || false);
        assert!(held.is_ok());
        assert_eq!(Some(Crowded::Client), count.enter(address("2001:db8:1:2:ffff::9"), || false).err());
        assert!(count.enter(address("2001:db8:1:3::1"), || false).is_ok());
        assert!(count.enter(address("2001:db8:1:2::1"), || true).is_ok(), "a proxy is exempt");
        drop(held);
        assert!(count.enter(address("2001:db8:1:2::2"), || false).is_ok());
        assert!(count.clients.lock().unwrap().is_empty(), "nothing is kept of clients that have gone");
        assert_eq!(counted("::ffff:10.0.0.1".parse().unwrap()), counted("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn clients_of_unix_sockets_are_one_unless_they_are_proxies() {
        let count = count(9, 1);
        let held = count.enter(Peer::Unix, || false);
        assert!(held.is_ok());
        assert_eq!(Some(Crowded::Client), count.enter(Peer::Unix, || false).err());
        assert!(count.enter(Peer::Unix, || true).is_ok());
        assert!(count.enter(address("::1"), || false).is_ok());
    }

    #[test]
    fn there_are_never_more_than_descriptors() {
        let count = count(UNLIMITED, UNLIMITED);
        assert_eq!(descriptors(), count.max.load(Ordering::Relaxed));
    }
}
