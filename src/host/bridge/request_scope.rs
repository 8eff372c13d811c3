//! Which request code runs for, known to everything that runs in its context: its handler, tasks and threads of that.
//!
//! Runs on any Python thread. Promise: to ask costs a look at a context variable. Caveat: a task that outlives its
//! request still belongs to it.

use std::sync::Arc;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};

use super::context;
use super::locked::made_once;
use crate::edge::http::request_id::RequestId;
use crate::edge::http::trace::TraceContext;

/// A request, as far as what is logged names it.
#[pyclass(frozen, module = "plugincore._core")]
pub(crate) struct RequestScope {
    /// Its id.
    pub id: RequestId,
    /// Its place in a trace.
    pub trace: TraceContext,
    /// The id of its plugin.
    pub plugin: Arc<str>,
}

static VARIABLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

fn variable(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    let make = || {
        let options = PyDict::new(py);
        options.set_item("default", py.None())?;
        let class = py.import("contextvars")?.getattr("ContextVar")?;
        Ok(class.call((PyString::new(py, "plugincore.request"),), Some(&options))?.unbind())
    };
    Ok(made_once(py, &VARIABLE, make)?.bind(py))
}

/// Has what runs in the current context, from now on, belong to the request with this id.
///
/// # Errors
/// When there is no memory.
pub(crate) fn enter(py: Python<'_>, id: RequestId, trace: TraceContext, plugin: &Arc<str>) -> PyResult<()> {
    let scope = Bound::new(py, RequestScope { id, trace, plugin: Arc::clone(plugin) })?;
    context::set(variable(py)?, &scope)
}

/// The request that code in the current context runs for.
pub(crate) fn current(py: Python<'_>) -> Option<Bound<'_, RequestScope>> {
    let scope = variable(py).and_then(|variable| variable.call_method0(intern!(py, "get"))).ok()?;
    scope.cast_into().ok()
}
