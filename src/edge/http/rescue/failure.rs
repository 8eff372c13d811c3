//! Requests for which a plugin was called and gave no usable answer.
//!
//! Pure functions, called on the I/O threads.

use std::time::Duration;

use http::{HeaderMap, Response, StatusCode};

use super::answer::{ErrorAnswer, ErrorFormat};
use super::code::ErrorCode;
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
    /// The handler raised a `plugincore.responses.HTTPError`: the error that the client is to get.
    #[error("{}", .0.error)]
    Raised(Box<RaisedError>),
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

/// An error as a plugin raised it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaisedError {
    /// 400 to 599.
    pub status: StatusCode,
    /// The text.
    pub error: String,
    /// The word; if there is none, that of the status.
    pub code: Option<String>,
    /// Headers of its own.
    pub headers: HeaderMap,
}

impl Failure {
    /// The status: 500 or 504, but 200 under `[compat] legacy_status` where pluginserver disguised the failure.
    pub fn status(&self, legacy_status: bool) -> StatusCode {
        match self {
            Self::Exception { .. } | Self::NoHandler { .. } if legacy_status => StatusCode::OK,
            Self::Overdue { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Raised(raised) => raised.status,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The whole answer; `shows_details` if the client may know what went wrong inside the plugin. An exception keeps
    /// the members that pluginserver gave it.
    pub(crate) fn respond(&self, format: &ErrorFormat, legacy_status: bool, shows_details: bool) -> Response<Body> {
        let status = self.status(legacy_status);
        let error = if shows_details { self.to_string() } else { self.without_details() };
        match self {
            Self::Exception { type_name, .. } => {
                let answer = ErrorAnswer::new(status, ErrorCode::Exception.as_str(), error.clone());
                let type_name = if shows_details { type_name } else { "Exception" };
                let answer = if format.is_problem() {
                    answer.with("exception", type_name)
                } else {
                    let answer = answer.with_first("status", "exception").with_first("type", type_name);
                    answer.with_first("message", error)
                };
                answer.respond(format)
            }
            Self::Raised(raised) => {
                let RaisedError { code, headers, .. } = &**raised;
                let code = code.clone().unwrap_or_else(|| word_of(status));
                let mut response = ErrorAnswer::new(status, &code, error).respond(format);
                response.headers_mut().extend(headers.clone());
                response
            }
            Self::BadResult { .. } => ErrorAnswer::new(status, ErrorCode::BadResult.as_str(), error).respond(format),
            Self::NoHandler { .. } => ErrorAnswer::new(status, ErrorCode::NoHandler.as_str(), error).respond(format),
            Self::Interrupted => ErrorAnswer::new(status, ErrorCode::Interrupted.as_str(), error).respond(format),
            Self::Overdue { .. } => ErrorAnswer::new(status, ErrorCode::Overdue.as_str(), error).respond(format),
        }
    }

    /// The text for clients that may not know what went wrong inside the plugin.
    fn without_details(&self) -> String {
        match self {
            Self::Exception { .. } => "the plugin failed; the log of the server has more under the request's id".into(),
            Self::BadResult { .. } => "the plugin's answer cannot be sent".into(),
            Self::NoHandler { .. } => "the plugin has no request_handler".into(),
            Self::Raised(_) | Self::Interrupted | Self::Overdue { .. } => self.to_string(),
        }
    }
}

/// The word for an error of which only the status is known, such as `not_found`.
fn word_of(status: StatusCode) -> String {
    let reason = status.canonical_reason().unwrap_or("error").to_ascii_lowercase();
    reason
        .chars()
        .filter(|letter| *letter != '\'')
        .map(|letter| if letter == ' ' || letter == '-' { '_' } else { letter })
        .collect()
}
