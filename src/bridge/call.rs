//! One run of a handler: who runs, who waits, and how the end is told.
//!
//! Promise: [`Call::finish`] turns whatever a handler did into one outcome and frees its place; a call that is dropped
//! unfinished frees its place too. Caveat: Python thread only.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::prelude::*;

use super::consumer::Consumer;
use super::exchange::{Exchange, Outcome};
use super::outcome::{self, Source};

/// How many calls are inside one plugin instance.
#[derive(Default)]
pub struct Occupancy {
    inside: AtomicUsize,
}

impl Occupancy {
    /// Calls that have started and not ended.
    pub fn inside(&self) -> usize {
        self.inside.load(Ordering::Acquire)
    }
}

/// A handler that is running for a client.
pub struct Call {
    exchange: Exchange,
    consumer: Arc<Consumer>,
    source: Arc<Source>,
    occupied: Occupied,
}

struct Occupied(Arc<Occupancy>);

impl Drop for Occupied {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::Release);
    }
}

impl Call {
    /// Starts a call: from here on the exchange counts as inside the plugin.
    pub fn start(
        mut exchange: Exchange,
        consumer: &Arc<Consumer>,
        source: &Arc<Source>,
        occupancy: &Arc<Occupancy>,
    ) -> Self {
        exchange.start();
        occupancy.inside.fetch_add(1, Ordering::AcqRel);
        Self {
            exchange,
            consumer: Arc::clone(consumer),
            source: Arc::clone(source),
            occupied: Occupied(Arc::clone(occupancy)),
        }
    }

    /// Ends the call with what the handler returned or raised.
    pub fn finish(self, py: Python<'_>, result: PyResult<Bound<'_, PyAny>>) {
        let outcome = match result {
            Ok(value) => outcome::of_result(&value, &self.source, self.exchange.request_id()),
            Err(error) => outcome::of_exception(py, &error, &self.source, self.exchange.request_id()),
        };
        self.answer(py, outcome);
    }

    /// Ends the call with an outcome that no handler had a part in.
    pub fn answer(self, py: Python<'_>, outcome: Outcome) {
        let Self { exchange, consumer, occupied, .. } = self;
        exchange.complete(outcome);
        drop(occupied);
        consumer.completed(py);
    }

    /// True if `error` is asyncio's `CancelledError`.
    pub fn is_cancellation(&self, error: &PyErr, py: Python<'_>) -> bool {
        error.is_instance(py, self.consumer.cancelled_error(py))
    }
}
