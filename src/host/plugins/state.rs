//! State that a plugin hands on to the instance that replaces it: `export_state`, `import_state`, `state_version`.
//!
//! Runs on the Python thread, in the step in which a reload puts new instances into service, so that no request of the
//! loop comes between. Promise: without both methods, or with different versions, nothing is handed on. Caveat: what
//! requests that are still in the old instance change afterwards stays there.

use std::time::Duration;

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::loaded_plugin::LoadedPlugin;
use super::watch::Step;
use crate::host::bridge::time_limit::TimeLimit;
use crate::host::bridge::{fork, step};

/// Hands the state of `old` on to `new`; each method has `timeout`.
///
/// # Errors
/// What one of the methods raises, or that it is async.
pub(crate) fn hand_on(py: Python<'_>, old: &LoadedPlugin, new: &LoadedPlugin, timeout: Duration) -> PyResult<()> {
    let Some(export_state) = method(old, intern!(py, "export_state"))? else { return Ok(()) };
    let Some(import_state) = method(new, intern!(py, "import_state"))? else { return Ok(()) };
    let version = |plugin: &LoadedPlugin| -> PyResult<_> {
        Ok(plugin
            .instance
            .bind(py)
            .getattr_opt(intern!(py, "state_version"))?
            .unwrap_or_else(|| py.None().into_bound(py)))
    };
    let (before, now) = (version(old)?, version(new)?);
    if !before.eq(&now)? {
        tracing::info!("plugin {}: state_version {before} has become {now}; it begins without state", new.id);
        return Ok(());
    }
    let state = {
        let _step = Step::begin(&old.file, format!("export_state of {}", old.id));
        let context = old.scope.copy_context(py)?;
        let _entered = context.enter(py)?;
        old.scope.own(py)?;
        let _limit = TimeLimit::begin("export_state", timeout);
        plain(py, export_state.call0(), "export_state")?
    };
    let _step = Step::begin(&new.file, format!("import_state of {}", new.id));
    let _entered = new.scope.enter(py)?;
    let _limit = TimeLimit::begin("import_state", timeout);
    plain(py, import_state.call1((state,)), "import_state").map(drop)
}

fn method<'py>(plugin: &LoadedPlugin, name: &Bound<'py, PyString>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let method = plugin.instance.bind(name.py()).getattr_opt(name)?;
    Ok(method.filter(pyo3::types::PyAnyMethods::is_callable))
}

/// The result of a method that may not be async: nothing is awaited in this step.
fn plain<'py>(py: Python<'_>, result: PyResult<Bound<'py, PyAny>>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    fork::end_child(py, result.as_ref().err());
    let result = result?;
    if step::awaitable(&result)?.is_some() {
        return Err(PyTypeError::new_err(format!("{name} must be a plain def, since nothing can be awaited in it")));
    }
    Ok(result)
}
