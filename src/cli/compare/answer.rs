//! One response of a server, and how two of them differ.
//!
//! Runs on the main thread, and blocks. Promise: a request ends within its time limit; redirects are compared, not
//! followed. Caveat: a JSON object is compared without its `request_id`, all other bodies byte by byte.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, SERVER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue};
use rustls::crypto::ring;
use serde_json::Value;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::edge::http::request_id::X_REQUEST_ID;
use crate::edge::http::trace::TRACEPARENT;

/// The longest body that is compared.
const MAX_BODY: u64 = 64 * 1024 * 1024;

/// How much of a body is shown where two differ.
const EXCERPT: usize = 40;

/// Makes requests to one server.
pub(super) struct Client {
    agent: Agent,
    base: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// How a server's certificate is verified.
pub(super) enum Trust {
    /// By these authorities.
    Authorities(Vec<Certificate<'static>>),
    /// Not at all.
    Blind,
}

/// A response.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Client {
    /// A client of the server at `base`, which sends `headers` with each request.
    pub(super) fn new(base: &str, trust: Trust, timeout: Duration, headers: Vec<(HeaderName, HeaderValue)>) -> Self {
        let tls = TlsConfig::builder().unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()));
        let tls = match trust {
            Trust::Authorities(certificates) => tls.root_certs(RootCerts::from(certificates.into_iter())),
            Trust::Blind => tls.disable_verification(true),
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .timeout_global(Some(timeout))
            .user_agent(concat!("plugincore/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls.build());
        Self { agent: config.build().into(), base: base.trim_end_matches('/').to_owned(), headers }
    }

    /// GETs `path`.
    ///
    /// # Errors
    /// When there is no whole response, in words.
    pub(super) fn get(&self, path: &str) -> Result<Answer, String> {
        let mut request = self.agent.get(format!("{}{path}", self.base));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let response = request.call().map_err(|error| error.to_string())?;
        let (parts, mut body) = response.into_parts();
        let body = body.with_config().limit(MAX_BODY).read_to_vec().map_err(|error| error.to_string())?;
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
    }
}

/// How two responses differ.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// `status`, `body`, or `header` with its name.
    pub what: String,
    /// What the old server has.
    pub old: String,
    /// What the new server has.
    pub new: String,
}

/// Headers that differ from request to request or from connection to connection.
fn is_of_request(name: &HeaderName) -> bool {
    const NAMES: [&str; 5] = ["traceparent", "tracestate", "server-timing", "keep-alive", "age"];
    [DATE, SERVER, X_REQUEST_ID, TRACEPARENT, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(name)
        || NAMES.contains(&name.as_str())
}

/// All differences, but for headers in `ignored` and those that always differ.
pub(super) fn differences(old: &Answer, new: &Answer, ignored: &[HeaderName]) -> Vec<Difference> {
    let mut found = Vec::new();
    if old.status != new.status {
        let (old, new) = (old.status.to_string(), new.status.to_string());
        found.push(Difference { what: "status".to_owned(), old, new });
    }
    let mut names: Vec<_> = old.headers.keys().chain(new.headers.keys()).collect();
    names.sort_by_key(|name| name.as_str());
    names.dedup();
    for name in names.into_iter().filter(|name| !is_of_request(name) && !ignored.contains(name)) {
        let [old, new] = [old, new].map(|answer| values(&answer.headers, name));
        if old != new {
            found.push(Difference { what: format!("header {name}"), old, new });
        }
    }
    if !is_same_body(&old.body, &new.body) {
        let at = old.body.iter().zip(&new.body).take_while(|(old, new)| old == new).count();
        let [old, new] = [old, new].map(|answer| excerpt(&answer.body, at));
        found.push(Difference { what: format!("body at byte {at}"), old, new });
    }
    found
}

/// All values of a header, in their order.
fn values(headers: &HeaderMap, name: &HeaderName) -> String {
    let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let values: Vec<_> = values.collect();
    if values.is_empty() { "none".to_owned() } else { values.join(", ") }
}

fn is_same_body(old: &[u8], new: &[u8]) -> bool {
    let without_id = |body: &[u8]| match serde_json::from_slice(body) {
        Ok(Value::Object(mut object)) => object.remove("request_id").map(|_| object),
        _ => None,
    };
    old == new || without_id(old).zip(without_id(new)).is_some_and(|(old, new)| old == new)
}

/// What of a body begins shortly before `at`, in quotes, and its length.
fn excerpt(body: &[u8], at: usize) -> String {
    let begin = at.saturating_sub(EXCERPT / 4).min(body.len());
    let end = (begin + EXCERPT).min(body.len());
    format!("{:?} of {} bytes", String::from_utf8_lossy(&body[begin..end]), body.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Answer {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        Answer { status, headers, body: body.into() }
    }

    #[test]
    fn what_differs_from_request_to_request_does_not_count() {
        let old = answer(
            404,
            &[("date", "a"), ("server", "x"), ("x-request-id", "1")],
            r#"{"error": "no", "request_id": "1"}"#,
        );
        let new = answer(404, &[("date", "b"), ("traceparent", "y")], r#"{"error": "no", "request_id": "2"}"#);
        assert_eq!(Vec::<Difference>::new(), differences(&old, &new, &[]));
    }

    #[test]
    fn status_headers_and_body_are_compared() {
        let old = answer(200, &[("content-type", "text/plain"), ("x-a", "1")], "hello");
        let new = answer(500, &[("content-type", "text/html")], "help");
        let found = differences(&old, &new, &[HeaderName::from_static("x-a")]);
        let difference =
            |what: &str, old: &str, new: &str| Difference { what: what.into(), old: old.into(), new: new.into() };
        let expected = [
            difference("status", "200", "500"),
            difference("header content-type", "text/plain", "text/html"),
            difference("body at byte 3", "\"hello\" of 5 bytes", "\"help\" of 4 bytes"),
        ];
        assert_eq!(expected, *found);
    }

    #[test]
    fn a_json_object_that_differs_elsewhere_differs() {
        assert!(!is_same_body(br#"{"a": 1, "request_id": "1"}"#, br#"{"a": 2, "request_id": "2"}"#));
        assert!(!is_same_body(br#"{"a": 1}"#, br#"{"a":1}"#));
        assert!(is_same_body(b"x", b"x"));
    }
}
