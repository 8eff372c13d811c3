//! Tasks for handlers; a task that a handler has not used up serves the next one.
//!
//! Runs on the Python thread. Promise: a handler takes its first step at once, with a task of its own that is
//! `asyncio.current_task()` for it. A handler that waits keeps the task to its end. From a handler that does not wait,
//! the task is taken back if it is as it was before: no references, weak references or callbacks to it, no cancellation
//! and no other name. Otherwise the reference shows a task that is done. Caveat: between two requests such a task is
//! pending, so the consumer retires it ([`EagerTaskPool::rest`]) before other code has a turn of the loop. A plain
//! handler in between may find it in `asyncio.all_tasks()`: cancelling it has no effect on a request, and code
//! that awaits it sees it end.

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::locked::Locked;
use super::request_coroutine::{HandlerRun, RequestCoroutine};

/// Starts requests on one event loop.
pub(crate) struct EagerTaskPool {
    asyncio: Asyncio,
    /// Arguments of a new task, besides its coroutine.
    options: Py<PyDict>,
    name: Py<PyAny>,
    /// Attributes of the loop, among which a [`CallSoon`] stands for a moment; none if the loop has no such thing.
    attributes: Option<Py<PyDict>>,
    spare: Locked<Option<Ready>>,
}

/// What is called of asyncio, and to look at a task.
struct Asyncio {
    task: Py<PyAny>,
    enter_task: Py<PyAny>,
    leave_task: Py<PyAny>,
    count_weak_references: Py<PyAny>,
}

/// A task that has not taken a step.
struct Ready {
    task: Py<PyAny>,
    request_coroutine: Py<RequestCoroutine>,
    first: Option<FirstStep>,
    /// What refers to it while nobody else does.
    references: References,
}

/// Counts of references: to the task, to the request coroutine that is its coroutine, and weak ones to the task.
type References = (ffi::Py_ssize_t, ffi::Py_ssize_t, usize);

/// The first step of a task, and the context in which it is to be taken.
struct FirstStep {
    step: Py<PyAny>,
    context: Py<PyAny>,
}

/// Stands in for `loop.call_soon` while the task of `request_coroutine` is made: it keeps the first step of that task.
/// Everything else goes on to the loop, since whatever runs meanwhile (finalisers, callbacks of weak references, signal
/// handlers, other threads) means the loop; also if the caller keeps this for later.
#[pyclass(frozen, module = "plugincore._core", name = "call_soon")]
struct CallSoon {
    event_loop: Py<PyAny>,
    request_coroutine: Py<RequestCoroutine>,
    kept: Locked<Kept>,
}

#[derive(Default)]
enum Kept {
    /// The task has not been made.
    Nothing,
    First(FirstStep),
    /// The task has been made, so its next step is the loop's.
    #[default]
    Over,
}

#[pymethods]
impl CallSoon {
    /// `context` has a place of its own, so that no dict is made for what asyncio passes.
    #[pyo3(signature = (callback, *arguments, context = None, **options))]
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        callback: &Bound<'py, PyAny>,
        arguments: &Bound<'py, PyTuple>,
        context: Option<Bound<'py, PyAny>>,
        options: Option<Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Some(context) = &context
            && self.is_first_step(callback)?
        {
            let first = FirstStep { step: callback.clone().unbind(), context: context.clone().unbind() };
            drop(self.kept.replace(Kept::First(first)));
            return Ok(py.None().into_bound(py));
        }
        let event_loop = self.event_loop.bind(py);
        let arguments = [event_loop, callback].into_iter().cloned().chain(arguments.iter()).collect::<Vec<_>>();
        let own = event_loop.get_type().getattr(intern!(py, "call_soon"))?;
        let options = options.unwrap_or_else(|| PyDict::new(py));
        if let Some(context) = context {
            options.set_item(intern!(py, "context"), context)?;
        }
        own.call(PyTuple::new(py, arguments)?, Some(&options))
    }
}

impl CallSoon {
    /// Whether `callback` is the first step of the task of `request_coroutine`: a method of an object whose coroutine
    /// that is.
    fn is_first_step(&self, callback: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = callback.py();
        if !self.kept.with(|kept| matches!(kept, Kept::Nothing)) {
            return Ok(false);
        }
        let Some(task) = callback.getattr_opt(intern!(py, "__self__"))? else { return Ok(false) };
        Ok(task.getattr_opt(intern!(py, "_coro"))?.is_some_and(|coroutine| coroutine.is(&self.request_coroutine)))
    }

    fn take(&self) -> Option<FirstStep> {
        match self.kept.take() {
            Kept::First(first) => Some(first),
            Kept::Nothing | Kept::Over => None,
        }
    }
}

impl EagerTaskPool {
    /// A starter for `event_loop`.
    ///
    /// # Errors
    /// When asyncio cannot be imported.
    pub(crate) fn new(event_loop: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = event_loop.py();
        let tasks = py.import("asyncio.tasks")?;
        let options = PyDict::new(py);
        options.set_item("loop", event_loop)?;
        // Without a name asyncio numbers the task, which takes longer than making it.
        let name = intern!(py, "request");
        options.set_item("name", name)?;
        let attributes = event_loop.getattr_opt("__dict__")?;
        Ok(Self {
            asyncio: Asyncio {
                task: tasks.getattr("Task")?.unbind(),
                enter_task: tasks.getattr("_enter_task")?.unbind(),
                leave_task: tasks.getattr("_leave_task")?.unbind(),
                count_weak_references: py.import("weakref")?.getattr("getweakrefcount")?.unbind(),
            },
            options: options.unbind(),
            name: name.clone().into_any().unbind(),
            attributes: attributes.and_then(|found| found.cast_into::<PyDict>().ok()).map(Bound::unbind),
            spare: Locked::default(),
        })
    }

    /// Has a task drive `drive`, whose first step is taken before this returns. If another task is running, or if the
    /// loop's `call_soon` has been replaced or cannot be hidden, it is taken a turn of the loop later.
    ///
    /// # Errors
    /// When there is no memory; the request is answered even then.
    pub(crate) fn start(&self, event_loop: &Bound<'_, PyAny>, handler_run: HandlerRun) -> PyResult<()> {
        let py = event_loop.py();
        let ready = match self.take_spare(event_loop)? {
            Some(ready) => ready,
            None => self.make(event_loop)?,
        };
        let (task, request_coroutine) = (ready.task.bind(py), ready.request_coroutine.get());
        request_coroutine.load(handler_run);
        let Some(first) = &ready.first else { return Ok(()) };
        if self.asyncio.enter_task.bind(py).call1((event_loop, task)).is_err() {
            return first.take_later(event_loop);
        }
        let waits = request_coroutine.step_early(py);
        self.asyncio.leave_task.bind(py).call1((event_loop, task))?;
        if waits {
            task.setattr(intern!(py, "_log_destroy_pending"), true)?;
        } else if self.is_as_before(py, &ready)? {
            drop(self.spare.replace(Some(ready)));
            return Ok(());
        }
        first.take_now(event_loop)
    }

    /// Puts away the task that waits for the next request.
    ///
    /// # Errors
    /// When a plugin has a reference to it and the loop cannot be told that it is done.
    pub(crate) fn rest(&self, event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
        let Some(spare) = self.spare.take() else { return Ok(()) };
        match &spare.first {
            Some(first) if !self.is_as_before(event_loop.py(), &spare)? => first.take_now(event_loop),
            _ => Ok(()),
        }
    }

    /// The task that waits for the next request, unless it was cancelled meanwhile.
    fn take_spare(&self, event_loop: &Bound<'_, PyAny>) -> PyResult<Option<Ready>> {
        let spare = self.spare.take();
        if let Some(Ready { task, first: Some(first), .. }) = &spare
            && is_cancelled(task.bind(event_loop.py()))?
        {
            first.take_now(event_loop)?;
            return Ok(None);
        }
        Ok(spare)
    }

    fn make(&self, event_loop: &Bound<'_, PyAny>) -> PyResult<Ready> {
        let py = event_loop.py();
        let request_coroutine = Bound::new(py, RequestCoroutine::default())?;
        let construct = || self.asyncio.task.bind(py).call((&request_coroutine,), Some(self.options.bind(py)));
        let name = intern!(py, "call_soon");
        let attributes = self.attributes.as_ref().map(|attributes| attributes.bind(py));
        let (task, first) = match attributes.filter(|attributes| !attributes.contains(name).unwrap_or(true)) {
            None => (construct()?, None),
            Some(attributes) => {
                let (event_loop, request_coroutine) = (event_loop.clone().unbind(), request_coroutine.clone().unbind());
                let kept = Locked::new(Kept::Nothing);
                let call_soon = Bound::new(py, CallSoon { event_loop, request_coroutine, kept })?;
                attributes.set_item(name, &call_soon)?;
                let task = construct();
                let first = call_soon.get().take();
                // Somebody may have put their own there meanwhile, which stays.
                if attributes.get_item(name)?.is_some_and(|there| there.is(&call_soon)) {
                    attributes.del_item(name)?;
                }
                (task?, first)
            }
        };
        if first.is_some() {
            // It may be put away without ever having had anything to do.
            task.setattr(intern!(py, "_log_destroy_pending"), false)?;
        }
        let references = self.references(&task, &request_coroutine)?;
        Ok(Ready { task: task.unbind(), request_coroutine: request_coroutine.unbind(), first, references })
    }

    fn references(
        &self,
        task: &Bound<'_, PyAny>,
        request_coroutine: &Bound<'_, RequestCoroutine>,
    ) -> PyResult<References> {
        let weak = self.asyncio.count_weak_references.bind(task.py()).call1((task,))?.extract()?;
        // SAFETY: both are live objects, of which the counts are only read.
        let (task, request_coroutine) =
            unsafe { (ffi::Py_REFCNT(task.as_ptr()), ffi::Py_REFCNT(request_coroutine.as_ptr())) };
        Ok((task, request_coroutine, weak))
    }

    /// Whether nothing is left of the request that a task was used for.
    fn is_as_before(&self, py: Python<'_>, ready: &Ready) -> PyResult<bool> {
        let task = ready.task.bind(py);
        Ok(self.references(task, ready.request_coroutine.bind(py))? == ready.references
            && !is_cancelled(task)?
            && !task.getattr(intern!(py, "_callbacks"))?.is_truthy()?
            && task.call_method0(intern!(py, "get_name"))?.is(&self.name))
    }
}

/// Whether a task that has not taken a step is to be cancelled when it does.
fn is_cancelled(task: &Bound<'_, PyAny>) -> PyResult<bool> {
    task.getattr(intern!(task.py(), "_must_cancel"))?.is_truthy()
}

impl FirstStep {
    fn take_later(&self, event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = event_loop.py();
        let options = PyDict::new(py);
        options.set_item(intern!(py, "context"), &self.context)?;
        event_loop.call_method(intern!(py, "call_soon"), (&self.step,), Some(&options)).map(drop)
    }

    fn take_now(&self, event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = event_loop.py();
        // As the loop does it: what escapes from a step is reported and not raised.
        if let Err(error) = self.context.bind(py).call_method1(intern!(py, "run"), (&self.step,)) {
            let report = PyDict::new(py);
            report.set_item("message", "the first step of a request failed")?;
            report.set_item("exception", error.into_value(py))?;
            event_loop.call_method1("call_exception_handler", PyTuple::new(py, [report])?)?;
        }
        Ok(())
    }
}
