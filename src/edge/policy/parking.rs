//! Parking: a plugin that fails again and again is left alone for a while.
//!
//! Asked on the I/O threads before a request enters; what came of it is noted on the Python thread. A parked plugin gets
//! one request after 10 s, and after twice the time whenever that fails as well; the first one that succeeds ends it.
//! Promise: without `[plugin x] park_after` this costs a look at a flag. Caveat: requests that were inside when the
//! plugin was parked go on, and do not count.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::edge::config::settings::plugins::ParkAfter;

/// How long a plugin is left alone at first.
const FIRST_WAIT: Duration = Duration::from_secs(10);

/// The longest that it is left alone.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// Whether one instance of a plugin is parked.
#[derive(Debug, Default)]
pub(crate) struct Parking {
    is_on: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    plugin: Option<Arc<str>>,
    after: Option<ParkAfter>,
    failures: VecDeque<Instant>,
    parked: Option<Parked>,
}

#[derive(Debug)]
struct Parked {
    until: Instant,
    wait: Duration,
    /// Whether the one request is inside.
    has_probe: bool,
}

/// What is reported of a plugin.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    Parked(ParkAfter),
    StaysParked(Duration),
    Restored,
}

impl Parking {
    /// Has the `plugin` parked by this rule, from now on.
    pub(crate) fn configure(&self, plugin: &Arc<str>, after: Option<ParkAfter>) {
        let mut state = self.lock();
        if state.after != after {
            *state = State { after, ..State::default() };
        }
        state.plugin = Some(Arc::clone(plugin));
        self.is_on.store(after.is_some(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Values are only replaced under the lock, so a panic elsewhere leaves them whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the next request would be let in as the one that tries a parked plugin. Does not count as that request.
    ///
    /// # Errors
    /// For how long the plugin is parked.
    pub(super) fn enter(&self) -> Result<bool, Duration> {
        if !self.is_on.load(Ordering::Relaxed) {
            return Ok(false);
        }
        self.lock().enter(Instant::now())
    }

    /// Notes what came of a request; `is_probe` is what [`Self::enter`] returned for it.
    pub(super) fn note(&self, has_failed: bool, is_probe: bool) {
        if self.is_on.load(Ordering::Relaxed) && (has_failed || is_probe) {
            let mut state = self.lock();
            let (change, plugin) = (state.note(has_failed, is_probe, Instant::now()), state.plugin.clone());
            drop(state);
            report(change, plugin.as_deref().unwrap_or_default());
        }
    }

    /// Notes that the plugin has blocked Python for too long.
    pub(crate) fn note_stall(&self) {
        self.note(true, false);
    }

    /// Notes that nothing came of the request that was to try the plugin.
    pub(super) fn lose_probe(&self) {
        if let Some(parked) = &mut self.lock().parked {
            parked.has_probe = false;
        }
    }

    /// How long the plugin is parked still, if it is.
    pub(crate) fn left(&self) -> Option<Duration> {
        let state = self.lock();
        state.parked.as_ref().map(|parked| parked.until.saturating_duration_since(Instant::now()))
    }
}

impl State {
    fn enter(&mut self, now: Instant) -> Result<bool, Duration> {
        let Some(parked) = &mut self.parked else { return Ok(false) };
        if now < parked.until {
            return Err(parked.until - now);
        }
        if parked.has_probe {
            return Err(Duration::from_secs(1));
        }
        parked.has_probe = true;
        Ok(true)
    }

    fn note(&mut self, has_failed: bool, is_probe: bool, now: Instant) -> Option<Change> {
        let after = self.after?;
        if let Some(parked) = &mut self.parked {
            if !is_probe {
                return None;
            }
            if !has_failed {
                (self.parked, self.failures) = (None, VecDeque::new());
                return Some(Change::Restored);
            }
            parked.wait = (parked.wait * 2).min(LONGEST_WAIT);
            (parked.until, parked.has_probe) = (now + parked.wait, false);
            return Some(Change::StaysParked(parked.wait));
        }
        if !has_failed {
            return None;
        }
        self.failures.push_back(now);
        while self.failures.front().is_some_and(|first| now - *first > after.within) {
            self.failures.pop_front();
        }
        if self.failures.len() < after.failures {
            return None;
        }
        self.failures.clear();
        self.parked = Some(Parked { until: now + FIRST_WAIT, wait: FIRST_WAIT, has_probe: false });
        Some(Change::Parked(after))
    }
}

fn report(change: Option<Change>, plugin: &str) {
    match change {
        None => {}
        Some(Change::Parked(ParkAfter { failures, within })) => tracing::warn!(
            "plugin {plugin}: parked after {failures} failures within {} s; it is tried again in {} s",
            within.as_secs_f64(),
            FIRST_WAIT.as_secs()
        ),
        Some(Change::StaysParked(wait)) => {
            tracing::warn!("plugin {plugin}: still fails; it is tried again in {} s", wait.as_secs());
        }
        Some(Change::Restored) => tracing::info!("plugin {plugin}: answers again and is not parked any more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: ParkAfter = ParkAfter { failures: 3, within: Duration::from_secs(60) };

    fn state() -> (State, Instant) {
        (State { after: Some(AFTER), ..State::default() }, Instant::now())
    }

    fn parked() -> (State, Instant) {
        let (mut state, now) = state();
        let changes: Vec<_> = (0..3).map(|_| state.note(true, false, now)).collect();
        assert_eq!(vec![None, None, Some(Change::Parked(AFTER))], changes);
        (state, now)
    }

    #[test]
    fn only_failures_within_the_time_count_together() {
        let (mut state, start) = state();
        for second in [0, 40, 80, 120] {
            assert_eq!(None, state.note(true, false, start + Duration::from_secs(second)));
            assert_eq!(Ok(false), state.enter(start + Duration::from_secs(second)));
        }
        assert_eq!(Some(Change::Parked(AFTER)), state.note(true, false, start + Duration::from_secs(121)));
    }

    #[test]
    fn a_parked_plugin_gets_one_request_after_a_time_that_doubles() {
        let (mut state, mut now) = parked();
        for wait in [10, 20, 40, 80, 160, 320, 600, 600] {
            assert!(state.enter(now + Duration::from_secs(wait - 1)).is_err());
            now += Duration::from_secs(wait);
            assert_eq!(Ok(true), state.enter(now));
            assert!(state.enter(now).is_err());
            let next = Duration::from_secs((wait * 2).min(600));
            assert_eq!(Some(Change::StaysParked(next)), state.note(true, true, now));
        }
    }

    #[test]
    fn a_success_of_that_request_alone_restores_the_plugin() {
        let (mut state, now) = parked();
        assert_eq!(None, state.note(false, false, now));
        assert!(state.enter(now).is_err());
        assert_eq!(Ok(true), state.enter(now + FIRST_WAIT));
        assert_eq!(Some(Change::Restored), state.note(false, true, now));
        assert_eq!(Ok(false), state.enter(now));
        assert_eq!(None, state.note(true, false, now));
    }

    #[test]
    fn a_request_that_nothing_came_of_is_followed_by_another() {
        let (inner, now) = parked();
        let parking = Parking { is_on: AtomicBool::new(true), state: Mutex::new(inner) };
        assert_eq!(Ok(true), parking.lock().enter(now + FIRST_WAIT));
        parking.lose_probe();
        assert_eq!(Ok(true), parking.lock().enter(now + FIRST_WAIT));
    }

    #[test]
    fn another_rule_begins_anew() {
        let (inner, _) = parked();
        let parking = Parking { is_on: AtomicBool::new(true), state: Mutex::new(inner) };
        parking.configure(&Arc::from("shop"), Some(AFTER));
        assert!(parking.left().is_some());
        parking.configure(&Arc::from("shop"), None);
        assert_eq!((None, Ok(false)), (parking.left(), parking.enter()));
    }
}
