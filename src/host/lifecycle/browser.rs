//! Shows the server in a browser: `plugincore serve --open`.
//!
//! Called on the Python thread, once. Promise: neither a browser that stays in the foreground nor one that is not there
//! delays or ends anything. Caveat: Python's module `webbrowser` chooses the browser; it obeys the variable `BROWSER`.

use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict};

/// Opens `url` in a thread of its own.
pub(super) fn open(py: Python<'_>, url: String) {
    if let Err(error) = start(py, url) {
        tracing::warn!("no browser can be opened: {error}");
    }
}

fn start(py: Python<'_>, url: String) -> PyResult<()> {
    let show = PyCFunction::new_closure(py, Some(c"show"), None, move |arguments, _| {
        let opened = arguments.py().import("webbrowser").and_then(|module| module.call_method1("open", (&url,)));
        match opened.and_then(|opened| opened.is_truthy()) {
            Ok(true) => {}
            Ok(false) => tracing::warn!("no browser was found; open {url} in one, or set BROWSER"),
            Err(error) => tracing::warn!("no browser can be opened: {error}; open {url} in one"),
        }
    })?;
    let options = PyDict::new(py);
    options.set_item("target", show)?;
    options.set_item("daemon", true)?;
    options.set_item("name", "plugincore-browser")?;
    py.import("threading")?.getattr("Thread")?.call((), Some(&options))?.call_method0("start")?;
    Ok(())
}
