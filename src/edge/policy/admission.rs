//! Admission: how many requests may be inside plugins at the same time.
//!
//! Requests are admitted on the I/O threads; their permits are released on the Python thread. Promise: a [`Permit`] is
//! held from admission until the handler's outcome, through the queue and the Python thread, so requests in flight are
//! counted, not connections or the length of a queue; a slow plugin uses up only its own limit. Caveat: the limits are
//! checked without a lock, so two threads that compete for the last place may both be refused; only requests of one
//! client are counted under a lock, if they are limited.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::address::Client;
use super::parking::Parking;
use super::rate::counted;
use crate::edge::config::fields::UNLIMITED;

/// A number of places, and what has become of the requests that asked for one.
#[derive(Debug)]
pub(crate) struct Limit {
    taken: AtomicUsize,
    max: AtomicUsize,
    admitted: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
}

impl Limit {
    /// A limit with `most` free places.
    pub(crate) fn new(max: usize) -> Arc<Self> {
        let (admitted, refused, failed) = Default::default();
        Arc::new(Self { taken: AtomicUsize::new(0), max: AtomicUsize::new(max), admitted, refused, failed })
    }

    /// Changes the number of places. Requests that are inside stay there.
    pub(crate) fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// How many requests have been admitted to a plugin that has this limit.
    pub(crate) fn admitted(&self) -> u64 {
        self.admitted.load(Ordering::Relaxed)
    }

    /// How many requests there was no place for, here or elsewhere.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Counts a request that was refused for another reason than these places.
    pub(crate) fn note_refusal(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// How many of the admitted requests were answered with a status of 500 or more.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// How many places are taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    fn enter(&self) -> bool {
        let within = self.taken.fetch_add(1, Ordering::Relaxed) < self.max.load(Ordering::Relaxed);
        if !within {
            self.leave();
        }
        within
    }

    fn leave(&self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The way into one instance of a plugin. All instances of an id share its limit.
#[derive(Debug)]
pub(crate) struct Entrance {
    /// The places of the id.
    pub limit: Arc<Limit>,
    /// Requests that were admitted here and whose handlers have not been called yet.
    waiting: AtomicUsize,
    /// Whether the instance is left alone for a while.
    pub parking: Parking,
}

impl Entrance {
    /// Another one to these places.
    pub(crate) fn new(limit: Arc<Limit>) -> Arc<Self> {
        Arc::new(Self { limit, waiting: AtomicUsize::new(0), parking: Parking::default() })
    }

    /// How many requests were admitted here and have not reached the instance yet.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }
}

/// The requests in flight of each client.
#[derive(Debug)]
pub(crate) struct ClientPlaces {
    max: AtomicUsize,
    taken: Mutex<HashMap<u128, usize>>,
}

/// The place of a request among those of its client, given back when dropped.
#[derive(Debug)]
pub(crate) struct ClientPlace {
    places: Arc<ClientPlaces>,
    client: u128,
}

impl ClientPlaces {
    /// At most `max` for each client.
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max: AtomicUsize::new(max), taken: Mutex::default() })
    }

    /// Changes the number of places. Requests that are inside stay there.
    pub(crate) fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Takes a place of `client`; nothing if it has as many as it likes. Clients whose address is not known are not
    /// counted, since they have nothing in common.
    ///
    /// # Errors
    /// The client has no place left.
    pub(crate) fn enter(self: &Arc<Self>, client: Client) -> Result<Option<ClientPlace>, NoPlace> {
        let max = self.max.load(Ordering::Relaxed);
        if max == UNLIMITED || client == Client::Unknown {
            return Ok(None);
        }
        let client = counted(client);
        let mut clients = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = clients.entry(client).or_insert(0);
        if *taken >= max {
            return Err(NoPlace);
        }
        *taken += 1;
        Ok(Some(ClientPlace { places: Arc::clone(self), client }))
    }
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        let mut clients = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = clients.get_mut(&self.client) {
            *taken -= 1;
            if *taken == 0 {
                clients.remove(&self.client);
            }
        }
    }
}

/// A client has no place left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoPlace;

/// The right to be in flight: one place in all and one at the plugin, given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    total: Arc<Limit>,
    /// Where the request was admitted.
    pub entrance: Arc<Entrance>,
    is_waiting: bool,
    /// If requests of each client are limited. Boxed, since most are not.
    client: Option<Box<ClientPlace>>,
    /// Whether the request tries a plugin that is parked, and nothing has come of it yet.
    is_probe: bool,
}

/// Takes a place for a request to a plugin that may be parked.
///
/// # Errors
/// When it is, or there is no place.
pub(crate) fn admit_unless_parked(total: &Arc<Limit>, entrance: &Arc<Entrance>) -> Result<Permit, Refused> {
    let is_probe = entrance.parking.enter().map_err(Refused::Parked)?;
    let permit = admit(total, entrance);
    if is_probe && permit.is_none() {
        entrance.parking.lose_probe();
    }
    let mut permit = permit.ok_or(Refused::Full)?;
    permit.is_probe = is_probe;
    Ok(permit)
}

/// Why a request is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// As many are inside as may be.
    Full,
    /// The plugin is left alone for so long.
    Parked(Duration),
}

/// Takes a place in `total` and one at `entrance`, or neither.
pub(crate) fn admit(total: &Arc<Limit>, entrance: &Arc<Entrance>) -> Option<Permit> {
    let plugin = &entrance.limit;
    if !total.enter() {
        plugin.refused.fetch_add(1, Ordering::Relaxed);
        return None;
    }
    if !plugin.enter() {
        total.leave();
        plugin.refused.fetch_add(1, Ordering::Relaxed);
        return None;
    }
    plugin.admitted.fetch_add(1, Ordering::Relaxed);
    // Before the caller looks whether the entrance still counts: whoever replaces it looks here afterwards.
    entrance.waiting.fetch_add(1, Ordering::SeqCst);
    Some(Permit {
        total: Arc::clone(total),
        entrance: Arc::clone(entrance),
        is_waiting: true,
        client: None,
        is_probe: false,
    })
}

impl Permit {
    /// Keeps the place of the client as long as the request is in flight.
    pub(crate) fn keep(&mut self, client: Option<ClientPlace>) {
        self.client = client.map(Box::new);
    }

    /// The request has reached the instance.
    pub(crate) fn end_wait(&mut self) {
        if std::mem::take(&mut self.is_waiting) {
            self.entrance.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Notes whether the plugin has failed at the request.
    pub(crate) fn note_outcome(&mut self, has_failed: bool) {
        self.entrance.parking.note(has_failed, std::mem::take(&mut self.is_probe));
    }

    /// Counts the request among those that were answered with a status of 500 or more.
    pub(crate) fn note_failure(&self) {
        self.entrance.limit.failed.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.end_wait();
        if self.is_probe {
            self.entrance.parking.lose_probe();
        }
        self.total.leave();
        self.entrance.limit.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_plugin_leaves_the_places_of_others_alone() {
        let (total, slow, quick) = (Limit::new(3), Entrance::new(Limit::new(1)), Entrance::new(Limit::new(1)));
        let held = admit(&total, &slow);
        assert!(held.is_some());
        assert!(admit(&total, &slow).is_none());
        assert!(admit(&total, &quick).is_some());
        assert_eq!(1, total.taken.load(Ordering::Relaxed));
    }

    #[test]
    fn a_place_is_free_again_once_the_permit_is_dropped() {
        let (total, plugin) = (Limit::new(1), Entrance::new(Limit::new(5)));
        let permit = admit(&total, &plugin);
        assert!(admit(&total, &plugin).is_none());
        drop(permit);
        assert!(admit(&total, &plugin).is_some());
        assert_eq!((0, 0), (total.taken(), plugin.limit.taken()));
    }

    #[test]
    fn instances_of_an_id_share_its_places() {
        let (total, limit) = (Limit::new(9), Limit::new(2));
        let (old, new) = (Entrance::new(Arc::clone(&limit)), Entrance::new(limit));
        let permits = (admit(&total, &old), admit(&total, &new));
        assert!(permits.0.is_some() && permits.1.is_some());
        assert!(admit(&total, &new).is_none());
        drop(permits);
        assert!(admit(&total, &new).is_some());
    }

    #[test]
    fn each_client_has_its_own_places_and_one_without_an_address_needs_none() {
        let places = ClientPlaces::new(1);
        let [one, same, other] =
            ["2001:db8::1", "2001:db8::2", "10.0.0.1"].map(|text| Client::Known(text.parse().unwrap()));
        let held = places.enter(one);
        assert!(matches!(held, Ok(Some(_))));
        assert!(places.enter(same).is_err());
        assert!(places.enter(other).is_ok());
        assert!(matches!(places.enter(Client::Unknown), Ok(None)));
        drop(held);
        assert!(places.enter(same).is_ok());
        assert!(places.taken.lock().unwrap().is_empty());
        places.set_max(UNLIMITED);
        assert!(matches!(places.enter(one), Ok(None)));
    }

    #[test]
    fn an_entrance_knows_who_waits_behind_it() {
        let (total, entrance) = (Limit::new(9), Entrance::new(Limit::new(9)));
        let (mut begun, dropped) = (admit(&total, &entrance), admit(&total, &entrance));
        assert_eq!(2, entrance.waiting());
        begun.iter_mut().for_each(Permit::end_wait);
        assert_eq!(1, entrance.waiting());
        drop((begun, dropped));
        assert_eq!(0, entrance.waiting());
    }
}
