//! What `BasePlugin.handle_request` returns: a response that an override may change before it is sent.
//!
//! Runs on the Python thread. Promise: a plain result has the status, type and bytes that the host would have sent.
//! Caveat: what is a response already, also one of aiohttp's, stays the same object.

use http::header::CONTENT_TYPE;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use super::headers::{canonical_name, value_text};
use crate::edge::http::response::Body;
use crate::edge::queue::responder::Reply;
use crate::host::bridge::outcome;

/// A `plugincore.responses.Response` of what `request_handler` returned.
///
/// # Errors
/// When the result cannot be sent.
pub(crate) fn response<'py>(result: &Bound<'py, PyAny>, legacy_status: bool) -> PyResult<Bound<'py, PyAny>> {
    let py = result.py();
    let parts = result.cast::<PyTuple>().ok().filter(|tuple| matches!(tuple.len(), 2 | 3));
    let content = parts.map_or_else(|| Ok(result.clone()), |parts| parts.get_item(1))?;
    if outcome::is_response(&content)? {
        // The code beside a response does not count, headers do.
        return Ok(if parts.is_some_and(|parts| parts.len() == 3) { result.clone() } else { content });
    }
    let Reply { status, content_type, mut headers, body, reason: _ } = outcome::of_handler(result, legacy_status)?;
    if let Some(content_type) = content_type {
        headers.entry(CONTENT_TYPE).or_insert(content_type);
    }
    let pairs = headers.iter().map(|(name, value)| Ok((canonical_name(py, name.as_str()), value_text(py, value)?)));
    let options = PyDict::new(py);
    options.set_item("status", status.as_u16())?;
    options.set_item("headers", pairs.collect::<PyResult<Vec<_>>>()?)?;
    if let Body::Whole(Some(bytes)) = body {
        options.set_item("body", PyBytes::new(py, &bytes))?;
    }
    py.import("plugincore.responses")?.getattr("Response")?.call((), Some(&options))
}
