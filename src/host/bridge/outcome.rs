//! What a handler returned or raised, as an answer.
//!
//! Promise: the documented results become what the page on results says, everything else a 500 that names what was
//! wrong in the log and, without internals, to the client; nothing a handler returns can crash the host. Caveat: a
//! bare tuple is always read as `(code, body)` or `(code, body, headers)`; a list is the way to answer with an array.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyList, PyMemoryView, PyString, PyTuple};

use super::aiohttp;
pub(crate) use super::aiohttp::reason;
use super::missing_module::missing_module;
use crate::edge::http::request_id::RequestId;
use crate::edge::http::rescue::Failure;
use crate::edge::http::response::Body;
use crate::edge::queue::exchange::{Outcome, Reply};
use crate::json;
use crate::json::missing_await::missing_await;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// Headers that an answer may have.
const MOST_HEADERS: usize = 1000;

/// Headers that describe the connection, not the answer: the host decides them. A plugin may only have the connection
/// closed after its answer.
const CONNECTION_HEADERS: [HeaderName; 4] =
    [CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, HeaderName::from_static("keep-alive")];

/// Whose result it is, and how it is to be read.
pub struct Source {
    /// Id of the plugin, for the log.
    pub plugin: Arc<str>,
    /// True if the plugin overrides `handle_request`: bare text is then `text/plain`, as it was in pluginserver.
    pub overrides_handle_request: bool,
    /// True if plain results and exceptions answer 200 whatever their code, for clients of pluginserver.
    pub legacy_status: bool,
    /// Who wants to see what handlers raise, besides the log: the tests of a plugin do.
    pub witness: Option<Witness>,
}

/// Shown an exception that becomes a 500, with the id of its request.
pub(crate) type Witness = Arc<dyn Fn(Python<'_>, &RequestId, &PyErr) + Send + Sync>;

/// Why a result cannot be an answer.
#[derive(Debug)]
pub struct BadResult {
    /// What is wrong, without the plugin's data: the client sees it.
    reason: String,
    /// Where in the result it is, if that is known: for the log alone, since it names the data's keys.
    place: Option<String>,
}

impl BadResult {
    /// A result with this against it.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), place: None }
    }
}

impl From<BadResult> for PyErr {
    fn from(bad: BadResult) -> Self {
        PyValueError::new_err(bad.reason)
    }
}

impl From<PyErr> for BadResult {
    fn from(error: PyErr) -> Self {
        Self::new(error.to_string())
    }
}

impl From<json::EncodeError> for BadResult {
    fn from(error: json::EncodeError) -> Self {
        match error {
            json::EncodeError::Python { path, error } => Self { reason: error.to_string(), place: Some(path) },
            json::EncodeError::TooDeep { path } => {
                let reason = format!("it is nested more than {} levels deep, or contains itself", json::MAX_DEPTH);
                Self { reason, place: Some(path) }
            }
        }
    }
}

/// The answer that a returned `value` stands for.
pub(crate) fn of_result(value: &Bound<'_, PyAny>, source: &Source, id: &RequestId) -> Outcome {
    match reply(value, source) {
        Ok(reply) => Outcome::Reply(reply.fit_for_its_status()),
        Err(BadResult { reason, place }) => {
            let place = place.map_or_else(String::new, |place| format!("{place}: "));
            let plugin = &source.plugin;
            tracing::error!("plugin {plugin}: request {id}: the handler's result cannot be sent: {place}{reason}");
            Outcome::Failed(Failure::BadResult { reason })
        }
    }
}

/// The answer to a request whose handler raised `error`.
pub(crate) fn of_exception(py: Python<'_>, error: &PyErr, source: &Source, id: &RequestId) -> Outcome {
    let value = error.value(py);
    if aiohttp::is_response(value.as_any()) {
        return of_result(value.as_any(), source, id);
    }
    let type_name = value.get_type().name().map_or_else(|_| "Exception".to_owned(), |name| name.to_string());
    // A `__str__` that raises must not hide the exception that it belongs to.
    let message = value.str().map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned());
    let hint = missing_module(py, error).map_or_else(String::new, |hint| format!("({hint})"));
    tracing::error!("plugin {}: request {id}: {}{hint}", source.plugin, traceback(py, error));
    if let Some(witness) = &source.witness {
        witness(py, id, error);
    }
    Outcome::Failed(Failure::Exception { type_name, message })
}

/// The answer that `result` of `request_handler` stands for, whoever's it is.
///
/// # Errors
/// When the result cannot be sent.
pub(crate) fn of_handler(result: &Bound<'_, PyAny>, legacy_status: bool) -> Result<Reply, BadResult> {
    let plugin = Arc::from("");
    let source = Source { plugin, overrides_handle_request: false, legacy_status, witness: None };
    Ok(reply(result, &source)?.fit_for_its_status())
}

/// True for what says itself what is to be sent.
///
/// # Errors
/// Whatever the metaclass of the object's class raises.
pub(crate) fn is_response(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let class = value.get_type();
    Ok(class.hasattr("__plugincore_reply__")? || class.hasattr("__plugincore_send__")? || aiohttp::is_response(value))
}

/// The coroutine that sends `value` piece by piece, if it is a result that cannot be sent as a whole, and the headers
/// beside it in a tuple. When the handler has `begun` an answer itself, the coroutine ends that one.
///
/// # Errors
/// When the result or the headers refuse to be sent.
pub(crate) fn sender<'py>(
    value: &Bound<'py, PyAny>,
    request: &Py<PyAny>,
    begun: bool,
) -> PyResult<Option<(Bound<'py, PyAny>, HeaderMap)>> {
    let tuple = value.cast::<PyTuple>().ok().filter(|tuple| matches!(tuple.len(), 2 | 3));
    let held = tuple.map(|tuple| tuple.get_item(1)).transpose()?;
    let result = held.as_ref().unwrap_or(value);
    if begun {
        return Ok(aiohttp::conclusion(result, request)?.map(|sender| (sender, HeaderMap::new())));
    }
    if result.is_exact_instance_of::<PyDict>()
        || result.is_exact_instance_of::<PyList>()
        || result.is_exact_instance_of::<PyString>()
        || result.is_none()
    {
        return Ok(None);
    }
    let send = result.get_type().getattr_opt(intern!(value.py(), "__plugincore_send__"))?;
    let sender = match send {
        Some(send) => Some(send.call1((result, request))?),
        None => aiohttp::sender(result, request)?,
    };
    let Some(sender) = sender else { return Ok(None) };
    let mut given = HeaderMap::new();
    if let Some(tuple) = tuple.filter(|tuple| tuple.len() == 3) {
        headers(&tuple.get_item(2)?, &mut given)?;
    }
    Ok(Some((sender, given)))
}

/// The coroutine that sends what a handler raised, if that is a response which cannot be sent as a whole.
///
/// # Errors
/// When it refuses to be sent.
pub(crate) fn sender_of_exception<'py>(
    py: Python<'py>,
    error: &PyErr,
    request: &Py<PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    aiohttp::sender(error.value(py).as_any(), request)
}

/// The traceback as Python prints it.
pub(crate) fn traceback(py: Python<'_>, error: &PyErr) -> String {
    let formatted = || -> PyResult<String> {
        let lines = py.import(intern!(py, "traceback"))?.call_method1(
            intern!(py, "format_exception"),
            (error.get_type(py), error.value(py), error.traceback(py)),
        )?;
        let text = PyString::new(py, "").call_method1(intern!(py, "join"), (lines,))?;
        // Lossy, since a message may hold lone surrogates.
        Ok(text.cast::<PyString>()?.to_string_lossy().into_owned())
    };
    formatted().unwrap_or_else(|_| error.to_string())
}

fn reply(value: &Bound<'_, PyAny>, source: &Source) -> Result<Reply, BadResult> {
    let Ok(tuple) = value.cast::<PyTuple>() else {
        let text = if source.overrides_handle_request { PLAIN } else { HTML };
        return body(value, StatusCode::OK, text);
    };
    if tuple.len() < 2 || tuple.len() > 3 {
        let message = "a tuple of {} items; return (code, body) or (code, body, headers), or a list for an array";
        return Err(BadResult::new(message.replace("{}", &tuple.len().to_string())));
    }
    let status = status(&tuple.get_item(0)?)?;
    let status = if source.legacy_status { StatusCode::OK } else { status };
    let mut reply = body(&tuple.get_item(1)?, status, HTML)?;
    if tuple.len() == 3 {
        let mut given = HeaderMap::new();
        headers(&tuple.get_item(2)?, &mut given)?;
        // They take the place of those that a response has by itself.
        reply.headers.extend(given);
    }
    Ok(reply)
}

/// The status that a plugin's `code` stands for.
///
/// # Errors
/// When it is not a whole number from 200 to 599.
pub(crate) fn status(code: &Bound<'_, PyAny>) -> Result<StatusCode, BadResult> {
    let number = if code.is_instance_of::<PyBool>() { None } else { code.extract::<u16>().ok() };
    let accepted =
        number.filter(|number| (200..=599).contains(number)).and_then(|number| StatusCode::from_u16(number).ok());
    accepted.ok_or_else(|| {
        // What stands in the code's place by mistake may be data, so only a number is shown.
        let kind = code.get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string());
        let shown = number.map_or_else(|| format!("of type {kind}"), |number| number.to_string());
        let hint = missing_await(code);
        BadResult::new(format!("the code {shown} is not a whole number from 200 to 599{hint}"))
    })
}

/// An answer with `value` as its body; `text` is the content type if that is a `str`.
fn body(value: &Bound<'_, PyAny>, status: StatusCode, text: HeaderValue) -> Result<Reply, BadResult> {
    let reply = |content_type, body| Reply {
        status,
        reason: None,
        content_type: Some(content_type),
        headers: HeaderMap::new(),
        body: Body::new(body),
    };
    if value.is_exact_instance_of::<PyDict>() || value.is_exact_instance_of::<PyList>() {
        return Ok(reply(JSON, encode(value)?));
    }
    if let Ok(string) = value.cast::<PyString>() {
        return Ok(reply(text, Bytes::copy_from_slice(string.to_str()?.as_bytes())));
    }
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(reply(OCTETS, Bytes::copy_from_slice(bytes.as_bytes())));
    }
    if let Ok(bytes) = value.cast::<PyByteArray>() {
        return Ok(reply(OCTETS, Bytes::from(bytes.to_vec())));
    }
    if value.is_instance_of::<PyMemoryView>() {
        let bytes = value.call_method0(intern!(value.py(), "tobytes"))?;
        return Ok(reply(OCTETS, Bytes::copy_from_slice(bytes.cast::<PyBytes>().map_err(PyErr::from)?.as_bytes())));
    }
    if let Some(complete) = value.get_type().getattr_opt(intern!(value.py(), "__plugincore_reply__"))? {
        return own_response(&complete.call1((value,))?);
    }
    if aiohttp::is_response(value) {
        return aiohttp::reply(value);
    }
    Ok(reply(JSON, encode(value)?))
}

/// An answer from what a complete one of `plugincore.responses` gives: its status, headers and body.
fn own_response(given: &Bound<'_, PyAny>) -> Result<Reply, BadResult> {
    let (code, pairs, body) = given.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>, Bound<'_, PyBytes>)>()?;
    let mut given = HeaderMap::new();
    headers(&pairs, &mut given)?;
    Ok(Reply::with_headers(status(&code)?, given, Bytes::copy_from_slice(body.as_bytes())))
}

fn encode(value: &Bound<'_, PyAny>) -> Result<Bytes, BadResult> {
    let mut out = Vec::with_capacity(256);
    json::encode(value, &mut out).map_err(BadResult::from)?;
    Ok(Bytes::from(out))
}

/// Adds the headers that a handler gave: a mapping, or pairs; a value may be a list for a header that is repeated.
pub(crate) fn headers(given: &Bound<'_, PyAny>, into: &mut HeaderMap) -> Result<(), BadResult> {
    if given.is_none() {
        return Ok(());
    }
    let pairs = match given.call_method0(intern!(given.py(), "items")) {
        Ok(items) => items,
        Err(_) => given.clone(),
    };
    for pair in pairs.try_iter().map_err(|_| BadResult::new("the headers must be a dict or a list of pairs"))? {
        let (name, value) = pair?
            .extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()
            .map_err(|_| BadResult::new("the headers must be a dict or a list of pairs"))?;
        if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
            for value in value.try_iter()? {
                header(&name, &value?, into)?;
            }
        } else {
            header(&name, &value, into)?;
        }
    }
    Ok(())
}

/// Adds one header, unless it is the host's business.
pub(crate) fn header(name: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>, into: &mut HeaderMap) -> Result<(), BadResult> {
    let shown = name.str()?.to_string_lossy().into_owned();
    let bytes = header_bytes(name)?.ok_or_else(|| BadResult::new(format!("the header name {shown:?} is not text")))?;
    let name = HeaderName::from_bytes(&bytes).map_err(|_| BadResult::new(format!("{shown:?} is not a header name")))?;
    if CONNECTION_HEADERS.contains(&name) {
        if name == CONNECTION && header_bytes(value)?.is_some_and(|value| value.eq_ignore_ascii_case(b"close")) {
            into.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        return Ok(());
    }
    let bytes = header_bytes(value)?.ok_or_else(|| {
        let kind = value.get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string());
        let hint = missing_await(value);
        BadResult::new(format!(
            "the value of header {name} is of type {kind}; it must be text, bytes or a number{hint}"
        ))
    })?;
    let value = HeaderValue::from_bytes(&bytes).map_err(|_| {
        BadResult::new(format!("the value of header {name} has a line break or another control character"))
    })?;
    append(name, value, into)
}

/// Adds a header as long as there are not absurdly many: the map itself has a bound, at which it would panic, and the
/// host adds headers of its own later.
pub(super) fn append(name: HeaderName, value: HeaderValue, into: &mut HeaderMap) -> Result<(), BadResult> {
    if into.len() >= MOST_HEADERS {
        return Err(BadResult::new(format!("it has more than {MOST_HEADERS} headers")));
    }
    into.append(name, value);
    Ok(())
}

/// The bytes of a text, bytes or number; `None` for anything else, whose `str()` would hardly be what was meant.
fn header_bytes(part: &Bound<'_, PyAny>) -> PyResult<Option<Vec<u8>>> {
    if let Ok(bytes) = part.cast::<PyBytes>() {
        return Ok(Some(bytes.as_bytes().to_vec()));
    }
    let text = match part.cast::<PyString>() {
        Ok(text) => text.clone(),
        Err(_) if part.is_instance_of::<PyInt>() || part.is_instance_of::<PyFloat>() => part.str()?,
        Err(_) => return Ok(None),
    };
    Ok(Some(text.to_str()?.as_bytes().to_vec()))
}

impl Reply {
    /// An answer whose type is among its headers.
    pub(super) fn with_headers(status: StatusCode, headers: HeaderMap, body: Bytes) -> Self {
        let content_type = (!body.is_empty() && !headers.contains_key(CONTENT_TYPE)).then_some(OCTETS);
        Self { status, reason: None, content_type, headers, body: Body::new(body) }
    }

    /// Without a body and its type where the status allows none: a client would take them for the next answer.
    pub(super) fn fit_for_its_status(mut self) -> Self {
        if matches!(self.status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED) {
            self.body = Body::default();
            self.content_type = None;
        }
        self
    }
}
