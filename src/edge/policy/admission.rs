//! Admission: how many requests may be inside plugins at the same time.
//!
//! Requests are admitted on the I/O threads; their permits are released on the Python thread. Promise: a [`Permit`] is
//! held from admission until the handler's outcome, through the queue and the Python thread, so requests in flight are
//! counted, not connections or the length of a queue; a slow plugin uses up only its own limit. Caveat: the limits are
//! checked without a lock, so two threads that compete for the last place may both be refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

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

    /// How many requests there was no place for.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
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
}

impl Entrance {
    /// Another one to these places.
    pub(crate) fn new(limit: Arc<Limit>) -> Arc<Self> {
        Arc::new(Self { limit, waiting: AtomicUsize::new(0) })
    }

    /// How many requests were admitted here and have not reached the instance yet.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }
}

/// The right to be in flight: one place in all and one at the plugin, given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    total: Arc<Limit>,
    /// Where the request was admitted.
    pub entrance: Arc<Entrance>,
    is_waiting: bool,
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
    Some(Permit { total: Arc::clone(total), entrance: Arc::clone(entrance), is_waiting: true })
}

impl Permit {
    /// The request has reached the instance.
    pub(crate) fn end_wait(&mut self) {
        if std::mem::take(&mut self.is_waiting) {
            self.entrance.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Counts the request among those that were answered with a status of 500 or more.
    pub(crate) fn note_failure(&self) {
        self.entrance.limit.failed.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.end_wait();
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
