//! Responses that plugins build with aiohttp: `web.Response`, `web.json_response`, raised `web.HTTPException`.
//!
//! Promise: status, headers, cookies and body go out as aiohttp would send them. Caveat: aiohttp is never imported
//! here; if no plugin has imported it, nothing can be one of its objects. Responses that write to the connection
//! themselves (files, streams, web sockets) are refused with a clear text.

use bytes::Bytes;
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue, StatusCode};
use pyo3::buffer::PyBuffer;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyString};

use super::exchange::Reply;
use super::outcome::{self, BadResult};

/// True if `value` is a response object of aiohttp.
pub fn is_response(value: &Bound<'_, PyAny>) -> bool {
    class(value.py(), "StreamResponse").is_some_and(|class| value.is_instance(&class).unwrap_or(false))
}

fn class<'py>(py: Python<'py>, name: &str) -> Option<Bound<'py, PyAny>> {
    let modules = py.import(intern!(py, "sys")).ok()?.getattr(intern!(py, "modules")).ok()?;
    modules.get_item(intern!(py, "aiohttp.web_response")).ok()?.getattr(name).ok()
}

/// The answer that the response object stands for.
pub(super) fn reply(response: &Bound<'_, PyAny>) -> Result<Reply, BadResult> {
    let py = response.py();
    let complete = class(py, "Response").is_some_and(|class| response.is_instance(&class).unwrap_or(false));
    if !complete {
        let name = response.get_type().name()?;
        return Err(BadResult::new(format!(
            "aiohttp's {name} cannot be a result; read the content and return web.Response"
        )));
    }
    let code = response.getattr(intern!(py, "status"))?.extract::<u16>()?;
    let status = StatusCode::from_u16(code).ok().filter(|_| (200..=599).contains(&code));
    let status =
        status.ok_or_else(|| BadResult::new(format!("the response's status {code} is not from 200 to 599")))?;
    let mut headers = HeaderMap::new();
    for item in response.getattr(intern!(py, "headers"))?.call_method0(intern!(py, "items"))?.try_iter()? {
        let (name, value) = item?.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
        outcome::header(&name, &value, &mut headers)?;
    }
    for morsel in response.getattr(intern!(py, "cookies"))?.call_method0(intern!(py, "values"))?.try_iter()? {
        let text = morsel?.call_method1(intern!(py, "output"), (py.None(), ""))?;
        let text = text.extract::<String>()?;
        let cookie = HeaderValue::from_str(text.trim_start());
        let cookie = cookie.map_err(|_| BadResult::new("a cookie has a control character"))?;
        outcome::append(SET_COOKIE, cookie, &mut headers)?;
    }
    Ok(Reply::with_headers(status, headers, body(&response.getattr(intern!(py, "body"))?)?))
}

fn body(value: &Bound<'_, PyAny>) -> Result<Bytes, BadResult> {
    if value.is_none() {
        return Ok(Bytes::new());
    }
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(Bytes::copy_from_slice(bytes.as_bytes()));
    }
    if let Ok(bytes) = value.cast::<PyByteArray>() {
        return Ok(Bytes::from(bytes.to_vec()));
    }
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(Bytes::copy_from_slice(text.to_str()?.as_bytes()));
    }
    // aiohttp wraps bytearrays, memory views and large bytes in a payload object that holds them as `_value`.
    let held = value.getattr_opt(intern!(value.py(), "_value"))?;
    match held.and_then(|held| PyBuffer::<u8>::get(&held).ok()) {
        Some(buffer) => Ok(Bytes::from(buffer.to_vec(value.py())?)),
        None => Err(BadResult::new(format!("a body of type {} cannot be sent", value.get_type().name()?))),
    }
}
