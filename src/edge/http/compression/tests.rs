//! What is compressed for whom, and that clients read what was sent.

use std::io::Read;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::header::{ETAG, VARY};

use super::*;
use crate::edge::http::pipe::{self, Writer};

const JSON: &str = "application/json; charset=utf-8";

fn answer(body: impl Into<Body>, lines: &[(&'static str, &'static str)]) -> Response<Body> {
    let mut response = Response::new(body.into());
    for (name, value) in lines {
        response.headers_mut().append(*name, HeaderValue::from_static(value));
    }
    response
}

/// The same response for a client with this `Accept-Encoding`.
fn negotiated(mut response: Response<Body>, accept: &'static str) -> Response<Body> {
    if let Some(coding) = negotiate(&mut response, preferred([&HeaderValue::from_static(accept)])) {
        compress(&mut response, coding);
    }
    response
}

fn decoded(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    match coding {
        "gzip" => drop(flate2::read::GzDecoder::new(bytes).read_to_end(&mut text).unwrap()),
        "br" => drop(brotli::Decompressor::new(bytes, 4096).read_to_end(&mut text).unwrap()),
        "zstd" => drop(zstd::Decoder::new(bytes).unwrap().read_to_end(&mut text).unwrap()),
        other => panic!("{other}"),
    }
    text
}

/// What there is of a body by now, with how often it let others have their turn; true if it has ended.
fn drained(body: &mut Body) -> (Vec<u8>, usize, bool) {
    let (mut bytes, mut turns) = (Vec::new(), 0);
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        match std::pin::Pin::new(&mut *body).poll_frame(&mut cx) {
            Poll::Ready(Some(frame)) => bytes.extend_from_slice(&frame.unwrap().into_data().unwrap()),
            Poll::Ready(None) => return (bytes, turns, true),
            Poll::Pending if turns < 100 => turns += 1,
            Poll::Pending => return (bytes, turns, false),
        }
    }
}

fn text(size: usize) -> Bytes {
    Bytes::from((0..size).map(|at| b"abcdefgh\n"[(at * at / 7) % 9]).collect::<Vec<_>>())
}

#[test]
fn each_coding_is_what_it_says() {
    for size in [1024, 5000, PIECE, PIECE + 1, 1_000_000] {
        for coding in ["gzip", "br", "zstd"] {
            let mut response = negotiated(answer(text(size), &[("content-type", JSON)]), coding);
            assert_eq!(response.headers()[CONTENT_ENCODING], coding);
            assert_eq!(response.headers()[VARY], "Accept-Encoding");
            let known = response.body().size_hint().exact();
            let (bytes, _, ended) = drained(response.body_mut());
            assert!(ended && response.body().is_end_stream() && bytes.len() < size);
            assert_eq!(known, (size <= PIECE).then_some(bytes.len() as u64));
            assert!(decoded(coding, &bytes) == text(size), "{coding} {size}");
        }
    }
}

#[test]
fn a_large_body_leaves_the_thread_to_others_in_between() {
    let mut response = negotiated(answer(text(10 * PIECE), &[("content-type", JSON)]), "zstd");
    assert_eq!(drained(response.body_mut()).1, 9);
}

#[test]
fn the_fastest_coding_is_taken_unless_the_client_minds() {
    let taken = |accept| {
        let response = negotiated(answer(text(2000), &[("content-type", JSON)]), accept);
        response.headers().get(CONTENT_ENCODING).map(|coding| coding.to_str().unwrap().to_owned())
    };
    for (accept, coding) in [
        ("gzip, deflate, br, zstd", Some("zstd")),
        ("gzip, deflate, br", Some("gzip")),
        ("*", Some("zstd")),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", Some("br")),
        ("identity;q=0, br;q=0.1", Some("br")),
        ("*;q=0, gzip;q=0.5", Some("gzip")),
        ("identity, gzip;q=0.5", None),
        ("deflate", None),
        ("*;q=0", None),
        ("", None),
    ] {
        assert_eq!(taken(accept).as_deref(), coding, "{accept}");
    }
}

fn is_compressed(response: Response<Body>) -> (bool, bool) {
    let response = negotiated(response, "zstd");
    (response.headers().contains_key(CONTENT_ENCODING), response.headers().contains_key(VARY))
}

#[test]
fn only_text_of_some_size_is_compressed() {
    for media_type in [
        JSON,
        "text/html",
        "TEXT/plain; charset=utf-8",
        "application/problem+json",
        "image/svg+xml",
        "text/csv",
        "application/x-ndjson",
        "application/javascript",
    ] {
        assert_eq!(is_compressed(answer(text(1024), &[("content-type", media_type)])), (true, true), "{media_type}");
        assert_eq!(is_compressed(answer(text(1023), &[("content-type", media_type)])), (false, false), "{media_type}");
    }
    for media_type in ["text/event-stream", "Text/Event-Stream; x=y", "image/png", "application/octet-stream", "", "+"]
    {
        assert_eq!(is_compressed(answer(text(2000), &[("content-type", media_type)])), (false, false), "{media_type}");
    }
    assert_eq!(is_compressed(answer(text(2000), &[])), (false, false));
}

#[test]
fn what_is_not_to_be_changed_is_not() {
    for line in [
        ("content-encoding", "gzip"),
        ("content-encoding", "identity"),
        ("content-range", "bytes 0-1/2"),
        ("accept-ranges", "bytes"),
        ("cache-control", "max-age=5, No-Transform"),
        ("repr-digest", "sha-256=:AA==:"),
    ] {
        let response = negotiated(answer(text(2000), &[("content-type", JSON), line]), "gzip");
        assert!(drained(&mut response.into_body()).0 == text(2000), "{line:?}");
    }
    for status in [204, 205, 206, 304, 416] {
        let mut response = answer(text(2000), &[("content-type", JSON)]);
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        assert_eq!(is_compressed(response), (false, false), "{status}");
    }
    let mut failed = answer(text(2000), &[("content-type", JSON), ("accept-ranges", "none")]);
    *failed.status_mut() = StatusCode::NOT_FOUND;
    assert_eq!(is_compressed(failed), (true, true));
}

#[test]
fn what_does_not_become_smaller_is_sent_as_it_is() {
    // Bytes in no order, each of which stands for as much as it takes.
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    let noise = Bytes::from((0..2000).map(|_| next()).collect::<Vec<_>>());
    for coding in ["gzip", "br", "zstd"] {
        let response = negotiated(answer(noise.clone(), &[("content-type", "text/plain")]), coding);
        assert!(!response.headers().contains_key(CONTENT_ENCODING), "{coding}");
        assert!(drained(&mut response.into_body()).0 == noise);
    }
}

#[test]
fn a_tag_is_weak_only_where_the_response_is_compressed() {
    let tag = |given: &'static str, accept| {
        let response = negotiated(answer(text(2000), &[("content-type", JSON), ("etag", given)]), accept);
        response.headers()[ETAG].to_str().unwrap().to_owned()
    };
    assert_eq!((tag("\"a\"", "gzip").as_str(), tag("\"a\"", "identity").as_str()), ("W/\"a\"", "\"a\""));
    assert_eq!((tag("W/\"a\"", "gzip").as_str(), tag("odd", "gzip").as_str()), ("W/\"a\"", "odd"));
}

fn streamed(length: Option<u64>, coding: &'static str) -> (Writer, Response<Body>) {
    let (writer, reader) = pipe::pipe(1 << 20);
    let response = answer(Body::streamed(reader, length), &[("content-type", "text/plain")]);
    (writer, negotiated(response, coding))
}

#[test]
fn each_piece_of_a_stream_can_be_read_when_it_comes() {
    for coding in ["gzip", "br", "zstd"] {
        let (writer, mut response) = streamed(None, coding);
        let (mut sent, mut received) = (Vec::new(), Vec::new());
        for piece in ["first", " and second", " and third"] {
            writer.write(Bytes::from(piece)).unwrap();
            sent.extend_from_slice(piece.as_bytes());
            let (bytes, _, ended) = drained(response.body_mut());
            received.extend_from_slice(&bytes);
            assert!(!ended && begins(coding, &received) == sent, "{coding} {piece}");
        }
        writer.finish();
        let (bytes, _, ended) = drained(response.body_mut());
        received.extend_from_slice(&bytes);
        assert!(ended && decoded(coding, &received) == sent);
    }
}

/// What can be decoded of a body that has not ended.
fn begins(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut reader: Box<dyn Read + '_> = match coding {
        "gzip" => Box::new(flate2::read::GzDecoder::new(bytes)),
        "br" => Box::new(brotli::Decompressor::new(bytes, 4096)),
        _ => Box::new(zstd::Decoder::new(bytes).unwrap()),
    };
    let (mut text, mut space) = (Vec::new(), [0; 3]);
    while let Ok(read @ 1..) = reader.read(&mut space) {
        text.extend_from_slice(&space[..read]);
    }
    text
}

#[test]
fn a_stream_whose_length_is_known_is_small_or_compressed() {
    assert!(!streamed(Some(1023), "gzip").1.headers().contains_key(CONTENT_ENCODING));
    for coding in ["gzip", "br", "zstd"] {
        let (writer, mut response) = streamed(Some(200_000), coding);
        writer.write(text(200_000)).unwrap();
        writer.finish();
        let (bytes, _, ended) = drained(response.body_mut());
        assert!(ended && decoded(coding, &bytes) == text(200_000), "{coding}");
    }
}

#[test]
fn a_stream_that_breaks_off_breaks_off() {
    for coding in ["gzip", "br", "zstd"] {
        let (writer, mut response) = streamed(None, coding);
        writer.write(Bytes::from("part")).unwrap();
        writer.abort();
        let mut cx = Context::from_waker(Waker::noop());
        let mut polled = std::iter::from_fn(|| match std::pin::Pin::new(response.body_mut()).poll_frame(&mut cx) {
            Poll::Ready(frame) => Some(frame.map(|frame| frame.map(|frame| frame.into_data().unwrap()))),
            Poll::Pending => Some(None),
        });
        assert!(polled.any(|frame| matches!(frame, Some(Ok(part)) if begins(coding, &part) == b"part")), "{coding}");
        assert!(polled.take(10).any(|frame| matches!(frame, Some(Err(_)))), "{coding}");
    }
}
