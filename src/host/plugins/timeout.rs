//! Waits for what plugins do, for a limited time.
//!
//! Runs on the Python thread, in life-cycle code. Promise: a life-cycle method that takes too long is cancelled, and
//! one that does not end even then is left behind; the wait itself always ends.

use std::time::Duration;

use pyo3::exceptions::{PyKeyboardInterrupt, PyRuntimeError, PySystemExit, PyTimeoutError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::failure::describe;
use crate::host::bridge::context::OwnContext;
use crate::host::bridge::coroutine::{Surroundings, await_python, await_python_within, coroutine};

/// `asyncio.wait` for `tasks`, unless there are none.
///
/// # Errors
/// When something in `tasks` is not a task.
pub(crate) fn wait_for(py: Python<'_>, tasks: Vec<Bound<'_, PyAny>>, timeout: Duration) -> PyResult<Option<Py<PyAny>>> {
    if tasks.is_empty() {
        return Ok(None);
    }
    let options = PyDict::new(py);
    options.set_item("timeout", timeout.as_secs_f64())?;
    let waiting = py.import("asyncio")?.getattr("wait")?.call((PyList::new(py, tasks)?,), Some(&options))?;
    Ok(Some(waiting.unbind()))
}

/// How long what took too long may take to tidy up once it is cancelled.
const TIDYING: Duration = Duration::from_secs(1);

/// Awaits in `context` what a plugin's life-cycle method returned, for as long as plugins are waited for; after that it
/// is cancelled and, if it does not heed that either, left to its owner.
///
/// # Errors
/// What it raised, with `SystemExit` and `KeyboardInterrupt` as plain errors so that they end no loop, or a time-out.
pub(crate) async fn with_timeout(
    timeout: Duration,
    context: OwnContext,
    awaitable: Py<PyAny>,
    what: &str,
) -> PyResult<()> {
    let (task, waiting) = Python::attach(|py| -> PyResult<_> {
        // Made in the context, so that the task has its owner.
        let entered = context.enter(py)?;
        let within = Surroundings { context: context.clone_ref(py), what: what.to_owned(), limit: timeout };
        let fenced = coroutine(py, async move {
            await_python_within(within, awaitable).await.map_err(|error| Python::attach(|py| fenced(py, error)))
        })?;
        let task = py.import("asyncio")?.call_method1("ensure_future", (fenced,))?;
        drop(entered);
        let waiting = wait_for(py, vec![task.clone()], timeout)?;
        Ok((task.unbind(), waiting))
    })?;
    let waited = match waiting {
        Some(waiting) => await_python(waiting).await.map(drop),
        None => Ok(()),
    };
    let ended = Python::attach(|py| -> PyResult<_> {
        let task = task.bind(py);
        if task.call_method0("done")?.is_truthy()? {
            return task.call_method0("result").map(|_| None);
        }
        task.call_method0("cancel")?;
        waited?;
        Ok(Some(wait_for(py, vec![task.clone()], timeout.min(TIDYING))?))
    })?;
    let Some(tidying) = ended else { return Ok(()) };
    if let Some(tidying) = tidying {
        await_python(tidying).await?;
    }
    Err(PyTimeoutError::new_err(format!("{what} did not end within {} s", seconds(timeout))))
}

/// A time as a person would write it: what is left of ten seconds is ten seconds.
fn seconds(time: Duration) -> f64 {
    let parts = if time >= Duration::from_secs(1) { 10.0 } else { 1000.0 };
    (time.as_secs_f64() * parts).round() / parts
}

fn fenced(py: Python<'_>, error: PyErr) -> PyErr {
    if !error.is_instance_of::<PySystemExit>(py) && !error.is_instance_of::<PyKeyboardInterrupt>(py) {
        return error;
    }
    let plain = PyRuntimeError::new_err(describe(py, &error));
    plain.set_traceback(py, error.traceback(py));
    plain
}
