//! What the author of a plugin or of its machine probably forgot, to be said beside what went wrong.
//!
//! Caveat: guesses that are right as a rule; they are added to messages and decide nothing.

use pyo3::exceptions::PyModuleNotFoundError;
use pyo3::intern;
use pyo3::prelude::*;

/// What is forgotten if `value` stands where its result was wanted: `; an await is missing before Shop.prices()`. Empty
/// for what cannot be awaited.
#[cold]
pub fn missing_await(value: &Bound<'_, PyAny>) -> String {
    let class = value.get_type();
    let called = || value.getattr("__qualname__").and_then(|name| name.extract::<String>());
    let is_generator = || value.getattr_opt("gi_code").is_ok_and(|code| code.is_some());
    if class.hasattr("__await__").unwrap_or(false) || (is_generator() && is_awaitable(value).unwrap_or(false)) {
        called().map_or_else(
            |_| "; an await is missing".to_owned(),
            |name| format!("; an await is missing before {name}()"),
        )
    } else if class.hasattr("__anext__").unwrap_or(false) {
        "; collect its items first: [item async for item in ...]".to_owned()
    } else {
        String::new()
    }
}

fn is_awaitable(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    value.py().import("inspect")?.call_method1("isawaitable", (value,))?.extract()
}

/// What to do about a module that is not installed; `None` if that is not what `error` is about.
pub fn missing_module(py: Python<'_>, error: &PyErr) -> Option<String> {
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
