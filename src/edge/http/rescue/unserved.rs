//! Requests that no service gets: heads that cannot be parsed or that violate the protocol.
//!
//! Pure functions, called on the I/O threads.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONNECTION, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderValue, Response, StatusCode};

use super::answer::{ErrorAnswer, ErrorFormat, answer_text};
use super::code::ErrorCode;
use crate::edge::http::added_headers::AddedHeaders;
use crate::edge::http::conformance::Violation;
use crate::edge::http::framing::Fault;
use crate::edge::http::response::Body;
use crate::edge::http::trace::TRACEPARENT;

impl Violation {
    fn status(self) -> StatusCode {
        match self {
            Self::HostCount | Self::TwoHosts | Self::Host | Self::Target(_) | Self::TwoTraces | Self::ChunkedTwice => {
                StatusCode::BAD_REQUEST
            }
            Self::Connect | Self::Coding => StatusCode::NOT_IMPLEMENTED,
            Self::TargetSize => StatusCode::URI_TOO_LONG,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::WebSocketVersion => StatusCode::UPGRADE_REQUIRED,
        }
    }

    fn code(self) -> ErrorCode {
        match self {
            Self::HostCount | Self::TwoHosts | Self::Host | Self::Target(_) | Self::TwoTraces | Self::ChunkedTwice => {
                ErrorCode::Malformed
            }
            Self::Connect | Self::Coding => ErrorCode::NotImplemented,
            Self::TargetSize => ErrorCode::TargetTooLong,
            Self::Expectation => ErrorCode::ExpectationFailed,
            Self::WebSocketVersion => ErrorCode::WebSocketVersion,
        }
    }

    /// The whole answer.
    pub(crate) fn respond(self, format: &ErrorFormat) -> Response<Body> {
        let mut response = ErrorAnswer::new(self.status(), self.code().as_str(), self.to_string()).respond(format);
        let headers = response.headers_mut();
        if self == Self::WebSocketVersion {
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        } else {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// A head that does not become a request; the connection closes behind the answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    /// 400: plain HTTP where TLS is expected.
    #[error("this port speaks HTTPS: use https://")]
    PlainHttp,
    /// 503 with `Retry-After`: there are as many connections as may be.
    #[error("there are too many connections; try again")]
    Crowded,
    /// 408: it began and did not arrive in time.
    #[error("request line and headers took too long to arrive")]
    Timeout,
    /// 414.
    #[error("the request target is too long")]
    TargetTooLong,
    /// 431.
    #[error("request line and headers are larger than {limit} bytes or over {max_headers} headers")]
    TooLarge {
        /// Bytes that a head may have.
        limit: usize,
        /// Headers that it may have.
        max_headers: usize,
    },
    /// It breaks the grammar in a way that the parser lets pass.
    #[error("{}", .0.text())]
    Fault(Fault),
    /// The parser refuses it with this status, for this reason.
    #[error("malformed request: {1}")]
    Unparsable(StatusCode, String),
}

impl HeadError {
    /// The status.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Crowded => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::TooLarge { .. } => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Fault(Fault::Version(_)) => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::PlainHttp | Self::Fault(Fault::Target(_) | Fault::TwoLengths | Fault::Chunk) => {
                StatusCode::BAD_REQUEST
            }
            Self::Unparsable(status, _) => *status,
        }
    }

    fn code(&self) -> ErrorCode {
        match self {
            Self::PlainHttp => ErrorCode::HttpsExpected,
            Self::Crowded => ErrorCode::TooManyConnections,
            Self::Timeout => ErrorCode::HeadTimeout,
            Self::TargetTooLong => ErrorCode::TargetTooLong,
            Self::TooLarge { .. } => ErrorCode::HeadTooLarge,
            Self::Fault(Fault::Version(_)) => ErrorCode::HttpVersion,
            Self::Fault(_) | Self::Unparsable(..) => ErrorCode::Malformed,
        }
    }

    /// The answer on a stream of HTTP/2, which ends alone.
    pub(crate) fn respond(&self, format: &ErrorFormat) -> Response<Body> {
        if format.is_problem() {
            return ErrorAnswer::new(self.status(), self.code().as_str(), self.to_string()).respond(format);
        }
        // The same bytes as by HTTP/1.1.
        let id = format.request_id();
        answer_text(self.status(), Bytes::from(self.body(id)), id.clone())
    }

    fn body(&self, request_id: &HeaderValue) -> String {
        // Without the blanks of `json.dumps`: pluginserver sent no JSON here that clients could compare.
        let (error, code) = (self.to_string(), self.code().as_str());
        let request_id = request_id.to_str().unwrap_or_default(); // it consists of visible ASCII
        serde_json::json!({ "error": error, "code": code, "request_id": request_id }).to_string()
    }

    /// The whole answer as it is sent, under this id and in this trace, without its body if the request was HEAD, with the headers that are `added` for
    /// a client that uses TLS or not.
    pub(crate) fn to_bytes(
        &self,
        [request_id, trace]: [HeaderValue; 2],
        is_head: bool,
        added: Option<(&AddedHeaders, bool)>,
    ) -> Vec<u8> {
        let body = self.body(&request_id);
        let mut response = answer_text(self.status(), Bytes::new(), request_id);
        response.headers_mut().insert(TRACEPARENT, trace);
        if let Some((added, secure)) = added {
            added.add(response.headers_mut(), secure);
        }
        let mut bytes = format!("HTTP/1.1 {}\r\n", response.status()).into_bytes();
        for (name, value) in response.headers() {
            bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        let (length, date) = (body.len(), httpdate::fmt_http_date(SystemTime::now()));
        let rest = format!("content-length: {length}\r\nconnection: close\r\ndate: {date}\r\n\r\n");
        if *self == Self::Crowded {
            bytes.extend_from_slice(b"retry-after: 1\r\n");
        }
        bytes.extend_from_slice(rest.as_bytes());
        if !is_head {
            bytes.extend_from_slice(body.as_bytes());
        }
        bytes
    }
}
