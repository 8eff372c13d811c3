//! `ETag` and `If-None-Match` of JSON that plugins answer with.
//!
//! Pure functions, called on the I/O threads. Promise: the same body has the same tag on every server of one build,
//! after restarts too. The tags are weak: they stand for the text, however it is compressed. Caveat: the handler runs
//! for each request; what is saved is the way of the body to the client. Tags are no protection from a plugin that
//! wants two bodies to look the same, since the hash is a fast one of 64 bits.

use std::hash::{DefaultHasher, Hasher};

use headers::{Header, IfNoneMatch};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::response::Body;

/// Gives `response` a tag if it is 200 with JSON that is there as a whole; one that the plugin set stays.
pub(crate) fn add(response: &mut Response<Body>) {
    let (status, headers) = (response.status(), response.headers());
    if status != StatusCode::OK || headers.contains_key(ETAG) || !headers.get(CONTENT_TYPE).is_some_and(is_json) {
        return;
    }
    let Body::Whole(Some(bytes)) = response.body() else { return };
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    let tag = format!("W/\"{:016x}-{:x}\"", hasher.finish(), bytes.len());
    response.headers_mut().insert(ETAG, HeaderValue::try_from(tag).expect("digits in quotes are valid in a header"));
}

/// Whether the client has what `response` holds, according to the `If-None-Match` of its request.
pub(crate) fn is_known(response: &Response<Body>, if_none_match: &HeaderValue) -> bool {
    let tag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()?.parse().ok());
    let known = IfNoneMatch::decode(&mut [if_none_match].into_iter());
    response.status() == StatusCode::OK
        && tag.zip(known.ok()).is_some_and(|(tag, known)| !known.precondition_passes(&tag))
}

/// Makes `response` the 304 in its place: without the body and what describes it.
pub(crate) fn leave_out(response: &mut Response<Body>) {
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    *response.body_mut() = Body::default();
    for name in [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LENGTH] {
        response.headers_mut().remove(name);
    }
}

/// Makes a tag that stands for the bytes one that stands for the text, which is sent in other bytes.
pub(crate) fn weaken(headers: &mut HeaderMap) {
    if let Some(tag) = headers.get(ETAG).filter(|tag| is_strong(tag)) {
        let weak = [b"W/", tag.as_bytes()].concat();
        headers
            .insert(ETAG, HeaderValue::from_bytes(&weak).expect("a tag is valid in a header with W/ before it, too"));
    }
}

/// Makes the tag of a 304 the weak one if that is the one that the client knows, according to the `If-None-Match` of its
/// request: it has a compressed answer, and a cache finds that only by its own tag (RFC 9111, 4.3.4).
pub(crate) fn weaken_as_known(response: &mut Response<Body>, if_none_match: &HeaderValue) {
    let tag = response.headers().get(ETAG).filter(|tag| is_strong(tag));
    if response.status() == StatusCode::NOT_MODIFIED && tag.is_some_and(|tag| is_known_weakly(tag, if_none_match)) {
        weaken(response.headers_mut());
    }
}

fn is_strong(tag: &HeaderValue) -> bool {
    tag.as_bytes().starts_with(b"\"")
}

/// Whether the weak form of `tag` is in the list, and the strong one is not.
fn is_known_weakly(tag: &HeaderValue, if_none_match: &HeaderValue) -> bool {
    let (tag, list) = (tag.as_bytes(), if_none_match.as_bytes());
    // No tag has quotes in it, so what looks like this one is it.
    let mut found = list.windows(tag.len()).enumerate().filter(|(_, text)| *text == tag).peekable();
    found.peek().is_some() && found.all(|(at, _)| list[..at].ends_with(b"W/"))
}

fn is_json(media_type: &HeaderValue) -> bool {
    let essence = media_type.as_bytes().split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    let essence = essence.to_ascii_lowercase();
    essence == b"application/json" || (essence.starts_with(b"application/") && essence.ends_with(b"+json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &'static str, lines: &[(&'static str, &'static str)]) -> Response<Body> {
        let mut response = Response::new(Body::from(body));
        for (name, value) in lines {
            response.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        add(&mut response);
        response
    }

    const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

    #[test]
    fn the_same_body_has_the_same_weak_tag() {
        let tag = |body| answer(body, &[JSON]).headers()[ETAG].to_str().unwrap().to_owned();
        assert_eq!(tag("{\"a\": 1}"), tag("{\"a\": 1}"));
        assert_ne!(tag("{\"a\": 1}"), tag("{\"a\": 2}"));
        assert!(tag("{}").starts_with("W/\"") && tag("{}").ends_with("-2\""));
    }

    #[test]
    fn only_json_of_200_without_a_tag_gets_one() {
        for lines in [&[][..], &[("content-type", "text/html")], &[("content-type", "application/jsonp")]] {
            assert!(!answer("{}", lines).headers().contains_key(ETAG), "{lines:?}");
        }
        assert!(answer("{}", &[("content-type", "Application/Problem+JSON")]).headers().contains_key(ETAG));
        assert!(!answer("", &[JSON]).headers().contains_key(ETAG));
        assert_eq!(answer("{}", &[JSON, ("etag", "\"own\"")]).headers()[ETAG], "\"own\"");
        let mut created = Response::new(Body::from("{}"));
        *created.status_mut() = StatusCode::CREATED;
        created.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON.1));
        add(&mut created);
        assert!(!created.headers().contains_key(ETAG));
    }

    #[test]
    fn tags_are_compared_weakly() {
        let response = answer("{}", &[JSON, ("etag", "\"a\"")]);
        for (sent, known) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", W/\"a\"", true),
            ("*", true),
            ("\"b\"", false),
            ("a", false),
            ("", false),
        ] {
            assert_eq!(is_known(&response, &HeaderValue::from_static(sent)), known, "{sent}");
        }
    }

    #[test]
    fn the_tag_of_a_304_is_the_one_that_the_client_knows() {
        for (sent, tag) in [
            ("W/\"a\"", "W/\"a\""),
            ("\"b\", W/\"a\"", "W/\"a\""),
            ("\"a\"", "\"a\""),
            ("W/\"a\", \"a\"", "\"a\""),
            ("W/\"b\"", "\"a\""),
            ("*", "\"a\""),
        ] {
            let mut response = answer("", &[("etag", "\"a\"")]);
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            weaken_as_known(&mut response, &HeaderValue::from_static(sent));
            assert_eq!(response.headers()[ETAG], tag, "{sent}");
        }
    }

    #[test]
    fn a_304_keeps_what_caches_need() {
        let mut response = answer("{}", &[JSON, ("cache-control", "max-age=5"), ("content-encoding", "gzip")]);
        leave_out(&mut response);
        let mut names: Vec<_> = response.headers().keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["cache-control", "etag"]);
        assert!(response.status() == 304 && response.body().is_empty());
    }
}
