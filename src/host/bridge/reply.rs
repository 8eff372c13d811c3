//! The parts of a response as plugins give them: status, reason phrase, headers.
//!
//! Runs on the Python thread. Promise: the result is valid in HTTP; everything else is a [`BadResult`], which names
//! what is wrong.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use hyper::ext::ReasonPhrase;
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyList, PyString, PyTuple};

use crate::edge::http::response::Body;
use crate::edge::queue::responder::Reply;
use crate::json;
use crate::json::missing_await::missing_await;

pub(super) const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// Headers that an answer may have.
const MAX_HEADERS: usize = 1000;

/// Headers that describe the connection, not the answer: the host decides them. A plugin may only have the connection
/// closed after its answer.
const CONNECTION_HEADERS: [HeaderName; 4] =
    [CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, HeaderName::from_static("keep-alive")];

/// Why a result cannot be an answer.
#[derive(Debug)]
pub struct BadResult {
    /// What is wrong, without the plugin's data: the client sees it.
    pub(super) reason: String,
    /// Where in the result it is, if that is known: for the log alone, since it names the data's keys.
    pub(super) place: Option<String>,
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

/// The reason phrase, if it is not the usual one of `status`.
pub(crate) fn reason(status: StatusCode, given: &Bound<'_, PyAny>) -> Option<ReasonPhrase> {
    let given = given.cast::<PyString>().ok()?.to_str().ok()?;
    if status.canonical_reason() == Some(given) {
        return None;
    }
    // One with a control character would split the head; the client gets the usual phrase then.
    ReasonPhrase::try_from(given.as_bytes().to_vec()).ok()
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
    if into.len() >= MAX_HEADERS {
        return Err(BadResult::new(format!("it has more than {MAX_HEADERS} headers")));
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
