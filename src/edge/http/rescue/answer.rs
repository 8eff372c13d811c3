//! The one form that all error answers have.
//!
//! Pure functions, called on the I/O threads. An error is a JSON object with `error`, `code` and `request_id`; a client
//! that accepts `application/problem+json` gets an object of RFC 9457, which has these members too.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::code::ErrorCode;
use crate::edge::http::problem::{PROBLEM, accepts_problem};
use crate::edge::http::request_id::{RequestId, X_REQUEST_ID};
use crate::edge::http::response::{Body, json_text, to_json};

/// For whom an error is written: the request that it answers, and the form that its client takes.
#[derive(Clone, Debug)]
pub(crate) struct ErrorFormat {
    request_id: HeaderValue,
    is_problem: bool,
}

impl ErrorFormat {
    /// For the request `id`, whose client accepts problems of RFC 9457 or does not.
    pub(crate) fn new(id: &RequestId, is_problem: bool) -> Self {
        Self { request_id: id.header(), is_problem }
    }

    /// For the request `id` with these headers.
    pub(crate) fn of(id: &RequestId, headers: &HeaderMap) -> Self {
        Self::new(id, headers.get_all(ACCEPT).iter().any(accepts_problem))
    }

    /// The same for an error that is a problem of RFC 9457 whatever the client takes.
    pub(super) fn into_problem(self) -> Self {
        Self { is_problem: true, ..self }
    }

    /// Whether the client takes problems of RFC 9457.
    pub(super) fn is_problem(&self) -> bool {
        self.is_problem
    }

    /// The request's id.
    pub(super) fn request_id(&self) -> &HeaderValue {
        &self.request_id
    }

    /// The request's id as text.
    fn id(&self) -> &str {
        // An id consists of visible ASCII.
        self.request_id.to_str().unwrap_or_default()
    }
}

/// An error as its client gets it.
pub(super) struct ErrorAnswer<'a> {
    status: StatusCode,
    code: &'a str,
    error: Cow<'a, str>,
    /// Members that stand before `error`, where clients of pluginserver found them.
    first: Vec<(&'static str, Value)>,
    /// Members of its own.
    members: Vec<(&'static str, Value)>,
}

impl<'a> ErrorAnswer<'a> {
    pub(super) fn new(status: StatusCode, code: &'a str, error: impl Into<Cow<'a, str>>) -> Self {
        Self { status, code, error: error.into(), first: Vec::new(), members: Vec::new() }
    }

    /// The same with one more member.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.members.push((name, value.into()));
        self
    }

    /// The same with one more member before `error`.
    pub(super) fn with_first(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.first.push((name, value.into()));
        self
    }

    /// The answer as `format` wants it.
    pub(super) fn respond(&self, format: &ErrorFormat) -> Response<Body> {
        match to_json(&Written { answer: self, format }) {
            Ok(text) => {
                let mut response = answer_text(self.status, text, format.request_id.clone());
                if format.is_problem {
                    response.headers_mut().insert(CONTENT_TYPE, PROBLEM);
                }
                response
            }
            Err(error) => unwritable(&error, format),
        }
    }
}

/// An [`ErrorAnswer`] in the form that its client takes.
struct Written<'a> {
    answer: &'a ErrorAnswer<'a>,
    format: &'a ErrorFormat,
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ErrorAnswer { status, code, error, first, members } = self.answer;
        let mut map = serializer.serialize_map(None)?;
        if self.format.is_problem {
            map.serialize_entry("type", "about:blank")?;
            map.serialize_entry("title", status.canonical_reason().unwrap_or("Error"))?;
            map.serialize_entry("status", &status.as_u16())?;
            map.serialize_entry("detail", error)?;
        }
        for (name, value) in first {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry("error", error)?;
        for (name, value) in members {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry("code", code)?;
        map.serialize_entry("request_id", self.format.id())?;
        map.end()
    }
}

/// An error that many requests in a row may get: like an [`ErrorAnswer`], without a need to escape or format anything.
pub(super) fn plain(status: StatusCode, code: ErrorCode, error: &'static str, format: &ErrorFormat) -> Response<Body> {
    if format.is_problem {
        return ErrorAnswer::new(status, code.as_str(), error).respond(format);
    }
    let parts =
        [r#"{"error": ""#, error, r#"", "code": ""#, code.as_str(), r#"", "request_id": ""#, format.id(), r#""}"#];
    answer_text(status, Bytes::from(parts.concat()), format.request_id.clone())
}

/// An answer with a body that is JSON already.
pub(super) fn answer_text(status: StatusCode, body: Bytes, request_id: HeaderValue) -> Response<Body> {
    let mut response = json_text(status, body);
    response.headers_mut().insert(X_REQUEST_ID, request_id);
    response
}

/// 500: the server cannot write a body of its own as JSON; the `error` is logged.
pub(crate) fn unwritable(error: &serde_json::Error, format: &ErrorFormat) -> Response<Body> {
    tracing::error!(%error, "an answer of the server cannot be written as JSON");
    let text = "the server cannot express its answer as JSON";
    plain(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::UnwritableAnswer, text, format)
}

/// Seconds after which a client that gets a 503 may try again, as the value of `Retry-After`.
pub(super) fn retry_after() -> HeaderValue {
    HeaderValue::from_static("1")
}

/// The same for a number of seconds.
pub(super) fn retry_after_seconds(seconds: u128) -> HeaderValue {
    HeaderValue::try_from(seconds.to_string()).expect("digits are valid in a header")
}
