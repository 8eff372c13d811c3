//! `[headers]`: the headers that all responses of the server have.
//!
//! Read on the I/O threads. Promise: a header that a response has already stays as it is. Caveat: the answers to
//! requests that cannot be parsed have the headers of the moment in which their connection was accepted.

use http::header::STRICT_TRANSPORT_SECURITY;
use http::{HeaderMap, HeaderName, HeaderValue, Response};

use super::response::Body;

/// Headers with their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AddedHeaders {
    /// For each response.
    always: Vec<(HeaderName, HeaderValue)>,
    /// `Strict-Transport-Security`, for which clients that do not use TLS have no use.
    by_tls: Option<HeaderValue>,
}

impl AddedHeaders {
    /// Those of the ini file; `None` if there are none, so that nothing is looked at for each response.
    pub(crate) fn new(headers: &[(HeaderName, HeaderValue)]) -> Option<Self> {
        let mut added = Self::default();
        for (name, value) in headers {
            if *name == STRICT_TRANSPORT_SECURITY {
                added.by_tls = Some(value.clone());
            } else {
                added.always.push((name.clone(), value.clone()));
            }
        }
        (!headers.is_empty()).then_some(added)
    }

    /// Adds to `response` what it lacks; `secure` if the client uses TLS, perhaps that of a proxy.
    pub(crate) fn add(&self, response: &mut HeaderMap, secure: bool) {
        let by_tls = self.by_tls.iter().filter(|_| secure).map(|value| (&STRICT_TRANSPORT_SECURITY, value));
        for (name, value) in self.always.iter().map(|(name, value)| (name, value)).chain(by_tls) {
            if !response.contains_key(name) {
                response.insert(name, value.clone());
            }
        }
    }

    /// The response with what it lacks of `added`.
    pub(crate) fn complete(added: Option<&Self>, mut response: Response<Body>, secure: bool) -> Response<Body> {
        if let Some(added) = added {
            added.add(response.headers_mut(), secure);
        }
        response
    }
}
