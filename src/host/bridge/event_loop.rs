//! The event loop that requests run on, and the way of their outcomes back to the I/O threads.
//!
//! Runs on the Python thread. Promise: an outcome that has been handed over reaches its I/O thread even if nothing else
//! happens on the loop; while the consumer takes requests, outcomes leave in batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::intern;
use pyo3::prelude::*;

use super::submission_queue::SubmissionQueue;
use crate::edge::queue::responder::CompletionQueue;

/// An asyncio loop and the queues that lead to it and away from it.
pub struct EventLoop {
    object: Py<PyAny>,
    cancelled_error: Py<PyAny>,
    submissions: Arc<SubmissionQueue>,
    completion_queues: Vec<Arc<CompletionQueue>>,
    /// Whether the consumer is taking requests: it flushes when it has done so.
    draining: AtomicBool,
    flush_scheduled: AtomicBool,
}

impl EventLoop {
    /// The loop `object` with its queues.
    ///
    /// # Errors
    /// When asyncio cannot be imported.
    pub(super) fn new(
        object: &Bound<'_, PyAny>,
        submissions: Arc<SubmissionQueue>,
        completion_queues: Vec<Arc<CompletionQueue>>,
    ) -> PyResult<Self> {
        let cancelled_error = object.py().import("asyncio")?.getattr("CancelledError")?.unbind();
        let (draining, flush_scheduled) = (AtomicBool::new(false), AtomicBool::new(false));
        let object = object.clone().unbind();
        Ok(Self { object, cancelled_error, submissions, completion_queues, draining, flush_scheduled })
    }

    /// The loop as Python knows it.
    pub(super) fn object<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.object.bind(py)
    }

    /// The queue of what is to run on the loop's thread.
    pub(super) fn submissions(&self) -> &Arc<SubmissionQueue> {
        &self.submissions
    }

    /// True if `error` is asyncio's `CancelledError`.
    pub(super) fn is_cancellation(&self, error: &PyErr, py: Python<'_>) -> bool {
        error.is_instance(py, self.cancelled_error.bind(py))
    }

    /// Sees to it that an outcome which has been handed over leaves, whatever comes next on this thread.
    pub(super) fn completed(self: &Arc<Self>, py: Python<'_>) {
        if self.flush_to_sleepers() || self.draining.load(Ordering::Relaxed) {
            return;
        }
        // An I/O thread that is awake looks by itself; if it stays busy, it is notified a turn of the loop later.
        if self.flush_scheduled.swap(true, Ordering::Relaxed) {
            return;
        }
        let scheduled = Bound::new(py, Flush { event_loop: Arc::clone(self) })
            .and_then(|flush| self.object(py).call_method1(intern!(py, "call_soon"), (flush,)));
        if scheduled.is_err() {
            // The loop is closed and will not turn again, so the outcome leaves now.
            self.flush_scheduled.store(false, Ordering::Relaxed);
            self.flush();
        }
    }

    /// Notes whether the consumer is taking requests.
    pub(super) fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Ordering::Relaxed);
    }

    /// Notifies every I/O thread that has outcomes to collect.
    pub(super) fn flush(&self) {
        for completions in &self.completion_queues {
            completions.flush();
        }
    }

    /// Notifies the I/O threads that sleep; true if no other one has outcomes to collect.
    fn flush_to_sleepers(&self) -> bool {
        let mut all = true;
        for completions in &self.completion_queues {
            all &= completions.flush_to_sleeper();
        }
        all
    }
}

/// What the loop calls, once a turn, when outcomes from outside the consumer may not have been collected.
#[pyclass(frozen, module = "plugincore._core")]
struct Flush {
    event_loop: Arc<EventLoop>,
}

#[pymethods]
impl Flush {
    fn __call__(&self) {
        self.event_loop.flush_scheduled.store(false, Ordering::Relaxed);
        self.event_loop.flush();
    }
}
