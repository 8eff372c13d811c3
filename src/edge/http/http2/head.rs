//! Makes the head of a request on a stream what that of a request by HTTP/1.1 is, within the same limits.
//!
//! Pure functions, called on the I/O threads. Promise: behind it a request has a path as its target, one `Host`, one
//! `Cookie` at most, and as many bytes and fields as a head of HTTP/1.1 may have. What connections of HTTP/1.1 have
//! and streams must not, h2 refuses before: such a stream is reset.

use http::header::{COOKIE, HOST};
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body::Body;

use crate::edge::http::conformance::{self, HeaderFlags, KnownHeaders, Violation};
use crate::edge::http::params::ConnectionParams;
use crate::edge::http::rescue::HeadError;

/// Why a stream is answered without a service.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// Its head is too large.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// It violates the protocol.
    #[error(transparent)]
    Violation(#[from] Violation),
}

/// Checks the head of a request, and changes it as described above. `known` is as for [`conformance::check`].
///
/// # Errors
/// How it is to be answered.
pub(super) fn check<B: Body>(
    request: &mut Request<B>,
    params: &ConnectionParams,
    secure: bool,
    known: &mut KnownHeaders,
) -> Result<HeaderFlags, Refusal> {
    let is_foreign = |scheme: &Scheme| ![Scheme::HTTP, Scheme::HTTPS].contains(scheme);
    if request.uri().scheme().is_some_and(is_foreign) {
        return Err(Violation::Target("its scheme is neither http nor https").into());
    }
    join_cookies(request.headers_mut());
    name_host(request)?;
    check_size(request, params)?;
    conformance::check_target_size(request, params.target_size)?;
    if !request.uri().path().is_ascii() || !request.uri().query().unwrap_or_default().is_ascii() {
        return Err(Violation::Target("its target has a character beyond ASCII that is not escaped").into());
    }
    Ok(conformance::check(request, secure, known)?)
}

/// Browsers send each cookie by itself, which compresses better (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    if cookies.next().is_none() || cookies.next().is_none() {
        return;
    }
    let joined = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b"; "[..]);
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(COOKIE, joined);
    }
}

/// Counts what the head would take as text.
fn check_size<B>(request: &Request<B>, params: &ConnectionParams) -> Result<(), HeadError> {
    const SEPARATORS: usize = ": \r\n".len();
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let (limit, max_headers) = (params.head_limit, params.head_fields);
    if target > limit {
        return Err(HeadError::TargetTooLong);
    }
    let headers = request.headers();
    let line = request.method().as_str().len() + target + "  HTTP/1.1\r\n\r\n".len();
    let fields = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + SEPARATORS);
    if headers.len() > max_headers || line + fields.sum::<usize>() > limit {
        return Err(HeadError::TooLarge { limit, max_headers });
    }
    Ok(())
}

/// The host is in `:authority`, or else in `Host`, which must be the same if it is in both.
fn name_host<B>(request: &mut Request<B>) -> Result<(), Violation> {
    let Some(authority) = request.uri().authority() else { return Ok(()) };
    let mut given = request.headers().get_all(HOST).iter();
    if given.any(|host| !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())) {
        return Err(Violation::TwoHosts);
    }
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| Violation::Host)?;
    request.headers_mut().insert(HOST, host);
    if request.method() != Method::CONNECT {
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
    }
    Ok(())
}
