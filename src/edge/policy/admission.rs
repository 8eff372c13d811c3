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
    max: usize,
    admitted: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
}

impl Limit {
    /// A limit with `most` free places.
    pub(crate) fn new(max: usize) -> Arc<Self> {
        let (admitted, refused, failed) = Default::default();
        Arc::new(Self { taken: AtomicUsize::new(0), max, admitted, refused, failed })
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
        let within = self.taken.fetch_add(1, Ordering::Relaxed) < self.max;
        if !within {
            self.leave();
        }
        within
    }

    fn leave(&self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The right to be in flight: one place in all and one at the plugin, given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    total: Arc<Limit>,
    plugin: Arc<Limit>,
}

/// Takes a place in `total` and one in `plugin`, or neither.
pub(crate) fn admit(total: &Arc<Limit>, plugin: &Arc<Limit>) -> Option<Permit> {
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
    Some(Permit { total: Arc::clone(total), plugin: Arc::clone(plugin) })
}

impl Permit {
    /// Counts the request among those that were answered with a status of 500 or more.
    pub(crate) fn note_failure(&self) {
        self.plugin.failed.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.total.leave();
        self.plugin.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_plugin_leaves_the_places_of_others_alone() {
        let (total, slow, quick) = (Limit::new(3), Limit::new(1), Limit::new(1));
        let held = admit(&total, &slow);
        assert!(held.is_some());
        assert!(admit(&total, &slow).is_none());
        assert!(admit(&total, &quick).is_some());
        assert_eq!(1, total.taken.load(Ordering::Relaxed));
    }

    #[test]
    fn a_place_is_free_again_once_the_permit_is_dropped() {
        let (total, plugin) = (Limit::new(1), Limit::new(5));
        let permit = admit(&total, &plugin);
        assert!(admit(&total, &plugin).is_none());
        drop(permit);
        assert!(admit(&total, &plugin).is_some());
        assert_eq!((0, 0), (total.taken.load(Ordering::Relaxed), plugin.taken.load(Ordering::Relaxed)));
    }
}
