//! What to do about a module that is not installed.
//!
//! Runs on the Python thread. Caveat: a guess that is right as a rule; it is added to messages and decides nothing.

use pyo3::exceptions::PyModuleNotFoundError;
use pyo3::intern;
use pyo3::prelude::*;

/// What to do about a module that is not installed; `None` if that is not what `error` is about.
pub(crate) fn missing_module(py: Python<'_>, error: &PyErr) -> Option<String> {
    if !error.is_instance_of::<PyModuleNotFoundError>(py) {
        return None;
    }
    let name = error.value(py).getattr(intern!(py, "name")).ok()?.extract::<String>().ok()?;
    let name = name.split('.').next().filter(|name| !name.is_empty())?;
    let sys = py.import("sys").ok()?;
    if sys.getattr("modules").and_then(|modules| modules.contains(name)).unwrap_or(false) {
        return None;
    }
    let python = sys.getattr("executable").and_then(|python| python.extract::<String>()).unwrap_or_default();
    let python = if python.is_empty() { "python".to_owned() } else { python };
    if sys.getattr("stdlib_module_names").and_then(|names| names.contains(name)).unwrap_or(false) {
        return Some(format!("it is a part of Python that {python} was built without"));
    }
    Some(format!("install it: {python} -m pip install {name}, or the package that has it under another name"))
}
