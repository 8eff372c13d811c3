//! Rate limits: how many requests a client, or a key, may make in a time.
//!
//! Called on the I/O threads. The generic cell rate algorithm: of each client only the time is kept at which all that
//! it has used will be free again. Promise: memory does not grow with the number of addresses: the table has a fixed
//! number of places and is made at the first use. Where more clients are active than there is room for, the one that is
//! nearest to having used nothing is forgotten, so one that has reached its limit stays. A map that grows, as that of
//! the crate `governor`, took 67 MiB for a million addresses, and more than twice the time for each. Caveat: clients
//! are told apart by 64 bits of a keyed hash; a reload keeps the table, a new process begins with an empty one.

use std::array;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::address::Client;
use crate::edge::config::rate::{RateLimit, nanoseconds};
use crate::edge::http::connection_count;

/// Places in each set; a client has a place in one set only.
const WAYS: usize = 8;
/// Sets of a table, a power of two: with 8 places each, 131,072 clients in 2.1 MiB.
const SETS: usize = 1 << 14;

/// The part of a client's address that is counted. Clients without a known address count as one, as do those of Unix
/// sockets.
pub(crate) fn counted(client: Client) -> u128 {
    match client {
        Client::Known(address) => connection_count::counted(address),
        Client::Unix => connection_count::UNIX,
        Client::Unknown => 0,
    }
}

/// What has been used of rate limits, by whom.
#[derive(Debug)]
pub(crate) struct RateTable {
    hasher: RandomState,
    start: Instant,
    sets: OnceLock<Box<[Mutex<[Place; WAYS]>]>>,
}

/// Who has used something, and when all of it will be free again, in nanoseconds since the table was made.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    who: u64,
    free_at: u64,
}

impl Default for RateTable {
    fn default() -> Self {
        Self { hasher: RandomState::new(), start: Instant::now(), sets: OnceLock::new() }
    }
}

impl RateTable {
    /// Uses one of what `limit` allows a client, counted apart for each `place`, such as a plugin's id.
    ///
    /// # Errors
    /// How long the client has to wait until that is allowed; nothing has been used then.
    pub(crate) fn take(&self, limit: &RateLimit, place: &str, client: Client) -> Result<(), Duration> {
        self.take_at(limit, self.hasher.hash_one((place, counted(client))), nanoseconds(self.start.elapsed()))
    }

    /// The same for a key, by the number that stands for it.
    ///
    /// # Errors
    /// As for [`Self::take`].
    pub(crate) fn take_for_key(&self, limit: &RateLimit, place: &str, key: u64) -> Result<(), Duration> {
        self.take_at(limit, self.hasher.hash_one((place, key)), nanoseconds(self.start.elapsed()))
    }

    fn take_at(&self, limit: &RateLimit, who: u64, now: u64) -> Result<(), Duration> {
        // Zero is a place that was never taken.
        let who = who | 1;
        let sets =
            self.sets.get_or_init(|| (0..SETS).map(|_| Mutex::new(array::from_fn(|_| Place::default()))).collect());
        let set = &sets[(who >> 32) as usize % SETS];
        // A thread that panicked in here left whole places behind.
        let mut places = set.lock().unwrap_or_else(PoisonError::into_inner);
        let found = places.iter().position(|place| place.who == who);
        let at = found.or_else(|| (0..WAYS).min_by_key(|&at| places[at].free_at)).unwrap_or_default();
        let free_at = if found.is_some() { places[at].free_at } else { now };
        // Not later than the limit allows, which may have been stricter before a reload.
        let free_at = free_at.clamp(now, now.saturating_add(limit.capacity));
        let used_until = free_at.saturating_add(limit.interval);
        let excess = (used_until - now).saturating_sub(limit.capacity);
        let is_allowed = excess == 0;
        places[at] = Place { who, free_at: if is_allowed { used_until } else { free_at } };
        if is_allowed { Ok(()) } else { Err(Duration::from_nanos(excess)) }
    }
}

/// Whole seconds until another try makes sense, at least one.
pub(crate) fn retry_after(wait: Duration) -> u32 {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    u32::try_from(seconds.max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::edge::config::rate::Rate;

    const SECOND: u64 = 1_000_000_000;

    fn limit(count: u32, seconds: u32, burst: Option<u32>) -> RateLimit {
        RateLimit::new(Rate { count, seconds }, burst)
    }

    fn client(text: &str) -> Client {
        Client::Known(text.parse().unwrap())
    }

    /// How many of `count` requests at one moment are allowed.
    fn allowed(table: &RateTable, limit: &RateLimit, who: u64, now: u64, count: u32) -> usize {
        (0..count).filter(|_| table.take_at(limit, who, now).is_ok()).count()
    }

    #[test]
    fn the_burst_is_what_one_unit_allows_unless_it_is_set() {
        let table = RateTable::default();
        for (who, (limit, burst)) in [
            (limit(10, 1, None), 10),
            (limit(600, 60, None), 600),
            (limit(10, 1, Some(3)), 3),
            (limit(1, 3600, Some(50)), 50),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(burst, allowed(&table, &limit, (who as u64) << 40, 0, 1000));
        }
    }

    #[test]
    fn what_was_used_comes_back_evenly_and_the_wait_is_exact() {
        let (table, limit) = (RateTable::default(), limit(10, 1, Some(2)));
        assert_eq!(2, allowed(&table, &limit, 7, 0, 9));
        assert_eq!(Err(Duration::from_millis(100)), table.take_at(&limit, 7, 0));
        assert_eq!(Err(Duration::from_millis(1)), table.take_at(&limit, 7, SECOND / 1000 * 99));
        assert_eq!(Ok(()), table.take_at(&limit, 7, SECOND / 10));
        assert!(table.take_at(&limit, 7, SECOND / 10).is_err());
        assert_eq!(2, allowed(&table, &limit, 7, SECOND * 10, 9));
    }

    #[test]
    fn plugins_clients_and_keys_are_counted_apart() {
        let (table, limit) = (RateTable::default(), limit(1, 3600, None));
        assert!(table.take(&limit, "greet", client("192.0.2.1")).is_ok());
        assert!(table.take(&limit, "greet", client("192.0.2.1")).is_err());
        assert!(table.take(&limit, "greet", client("192.0.2.2")).is_ok());
        assert!(table.take(&limit, "clock", client("192.0.2.1")).is_ok());
        assert!(table.take_for_key(&limit, "greet", 1).is_ok() && table.take_for_key(&limit, "greet", 2).is_ok());
        assert!(table.take_for_key(&limit, "greet", 1).is_err());
    }

    #[test]
    fn clients_of_one_ipv6_network_count_as_one_and_so_do_unknown_ones() {
        assert_eq!(counted(client("2001:db8:1:2::1")), counted(client("2001:db8:1:2:ffff::9")));
        assert_ne!(counted(client("2001:db8:1:2::1")), counted(client("2001:db8:1:3::1")));
        assert_ne!(counted(client("192.0.2.1")), counted(client("192.0.2.2")));
        assert_ne!(counted(client("192.0.2.1")), counted(Client::Unknown));
    }

    #[test]
    fn a_stricter_limit_of_earlier_does_not_outlast_a_reload() {
        let table = RateTable::default();
        assert_eq!(1, allowed(&table, &limit(1, 3600, None), 7, 0, 9));
        let relaxed = limit(10, 1, None);
        assert_eq!(Err(SECOND / 10), table.take_at(&relaxed, 7, 0).map_err(nanoseconds));
        assert_eq!(5, allowed(&table, &relaxed, 7, SECOND / 2, 9));
    }

    #[test]
    fn a_million_addresses_neither_add_memory_nor_set_free_who_has_reached_the_limit() {
        let (table, limit) = (RateTable::default(), limit(100, 3600, None));
        let flooding = 0xFEED_0000_0000_0001;
        assert_eq!(100, allowed(&table, &limit, flooding, 0, 101));
        for address in 0..1_000_000_u32 {
            let _ = table.take(&limit, "", Client::Known(address.to_be_bytes().into()));
        }
        assert!(table.take_at(&limit, flooding, 0).is_err());
        let sets = table.sets.get().unwrap();
        assert_eq!(SETS, sets.len());
        assert!(size_of_val(&**sets) < 3 << 20);
    }

    #[test]
    fn retry_after_is_rounded_up_to_whole_seconds() {
        let rounded = [0, 1, 1000, 1001, 59_999].map(|wait| retry_after(Duration::from_millis(wait)));
        assert_eq!([1, 1, 1, 2, 60], rounded);
    }

    proptest! {
        #[test]
        fn never_more_is_allowed_than_the_burst_and_the_rate_together(
            waits in prop::collection::vec(0..SECOND, 1..200), count in 1..50_u32, burst in 1..50_u32,
        ) {
            let (table, limit) = (RateTable::default(), limit(count, 1, Some(burst)));
            let (mut now, mut used) = (0, 0);
            for wait in waits {
                now += wait;
                used += u64::from(table.take_at(&limit, 1, now).is_ok());
                let refilled = now * u64::from(count) / SECOND;
                prop_assert!(used <= u64::from(burst) + refilled + 1, "{used} by {now}");
            }
        }
    }
}
