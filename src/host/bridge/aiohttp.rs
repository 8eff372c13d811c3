//! Responses that plugins build with aiohttp: `web.Response`, `web.json_response`, raised `web.HTTPException`.
//!
//! Runs on the Python thread. Promise: status, headers, cookies and body are sent as aiohttp would send them. A whole
//! response is read and sent like any other result; the others (files, streams, web sockets, compressed ones, payloads)
//! are sent by aiohttp's own code, in a coroutine. Caveat: aiohttp is never imported here; if no plugin has imported
//! it, no object can be one of its objects.

use bytes::Bytes;
use http::header::{CONNECTION, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode};
use pyo3::buffer::PyBuffer;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyString};

use super::reply::{self, BadResult};
use crate::edge::queue::responder::Reply;

/// Gets ready for aiohttp's objects if a plugin has imported it; what is not possible with its version is logged.
pub(crate) fn get_ready(py: Python<'_>) {
    if class(py, "StreamResponse").is_some()
        && let Err(error) = py.import(intern!(py, "plugincore._aiohttp"))
    {
        tracing::warn!("streams, files and web sockets of the installed aiohttp cannot be used: {error}");
    }
}

/// True if `value` is a response object of aiohttp.
pub(crate) fn is_response(value: &Bound<'_, PyAny>) -> bool {
    class(value.py(), "StreamResponse").is_some_and(|class| value.is_instance(&class).unwrap_or(false))
}

fn class<'py>(py: Python<'py>, name: &str) -> Option<Bound<'py, PyAny>> {
    imported(intern!(py, "aiohttp.web_response"))?.getattr(name).ok()
}

/// The module of that name, if a plugin has imported it.
pub(crate) fn imported<'py>(module: &Bound<'py, PyString>) -> Option<Bound<'py, PyAny>> {
    let py = module.py();
    py.import(intern!(py, "sys")).ok()?.getattr(intern!(py, "modules")).ok()?.get_item(module).ok()
}

/// True if the response object can be sent without aiohttp's help.
///
/// # Errors
/// When it is an odd subclass of aiohttp's that lacks what each has.
fn is_whole(response: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = response.py();
    let Some(plain) = class(py, "Response") else { return Ok(false) };
    if !response.is_instance(&plain)? {
        return Ok(false);
    }
    for state in [intern!(py, "prepared"), intern!(py, "compression"), intern!(py, "chunked")] {
        if response.getattr(state)?.is_truthy()? {
            return Ok(false);
        }
    }
    // A class with a say of its own in how it is sent.
    let kind = response.get_type();
    let hooks = [
        intern!(py, "prepare"),
        intern!(py, "_start"),
        intern!(py, "_prepare_headers"),
        intern!(py, "_write_headers"),
        intern!(py, "write_eof"),
    ];
    for method in hooks {
        if !kind.is(&plain) && !kind.getattr(method)?.is(&plain.getattr(method)?) {
            return Ok(false);
        }
    }
    is_at_hand(&response.getattr(intern!(py, "body"))?)
}

/// True if all bytes of a body are there, so that [`bytes()`] finds them.
fn is_at_hand(body: &Bound<'_, PyAny>) -> PyResult<bool> {
    if body.is_none() || body.is_instance_of::<PyBytes>() || body.is_instance_of::<PyByteArray>() {
        return Ok(true);
    }
    let held = body.getattr_opt(intern!(body.py(), "_value"))?;
    Ok(body.is_instance_of::<PyString>() || held.is_some_and(|held| PyBuffer::<u8>::get(&held).is_ok()))
}

/// The coroutine that sends `result`, if it is a response object that aiohttp has to send.
///
/// # Errors
/// When the response object is an odd one.
pub(super) fn sender<'py>(result: &Bound<'py, PyAny>, request: &Py<PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    if !is_response(result) || is_whole(result)? {
        return Ok(None);
    }
    let module = result.py().import(intern!(result.py(), "plugincore._aiohttp"))?;
    module.call_method1(intern!(result.py(), "send"), (result, request)).map(Some)
}

/// The coroutine that ends an answer which the handler has begun by an object of aiohttp's and then returned `result`.
///
/// # Errors
/// When the result does not go with the answer.
pub(super) fn conclusion<'py>(result: &Bound<'py, PyAny>, request: &Py<PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    if class(result.py(), "StreamResponse").is_none() {
        return Ok(None);
    }
    let module = result.py().import(intern!(result.py(), "plugincore._aiohttp"))?;
    let conclusion = module.call_method1(intern!(result.py(), "conclude"), (result, request))?;
    Ok(Some(conclusion).filter(|conclusion| !conclusion.is_none()))
}

/// The answer that the response object stands for.
pub(super) fn reply(response: &Bound<'_, PyAny>) -> Result<Reply, BadResult> {
    let py = response.py();
    let code = response.getattr(intern!(py, "status"))?.extract::<u16>()?;
    let status = StatusCode::from_u16(code).ok().filter(|_| (200..=599).contains(&code));
    let status =
        status.ok_or_else(|| BadResult::new(format!("the response's status {code} is not from 200 to 599")))?;
    let mut headers = HeaderMap::new();
    for item in response.getattr(intern!(py, "headers"))?.call_method0(intern!(py, "items"))?.try_iter()? {
        let (name, value) = item?.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
        reply::header(&name, &value, &mut headers)?;
    }
    for morsel in response.getattr(intern!(py, "cookies"))?.call_method0(intern!(py, "values"))?.try_iter()? {
        let text = morsel?.call_method1(intern!(py, "output"), (py.None(), ""))?;
        let text = text.extract::<String>()?;
        let cookie = HeaderValue::from_str(text.trim_start());
        let cookie = cookie.map_err(|_| BadResult::new("a cookie has a control character"))?;
        reply::append(SET_COOKIE, cookie, &mut headers)?;
    }
    if response.getattr(intern!(py, "keep_alive"))?.is(PyBool::new(py, false)) {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let body = response.getattr(intern!(py, "body"))?;
    let Some(bytes) = bytes(&body)? else {
        return Err(BadResult::new(format!("a body of type {} cannot be sent", body.get_type().name()?)));
    };
    let reason = reply::reason(status, &response.getattr(intern!(py, "reason"))?);
    Ok(Reply { reason, ..Reply::with_headers(status, headers, bytes) })
}

/// The bytes of a body, if they are all there.
fn bytes(body: &Bound<'_, PyAny>) -> PyResult<Option<Bytes>> {
    if body.is_none() {
        return Ok(Some(Bytes::new()));
    }
    if let Ok(bytes) = body.cast::<PyBytes>() {
        return Ok(Some(Bytes::copy_from_slice(bytes.as_bytes())));
    }
    if let Ok(bytes) = body.cast::<PyByteArray>() {
        return Ok(Some(Bytes::from(bytes.to_vec())));
    }
    if let Ok(text) = body.cast::<PyString>() {
        return Ok(Some(Bytes::copy_from_slice(text.to_str()?.as_bytes())));
    }
    // aiohttp wraps bytearrays, memory views and large bytes in a payload object that holds them as `_value`.
    let held = body.getattr_opt(intern!(body.py(), "_value"))?;
    let buffer = held.and_then(|held| PyBuffer::<u8>::get(&held).ok());
    buffer.map(|buffer| buffer.to_vec(body.py()).map(Bytes::from)).transpose()
}
