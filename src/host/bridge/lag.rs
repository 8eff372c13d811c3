//! How late the event loop is, and how long the Python thread waits for the interpreter.
//!
//! The watchdog calls the loop a few times a second, which answers at its next turn. Promise: between these calls, a
//! turn costs the look at one number more. Caveat: without the watchdog, `stall_warn` and `stall_unready` being `none`,
//! nothing is measured.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::edge::observe::metrics::thread;

static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

/// When the loop was called, in nanoseconds from [`BEGINNING`]; 0 if it has taken its turn since.
static CALLED: AtomicU64 = AtomicU64::new(0);

/// Notes that the loop is being called, unless it still owes a turn from before.
pub(super) fn call() {
    let now = u64::try_from(BEGINNING.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1);
    let _ = CALLED.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
}

/// Notes that the loop takes a turn; on the Python thread, where other threads may have theirs.
#[inline]
pub(super) fn turn(py: Python<'_>) {
    if CALLED.load(Ordering::Relaxed) != 0 {
        measure(py);
    }
}

#[cold]
fn measure(py: Python<'_>) {
    let called = *BEGINNING + Duration::from_nanos(CALLED.swap(0, Ordering::Relaxed));
    let counts = &thread::current().server;
    let left = Instant::now();
    counts.loop_lag.observe(left.saturating_duration_since(called));
    py.detach(|| ());
    counts.gil_wait.observe(left.elapsed());
}
