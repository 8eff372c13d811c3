//! Tasks that run at once, up to their first wait, instead of in the next turn of the loop.
//!
//! Promise: a handler that does not wait is answered in the turn in which its request came, inside a task of its own
//! like any other. Python 3.12 has a way to ask for that. Before, a task hands its first step to the loop's
//! `call_soon`, which is where it is caught here. Caveat: that is how the tasks of 3.10 and 3.11 work, which do not
//! change any more; on a loop whose `call_soon` is somebody else's already, or cannot be hidden, and while another task
//! runs, the first step comes a turn later, as everywhere.

use std::cell::RefCell;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// Starts tasks on one event loop.
pub struct Starter {
    task: Py<PyAny>,
    options: Py<PyDict>,
    catch: Option<Catch>,
}

/// What it takes to catch first steps.
struct Catch {
    /// Attributes of the loop, in which `call_soon` is hidden for a moment.
    attributes: Py<PyDict>,
    caught: Py<PyAny>,
    current_task: Py<PyAny>,
}

thread_local! {
    /// The first step of a task that is being made, and its context.
    static FIRST_STEP: RefCell<Option<(Py<PyAny>, Py<PyAny>)>> = const { RefCell::new(None) };
}

/// Stands in for `loop.call_soon` while a task is made.
#[pyfunction]
fn call_soon(callback: Py<PyAny>, context: Py<PyAny>) {
    FIRST_STEP.set(Some((callback, context)));
}

impl Starter {
    /// A starter for `event_loop`.
    ///
    /// # Errors
    /// When asyncio cannot be imported.
    pub fn new(event_loop: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = event_loop.py();
        let asyncio = py.import("asyncio")?;
        let options = PyDict::new(py);
        options.set_item("loop", event_loop)?;
        // Without a name asyncio numbers the task, which takes longer than making it.
        options.set_item("name", "request")?;
        let mut catch = None;
        if py.version_info() >= (3, 12) {
            options.set_item("eager_start", true)?;
        } else if let Some(attributes) = event_loop.getattr_opt("__dict__")? {
            catch = Some(Catch {
                attributes: attributes.cast_into::<PyDict>().map_err(PyErr::from)?.unbind(),
                caught: wrap_pyfunction!(call_soon, py)?.into_any().unbind(),
                current_task: asyncio.getattr("current_task")?.unbind(),
            });
        }
        Ok(Self { task: asyncio.getattr("Task")?.unbind(), options: options.unbind(), catch })
    }

    /// Makes a task of `coroutine` and runs its first step.
    ///
    /// # Errors
    /// When the task cannot be made.
    pub fn start(&self, event_loop: &Bound<'_, PyAny>, coroutine: Bound<'_, PyAny>) -> PyResult<()> {
        let py = event_loop.py();
        let make = || self.task.bind(py).call((coroutine,), Some(self.options.bind(py)));
        let name = intern!(py, "call_soon");
        let Some(catch) = self.catch.as_ref().filter(|catch| !catch.attributes.bind(py).contains(name).unwrap_or(true))
        else {
            return make().map(drop);
        };
        // A task cannot be entered from within another one.
        if !catch.current_task.bind(py).call1((event_loop,))?.is_none() {
            return make().map(drop);
        }
        let attributes = catch.attributes.bind(py);
        attributes.set_item(name, &catch.caught)?;
        let outcome = make();
        attributes.del_item(name)?;
        outcome?;
        let Some((step, context)) = FIRST_STEP.take() else { return Ok(()) };
        // As the loop does it: what escapes from a step is reported and not raised.
        if let Err(error) = context.bind(py).call_method1(intern!(py, "run"), (step,)) {
            let report = PyDict::new(py);
            report.set_item("message", "the first step of a request failed")?;
            report.set_item("exception", error.into_value(py))?;
            event_loop.call_method1("call_exception_handler", PyTuple::new(py, [report])?)?;
        }
        Ok(())
    }
}
