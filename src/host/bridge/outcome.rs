//! What a handler returned or raised, as a response.
//!
//! Runs on the Python thread. Promise: the documented results become what the page on results describes; everything
//! else is a 500, with the cause in the log and without internals for the client. No result of a handler can crash the
//! host. Caveat: a bare tuple is always read as `(code, body)` or `(code, body, headers)`; to respond with an array,
//! return a list.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use pyo3::exceptions::PyBaseException;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyList, PyMemoryView, PyString, PyTuple};

use super::aiohttp;
use super::missing_module::missing_module;
use super::reply::{BadResult, OCTETS, headers, status};
use crate::edge::http::request_id::RequestId;
use crate::edge::http::rescue::{Failure, InvalidValue, RaisedError, Rejection};
use crate::edge::http::response::Body;
use crate::edge::observe::line::{Level, is_json};
use crate::edge::observe::repeats::LineKind;
use crate::edge::queue::responder::{Outcome, Reply};
use crate::json;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// Whose result it is, and how it is to be read.
pub(crate) struct ResultContext {
    /// Id of the plugin, for the log.
    pub plugin: Arc<str>,
    /// True if the plugin overrides `handle_request`: bare text is then `text/plain`, as it was in pluginserver.
    pub overrides_handle_request: bool,
    /// True if plain results and exceptions answer 200 whatever their code, for clients of pluginserver.
    pub legacy_status: bool,
    /// Who wants to see what handlers raise, besides the log: the tests of a plugin do.
    pub exception_hook: Option<ExceptionHook>,
    /// The number under which it is noted that the plugin's code runs; 0 if it is not.
    pub number: AtomicU32,
    /// The number under which the watchdog knows the plugin.
    pub watched: u32,
}

/// A request, as lines about its failure name it.
#[derive(Clone, Copy)]
pub(crate) struct FailedRequest<'a> {
    /// Its id.
    pub id: &'a RequestId,
    /// The name of the key that admitted it, if it has one.
    pub key: Option<&'a str>,
}

impl fmt::Display for FailedRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request {}", self.id)?;
        self.key.map_or(Ok(()), |key| write!(f, " key={key}"))
    }
}

static UNSENDABLE: LineKind = LineKind::new(Level::Error, "results of handlers cannot be sent");
static RAISED: LineKind = LineKind::new(Level::Error, "exceptions of handlers");

/// Shown an exception that becomes a 500, with the id of its request.
pub(crate) type ExceptionHook = Arc<dyn Fn(Python<'_>, &RequestId, &PyErr) + Send + Sync>;

/// The answer that a returned `value` stands for.
pub(crate) fn of_result(value: &Bound<'_, PyAny>, source: &ResultContext, request: FailedRequest<'_>) -> Outcome {
    match reply(value, source) {
        Ok(reply) => Outcome::Reply(Box::new(reply.fit_for_its_status())),
        Err(BadResult { reason, place }) => {
            let place = place.map_or_else(String::new, |place| format!("{place}: "));
            let plugin = &source.plugin;
            let name = || format!("plugin {plugin}: results of the handler cannot be sent");
            if UNSENDABLE.admits_fault(number_of(&(plugin, &place)), name) {
                tracing::error!(
                    record.plugin = %plugin,
                    record.request_id = %request.id,
                    record.key = request.key,
                    "plugin {plugin}: {request}: the handler's result cannot be sent: {place}{reason}"
                );
            }
            Outcome::Failed(Failure::BadResult { reason })
        }
    }
}

/// The answer to a request whose handler raised `error`.
pub(crate) fn of_exception(
    py: Python<'_>,
    error: &PyErr,
    source: &ResultContext,
    request: FailedRequest<'_>,
) -> Outcome {
    let value = error.value(py);
    if aiohttp::is_response(value.as_any()) {
        return of_result(value.as_any(), source, request);
    }
    if let Some(errors) = invalid(value) {
        return Outcome::Rejected(Rejection::Invalid(errors));
    }
    if let Some(failure) = raised(value) {
        return Outcome::Failed(failure);
    }
    let type_name = value.get_type().name().map_or_else(|_| "Exception".to_owned(), |name| name.to_string());
    // A `__str__` that raises must not hide the exception that it belongs to.
    let message = value.str().map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned());
    if admits_exception(&RAISED, py, error, &source.plugin) {
        let hint = missing_module(py, error).map_or_else(String::new, |hint| format!("({hint})"));
        log_exception(&source.plugin, request, "", &(traceback(py, error) + &hint));
    }
    if let Some(exception_hook) = &source.exception_hook {
        exception_hook(py, request.id, error);
    }
    Outcome::Failed(Failure::Exception { type_name, message })
}

/// What is wrong with a request, if `value` says that it does not fit the handler's hints.
fn invalid(value: &Bound<'_, PyBaseException>) -> Option<Box<[InvalidValue]>> {
    let method = value.get_type().getattr_opt(intern!(value.py(), "__plugincore_invalid__")).ok()??;
    let errors = method.call1((value,)).and_then(|errors| errors.extract::<Vec<(String, String)>>()).ok()?;
    Some(errors.into_iter().map(|(pointer, detail)| InvalidValue { pointer, detail }).collect())
}

/// Logs what a handler raised, after `what` became of its request, if that is not the usual.
pub(super) fn log_exception(plugin: &str, request: FailedRequest<'_>, what: &str, traceback: &str) {
    if is_json() {
        let what = if what.is_empty() { "the handler raised an exception" } else { what };
        tracing::error!(
            record.plugin = plugin,
            record.request_id = %request.id,
            record.key = request.key,
            record.exception = traceback,
            "{what}"
        );
    } else {
        let what = if what.is_empty() { String::new() } else { format!("{what}: ") };
        tracing::error!("plugin {plugin}: {request}: {what}{traceback}");
    }
}

/// The error that `value` is, if it is a `plugincore.responses.HTTPError`.
fn raised(value: &Bound<'_, PyBaseException>) -> Option<Failure> {
    let class = value.get_type();
    let method = class.getattr_opt(intern!(value.py(), "__plugincore_error__")).ok()??;
    let given = || -> Result<Failure, BadResult> {
        let (code, error, word, pairs) =
            method.call1((value,))?.extract::<(Bound<'_, PyAny>, String, Option<String>, Bound<'_, PyAny>)>()?;
        let mut given = HeaderMap::new();
        headers(&pairs, &mut given)?;
        Ok(Failure::Raised(Box::new(RaisedError { status: status(&code)?, error, code: word, headers: given })))
    };
    Some(given().unwrap_or_else(|BadResult { reason, .. }| Failure::BadResult { reason }))
}

/// The answer that `result` of `request_handler` stands for, of whatever type it is.
///
/// # Errors
/// When the result cannot be sent.
pub(crate) fn of_handler(result: &Bound<'_, PyAny>, legacy_status: bool) -> Result<Reply, BadResult> {
    let plugin = Arc::from("");
    let source = ResultContext {
        plugin,
        overrides_handle_request: false,
        legacy_status,
        exception_hook: None,
        number: AtomicU32::default(),
        watched: 0,
    };
    Ok(reply(result, &source)?.fit_for_its_status())
}

/// True if `value` is a response: an object of a class that decides itself what is sent.
///
/// # Errors
/// Whatever the metaclass of the object's class raises.
pub(crate) fn is_response(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    Kind::of(value).map(|kind| !matches!(kind, Kind::Plain))
}

/// How a result is sent.
enum Kind<'py> {
    /// By the host: it is text, bytes, or something to encode as JSON.
    Plain,
    /// As a whole, which this function of its class gives.
    Complete(Bound<'py, PyAny>),
    /// Piece by piece, by the coroutine that this function of its class gives.
    Streamed(Bound<'py, PyAny>),
    /// It is a response of aiohttp's.
    Aiohttp,
}

impl<'py> Kind<'py> {
    fn of(value: &Bound<'py, PyAny>) -> PyResult<Self> {
        // What most handlers return needs no look at its class.
        if value.is_exact_instance_of::<PyDict>()
            || value.is_exact_instance_of::<PyList>()
            || value.is_exact_instance_of::<PyString>()
            || value.is_exact_instance_of::<PyBytes>()
            || value.is_none()
        {
            return Ok(Self::Plain);
        }
        let (py, class) = (value.py(), value.get_type());
        if let Some(send) = class.getattr_opt(intern!(py, "__plugincore_send__"))? {
            return Ok(Self::Streamed(send));
        }
        if let Some(reply) = class.getattr_opt(intern!(py, "__plugincore_reply__"))? {
            return Ok(Self::Complete(reply));
        }
        Ok(if aiohttp::is_response(value) { Self::Aiohttp } else { Self::Plain })
    }
}

/// The coroutine that sends what came of a handler piece by piece, if it cannot be sent as a whole, and the headers
/// beside a result in a tuple. When the handler has `begun` an answer itself, the coroutine ends that one.
///
/// # Errors
/// When the result or the headers refuse to be sent.
pub(super) fn sender<'py>(
    py: Python<'py>,
    ended: &PyResult<Bound<'py, PyAny>>,
    request: &Py<PyAny>,
    begun: bool,
) -> PyResult<Option<(Bound<'py, PyAny>, HeaderMap)>> {
    let alone = |sender| (sender, HeaderMap::new());
    let value = match ended {
        Ok(value) => value,
        Err(_) if begun => return Ok(None),
        Err(error) => return Ok(aiohttp::sender(error.value(py).as_any(), request)?.map(alone)),
    };
    let tuple = value.cast::<PyTuple>().ok().filter(|tuple| matches!(tuple.len(), 2 | 3));
    let held = tuple.map(|tuple| tuple.get_item(1)).transpose()?;
    let result = held.as_ref().unwrap_or(value);
    if begun {
        return Ok(aiohttp::conclusion(result, request)?.map(alone));
    }
    let sender = match Kind::of(result)? {
        Kind::Plain | Kind::Complete(_) => None,
        Kind::Streamed(send) => Some(send.call1((result, request))?),
        Kind::Aiohttp => aiohttp::sender(result, request)?,
    };
    let Some(sender) = sender else { return Ok(None) };
    let mut given = HeaderMap::new();
    if let Some(tuple) = tuple.filter(|tuple| tuple.len() == 3) {
        headers(&tuple.get_item(2)?, &mut given)?;
    }
    Ok(Some((sender, given)))
}

/// Whether to write a line about `error`, raised by a handler of `plugin`: the same one at the same line is repeated.
pub(crate) fn admits_exception(kind: &'static LineKind, py: Python<'_>, error: &PyErr, plugin: &str) -> bool {
    let class = error.get_type(py);
    let mut line = 0_u32;
    let mut next = error.traceback(py).map(Bound::into_any);
    while let Some(traceback) = next {
        let attribute = |name| traceback.getattr(name).ok().filter(|value| !value.is_none());
        line = attribute(intern!(py, "tb_lineno")).and_then(|number| number.extract().ok()).unwrap_or(0);
        next = attribute(intern!(py, "tb_next"));
    }
    let name = || {
        let class = class.name().map_or_else(|_| "an exception".to_owned(), |name| name.to_string());
        format!("plugin {plugin}: {class} at line {line}")
    };
    kind.admits_fault(number_of(&(plugin, class.as_ptr().addr(), line)), name)
}

/// A number that stands for `value`.
fn number_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
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

fn reply(value: &Bound<'_, PyAny>, source: &ResultContext) -> Result<Reply, BadResult> {
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
    match Kind::of(value)? {
        Kind::Complete(reply) => own_response(&reply.call1((value,))?),
        Kind::Aiohttp => aiohttp::reply(value),
        Kind::Plain | Kind::Streamed(_) => Ok(reply(JSON, encode(value)?)),
    }
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
