//! Requests for which a plugin was called and gave no usable answer.
//!
//! Pure functions, called on the I/O threads.

use std::time::Duration;

use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

use super::answer::{ErrorBody, answer};
use crate::edge::http::response::Body;

/// A plugin that was called and gave no usable answer, one variant a reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The handler raised.
    #[error("{type_name} exception handling request: {message}")]
    Exception {
        /// Name of the exception's class.
        type_name: String,
        /// The exception as text (`str(e)`), without traceback.
        message: String,
    },
    /// The handler returned something that cannot be sent; the text describes the error without the value.
    #[error("the plugin's answer cannot be sent: {reason}")]
    BadResult {
        /// What is wrong.
        reason: String,
    },
    /// The handler was cut off before it could answer.
    #[error("the request was interrupted")]
    Interrupted,
    /// 504: the handler took longer than `handler_time`.
    #[error("the plugin did not answer within {} s", limit.as_secs_f64())]
    Overdue {
        /// The time that it had.
        limit: Duration,
    },
    /// The plugin has no usable `request_handler`; the text describes what was found instead.
    #[error("the plugin has no request_handler; {hint}")]
    NoHandler {
        /// What to do about it.
        hint: String,
    },
}

impl Failure {
    /// The status: 500 or 504, but 200 under `[compat] legacy_status` where pluginserver disguised the failure.
    pub fn status(&self, legacy_status: bool) -> StatusCode {
        match self {
            Self::Exception { .. } | Self::NoHandler { .. } if legacy_status => StatusCode::OK,
            Self::Overdue { .. } => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The whole answer. An exception keeps the body that pluginserver gave it, with the request's id added.
    pub fn respond(&self, request_id: HeaderValue, legacy_status: bool) -> Response<Body> {
        let status = self.status(legacy_status);
        let id = request_id.clone();
        // An id consists of visible ASCII.
        let id = id.to_str().unwrap_or_default();
        match self {
            Self::Exception { type_name, .. } => {
                let body = ExceptionBody { status: "exception", type_name, message: self.to_string(), request_id: id };
                answer(status, &body, request_id)
            }
            Self::BadResult { .. } | Self::NoHandler { .. } | Self::Interrupted | Self::Overdue { .. } => {
                answer(status, &ErrorBody { request_id: Some(id), ..ErrorBody::new(self) }, request_id)
            }
        }
    }
}

#[derive(Serialize)]
struct ExceptionBody<'a> {
    status: &'a str,
    #[serde(rename = "type")]
    type_name: &'a str,
    message: String,
    request_id: &'a str,
}
