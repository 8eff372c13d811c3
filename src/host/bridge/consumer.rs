//! The Python end of the queue: a reader callback of the event loop that takes requests and hands them to the plugins.
//!
//! Runs on the Python thread. Promise: outcomes return in batches, yet none waits for the next handler, which may
//! block: a sleeping I/O thread is woken before it begins, one that is awake looks by itself. The consumer returns to
//! the loop after 2 ms, so that timers and other tasks run however many requests come in. Caveat: one consumer a
//! process, attached to one loop.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::{Arc, Weak};
use std::time::Duration;

use pyo3::prelude::*;

use super::call::{CallSlot, InFlightCall};
use super::context::OwnContext;
use super::eager_tasks::EagerTaskPool;
use super::event_loop::EventLoop;
use super::in_flight::InFlight;
use super::inside;
use super::lag;
use super::locked::Locked;
use super::outcome::ResultContext;
use super::request_coroutine::{HandlerRun, RequestCoroutine};
use super::running;
use super::step;
use super::submission_queue::SubmissionQueue;
use crate::edge::queue::responder::{CompletionQueue, Outcome, QueuedRequest, Responder};
use crate::edge::queue::turn_clock;

/// How long outcomes may gather, while the consumer goes on, for an I/O thread that is awake.
const FLUSH_AFTER: Duration = Duration::from_micros(50);
/// How long the consumer may keep the loop from its timers.
const YIELD_AFTER: Duration = Duration::from_millis(2);

/// What runs a request: looks the plugin up and calls its handler.
pub(crate) type Dispatch = Box<dyn Fn(Python<'_>, &Arc<Consumer>, QueuedRequest) + Send + Sync>;

/// What came of the call of a handler.
pub(crate) struct Called<'py> {
    /// The object that the handler got for its request.
    pub request: Py<PyAny>,
    /// What it returned, which may be a coroutine, or raised.
    pub result: PyResult<Bound<'py, PyAny>>,
}

/// The coroutine that is left to run after the call of a handler: its own, or one that sends what it returned; or else
/// the result.
fn unfinished<'py>(
    py: Python<'py>,
    slot: &CallSlot,
    called: PyResult<Bound<'py, PyAny>>,
    request: &Py<PyAny>,
) -> ControlFlow<PyResult<Bound<'py, PyAny>>, Bound<'py, PyAny>> {
    match called.as_ref().map(step::awaitable) {
        Ok(Ok(Some(inner))) => ControlFlow::Continue(inner),
        Ok(Err(error)) => ControlFlow::Break(Err(error)),
        Ok(Ok(None)) | Err(_) => slot.after(py, called, request),
    }
}

/// Takes requests from the submissions and sends outcomes home.
pub(crate) struct Consumer {
    event_loop: Arc<EventLoop>,
    dispatch: Dispatch,
    /// Jobs taken and not yet run: what a busy turn leaves for the next.
    backlog: Locked<VecDeque<QueuedRequest>>,
    starter: EagerTaskPool,
}

impl Consumer {
    /// A consumer for `event_loop`; it takes nothing before [`Consumer::attach`].
    ///
    /// # Errors
    /// When asyncio cannot be imported.
    pub(crate) fn new(
        event_loop: &Bound<'_, PyAny>,
        submissions: Arc<SubmissionQueue>,
        completion_queues: Vec<Arc<CompletionQueue>>,
        dispatch: Dispatch,
    ) -> PyResult<Arc<Self>> {
        let starter = EagerTaskPool::new(event_loop)?;
        let event_loop = Arc::new(EventLoop::new(event_loop, submissions, completion_queues)?);
        Ok(Arc::new(Self { event_loop, dispatch, backlog: Locked::default(), starter }))
    }

    /// The loop that everything runs on.
    pub(crate) fn event_loop<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.event_loop.object(py)
    }

    /// The queue, for who wants to be run on the Python thread.
    pub(crate) fn submissions(&self) -> &Arc<SubmissionQueue> {
        self.event_loop.submissions()
    }

    /// Begins a call of the plugin that `source` names, for a request that a key of this name has admitted.
    pub(crate) fn begin(
        &self,
        responder: Responder,
        key: Option<Arc<str>>,
        source: &Arc<ResultContext>,
        in_flight: &Arc<InFlight>,
    ) -> Box<InFlightCall> {
        InFlightCall::start(responder, key, &self.event_loop, source, in_flight)
    }

    /// Answers a request that no plugin is called for.
    pub(crate) fn answer(&self, py: Python<'_>, responder: Responder, outcome: Outcome) {
        responder.complete(outcome);
        self.event_loop.completed(py);
    }

    /// Runs a handler in `context`: at once up to its first wait, and from there on in a task. `handler` makes the
    /// request object, calls the handler, and returns what came of it.
    ///
    /// # Errors
    /// When no task can be started; the request is answered even then.
    pub(crate) fn run<'py>(
        &self,
        py: Python<'py>,
        call: Box<InFlightCall>,
        context: OwnContext,
        handler: impl FnOnce(Weak<CallSlot>) -> PyResult<Called<'py>>,
    ) -> PyResult<()> {
        let number = call.plugin_number();
        let _running = running::enter(number);
        let mark = call.mark();
        let _inside = inside::enter(&mark);
        let entered = match context.enter(py) {
            Ok(entered) => entered,
            Err(error) => {
                call.finish(py, Err(error));
                return Ok(());
            }
        };
        let slot = CallSlot::new(call);
        let ended = match handler(Arc::downgrade(&slot)) {
            Ok(Called { request, result }) => match unfinished(py, &slot, result, &request) {
                ControlFlow::Continue(inner) => {
                    drop(entered);
                    return self
                        .starter
                        .start(self.event_loop(py), HandlerRun::new(inner, slot, request, context, (number, mark)));
                }
                ControlFlow::Break(ended) => ended,
            },
            Err(error) => Err(error),
        };
        if let Some(call) = slot.take() {
            call.finish(py, ended);
        }
        Ok(())
    }

    /// Cancels the tasks of the requests that have not ended, and returns them.
    ///
    /// # Errors
    /// When the loop is not the running one.
    pub(crate) fn cancel<'py>(self: &Arc<Self>, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let mut tasks = Vec::new();
        for task in py.import("asyncio")?.call_method0("all_tasks")?.try_iter()? {
            let task = task?;
            if task
                .call_method0("get_coro")?
                .cast::<RequestCoroutine>()
                .is_ok_and(|request_coroutine| request_coroutine.get().runs_on(&self.event_loop))
            {
                task.call_method0("cancel")?;
                tasks.push(task);
            }
        }
        Ok(tasks)
    }

    /// Has the loop call the consumer whenever the submissions has something.
    ///
    /// # Errors
    /// When the loop cannot watch descriptors.
    pub(crate) fn attach(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let reader = Bound::new(py, Reader { consumer: Arc::clone(self) })?;
        self.event_loop(py).call_method1("add_reader", (self.submissions().raw_fd(), reader)).map(drop)
    }

    /// Takes the consumer off the loop and answers everything that waits with 503.
    ///
    /// # Errors
    /// When the loop is closed.
    pub(crate) fn detach(&self, py: Python<'_>) -> PyResult<()> {
        self.submissions().close();
        drop(self.backlog.take());
        self.event_loop.flush();
        self.event_loop(py).call_method1("remove_reader", (self.submissions().raw_fd(),)).map(drop)
    }

    fn retire_idle_task(&self, py: Python<'_>) {
        if let Err(error) = self.starter.rest(self.event_loop(py)) {
            tracing::error!("a task that other code waits for cannot be ended: {error}");
        }
    }

    fn drain(self: &Arc<Self>, py: Python<'_>) {
        let _turn = Turn::begin(self);
        let started = turn_clock::read();
        lag::turn(py);
        // When the next request leaves the queue.
        let mut now = started;
        let mut flushed = started;
        // Not held while plugin code runs: a handler may run the loop again (nest_asyncio does).
        let mut requests = self.backlog.take();
        'turn: loop {
            for callback in self.submissions().take(&mut requests) {
                self.retire_idle_task(py);
                callback();
                now = turn_clock::read();
            }
            if requests.is_empty() {
                if self.submissions().fall_asleep() {
                    break;
                }
                continue;
            }
            while let Some(mut request) = requests.pop_front() {
                request.responder.take(now);
                turn_clock::forget();
                (self.dispatch)(py, self, request);
                // That of the answer, if there is one already.
                now = turn_clock::now();
                if now.since(flushed) > FLUSH_AFTER {
                    self.event_loop.flush();
                    flushed = now;
                }
                if now.since(started) > YIELD_AFTER {
                    self.submissions().rearm();
                    break 'turn;
                }
            }
        }
        self.retire_idle_task(py);
        if !requests.is_empty() {
            self.backlog.with(|backlog| {
                requests.append(backlog);
                *backlog = requests;
            });
        }
    }
}

/// One call of [`Consumer::drain`]; ends in order even when Rust code in it panics.
struct Turn<'a>(&'a Consumer);

impl<'a> Turn<'a> {
    fn begin(consumer: &'a Consumer) -> Self {
        consumer.submissions().wake_up();
        consumer.event_loop.set_draining(true);
        Self(consumer)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.event_loop.set_draining(false);
        self.0.event_loop.flush();
        if std::thread::panicking() {
            // The consumer never said that it sleeps, so no producer would wake it.
            self.0.submissions().rearm();
        }
    }
}

/// What the loop calls when the submissions is readable.
#[pyclass(frozen, module = "plugincore._core")]
struct Reader {
    consumer: Arc<Consumer>,
}

#[pymethods]
impl Reader {
    fn __call__(&self, py: Python<'_>) {
        self.consumer.drain(py);
    }
}
