//! One run of a handler: who runs, who waits, and how the end is told.
//!
//! Promise: [`Call::finish`] turns whatever a handler did into one outcome and frees its place; a call that is dropped
//! unfinished frees its place too. An answer that was begun piece by piece ends with the call at the latest. Caveat:
//! Python thread only.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::channel::{Channel, Downlink};
use super::consumer::Consumer;
use super::exchange::{Exchange, Outcome, Reply};
use super::outcome::{self, Source};
use crate::http::pipe::{self, pipe};
use crate::http::response::Body;
use crate::http::upgrade::Upgrade;

/// How many calls are inside one plugin instance.
#[derive(Default)]
pub struct Occupancy {
    inside: AtomicUsize,
    ending: AtomicBool,
}

impl Occupancy {
    /// Calls that have started and not ended.
    pub fn inside(&self) -> usize {
        self.inside.load(Ordering::Acquire)
    }

    /// From here on, answers that have no end of their own should come to one.
    pub(super) fn end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    /// True once [`Self::end`] was called.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }
}

/// A handler that is running for a client.
pub struct Call {
    exchange: Exchange,
    consumer: Arc<Consumer>,
    source: Arc<Source>,
    occupied: Occupied,
    /// Set once an answer has been begun.
    downlink: Option<Arc<Downlink>>,
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
            downlink: None,
        }
    }

    /// Ends the call with what the handler returned or raised.
    pub fn finish(self, py: Python<'_>, result: PyResult<Bound<'_, PyAny>>) {
        if let Some(downlink) = &self.downlink {
            match result {
                Ok(_) => downlink.finish(),
                Err(error) => {
                    self.tell_of_break(py, &error, downlink);
                    downlink.abort();
                }
            }
            return;
        }
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

    /// A client that left is no error of the plugin, and nobody is there to be told of one that it raised for it.
    fn tell_of_break(&self, py: Python<'_>, error: &PyErr, downlink: &Downlink) {
        let (plugin, id) = (&self.source.plugin, self.exchange.request_id());
        if downlink.is_gone() || (downlink.has_ended() && self.is_cancellation(error, py)) {
            tracing::debug!("plugin {plugin}: request {id}: the handler was stopped, since nobody waits for more");
        } else {
            let traceback = outcome::traceback(py, error);
            tracing::error!("plugin {plugin}: request {id}: the answer was broken off: {traceback}");
        }
    }
}

/// Where a running call is kept: both the driver that ends it and the request that may begin its answer know the place.
pub struct Slot(Mutex<Option<Call>>);

impl Slot {
    /// Keeps `call`.
    pub fn new(call: Call) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(call))))
    }

    /// Takes the call out, to end it; `None` when it has ended.
    pub fn take(&self) -> Option<Call> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// True once an answer has been begun.
    pub fn has_begun(&self) -> bool {
        let slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.as_ref().is_some_and(|call| call.downlink.is_some())
    }

    /// Begins an answer whose body of `length` bytes (unknown if `None`) is sent through the channel.
    ///
    /// # Errors
    /// `RuntimeError` when the request has been answered, or has begun to be.
    pub fn stream<'py>(&self, py: Python<'py>, mut reply: Reply, length: Option<u64>) -> PyResult<Bound<'py, Channel>> {
        self.begin(py, |call| {
            let (writer, reader) = pipe(pipe::CAPACITY);
            reply.body = Body::streamed(reader, length);
            let opened = Channel::open(py, call.consumer.inbox(), &call.occupied.0, writer, None)?;
            Ok((Outcome::Reply(reply.fit_for_its_status()), opened))
        })
    }

    /// Answers 101 with `headers`; from then on the channel carries the connection's bytes both ways.
    ///
    /// # Errors
    /// As [`Self::stream`].
    pub fn switch_protocols<'py>(&self, py: Python<'py>, headers: HeaderMap) -> PyResult<Bound<'py, Channel>> {
        self.begin(py, |call| {
            let ((writer, to_client), (from_client, reader)) = (pipe(pipe::CAPACITY), pipe(pipe::CAPACITY));
            let opened = Channel::open(py, call.consumer.inbox(), &call.occupied.0, writer, Some(reader))?;
            Ok((Outcome::Switched { headers, upgrade: Upgrade { from_client, to_client } }, opened))
        })
    }

    fn begin<'py>(
        &self,
        py: Python<'py>,
        open: impl FnOnce(&Call) -> PyResult<(Outcome, (Bound<'py, Channel>, Arc<Downlink>))>,
    ) -> PyResult<Bound<'py, Channel>> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let call = slot.as_mut().filter(|call| call.downlink.is_none());
        let call = call.ok_or_else(|| PyRuntimeError::new_err("the request has been answered already"))?;
        let (outcome, (channel, downlink)) = open(call)?;
        call.downlink = Some(downlink);
        call.exchange.begin(outcome);
        let consumer = Arc::clone(&call.consumer);
        drop(slot);
        consumer.completed(py);
        Ok(channel)
    }
}
