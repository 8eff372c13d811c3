//! The parts that all error answers have in common.
//!
//! Pure functions, called on the I/O threads.

use std::fmt::Display;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

use crate::edge::http::request_id::X_REQUEST_ID;
use crate::edge::http::response::{Body, json_text, to_json};

/// The body of most errors.
#[derive(Serialize)]
pub(super) struct ErrorBody<'a> {
    pub(super) error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_id: Option<&'a str>,
}

impl ErrorBody<'_> {
    /// The text of `error` alone.
    pub(super) fn new(error: &impl Display) -> Self {
        Self { error: error.to_string(), request_id: None }
    }
}

/// An answer with `body` as JSON.
pub(super) fn answer(status: StatusCode, body: &impl Serialize, request_id: HeaderValue) -> Response<Body> {
    match to_json(body) {
        Ok(text) => answer_text(status, text, request_id),
        Err(error) => unwritable(&error, request_id),
    }
}

/// An answer with a body that is JSON already.
pub(super) fn answer_text(status: StatusCode, body: Bytes, request_id: HeaderValue) -> Response<Body> {
    let mut response = json_text(status, body);
    response.headers_mut().insert(X_REQUEST_ID, request_id);
    response
}

/// 500: the server cannot write a body of its own as JSON; the `error` is logged.
pub(crate) fn unwritable(error: &serde_json::Error, request_id: HeaderValue) -> Response<Body> {
    tracing::error!(%error, "an answer of the server cannot be written as JSON");
    let body = Bytes::from_static(br#"{"error": "the server cannot express its answer as JSON"}"#);
    answer_text(StatusCode::INTERNAL_SERVER_ERROR, body, request_id)
}

/// Seconds after which a client that gets a 503 may try again, as the value of `Retry-After`.
pub(super) fn retry_after() -> HeaderValue {
    HeaderValue::from_static("1")
}

/// The same for a number of seconds.
pub(super) fn retry_after_seconds(seconds: u128) -> HeaderValue {
    HeaderValue::try_from(seconds.to_string()).expect("digits are valid in a header")
}
