//! Requests that are refused before any handler runs.
//!
//! Pure functions, called on the I/O threads.

use http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_RANGE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::json;

use super::answer::{ErrorAnswer, ErrorFormat, plain, retry_after, retry_after_seconds};
use super::code::ErrorCode;
use crate::edge::http::content_coding::ContentCoding;
use crate::edge::http::request::{MethodSet, PathError};
use crate::edge::http::response::Body;

/// What is left of a limit, as draft-ietf-httpapi-ratelimit-headers-10 defines it.
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// The limit itself, as that draft defines it.
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The key that is required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Realm {
    /// `/plugins` and `/reload/…`: the server's own key.
    Control,
    /// A plugin with authentication.
    Plugin,
}

/// A value of a request that does not fit the parameter of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidValue {
    /// Where it is: a JSON pointer into the variables.
    pub pointer: String,
    /// What is wrong with it, without the value.
    pub detail: String,
}

/// A request refused before any handler ran, one variant a reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// 400: the request cannot be parsed; the text is the reason, and what to send instead.
    #[error("{0}")]
    BadRequest(String),
    /// 403 `{"error": "unauthorized"}`: no key, or a wrong one.
    #[error("unauthorized")]
    Unauthorized(Realm),
    /// The same, since the key's time is over.
    #[error("unauthorized")]
    KeyExpired(Realm),
    /// 401 with `WWW-Authenticate`: no key, where clients are to be asked for one.
    #[error("unauthorized")]
    KeyRequired,
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
    /// 403: under a name that a web page's owner may have had point here.
    #[error(
        "under this host name only plugins answer, and the server itself to requests with a key; ask for it by its \
         address, or add the name to hosts in section [network]"
    )]
    HostRefused,
    /// 403: the page, for a client that may be on another machine.
    #[error(
        "the page is shown on the server's own machine, and elsewhere only by HTTPS and with a key of scope control"
    )]
    PageRefused,
    /// 403: what changes something, with a session but not from the page.
    #[error(
        "with a session this is allowed only as application/json and from a page of this server; send a key instead"
    )]
    SessionRefused,
    /// 403: a CORS preflight that is not granted; the text is the reason.
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
    /// 412: `If-Match` or `If-Unmodified-Since` requires another version of the file.
    #[error("the file is not the version that the request asks for")]
    PreconditionFailed,
    /// 413.
    #[error("the request body is larger than {limit} bytes")]
    BodyTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// 415 with `Accept-Encoding`: the body is compressed in a way that is not decoded here.
    #[error(
        "the request body has a Content-Encoding that is not supported; send it as {}, or as it is",
        ContentCoding::ACCEPTED
    )]
    UnsupportedCoding,
    /// 416 with `Content-Range`: nothing of the file is within the requested range.
    #[error("the range that is asked for begins behind the end of the file, which has {size} bytes")]
    RangeNotSatisfiable {
        /// How many bytes there are.
        size: u64,
    },
    /// 421: the server does not answer to this host.
    #[error("this server does not answer to this host name")]
    Misdirected,
    /// 422, a problem of RFC 9457 whatever the client accepts: values that do not fit the plugin's parameters.
    #[error("the request does not fit what the plugin takes")]
    Invalid(Box<[InvalidValue]>),
    /// 429 with `Retry-After`, `RateLimit` and `RateLimit-Policy`: more requests than the rate allows.
    #[error("too many requests; try again in {retry_after} s")]
    RateExceeded {
        /// What is counted, such as `client`.
        policy: &'static str,
        /// How many requests are allowed in `window` seconds.
        quota: u32,
        /// Seconds in which `quota` requests are allowed.
        window: u32,
        /// Seconds until the next request is allowed.
        retry_after: u32,
    },
    /// 429 with `Retry-After`: the client has sent too many wrong keys.
    #[error("too many wrong keys; requests with a key are refused for {retry_after} s")]
    TooManyWrongKeys {
        /// Seconds until keys are looked at again.
        retry_after: u32,
    },
    /// 503 with `Retry-After`: the system cannot open or read a file now.
    #[error("the file cannot be read at the moment; try again")]
    FileUnavailable,
    /// 503 with `Retry-After`: as many requests are running as may run.
    #[error("too many requests are running; try again")]
    Overloaded,
    /// 503 with `Retry-After`: the request has waited for the Python thread for as long as it may.
    #[error("the server is busy; try again")]
    Congested,
    /// 503 with `Retry-After`: the plugin has been disabled.
    #[error("this plugin is disabled")]
    PluginDisabled,
    /// 503 with `Retry-After`: the plugin has failed too often.
    #[error("this plugin has failed too often and is left alone for a while; try again")]
    PluginParked {
        /// When it is tried again.
        seconds: u128,
    },
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
            Self::Unauthorized(Realm::Plugin) | Self::KeyExpired(Realm::Plugin) if legacy_status => StatusCode::OK,
            Self::KeyRequired => StatusCode::UNAUTHORIZED,
            Self::RateExceeded { .. } | Self::TooManyWrongKeys { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Unauthorized(_)
            | Self::KeyExpired(_)
            | Self::ControlRefused
            | Self::ForeignRefused
            | Self::HostRefused
            | Self::PageRefused
            | Self::SessionRefused
            | Self::PreflightRefused(_)
            | Self::Unreadable => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedCoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::RangeNotSatisfiable { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Overloaded
            | Self::Congested
            | Self::PluginDisabled
            | Self::PluginParked { .. }
            | Self::ShuttingDown
            | Self::FileUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The word for the reason.
    pub(super) fn code(&self) -> ErrorCode {
        match self {
            Self::BadRequest(_) => ErrorCode::BadRequest,
            Self::Unauthorized(_) | Self::KeyExpired(_) => ErrorCode::Unauthorized,
            Self::KeyRequired => ErrorCode::KeyRequired,
            Self::ControlRefused => ErrorCode::ControlRefused,
            Self::ForeignRefused => ErrorCode::ForeignRefused,
            Self::HostRefused => ErrorCode::HostRefused,
            Self::PageRefused => ErrorCode::PageRefused,
            Self::SessionRefused => ErrorCode::SessionRefused,
            Self::PreflightRefused(_) => ErrorCode::PreflightRefused,
            Self::Unreadable => ErrorCode::Unreadable,
            Self::NotFound => ErrorCode::NotFound,
            Self::MethodNotAllowed { .. } => ErrorCode::MethodNotAllowed,
            Self::BodyTimeout => ErrorCode::BodyTimeout,
            Self::PreconditionFailed => ErrorCode::PreconditionFailed,
            Self::BodyTooLarge { .. } => ErrorCode::BodyTooLarge,
            Self::UnsupportedCoding => ErrorCode::UnsupportedCoding,
            Self::RangeNotSatisfiable { .. } => ErrorCode::RangeNotSatisfiable,
            Self::Misdirected => ErrorCode::Misdirected,
            Self::Invalid(_) => ErrorCode::Invalid,
            Self::RateExceeded { .. } => ErrorCode::Rate,
            Self::TooManyWrongKeys { .. } => ErrorCode::TooManyWrongKeys,
            Self::FileUnavailable => ErrorCode::FileUnavailable,
            Self::Overloaded | Self::Congested => ErrorCode::Overload,
            Self::PluginDisabled => ErrorCode::PluginDisabled,
            Self::PluginParked { .. } => ErrorCode::PluginParked,
            Self::ShuttingDown => ErrorCode::ShuttingDown,
        }
    }

    /// The whole answer.
    pub(crate) fn respond(&self, format: &ErrorFormat, legacy_status: bool) -> Response<Body> {
        let (status, code) = (self.status(legacy_status), self.code());
        if let Self::Invalid(errors) = self {
            let errors: Vec<_> =
                errors.iter().map(|error| json!({"pointer": error.pointer, "detail": error.detail})).collect();
            let answer = ErrorAnswer::new(status, code.as_str(), self.to_string()).with("errors", errors);
            return answer.respond(&format.clone().into_problem());
        }
        let mut response = match self.constant_text() {
            Some(text) => plain(status, code, text, format),
            None => ErrorAnswer::new(status, code.as_str(), self.to_string()).respond(format),
        };
        match self {
            Self::MethodNotAllowed { allow } => {
                response.headers_mut().insert(ALLOW, allow.allow());
            }
            Self::UnsupportedCoding => {
                response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static(ContentCoding::ACCEPTED));
            }
            Self::KeyRequired => {
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::RateExceeded { policy, quota, window, retry_after } => {
                let headers = response.headers_mut();
                headers.insert(RETRY_AFTER, HeaderValue::from(*retry_after));
                let value = |text: String| HeaderValue::try_from(text).expect("names and digits are valid in a header");
                headers.insert(RATE_LIMIT, value(format!("\"{policy}\";r=0;t={retry_after}")));
                headers.insert(RATE_LIMIT_POLICY, value(format!("\"{policy}\";q={quota};w={window}")));
            }
            Self::TooManyWrongKeys { retry_after } => {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(*retry_after));
            }
            Self::RangeNotSatisfiable { size } => {
                let range = HeaderValue::try_from(format!("bytes */{size}"));
                response.headers_mut().insert(CONTENT_RANGE, range.expect("digits are valid in a header"));
            }
            Self::Overloaded | Self::Congested | Self::PluginDisabled | Self::ShuttingDown | Self::FileUnavailable => {
                response.headers_mut().insert(RETRY_AFTER, retry_after());
            }
            Self::PluginParked { seconds } => {
                response.headers_mut().insert(RETRY_AFTER, retry_after_seconds(*seconds));
            }
            _ => {}
        }
        response
    }

    /// The text of the answers that many requests in a row may get.
    fn constant_text(&self) -> Option<&'static str> {
        match self {
            Self::Unauthorized(_) | Self::KeyExpired(_) | Self::KeyRequired => Some("unauthorized"),
            Self::NotFound => Some("not found"),
            Self::PluginDisabled => Some("this plugin is disabled"),
            Self::Congested => Some("the server is busy; try again"),
            Self::Overloaded => Some("too many requests are running; try again"),
            _ => None,
        }
    }
}
