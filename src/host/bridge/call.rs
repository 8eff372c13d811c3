//! One run of a handler: its request, its plugin, and how its end is reported.
//!
//! Runs on the Python thread. Promise: [`InFlightCall::finish`] turns what a handler did into one outcome and releases
//! its place among the requests in flight; a call that is dropped unfinished releases it too. A response that is sent
//! piece by piece ends with the call at the latest. Caveat: the collector may drop a call on another thread.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};

use http::HeaderMap;
use pyo3::exceptions::{PyConnectionResetError, PyRuntimeError};
use pyo3::prelude::*;

use super::channel::{BodySender, Channel, PendingBody};
use super::event_loop::EventLoop;
use super::fork;
use super::in_flight::{Guard, InFlight};
use super::inside::Mark;
use super::locked::Locked;
use super::outcome::{self, FailedRequest, ResultContext};
use super::running;
use crate::edge::files::response::FileReply;
use crate::edge::http::pipe::{self, Reader, Writer, pipe};
use crate::edge::http::request_id::RequestId;
use crate::edge::http::rescue::Failure;
use crate::edge::http::response::Body;
use crate::edge::http::upgrade::Upgrade;
use crate::edge::observe::line::Level;
use crate::edge::observe::repeats::LineKind;
use crate::edge::queue::board::RequestNumber;
use crate::edge::queue::responder::{Outcome, Reply, Responder};

/// A handler that is running for a client. It is kept in a box, because it is passed on several times.
pub struct InFlightCall {
    responder: Responder,
    /// The name of the key that admitted the request, if it has one.
    key: Option<Arc<str>>,
    event_loop: Arc<EventLoop>,
    source: Arc<ResultContext>,
    guard: Guard,
    /// What an answer that is opened and not begun will be read from, and written to.
    opened: Option<(Arc<PendingBody>, Arc<BodySender>)>,
    /// Headers beside the result in a tuple, for an answer that is sent piece by piece.
    headers: HeaderMap,
    /// Set once an answer has been begun.
    begun: Option<StreamedResponse>,
    /// What the handler waits for while its client is connected to it. It leads to the task, and the garbage collector
    /// does not look here: asyncio holds tasks weakly, and it is the socket, in Rust, that may wake this one.
    awaited: Option<Py<PyAny>>,
}

/// An answer that was begun: if the call goes without an end, so does the answer, whoever else holds its channel.
struct StreamedResponse(Arc<BodySender>);

impl Drop for StreamedResponse {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl InFlightCall {
    /// Starts a call: from here on the responder counts as inside the plugin.
    pub(super) fn start(
        mut responder: Responder,
        key: Option<Arc<str>>,
        event_loop: &Arc<EventLoop>,
        source: &Arc<ResultContext>,
        in_flight: &Arc<InFlight>,
    ) -> Box<Self> {
        responder.start();
        Box::new(Self {
            responder,
            key,
            event_loop: Arc::clone(event_loop),
            source: Arc::clone(source),
            guard: in_flight.enter(),
            opened: None,
            headers: HeaderMap::new(),
            begun: None,
            awaited: None,
        })
    }

    /// As lines about its failure name its request.
    fn request(&self) -> FailedRequest<'_> {
        FailedRequest { id: self.responder.request_id(), key: self.key.as_deref() }
    }

    /// The number of the plugin, for [`running`].
    pub(super) fn plugin_number(&self) -> u32 {
        self.source.number.load(Ordering::Relaxed)
    }

    /// The id of its request.
    pub(crate) fn request_id(&self) -> &RequestId {
        self.responder.request_id()
    }

    /// What the watchdog knows the call by.
    pub(super) fn mark(&self) -> Mark {
        Mark::new(self.source.watched, self.responder.request_id())
    }

    /// Ends the call with what the handler returned or raised.
    pub fn finish(self: Box<Self>, py: Python<'_>, result: PyResult<Bound<'_, PyAny>>) {
        fork::end_child(py, result.as_ref().err());
        let opened = self.opened.as_ref().map(|(_, downlink)| downlink);
        if let (Err(error), Some(downlink)) = (&result, opened)
            && downlink.is_gone()
        {
            return self.tell_of_break(py, error, downlink);
        }
        if let Some(StreamedResponse(downlink)) = &self.begun {
            match result {
                Ok(_) => downlink.finish(),
                Err(error) => self.tell_of_break(py, &error, downlink),
            }
            return;
        }
        let outcome = match result {
            // It was cancelled because its client does not wait any longer.
            Err(error) if self.responder.is_abandoned() && self.is_cancellation(&error, py) => {
                Outcome::Failed(Failure::Interrupted)
            }
            Ok(value) => outcome::of_result(&value, &self.source, self.request()),
            Err(error) => outcome::of_exception(py, &error, &self.source, self.request()),
        };
        self.answer(py, outcome);
    }

    /// Ends the call with an outcome that no handler had a part in.
    pub fn answer(self: Box<Self>, py: Python<'_>, outcome: Outcome) {
        let Self { responder, event_loop, guard, .. } = *self;
        running::leave();
        responder.complete(outcome);
        drop(guard);
        event_loop.completed(py);
    }

    /// True if `error` is asyncio's `CancelledError`.
    pub fn is_cancellation(&self, error: &PyErr, py: Python<'_>) -> bool {
        self.event_loop.is_cancellation(error, py)
    }

    /// A client that left is not an error of the plugin. After the end of an answer it may leave: what the handler
    /// raises then has other reasons.
    fn tell_of_break(&self, py: Python<'_>, error: &PyErr, downlink: &BodySender) {
        let (plugin, id) = (&self.source.plugin, self.responder.request_id());
        // The host ends a long-lived answer itself when the plugin is on its way out; a write after that raises.
        let is_refused = || self.guard.closing().is_set() && error.is_instance_of::<PyConnectionResetError>(py);
        let stopped =
            if downlink.has_ended() { self.is_cancellation(error, py) || is_refused() } else { downlink.is_gone() };
        if stopped {
            tracing::debug!("plugin {plugin}: request {id}: the handler was stopped, since nobody waits for more");
        } else {
            static BROKEN_OFF: LineKind = LineKind::new(Level::Error, "answers were broken off");
            if outcome::admits_exception(&BROKEN_OFF, py, error, plugin) {
                let traceback = outcome::traceback(py, error);
                outcome::log_exception(plugin, self.request(), "the answer was broken off", &traceback);
            }
        }
    }
}

/// Where a running call is kept: both the request coroutine that ends it and the request that may begin its answer know
/// the place.
pub struct CallSlot(Locked<Option<Box<InFlightCall>>>);

impl CallSlot {
    /// Keeps `call`.
    pub fn new(call: Box<InFlightCall>) -> Arc<Self> {
        Arc::new(Self(Locked::new(Some(call))))
    }

    /// Takes the call out, to end it; `None` when it has ended.
    pub fn take(&self) -> Option<Box<InFlightCall>> {
        self.0.take()
    }

    /// Whether it keeps a call that runs on `event_loop` and has not ended.
    pub fn runs_on(&self, event_loop: &Arc<EventLoop>) -> bool {
        self.0.with(|call| call.as_ref().is_some_and(|call| Arc::ptr_eq(&call.event_loop, event_loop)))
    }

    /// The event loop that the call runs on; `None` when it has ended.
    pub fn event_loop(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let event_loop = self.0.with(|call| call.as_ref().map(|call| Arc::clone(&call.event_loop)));
        event_loop.map(|event_loop| event_loop.object(py).clone().unbind())
    }

    /// The request, its plugin and its id in the log, until it has ended; nothing if no time of it is limited.
    pub(super) fn request(&self) -> Option<(RequestNumber, Arc<str>, String)> {
        self.0.with(|call| {
            let InFlightCall { responder, source, .. } = &**call.as_ref()?;
            Some((responder.number()?, Arc::clone(&source.plugin), responder.request_id().to_string()))
        })
    }

    /// True once an answer has been begun.
    pub fn has_begun(&self) -> bool {
        self.0.with(|call| call.as_ref().is_some_and(|call| call.begun.is_some()))
    }

    /// Keeps what the handler waits for alive, and with it the handler, if an answer has been opened or begun.
    pub fn hold(&self, awaited: &Bound<'_, PyAny>) {
        let open = |call: &InFlightCall| call.begun.is_some() || call.opened.is_some();
        if self.0.with(|call| call.as_mut().is_some_and(|call| open(call))) {
            let awaited = awaited.clone().unbind();
            drop(self.0.with(|call| call.as_mut().map(|call| call.awaited.replace(awaited))));
        }
    }

    /// What is left to do when a handler has `ended`: to go on with the coroutine that sends its result piece by piece,
    /// or to end the call with a result that is whole.
    pub(super) fn after<'py>(
        &self,
        py: Python<'py>,
        ended: PyResult<Bound<'py, PyAny>>,
        request: &Py<PyAny>,
    ) -> ControlFlow<PyResult<Bound<'py, PyAny>>, Bound<'py, PyAny>> {
        match outcome::sender(py, &ended, request, self.has_begun()) {
            Ok(None) => ControlFlow::Break(ended),
            Ok(Some((sender, headers))) => {
                drop(self.0.with(|call| call.as_mut().map(|call| std::mem::replace(&mut call.headers, headers))));
                ControlFlow::Continue(sender)
            }
            Err(error) => ControlFlow::Break(Err(error)),
        }
    }

    /// Opens a channel for an answer that [`Self::begin`] begins, and which tells meanwhile that the client is gone.
    ///
    /// # Errors
    /// `RuntimeError` when the request has been answered, or has begun to be.
    pub fn open<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Channel>> {
        let (writer, reader) = pipe(pipe::CAPACITY);
        let (channel, downlink) = self.channel(py, writer, None)?;
        let unsent = PendingBody::new(reader);
        let waker = Waker::from(Arc::clone(&unsent));
        let earlier = self.0.with(|call| {
            let call = unanswered(call)?;
            let abandoned = call.responder.poll_abandoned(&mut Context::from_waker(&waker)).is_ready();
            let gone = if abandoned { unsent.take() } else { None };
            PyResult::Ok((call.opened.replace((unsent, downlink)), gone))
        });
        earlier.map(|_| channel)
    }

    /// Begins the answer of the channel that was opened, with a body of `length` bytes (unknown if `None`).
    ///
    /// # Errors
    /// `RuntimeError` as [`Self::open`], `ConnectionResetError` when the client is gone.
    pub fn begin(&self, py: Python<'_>, mut reply: Reply, length: Option<u64>) -> PyResult<()> {
        self.answer(py, move |call| {
            let (unsent, downlink) = call
                .opened
                .as_ref()
                .ok_or_else(|| PyRuntimeError::new_err("no channel has been opened for the answer"))?;
            let reader = unsent.take().ok_or_else(client_is_gone)?;
            reply.body = Body::streamed(reader, length);
            reply.headers.extend(std::mem::take(&mut call.headers));
            call.begun = Some(StreamedResponse(Arc::clone(downlink)));
            call.opened = None;
            Ok(Outcome::Reply(Box::new(reply.fit_for_its_status())))
        })
    }

    /// Answers 101 with `headers`; from then on the channel carries the connection's bytes both ways.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn switch_protocols<'py>(&self, py: Python<'py>, headers: HeaderMap) -> PyResult<Bound<'py, Channel>> {
        let ((writer, to_client), (from_client, reader)) = (pipe(pipe::CAPACITY), pipe(pipe::CAPACITY));
        let (channel, downlink) = self.channel(py, writer, Some(reader))?;
        self.answer(py, move |call| {
            if call.responder.is_abandoned() {
                // Like an answer that was opened, and whose client has left.
                let unsent = PendingBody::new(to_client);
                drop(unsent.take());
                call.opened = Some((unsent, downlink));
                return Err(client_is_gone());
            }
            call.begun = Some(StreamedResponse(downlink));
            Ok(Outcome::Switched { headers, upgrade: Upgrade { from_client, to_client } })
        })?;
        Ok(channel)
    }

    /// Answers with a file. What the handler returns afterwards is not looked at.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn send_file(&self, py: Python<'_>, mut reply: FileReply) -> PyResult<()> {
        self.answer(py, move |call| {
            reply.headers.extend(std::mem::take(&mut call.headers));
            Ok(Outcome::File(Box::new(reply)))
        })
    }

    /// A channel for the answer to the call.
    fn channel<'py>(
        &self,
        py: Python<'py>,
        writer: Writer,
        up: Option<Reader>,
    ) -> PyResult<(Bound<'py, Channel>, Arc<BodySender>)> {
        let (event_loop, closing) = self.0.with(|call| {
            let call = unanswered(call)?;
            PyResult::Ok((Arc::clone(&call.event_loop), Arc::clone(call.guard.closing())))
        })?;
        Channel::open(py, event_loop.submissions(), writer, up, &closing)
    }

    fn answer(&self, py: Python<'_>, give: impl FnOnce(&mut InFlightCall) -> PyResult<Outcome> + Send) -> PyResult<()> {
        let event_loop = self.0.with(|call| {
            let call = unanswered(call)?;
            let outcome = give(call)?;
            call.responder.begin(outcome);
            PyResult::Ok(Arc::clone(&call.event_loop))
        })?;
        event_loop.completed(py);
        Ok(())
    }
}

fn client_is_gone() -> PyErr {
    PyConnectionResetError::new_err("the client is gone")
}

fn unanswered(slot: &mut Option<Box<InFlightCall>>) -> PyResult<&mut InFlightCall> {
    let call = slot.as_deref_mut().filter(|call| !call.responder.is_answered());
    call.ok_or_else(|| PyRuntimeError::new_err("the request has been answered already"))
}
