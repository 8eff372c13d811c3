//! Responses of plugins, compressed as their clients accept it.
//!
//! Runs on the I/O threads. Promise: only text is compressed, never an event stream, a part of something, or what the
//! plugin has compressed itself or wants to have left alone; a piece of a stream reaches the client as soon as it
//! would without; and no body, however large, keeps the thread for longer than [`PIECE`] bytes take. Caveat: a
//! response that holds a secret beside what an attacker chose can be guessed by its length; see docs/security.md.

use std::mem;

use http::header::CONTENT_TYPE;
use http::header::{ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::Body as _;

use super::accept_encoding::{Coding, accepted};
use super::compressed::{Compressed, Encoder, PIECE};
use super::response::Body;
use super::{entity_tag, vary};

/// Bytes from which on a body is compressed: a shorter one fits into one packet anyway.
pub(crate) const MIN_SIZE: u64 = 1024;

/// The codings; where a client does not care, the first is taken, which is the fastest. JSON of 100 kB takes zstd 0.5
/// ms and leaves 17 % of it, gzip takes twice as long for 20 %, and brotli four times as long for 18 %.
const OFFERED: [Coding; 3] = [Coding::Zstandard, Coding::Gzip, Coding::Brotli];

/// Digests that are made of the bytes as they are sent.
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// Whether `response` may be compressed, for this client or another; then its `Vary` says so to caches.
fn is_offered(response: &mut Response<Body>) -> bool {
    let hint = response.body().size_hint();
    if hint.upper().is_some_and(|size| size < MIN_SIZE) || !is_compressible(response) {
        return false;
    }
    vary::add(response.headers_mut(), HeaderValue::from_static("Accept-Encoding"));
    true
}

/// The coding that a client prefers to what is not compressed, by the lines of its `Accept-Encoding`.
pub(crate) fn preferred<'a>(accept_encoding: impl IntoIterator<Item = &'a HeaderValue>) -> Option<Coding> {
    accepted(accept_encoding, OFFERED).first().copied()
}

/// Decides whether `response` is compressed for a client that prefers this coding; `None` if it is sent as it is. Its
/// `ETag` is weak if it is compressed.
pub(crate) fn negotiate(response: &mut Response<Body>, preferred: Option<Coding>) -> Option<Coding> {
    if !is_offered(response) {
        return None;
    }
    let coding = preferred?;
    entity_tag::weaken(response.headers_mut());
    Some(coding)
}

/// Compresses the body of `response`, for which `coding` has been [negotiated](negotiate).
pub(crate) fn compress(response: &mut Response<Body>, coding: Coding) {
    let length = response.body().size_hint().exact();
    let Some(encoder) = Encoder::new(coding, length) else { return };
    let body = match mem::take(response.body_mut()) {
        Body::Whole(Some(bytes)) if bytes.len() <= PIECE => match encoder.encode(&bytes) {
            Some(smaller) if smaller.len() < bytes.len() => Body::new(smaller),
            // It is sent as it is.
            _ => return *response.body_mut() = Body::new(bytes),
        },
        Body::Whole(bytes) => Body::Compressed(Box::new(Compressed::whole(bytes.unwrap_or_default(), encoder))),
        Body::Streamed(stream) => Body::Compressed(Box::new(Compressed::streamed(stream, encoder))),
        other @ (Body::File(_) | Body::Compressed(_) | Body::Observed(_)) => return *response.body_mut() = other,
    };
    *response.body_mut() = body;
    let headers = response.headers_mut();
    headers.insert(CONTENT_ENCODING, coding.header());
    headers.remove(CONTENT_LENGTH);
}

fn is_compressible(response: &Response<Body>) -> bool {
    let (status, headers) = (response.status(), response.headers());
    let is_whole = !status.is_informational()
        && !matches!(
            status,
            StatusCode::NO_CONTENT
                | StatusCode::RESET_CONTENT
                | StatusCode::PARTIAL_CONTENT
                | StatusCode::NOT_MODIFIED
                | StatusCode::RANGE_NOT_SATISFIABLE
        );
    is_whole
        && matches!(response.body(), Body::Whole(_) | Body::Streamed(_))
        && headers.get(CONTENT_TYPE).is_some_and(|media_type| is_text(media_type.as_bytes()))
        && !headers.contains_key(CONTENT_ENCODING)
        && !headers.contains_key(CONTENT_RANGE)
        // Parts of it may be asked for, which are counted in its own bytes.
        && headers.get(ACCEPT_RANGES).is_none_or(|ranges| ranges == "none")
        && !DIGESTS.iter().any(|name| headers.contains_key(name))
        && !forbids_transformation(headers)
}

fn forbids_transformation(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(CACHE_CONTROL).iter();
    let mut directives = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b',')).map(<[u8]>::trim_ascii);
    directives.any(|directive| directive.eq_ignore_ascii_case(b"no-transform"))
}

/// Whether a media type is one of text, which can be compressed; event streams are left alone, because some clients
/// and proxies do not read them otherwise.
fn is_text(media_type: &[u8]) -> bool {
    const TEXTS: [&str; 10] = [
        "application/json",
        "application/javascript",
        "application/xml",
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/json-seq",
        "application/yaml",
        "application/toml",
        "application/sql",
    ];
    let essence = media_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    let is = |name: &str| essence.eq_ignore_ascii_case(name.as_bytes());
    let begins = |start: &str| essence.get(..start.len()).is_some_and(|s| s.eq_ignore_ascii_case(start.as_bytes()));
    let ends = |end: &str| {
        let tail = essence.len().checked_sub(end.len()).and_then(|at| essence.get(at..));
        tail.is_some_and(|tail| tail.eq_ignore_ascii_case(end.as_bytes()))
    };
    if begins("text/") { !is("text/event-stream") } else { TEXTS.into_iter().any(is) || ends("+json") || ends("+xml") }
}

#[cfg(test)]
mod tests;
