//! What the author of a plugin probably forgot, for the message about a value that is not a result.
//!
//! Runs on the Python thread. Caveat: guesses that are right as a rule; they are added to messages and decide nothing.

use pyo3::prelude::*;

/// What is forgotten if `value` stands where its result was wanted: `; an await is missing before Shop.prices()`. Empty
/// for what cannot be awaited.
#[cold]
pub(crate) fn missing_await(value: &Bound<'_, PyAny>) -> String {
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
