//! Clients that send too many wrong keys, and may send none for a minute.
//!
//! Called on the I/O threads. Promise: as long as no address is locked out, a request with a key costs one relaxed
//! load and one without a key nothing; a wrong key is counted by the client's address, IPv6 ones by their /64. While an
//! address is locked out its keys are not looked at, so a right one cannot be found by trying. Caveat: at most 65,536
//! addresses are locked out at one time; a reload keeps them, a new process begins anew.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};
use std::time::{Duration, Instant};

use super::address::Client;
use super::rate::{RateTable, counted};
use crate::edge::config::rate::RateLimit;

/// How long an address is locked out, after the last wrong key that was counted.
pub(crate) const LOCK: Duration = Duration::from_secs(60);

/// How many addresses are locked out at most.
const MAX_LOCKED: usize = 1 << 16;

/// What follows from a wrong key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing yet.
    Within,
    /// The client is locked out; `anew` if it was not before.
    Locked {
        /// Whether the lock begins with this key.
        anew: bool,
    },
}

/// Who has sent wrong keys.
#[derive(Debug)]
pub(crate) struct WrongKeys {
    start: Instant,
    counts: RateTable,
    /// When the last lock ends, in milliseconds since `start`; zero if no address is locked out.
    last_end: AtomicU64,
    /// When the lock of each address ends.
    locked: RwLock<HashMap<u128, u64>>,
}

impl Default for WrongKeys {
    fn default() -> Self {
        let (counts, last_end, locked) = Default::default();
        Self { start: Instant::now(), counts, last_end, locked }
    }
}

impl WrongKeys {
    /// How much longer `client` may not send keys, if it is locked out.
    pub(crate) fn locked_for(&self, client: Client) -> Option<Duration> {
        // A client that is locked out at this very moment is refused from its next request on.
        if self.last_end.load(Ordering::Relaxed) == 0 { None } else { self.look_up(client, self.now()) }
    }

    /// Counts a wrong key of `client`. If it was one too many, the client is locked out from now on.
    pub(crate) fn count(&self, limit: &RateLimit, client: Client) -> Verdict {
        match self.counts.take(limit, "", client) {
            Ok(()) => Verdict::Within,
            Err(_) => self.lock(client, self.now()),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<u128, u64>> {
        // Whole numbers go in and out, so a thread that panicked left nothing half done.
        self.locked.write().unwrap_or_else(PoisonError::into_inner)
    }

    #[cold]
    fn look_up(&self, client: Client, now: u64) -> Option<Duration> {
        if self.last_end.load(Ordering::Relaxed) <= now {
            let mut locked = self.write();
            locked.retain(|_, end| *end > now);
            if locked.is_empty() {
                locked.shrink_to_fit();
                self.last_end.store(0, Ordering::Relaxed);
            }
            return None;
        }
        let locked = self.locked.read().unwrap_or_else(PoisonError::into_inner);
        let end = locked.get(&counted(client)).copied().filter(|end| *end > now)?;
        Some(Duration::from_millis(end - now))
    }

    fn lock(&self, client: Client, now: u64) -> Verdict {
        let end = now + u64::try_from(LOCK.as_millis()).unwrap_or(u64::MAX);
        let mut locked = self.write();
        if locked.len() >= MAX_LOCKED
            && let Some(any) = locked.keys().next().copied()
        {
            // Its next wrong key locks it out again.
            locked.remove(&any);
        }
        let earlier = locked.insert(counted(client), end);
        self.last_end.fetch_max(end, Ordering::Relaxed);
        Verdict::Locked { anew: earlier.is_none_or(|earlier| earlier <= now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::config::rate::Rate;

    fn client(last: u8) -> Client {
        Client::Known([192, 0, 2, last].into())
    }

    fn limit() -> RateLimit {
        RateLimit::new(Rate { count: 3, seconds: 60 }, None)
    }

    #[test]
    fn one_wrong_key_too_many_locks_its_client_out_and_no_other() {
        let wrong_keys = WrongKeys::default();
        for _ in 0..3 {
            assert_eq!(Verdict::Within, wrong_keys.count(&limit(), client(1)));
            assert_eq!(None, wrong_keys.locked_for(client(1)));
        }
        assert_eq!(Verdict::Locked { anew: true }, wrong_keys.count(&limit(), client(1)));
        assert_eq!(Verdict::Locked { anew: false }, wrong_keys.count(&limit(), client(1)));
        assert!(wrong_keys.locked_for(client(1)).is_some_and(|left| left > LOCK / 2 && left <= LOCK));
        assert_eq!(None, wrong_keys.locked_for(client(2)));
    }

    #[test]
    fn a_lock_ends_after_its_time_and_then_nothing_is_left_of_it() {
        let wrong_keys = WrongKeys::default();
        wrong_keys.lock(client(1), 0);
        wrong_keys.lock(client(2), 30_000);
        assert_eq!(Some(Duration::from_millis(1)), wrong_keys.look_up(client(1), 59_999));
        assert_eq!(None, wrong_keys.look_up(client(1), 60_000));
        assert!(wrong_keys.look_up(client(2), 60_000).is_some());
        assert_eq!(Verdict::Locked { anew: true }, wrong_keys.lock(client(1), 60_000));
        assert_eq!(None, wrong_keys.look_up(client(1), 120_000));
        assert_eq!((0, 0), (wrong_keys.last_end.load(Ordering::Relaxed), wrong_keys.write().len()));
    }

    #[test]
    fn memory_does_not_grow_with_the_addresses_that_are_locked_out() {
        let wrong_keys = WrongKeys::default();
        for address in 0..MAX_LOCKED + 1000 {
            wrong_keys.lock(Client::Known(u32::try_from(address).unwrap().to_be_bytes().into()), 0);
        }
        assert_eq!(MAX_LOCKED, wrong_keys.write().len());
    }
}
