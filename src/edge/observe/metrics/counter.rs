//! Numbers that one thread writes and any thread reads.
//!
//! Promise: to count takes a load and a store, without a lock and without an instruction that locks the bus; a reader
//! sees each number as it was at some moment. Caveat: with two writers counts would be lost, so each number belongs to
//! one thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// Adds `more`; for the one thread that writes.
    #[inline]
    pub(crate) fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    /// The number; for any thread.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The upper bounds of the ranges that durations are counted in, in nanoseconds: two for each power of ten, since a
/// plugin answers within a tenth of a millisecond or takes as long as what it waits for.
pub(crate) const BOUNDS: [u64; 12] = [
    100_000,
    300_000,
    1_000_000,
    3_000_000,
    10_000_000,
    30_000_000,
    100_000_000,
    300_000_000,
    1_000_000_000,
    3_000_000_000,
    10_000_000_000,
    30_000_000_000,
];

/// Ranges that durations are counted in; the last one has no bound.
const RANGES: usize = BOUNDS.len() + 1;

/// How many durations were in which range.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    ranges: [Count; RANGES],
    nanoseconds: Count,
}

impl Histogram {
    /// Counts a duration; for the one thread that writes.
    #[inline]
    pub(crate) fn observe(&self, duration: Duration) {
        // A duration of 585 years does not come.
        let nanoseconds = duration.as_secs() * 1_000_000_000 + u64::from(duration.subsec_nanos());
        // From the first on: most are in the first ones.
        let range = BOUNDS.iter().position(|bound| nanoseconds <= *bound).unwrap_or(BOUNDS.len());
        self.ranges[range].add(1);
        self.nanoseconds.add(nanoseconds);
    }
}

/// The sum of what several threads have counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HistogramSum {
    ranges: [u64; RANGES],
    nanoseconds: u64,
}

impl HistogramSum {
    /// Adds what one thread has counted.
    pub(crate) fn add(&mut self, histogram: &Histogram) {
        for (sum, range) in self.ranges.iter_mut().zip(&histogram.ranges) {
            *sum += range.get();
        }
        self.nanoseconds += histogram.nanoseconds.get();
    }

    /// Adds another sum.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (sum, range) in self.ranges.iter_mut().zip(other.ranges) {
            *sum += range;
        }
        self.nanoseconds += other.nanoseconds;
    }

    /// What has been counted since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let ranges = std::array::from_fn(|index| self.ranges[index].saturating_sub(before.ranges[index]));
        Self { ranges, nanoseconds: self.nanoseconds.saturating_sub(before.nanoseconds) }
    }

    /// The duration, in seconds, that this part of all did not exceed: an estimate, as if durations were spread evenly
    /// within their range. Nothing if there were none.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub(crate) fn quantile(&self, part: f64) -> Option<f64> {
        let wanted = self.count() as f64 * part;
        let (mut so_far, mut lower) = (0.0, 0.0);
        for (index, count) in self.ranges.iter().enumerate().filter(|(_, count)| **count > 0) {
            if index > 0 {
                lower = BOUNDS[index - 1] as f64;
            }
            let upper = BOUNDS.get(index).map_or(lower, |bound| *bound as f64);
            if so_far + *count as f64 >= wanted {
                return Some((lower + (upper - lower) * (wanted - so_far) / *count as f64) / 1e9);
            }
            so_far += *count as f64;
        }
        None
    }

    /// How many durations there were.
    pub(crate) fn count(&self) -> u64 {
        self.ranges.iter().sum()
    }

    /// All of them together.
    pub(crate) fn total(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds)
    }

    /// Each bound, and how many were not above it.
    pub(crate) fn cumulative(&self) -> impl Iterator<Item = (Duration, u64)> {
        let mut so_far = 0;
        BOUNDS.iter().zip(&self.ranges).map(move |(bound, count)| {
            so_far += count;
            (Duration::from_nanos(*bound), so_far)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_at_its_bound_and_at_all_above_it() {
        let histogram = Histogram::default();
        for nanoseconds in [0, 100_000, 100_001, 1_000_000_000, 99_000_000_000] {
            histogram.observe(Duration::from_nanos(nanoseconds));
        }
        let mut sum = HistogramSum::default();
        sum.add(&histogram);
        let counts: Vec<_> = sum.cumulative().map(|(_, count)| count).collect();
        assert_eq!([2, 3, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4], *counts);
        assert_eq!((5, Duration::from_nanos(100_000_200_001)), (sum.count(), sum.total()));
        sum.add(&histogram);
        assert_eq!(10, sum.count());
    }

    #[test]
    fn a_quantile_lies_within_the_range_of_its_durations() {
        let (histogram, mut before, mut sum) = (Histogram::default(), HistogramSum::default(), HistogramSum::default());
        histogram.observe(Duration::from_secs(1000));
        before.add(&histogram);
        assert_eq!(None, sum.quantile(0.5));
        for milliseconds in [2, 2, 2, 50] {
            histogram.observe(Duration::from_millis(milliseconds));
        }
        sum.add(&histogram);
        assert_eq!(Some(30.0), sum.quantile(0.99));
        let since = sum.since(&before);
        assert_eq!(4, since.count());
        let [p50, p99] = [0.5, 0.99].map(|part| since.quantile(part).unwrap());
        assert!(p50 > 0.001 && p50 <= 0.003 && p99 > 0.03 && p99 <= 0.1, "{p50} {p99}");
    }
}
