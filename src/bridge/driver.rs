//! The coroutine that asyncio sees for a request: it steps the plugin's coroutine and answers the request itself.
//!
//! Promise: each request is driven in its own context; whatever the handler raises, `SystemExit` and
//! `KeyboardInterrupt` included, ends that request and nothing else. Caveat: for introspection (`task.get_stack()`,
//! debuggers) the driver shows the plugin's coroutine through its attributes, but `task.get_coro()` is the driver, and
//! `task.get_context()` is not the context of the request, which the driver enters for each step.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyAttributeError, PyRuntimeError, PyStopIteration};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::call::Slot;
use super::consumer::Consumer;
use super::context::OwnContext;
use super::coroutine::thrown;
use super::outcome;
use super::step::{self, Step};

/// One handler's coroutine, and after it the sending of a result that is no whole.
pub struct Drive {
    /// The iterator of the plugin's awaitable; once the handler has returned something that is sent piece by piece, of
    /// what sends it.
    current: Py<PyAny>,
    /// Whether the handler has returned.
    sending: bool,
    slot: Arc<Slot>,
    request: Py<PyAny>,
    context: OwnContext,
}

impl Drive {
    /// Drives `inner` in `context`; its end is the end of the call in `slot`, for `request`.
    pub fn new(inner: Bound<'_, PyAny>, slot: Arc<Slot>, request: Py<PyAny>, context: OwnContext) -> Self {
        Self { current: inner.unbind(), sending: false, slot, request, context }
    }
}

/// Drives one request after the other inside an asyncio task, at most one at a time.
#[pyclass(frozen, module = "plugincore._core", name = "request")]
#[derive(Default)]
pub struct Driver {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    drive: Option<Drive>,
    /// What the handler waits for since a first step that was taken before the task's own.
    early: Option<Py<PyAny>>,
}

/// How far a step came.
enum Progress<'py> {
    /// It waits for this.
    Waits(Bound<'py, PyAny>),
    /// The request is answered; the error is for the task, which ends as cancelled with it.
    Ended(Option<PyErr>),
}

impl Driver {
    /// Takes a request over, to drive it from its beginning.
    pub fn load(&self, drive: Drive) {
        let earlier = self.lock().drive.replace(drive);
        debug_assert!(earlier.is_none(), "a driver drives one request at a time");
    }

    /// Takes the first step before the task takes its own; says whether the request waits for something then.
    pub fn step_early(&self, py: Python<'_>) -> bool {
        match self.advance(py, |current| step::send(current, py.None().bind(py)), false) {
            Ok(Progress::Waits(object)) => {
                self.lock().early = Some(object.unbind());
                true
            }
            // There is no task to be told of a cancellation.
            Ok(Progress::Ended(_)) => false,
            Err(_) => {
                // It never began; to end it answers the request, and leaves the driver free for the next.
                drop(self.end());
                false
            }
        }
    }

    /// Whether it drives a request that came through `consumer` and has not ended.
    pub fn came_through(&self, consumer: &Arc<Consumer>) -> bool {
        self.lock().drive.as_ref().is_some_and(|drive| drive.slot.came_through(consumer))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No Python code runs and nothing is dropped under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.lock().drive.as_ref().map(|drive| drive.current.clone_ref(py))
    }

    /// Takes `take` on the current coroutine, in the context of the request, and answers it if that was the last step.
    fn advance<'py>(
        &self,
        py: Python<'py>,
        take: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<Step<'py>>,
        cancelling: bool,
    ) -> PyResult<Progress<'py>> {
        let (mut current, mut sending, slot, request, context) = {
            let state = self.lock();
            let Some(drive) = &state.drive else {
                return Err(PyRuntimeError::new_err("the request was answered already"));
            };
            let (current, request) = (drive.current.bind(py).clone(), drive.request.clone_ref(py));
            (current, drive.sending, Arc::clone(&drive.slot), request, drive.context.clone_ref(py))
        };
        let _entered = context.enter(py)?;
        let mut step = take(&current);
        let result = loop {
            let sender = match step {
                Ok(Step::Yielded(object)) => {
                    slot.hold(&object);
                    return Ok(Progress::Waits(object));
                }
                Ok(Step::Returned(value)) if sending => break Ok(value),
                Ok(Step::Returned(value)) => match slot.sender(&value, &request) {
                    Ok(None) => break Ok(value),
                    Ok(Some(sender)) => sender,
                    Err(error) => break Err(error),
                },
                Err(error) if sending || slot.has_begun() => break Err(error),
                Err(error) => match outcome::sender_of_exception(py, &error, &request) {
                    Ok(None) => break Err(error),
                    Ok(Some(sender)) => sender,
                    Err(error) => break Err(error),
                },
            };
            (current, sending) = (sender, true);
            self.go_on_with(&current);
            step = step::send(&current, py.None().bind(py));
        };
        // Ended for whoever looks, before the end is told: dropped outside of the lock.
        let ended = self.lock().drive.take();
        let Some(call) = slot.take() else {
            return Err(PyRuntimeError::new_err("the request was answered already"));
        };
        // A task that is being cancelled must end as cancelled, or whoever cancelled it is misled.
        let cancelled = match &result {
            Err(error) if cancelling && call.is_cancellation(error, py) => Some(error.clone_ref(py)),
            _ => None,
        };
        call.finish(py, result);
        drop(ended);
        Ok(Progress::Ended(cancelled))
    }

    /// Steps `sender` from here on.
    fn go_on_with(&self, sender: &Bound<'_, PyAny>) {
        let mut state = self.lock();
        let earlier = state.drive.as_mut().map(|drive| {
            drive.sending = true;
            std::mem::replace(&mut drive.current, sender.clone().unbind())
        });
        drop(state);
        drop(earlier);
    }

    /// Ends the drive where it is, which answers the request.
    fn end(&self) -> Option<Drive> {
        let (ended, early) = {
            let mut state = self.lock();
            (state.drive.take(), state.early.take())
        };
        drop(early);
        // The request must not keep the call alive.
        drop(ended.as_ref().and_then(|drive| drive.slot.take()));
        ended
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        drop(self.end());
    }
}

#[pymethods]
impl Driver {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let early = {
            let mut state = self.lock();
            if state.drive.is_none() {
                // It ended in its early step.
                return Ok(None);
            }
            state.early.take()
        };
        if let Some(early) = early {
            return Ok(Some(early.into_bound(py)));
        }
        match self.advance(py, |current| step::send(current, py.None().bind(py)), false)? {
            Progress::Waits(object) => Ok(Some(object)),
            Progress::Ended(Some(cancelled)) => Err(cancelled),
            Progress::Ended(None) => Ok(None),
        }
    }

    fn send<'py>(&self, py: Python<'py>, value: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        told(py, self.advance(py, |current| step::send(current, &value), false)?)
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
        let early = self.lock().early.take();
        if let Some(early) = early.map(|early| early.into_bound(py)) {
            // The handler cancelled its own task in the first step: asyncio cancels what such a task goes on to wait for.
            if let Some(cancel) = early.getattr_opt(intern!(py, "cancel"))?
                && cancel.call0()?.is_truthy()?
            {
                return Ok(early);
            }
        }
        if self.lock().drive.is_none() {
            return Err(error);
        }
        told(py, self.advance(py, |current| step::throw(current, error), true)?)
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
        self.lock().drive.as_ref().map(|drive| drive.request.clone_ref(py))
    }

    /// Shows the plugin's coroutine to whoever inspects the task (`cr_frame`, `cr_code`, `__qualname__`, …).
    fn __getattr__<'py>(&self, py: Python<'py>, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        match self.current(py) {
            Some(current) => current.into_bound(py).getattr(name),
            None => Err(PyAttributeError::new_err(name.clone().unbind())),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // A lock that is held means that the state is being changed: it will be seen the next time.
        let Ok(state) = self.state.try_lock() else { return Ok(()) };
        visit.call(&state.early)?;
        let Some(drive) = &state.drive else { return Ok(()) };
        visit.call(&drive.current)?;
        visit.call(&drive.request)?;
        drive.context.traverse(&visit)
    }
}

/// What `send` and `throw` tell the task.
fn told<'py>(py: Python<'py>, progress: Progress<'py>) -> PyResult<Bound<'py, PyAny>> {
    match progress {
        Progress::Waits(object) => Ok(object),
        Progress::Ended(Some(cancelled)) => Err(cancelled),
        Progress::Ended(None) => Err(PyStopIteration::new_err((py.None(),))),
    }
}
