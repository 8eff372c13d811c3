//! The one place that turns refusals and failures into status, headers and JSON body.
//!
//! Every answer made here carries a content type and `X-Request-Id`, so that a client's report can be found in the log.
//! Caveat: bodies go to strangers; texts put into a [`Rejection`] or [`Failure`] must hold no keys, paths or
//! tracebacks.

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_RANGE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;

use crate::edge::http::request::{MethodSet, PathError};
use crate::edge::http::response::{Body, json, json_text};

/// The header that carries the request's id, both ways.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Whose key is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Realm {
    /// `/plugins` and `/reload/…`: the server's own key.
    Control,
    /// A plugin with authentication.
    Plugin,
}

/// A request refused before any handler ran, one variant a reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// 400: the request cannot be understood; the text says why and what to send instead.
    #[error("{0}")]
    BadRequest(String),
    /// 403 `{"error": "unauthorized"}`: no key, or a wrong one.
    #[error("unauthorized")]
    Unauthorized(Realm),
    /// 403: what changes the server's state needs a key, or a client on the same machine that no web page sent.
    #[error(
        "without an apikey in section [auth] this is allowed only on the server's own machine, not to other web sites"
    )]
    ControlRefused,
    /// 403: without a key, under a name that a web page's owner may have had point here, or across origins.
    #[error(
        "without an apikey in section [auth] this is answered only under an address or localhost, and not to pages of \
         other origins; set the key, or ask for http://127.0.0.1 or the server's address"
    )]
    ForeignRefused,
    /// 403: a CORS preflight that is not granted; the text says why.
    #[error("CORS preflight refused: {0}")]
    PreflightRefused(String),
    /// 403: there is a file, but the server may not read it.
    #[error("the server may not read this file")]
    Unreadable,
    /// 404: no such route, or no such file.
    #[error("not found")]
    NotFound,
    /// 405 with `Allow`.
    #[error("method not allowed; this address answers {allow}")]
    MethodNotAllowed {
        /// What the route does answer.
        allow: MethodSet,
    },
    /// 408: the body stopped coming.
    #[error("the request body did not arrive in time")]
    BodyTimeout,
    /// 412: `If-Match` or `If-Unmodified-Since` asks for another version of the file.
    #[error("the file is not the version that the request asks for")]
    PreconditionFailed,
    /// 413.
    #[error("the request body is larger than {limit} bytes")]
    BodyTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// 415 with `Accept-Encoding`: the body is compressed in a way that is not decoded here.
    #[error("the request body has a Content-Encoding that is not supported; send it as gzip, deflate or as it is")]
    UnsupportedCoding,
    /// 416 with `Content-Range`: nothing of the file is within the range that is asked for.
    #[error("the range that is asked for begins behind the end of the file, which has {size} bytes")]
    RangeNotSatisfiable {
        /// How many bytes there are.
        size: u64,
    },
    /// 503 with `Retry-After`: the system cannot open or read a file now.
    #[error("the file cannot be read at the moment; try again")]
    FileUnavailable,
    /// 503 with `Retry-After`: as many requests are running as may run.
    #[error("too many requests are running; try again")]
    Overloaded,
    /// 503 with `Retry-After`: the server is stopping or restarting.
    #[error("the server is shutting down; try again")]
    ShuttingDown,
}

impl From<PathError> for Rejection {
    fn from(error: PathError) -> Self {
        Self::BadRequest(error.to_string())
    }
}

impl Rejection {
    /// The status; `legacy_status` is `[compat] legacy_status`, under which a plugin's missing key is 200.
    pub fn status(&self, legacy_status: bool) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized(Realm::Plugin) if legacy_status => StatusCode::OK,
            Self::Unauthorized(_)
            | Self::ControlRefused
            | Self::ForeignRefused
            | Self::PreflightRefused(_)
            | Self::Unreadable => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedCoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::RangeNotSatisfiable { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Overloaded | Self::ShuttingDown | Self::FileUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The whole answer.
    pub fn respond(&self, request_id: HeaderValue, legacy_status: bool) -> Response<Body> {
        let status = self.status(legacy_status);
        let response = match self.written() {
            Some(text) => json_text(status, Bytes::from_static(text.as_bytes())),
            None => json(status, &ErrorBody { error: self.to_string(), request_id: None }),
        };
        let mut response = named(response, request_id);
        match self {
            Self::MethodNotAllowed { allow } => {
                response.headers_mut().insert(ALLOW, allow.allow());
            }
            Self::UnsupportedCoding => {
                response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate"));
            }
            Self::RangeNotSatisfiable { size } => {
                let range = HeaderValue::try_from(format!("bytes */{size}"));
                response.headers_mut().insert(CONTENT_RANGE, range.expect("digits are valid in a header"));
            }
            Self::Overloaded | Self::ShuttingDown | Self::FileUnavailable => {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

impl Rejection {
    /// The body of what many requests in a row may be told, written beforehand.
    fn written(&self) -> Option<&'static str> {
        match self {
            Self::Unauthorized(_) => Some(r#"{"error": "unauthorized"}"#),
            Self::NotFound => Some(r#"{"error": "not found"}"#),
            Self::Overloaded => Some(r#"{"error": "too many requests are running; try again"}"#),
            _ => None,
        }
    }
}

/// A plugin that was asked and did not give a usable answer, one variant a reason.
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
    /// The handler returned something that is no answer; the text says what is wrong with it, without showing it.
    #[error("the plugin's answer cannot be sent: {reason}")]
    BadResult {
        /// What is wrong.
        reason: String,
    },
    /// The handler was cut off before it could answer.
    #[error("the request was interrupted")]
    Interrupted,
    /// The plugin has no usable `request_handler`; the text says what was found instead.
    #[error("the plugin has no request_handler; {hint}")]
    NoHandler {
        /// What to do about it.
        hint: String,
    },
}

impl Failure {
    /// The status: 500, but 200 under `[compat] legacy_status` where pluginserver disguised the failure.
    pub fn status(&self, legacy_status: bool) -> StatusCode {
        match self {
            Self::Exception { .. } | Self::NoHandler { .. } if legacy_status => StatusCode::OK,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The whole answer. An exception keeps the body that pluginserver gave it, with the request's id added.
    pub fn respond(&self, request_id: HeaderValue, legacy_status: bool) -> Response<Body> {
        let status = self.status(legacy_status);
        // An id consists of visible ASCII.
        let id = request_id.to_str().unwrap_or_default();
        let response = match self {
            Self::Exception { type_name, .. } => {
                let message = self.to_string();
                json(status, &ExceptionBody { status: "exception", type_name, message, request_id: id })
            }
            Self::BadResult { .. } | Self::NoHandler { .. } | Self::Interrupted => {
                json(status, &ErrorBody { error: self.to_string(), request_id: Some(id) })
            }
        };
        named(response, request_id)
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

#[derive(Serialize)]
struct ExceptionBody<'a> {
    status: &'a str,
    #[serde(rename = "type")]
    type_name: &'a str,
    message: String,
    request_id: &'a str,
}

fn named(mut response: Response<Body>, request_id: HeaderValue) -> Response<Body> {
    response.headers_mut().insert(X_REQUEST_ID, request_id);
    response
}

#[cfg(test)]
mod tests {
    use http::header::CONTENT_TYPE;

    use super::*;
    use crate::edge::http::response::tests::text;

    fn id(text: &'static str) -> HeaderValue {
        HeaderValue::from_static(text)
    }

    fn all_rejections() -> Vec<(Rejection, u16)> {
        vec![
            (Rejection::BadRequest("why".into()), 400),
            (Rejection::Unauthorized(Realm::Control), 403),
            (Rejection::Unauthorized(Realm::Plugin), 403),
            (Rejection::ControlRefused, 403),
            (Rejection::PreflightRefused("why".into()), 403),
            (Rejection::Unreadable, 403),
            (Rejection::NotFound, 404),
            (Rejection::MethodNotAllowed { allow: MethodSet::DEFAULT }, 405),
            (Rejection::BodyTimeout, 408),
            (Rejection::PreconditionFailed, 412),
            (Rejection::BodyTooLarge { limit: 10 }, 413),
            (Rejection::UnsupportedCoding, 415),
            (Rejection::RangeNotSatisfiable { size: 3 }, 416),
            (Rejection::FileUnavailable, 503),
            (Rejection::Overloaded, 503),
            (Rejection::ShuttingDown, 503),
        ]
    }

    #[test]
    fn every_rejection_has_its_status_a_content_type_the_request_id_and_an_error_text() {
        for (rejection, status) in all_rejections() {
            let response = rejection.respond(id("id-1"), false);
            assert_eq!(response.status(), status, "{rejection:?}");
            assert_eq!(response.headers()[X_REQUEST_ID], "id-1");
            assert_eq!(response.headers()[CONTENT_TYPE], "application/json; charset=utf-8");
            let spelled = json(StatusCode::OK, &serde_json::json!({ "error": rejection.to_string() }));
            assert_eq!(text(response), text(spelled));
        }
    }

    #[test]
    fn a_missing_key_has_the_body_of_pluginserver() {
        assert_eq!(
            text(Rejection::Unauthorized(Realm::Plugin).respond(id("i"), false)),
            r#"{"error": "unauthorized"}"#
        );
    }

    #[test]
    fn a_wrong_method_is_told_the_right_ones() {
        let response = Rejection::MethodNotAllowed { allow: MethodSet::DEFAULT }.respond(id("i"), false);
        assert_eq!(response.headers()[ALLOW], "GET, HEAD, POST, OPTIONS");
    }

    #[test]
    fn a_refusal_for_lack_of_room_says_when_to_come_again() {
        for rejection in [Rejection::Overloaded, Rejection::ShuttingDown, Rejection::FileUnavailable] {
            assert_eq!(rejection.respond(id("i"), false).headers()[RETRY_AFTER], "1");
        }
    }

    #[test]
    fn a_range_behind_the_end_is_told_the_size() {
        let response = Rejection::RangeNotSatisfiable { size: 3 }.respond(id("i"), false);
        assert_eq!(response.headers()[CONTENT_RANGE], "bytes */3");
    }

    #[test]
    fn an_unknown_coding_is_told_the_known_ones() {
        assert_eq!(Rejection::UnsupportedCoding.respond(id("i"), false).headers()[ACCEPT_ENCODING], "gzip, deflate");
    }

    #[test]
    fn an_exception_keeps_the_body_of_pluginserver_and_names_the_request() {
        let failure = Failure::Exception { type_name: "ValueError".into(), message: "é".into() };
        let response = failure.respond(id("id-1"), false);
        assert_eq!(response.status(), 500);
        assert_eq!(
            text(response),
            concat!(
                r#"{"status": "exception", "type": "ValueError", "#,
                r#""message": "ValueError exception handling request: \u00e9", "request_id": "id-1"}"#
            )
        );
    }

    #[test]
    fn a_bad_result_and_a_missing_handler_name_the_request() {
        let shown = text(Failure::BadResult { reason: "no".into() }.respond(id("i"), false));
        assert_eq!(shown, r#"{"error": "the plugin's answer cannot be sent: no", "request_id": "i"}"#);
        let response = Failure::NoHandler { hint: "define one".into() }.respond(id("i"), false);
        assert_eq!((response.status().as_u16(), response.headers()[X_REQUEST_ID].as_bytes()), (500, &b"i"[..]));
    }

    #[test]
    fn legacy_status_is_200_only_where_pluginserver_answered_200() {
        for (rejection, status) in all_rejections() {
            let legacy = if rejection == Rejection::Unauthorized(Realm::Plugin) { 200 } else { status };
            assert_eq!(rejection.respond(id("i"), true).status(), legacy, "{rejection:?}");
        }
        let exception = Failure::Exception { type_name: "E".into(), message: String::new() };
        assert_eq!(exception.respond(id("i"), true).status(), 200);
        assert_eq!(Failure::NoHandler { hint: String::new() }.respond(id("i"), true).status(), 200);
        assert_eq!(Failure::BadResult { reason: String::new() }.respond(id("i"), true).status(), 500);
    }
}
