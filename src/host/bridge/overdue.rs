//! Cancels handlers whose clients have been answered without them, because `handler_time` was over.
//!
//! Runs on the Python thread. Promise: a handler that waits is cancelled as by asyncio, so that it can clean up; after
//! a second it is cancelled once more, and the log names it. Caveat: a plain `def`, and a handler that never waits, go
//! on to their end; by then there is nothing left to cancel.

use std::collections::HashSet;

use pyo3::intern;
use pyo3::prelude::*;

use super::request_coroutine::RequestCoroutine;
use super::submission_queue::SubmissionQueue;
use crate::edge::queue::board::RequestNumber;

/// How long a handler may clean up, in seconds.
const CLEAN_UP: f64 = 1.0;

/// Has the handlers of these `requests` cancelled by the thread that takes from `submissions`; for any thread.
pub(crate) fn cancel(submissions: &SubmissionQueue, requests: Vec<RequestNumber>) {
    submissions.send(Box::new(move || {
        Python::attach(|py| {
            if let Err(error) = Overdue::begin(py, requests) {
                tracing::error!("handlers whose time is over cannot be cancelled: {error}");
            }
        });
    }));
}

/// What the loop calls when the time for cleaning up is over.
#[pyclass(frozen, module = "plugincore._core")]
struct Overdue {
    requests: HashSet<RequestNumber>,
}

impl Overdue {
    fn begin(py: Python<'_>, requests: Vec<RequestNumber>) -> PyResult<()> {
        let overdue = Self { requests: requests.into_iter().collect() };
        if overdue.cancel_tasks(py, |_, _| ())? {
            let event_loop = py.import(intern!(py, "asyncio"))?.call_method0(intern!(py, "get_running_loop"))?;
            event_loop.call_method1(intern!(py, "call_later"), (CLEAN_UP, Bound::new(py, overdue)?))?;
        }
        Ok(())
    }

    /// Cancels the tasks that drive these requests, and shows each of them; true if there are any.
    fn cancel_tasks(&self, py: Python<'_>, show: impl Fn(&str, &str)) -> PyResult<bool> {
        let mut found = false;
        for task in py.import(intern!(py, "asyncio"))?.call_method0(intern!(py, "all_tasks"))?.try_iter()? {
            let task = task?;
            let coroutine = task.call_method0(intern!(py, "get_coro"))?;
            let Ok(request) = coroutine.cast::<RequestCoroutine>() else { continue };
            let Some((number, plugin, id)) = request.get().request() else { continue };
            if self.requests.contains(&number) {
                show(&plugin, &id);
                task.call_method0(intern!(py, "cancel"))?;
                found = true;
            }
        }
        Ok(found)
    }
}

#[pymethods]
impl Overdue {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        self.cancel_tasks(py, |plugin, id| {
            tracing::warn!(
                "plugin {plugin}: request {id}: the handler was cancelled and still runs after {CLEAN_UP} s"
            );
        })
        .map(drop)
    }
}
