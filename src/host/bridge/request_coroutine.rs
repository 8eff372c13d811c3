//! The coroutine that asyncio sees for a request: it steps the plugin's coroutine and completes the request itself.
//!
//! Runs on the Python thread. Promise: each request has its own context; whatever the handler raises, `SystemExit` and
//! `KeyboardInterrupt` included, ends that request and nothing else. Caveat: for introspection (`task.get_stack()`,
//! debuggers) the request coroutine shows the plugin's coroutine through its attributes, but `task.get_coro()` is the
//! request coroutine, and `task.get_context()` is not the context of the request, which the request coroutine enters
//! for each step.

use std::ops::ControlFlow;
use std::sync::Arc;

use pyo3::exceptions::{PyAttributeError, PyRuntimeError, PyStopIteration};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::call::CallSlot;
use super::context::OwnContext;
use super::coroutine::thrown;
use super::event_loop::EventLoop;
use super::inside::{self, Mark};
use super::locked::Locked;
use super::running;
use super::step::{self, Step};
use crate::edge::queue::board::RequestNumber;

/// One handler's coroutine, and after it the sending of a result that is no whole.
pub struct HandlerRun {
    /// The iterator of the plugin's awaitable; once the handler has returned something that is sent piece by piece, of
    /// what sends it.
    current: Py<PyAny>,
    /// Whether the handler has returned.
    sending: bool,
    slot: Arc<CallSlot>,
    request: Py<PyAny>,
    context: OwnContext,
    /// The number of the plugin, for [`running`].
    number: u32,
    mark: Mark,
}

impl HandlerRun {
    /// Drives `inner`, of the plugin of this `number` and known to the watchdog by `mark`, in `context`; its end is the
    /// end of the call in `slot`, for `request`.
    pub fn new(
        inner: Bound<'_, PyAny>,
        slot: Arc<CallSlot>,
        request: Py<PyAny>,
        context: OwnContext,
        (number, mark): (u32, Mark),
    ) -> Self {
        Self { current: inner.unbind(), sending: false, slot, request, context, number, mark }
    }
}

/// Drives one request after the other inside an asyncio task, at most one at a time.
#[pyclass(frozen, module = "plugincore._core", name = "request")]
#[derive(Default)]
pub struct RequestCoroutine {
    state: Locked<State>,
}

#[derive(Default)]
struct State {
    handler_run: Option<HandlerRun>,
    /// What came of a first step that was taken before the task's own.
    early: Option<Early>,
}

/// What the task still has to learn of its first step.
enum Early {
    /// The handler waits for this.
    Waits(Py<PyAny>),
    /// The handler ended as cancelled.
    Cancelled(PyErr),
}

/// How far a step came.
enum Progress<'py> {
    /// It waits for this.
    Waits(Bound<'py, PyAny>),
    /// The request is answered. With the error, a cancellation, the task ends as cancelled: the code that cancelled it
    /// would be misled otherwise.
    Ended(Option<PyErr>),
}

impl RequestCoroutine {
    /// Takes a request over, to drive it from its beginning.
    pub fn load(&self, handler_run: HandlerRun) {
        let earlier = self.state.replace(State { handler_run: Some(handler_run), early: None });
        debug_assert!(earlier.handler_run.is_none(), "a request_coroutine drives one request at a time");
    }

    /// Takes the first step before the task takes its own; says whether the request waits for something then.
    pub fn step_early(&self, py: Python<'_>) -> bool {
        let early = match self.advance(py, |current| step::send(current, py.None().bind(py))) {
            Ok(Progress::Waits(object)) => Early::Waits(object.unbind()),
            // Only code that kept the task can ask for it.
            Ok(Progress::Ended(Some(cancelled))) => Early::Cancelled(cancelled),
            Ok(Progress::Ended(None)) => return false,
            Err(_) => {
                // It never began; to end it answers the request, and leaves the request coroutine free for the next.
                drop(self.end());
                return false;
            }
        };
        let waits = matches!(early, Early::Waits(_));
        drop(self.state.with(|state| state.early.replace(early)));
        waits
    }

    /// Whether it drives a request that runs on `event_loop` and has not ended.
    pub fn runs_on(&self, event_loop: &Arc<EventLoop>) -> bool {
        let slot = self.state.with(|state| state.handler_run.as_ref().map(|handler_run| Arc::clone(&handler_run.slot)));
        slot.is_some_and(|slot| slot.runs_on(event_loop))
    }

    /// The request that it drives, its plugin, and its id in the log; nothing if no time of it is limited.
    pub(super) fn request(&self) -> Option<(RequestNumber, Arc<str>, String)> {
        let slot = self.state.with(|state| state.handler_run.as_ref().map(|handler_run| Arc::clone(&handler_run.slot)));
        slot?.request()
    }

    fn current(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.state.with_references(py, |state, references| {
            state.handler_run.as_ref().map(|handler_run| references.again(&handler_run.current))
        })
    }

    /// Takes `take` on the current coroutine, in the context of the request, and answers it if that was the last step.
    fn advance<'py>(
        &self,
        py: Python<'py>,
        take: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<Step<'py>>,
    ) -> PyResult<Progress<'py>> {
        let driven = self.state.with_references(py, |state, references| {
            let handler_run = state.handler_run.as_ref()?;
            let (current, request) = (references.again(&handler_run.current), references.again(&handler_run.request));
            Some((
                current,
                handler_run.sending,
                Arc::clone(&handler_run.slot),
                request,
                handler_run.context.again(references),
                handler_run.number,
                handler_run.mark.clone(),
            ))
        });
        let Some((current, mut sending, slot, request, context, number, mark)) = driven else {
            return Err(PyRuntimeError::new_err("the request was answered already"));
        };
        let mut current = current.into_bound(py);
        let _entered = context.enter(py)?;
        let _running = running::enter(number);
        let _inside = inside::enter(&mark);
        let mut step = take(&current);
        let result = loop {
            let ended = match step {
                Ok(Step::Yielded(object)) => {
                    slot.hold(&object);
                    return Ok(Progress::Waits(object));
                }
                Ok(Step::Returned(value)) => Ok(value),
                Err(error) => Err(error),
            };
            if sending {
                break ended;
            }
            match slot.after(py, ended, &request) {
                ControlFlow::Break(result) => break result,
                ControlFlow::Continue(sender) => (current, sending) = (sender, true),
            }
            self.go_on_with(&current);
            step = step::send(&current, py.None().bind(py));
        };
        // Ended for other code, before the end is reported.
        let ended = self.state.with(|state| state.handler_run.take());
        let Some(call) = slot.take() else {
            return Err(PyRuntimeError::new_err("the request was answered already"));
        };
        let cancelled = match &result {
            Err(error) if call.is_cancellation(error, py) => Some(error.clone_ref(py)),
            _ => None,
        };
        call.finish(py, result);
        drop(ended);
        Ok(Progress::Ended(cancelled))
    }

    /// Steps `sender` from here on.
    fn go_on_with(&self, sender: &Bound<'_, PyAny>) {
        let sender = sender.clone().unbind();
        let earlier = self.state.with(|state| {
            let handler_run = state.handler_run.as_mut()?;
            handler_run.sending = true;
            Some(std::mem::replace(&mut handler_run.current, sender))
        });
        drop(earlier);
    }

    /// Ends the drive where it is, which answers the request.
    fn end(&self) -> Option<HandlerRun> {
        let State { handler_run, early } = self.state.take();
        drop(early);
        // The request must not keep the call alive.
        drop(handler_run.as_ref().and_then(|handler_run| handler_run.slot.take()));
        handler_run
    }
}

impl Drop for RequestCoroutine {
    fn drop(&mut self) {
        drop(self.end());
    }
}

#[pymethods]
impl RequestCoroutine {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (early, driving) = self.state.with(|state| (state.early.take(), state.handler_run.is_some()));
        match early {
            Some(Early::Waits(object)) => return Ok(Some(object.into_bound(py))),
            Some(Early::Cancelled(cancelled)) => return Err(cancelled),
            // It ended in its early step.
            None if !driving => return Ok(None),
            None => {}
        }
        match self.advance(py, |current| step::send(current, py.None().bind(py)))? {
            Progress::Waits(object) => Ok(Some(object)),
            Progress::Ended(Some(cancelled)) => Err(cancelled),
            Progress::Ended(None) => Ok(None),
        }
    }

    fn send<'py>(&self, py: Python<'py>, value: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        to_task(py, self.advance(py, |current| step::send(current, &value))?)
    }

    #[pyo3(signature = (kind, value = None, _traceback = None))]
    fn throw<'py>(
        &self,
        py: Python<'py>,
        kind: Bound<'py, PyAny>,
        value: Option<Bound<'py, PyAny>>,
        _traceback: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let error = thrown(kind, value)?;
        let (early, driving) = self.state.with(|state| (state.early.take(), state.handler_run.is_some()));
        if let Some(Early::Waits(object)) = early {
            // The handler cancelled its own task in the first step: asyncio cancels what such a task goes on to wait
            // for.
            let object = object.into_bound(py);
            if cancel(&object, &error)? {
                return Ok(object);
            }
        }
        if !driving {
            return Err(error);
        }
        to_task(py, self.advance(py, |current| step::throw(current, error))?)
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let Some(ended) = self.end() else { return Ok(()) };
        // A plain iterator behind `__await__` has nothing to close.
        let close = ended.current.bind(py).getattr_opt(intern!(py, "close"))?;
        let _entered = ended.context.enter(py)?;
        close.map_or(Ok(()), |close| close.call0().map(drop))
    }

    /// The request that is answered; for the module that looks for its task.
    #[getter]
    fn _plugincore_request(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.state.with_references(py, |state, references| {
            state.handler_run.as_ref().map(|handler_run| references.again(&handler_run.request))
        })
    }

    /// Shows the plugin's coroutine to code that inspects the task (`cr_frame`, `cr_code`, `__qualname__`, …).
    fn __getattr__<'py>(&self, py: Python<'py>, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        match self.current(py) {
            Some(current) => current.into_bound(py).getattr(name),
            None => Err(PyAttributeError::new_err(name.clone().unbind())),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.state.traverse(|state| {
            if let Some(Early::Waits(object)) = &state.early {
                visit.call(object)?;
            }
            let Some(handler_run) = &state.handler_run else { return Ok(()) };
            visit.call(&handler_run.current)?;
            visit.call(&handler_run.request)?;
            handler_run.context.traverse(&visit)
        })
    }
}

/// Cancels what a handler waits for because of `error`, with its message, as asyncio does; says whether that was
/// possible.
fn cancel(awaited: &Bound<'_, PyAny>, error: &PyErr) -> PyResult<bool> {
    let py = awaited.py();
    let Some(cancel) = awaited.getattr_opt(intern!(py, "cancel"))? else { return Ok(false) };
    let options = PyDict::new(py);
    if let Ok(message) = error.value(py).getattr(intern!(py, "args"))?.get_item(0) {
        options.set_item(intern!(py, "msg"), message)?;
    }
    cancel.call((), Some(&options))?.is_truthy()
}

/// What `send` and `throw` return to the task.
fn to_task<'py>(py: Python<'py>, progress: Progress<'py>) -> PyResult<Bound<'py, PyAny>> {
    match progress {
        Progress::Waits(object) => Ok(object),
        Progress::Ended(Some(cancelled)) => Err(cancelled),
        Progress::Ended(None) => Err(PyStopIteration::new_err((py.None(),))),
    }
}
