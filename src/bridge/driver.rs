//! The coroutine that asyncio sees for a request: it steps the plugin's coroutine and answers the request itself.
//!
//! Promise: each request has its own task and context; whatever the handler raises, `SystemExit` and
//! `KeyboardInterrupt` included, ends that request and nothing else. Caveat: for introspection (`task.get_stack()`,
//! debuggers) the driver shows the plugin's coroutine through its attributes, but `task.get_coro()` is the driver.

use std::sync::{Arc, OnceLock};

use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::intern;
use pyo3::prelude::*;

use super::call::Slot;
use super::consumer::Consumer;
use super::coroutine::thrown;
use super::outcome;
use super::step::{self, Step};

/// Drives one handler's coroutine inside an asyncio task, and after it the sending of a result that is no whole.
#[pyclass(frozen, module = "plugincore._core", name = "request")]
pub struct Driver {
    /// The iterator of the plugin's awaitable.
    inner: Py<PyAny>,
    /// What sends the result once the handler has returned it, if it is sent piece by piece.
    sender: OnceLock<Py<PyAny>>,
    slot: Arc<Slot>,
    request: Py<PyAny>,
}

impl Driver {
    /// A driver of `inner`, which ends the call in `slot` for `request`.
    pub fn new(inner: Bound<'_, PyAny>, slot: Arc<Slot>, request: Py<PyAny>) -> Self {
        Self { inner: inner.unbind(), sender: OnceLock::new(), slot, request }
    }

    /// Whether it drives a request that came through `consumer` and has not ended.
    pub fn came_through(&self, consumer: &Arc<Consumer>) -> bool {
        self.slot.came_through(consumer)
    }

    fn current<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.sender.get().unwrap_or(&self.inner).bind(py)
    }

    fn advance<'py>(
        &self,
        py: Python<'py>,
        step: PyResult<Step<'py>>,
        cancelling: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let result = match step {
            Ok(Step::Yielded(object)) => {
                self.slot.hold(&object);
                return Ok(object);
            }
            Ok(Step::Returned(value)) if self.sender.get().is_none() => match self.slot.sender(&value, &self.request) {
                Ok(None) => Ok(value),
                Ok(Some(sender)) => return self.go_on_with(sender),
                Err(error) => Err(error),
            },
            Err(error) if self.sender.get().is_none() && !self.slot.has_begun() => {
                match outcome::sender_of_exception(py, &error, &self.request) {
                    Ok(None) => Err(error),
                    Ok(Some(sender)) => return self.go_on_with(sender),
                    Err(error) => Err(error),
                }
            }
            Ok(Step::Returned(value)) => Ok(value),
            Err(error) => Err(error),
        };
        let Some(call) = self.slot.take() else {
            return Err(PyRuntimeError::new_err("the request was answered already"));
        };
        // A task that is being cancelled must end as cancelled, or whoever cancelled it is misled.
        let cancelled = match &result {
            Err(error) if cancelling && call.is_cancellation(error, py) => Some(error.clone_ref(py)),
            _ => None,
        };
        call.finish(py, result);
        Err(cancelled.unwrap_or_else(|| PyStopIteration::new_err((py.None(),))))
    }

    /// Steps the sender from here on.
    fn go_on_with<'py>(&self, sender: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = sender.py();
        let sender = self.sender.get_or_init(|| sender.unbind()).bind(py);
        self.advance(py, step::send(sender, py.None().bind(py)), false)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // A task that was destroyed answers through the call, which the request must not keep alive.
        drop(self.slot.take());
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

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.advance(py, step::send(self.current(py), py.None().bind(py)), false)
    }

    fn send<'py>(&self, py: Python<'py>, value: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.advance(py, step::send(self.current(py), &value), false)
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
        self.advance(py, step::throw(self.current(py), error), true)
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        // Dropped outside of the lock; it answers the request.
        drop(self.slot.take());
        // A plain iterator behind `__await__` has nothing to close.
        let close = self.current(py).getattr_opt(intern!(py, "close"))?;
        close.map_or(Ok(()), |close| close.call0().map(drop))
    }

    /// The request that is answered; for the module that looks for its task.
    #[getter]
    fn _plugincore_request(&self, py: Python<'_>) -> Py<PyAny> {
        self.request.clone_ref(py)
    }

    /// Shows the plugin's coroutine to whoever inspects the task (`cr_frame`, `cr_code`, `__qualname__`, …).
    fn __getattr__<'py>(
        &self,
        py: Python<'py>,
        name: &Bound<'py, pyo3::types::PyString>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.current(py).getattr(name)
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        visit.call(&self.inner)?;
        visit.call(self.sender.get())?;
        visit.call(&self.request)
    }
}
