//! One stream of HTTP/2: a request gets its answer.
//!
//! Runs on the I/O threads, within the task of the connection. Promise: when the client resets the stream, the
//! service's future and the body of its answer are dropped, as when a connection of HTTP/1.1 closes; an answer is read
//! from its source as fast as the client's windows let it through, and a client that opens none within the time limit
//! loses the stream.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderValue, Response, StatusCode};
use http_body::Body as _;

use crate::edge::http::date::date;
use crate::edge::http::response::Body;

/// What belongs to a connection of HTTP/1.1, besides `Connection` itself.
const CONNECTION_HEADERS: [HeaderName; 5] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TRANSFER_ENCODING,
    UPGRADE,
    TE,
];

/// What the answer to a request depends on.
pub(super) struct Asked {
    /// The client waits for a 100 before it sends the body.
    pub(super) expects: bool,
    /// The answer has no body.
    pub(super) is_head: bool,
    /// Becomes true when the body is read.
    pub(super) body_wanted: Rc<Cell<bool>>,
}

/// Waits for the answer to a request and sends it.
pub(super) async fn answer(
    mut reply: SendResponse<Bytes>,
    asked: Asked,
    response: impl Future<Output = Response<Body>>,
    write_timeout: Duration,
) {
    let mut response = pin!(response);
    let mut expects = asked.expects;
    let answered = poll_fn(|cx| {
        if let Poll::Ready(response) = response.as_mut().poll(cx) {
            return Poll::Ready(Some(response));
        }
        if expects && asked.body_wanted.get() {
            expects = false;
            let mut go_on = Response::new(());
            *go_on.status_mut() = StatusCode::CONTINUE;
            // It fails only if the client has gone, which shows below.
            let _ = reply.send_informational(go_on);
        }
        reply.poll_reset(cx).map(|_| None)
    })
    .await;
    if let Some(response) = answered
        && let Some((stream, body)) = begin(&mut reply, response, asked.is_head)
    {
        send(stream, body, write_timeout).await;
    }
}

/// Sends the head of an answer, and its body if that is there and small; returns what is left to be sent.
pub(super) fn begin(
    reply: &mut SendResponse<Bytes>,
    response: Response<Body>,
    is_head: bool,
) -> Option<(SendStream<Bytes>, Body)> {
    /// Bytes that are left to h2, whatever the client's windows are.
    const SMALL: usize = 16 * 1024;
    let (mut head, mut body) = response.into_parts();
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        reply.send_reset(Reason::HTTP_1_1_REQUIRED);
        return None;
    }
    if let Some(options) = head.headers.remove(CONNECTION) {
        for name in options.to_str().unwrap_or_default().split(',') {
            head.headers.remove(name.trim());
        }
    }
    for name in &CONNECTION_HEADERS {
        head.headers.remove(name);
    }
    head.headers.entry(DATE).or_insert_with(date);
    let has_length = !matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if has_length && let Some(length) = body.size_hint().exact() {
        let is_needed = !is_head || length > 0;
        if is_needed && !head.headers.contains_key(CONTENT_LENGTH) {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
    }
    let is_end = is_head || !has_length || body.is_end_stream();
    // An error means that the client has reset the stream or left.
    let mut stream = reply.send_response(Response::from_parts(head, ()), is_end).ok()?;
    if is_end {
        return None;
    }
    if let Body::Whole(bytes) = &mut body
        && let Some(bytes) = bytes.take_if(|bytes| bytes.len() <= SMALL)
    {
        // As above.
        let _ = stream.send_data(bytes, true);
        return None;
    }
    Some((stream, body))
}

/// Sends a body as fast as the client takes it.
pub(super) async fn send(mut stream: SendStream<Bytes>, mut body: Body, write_timeout: Duration) {
    loop {
        let next = poll_fn(|cx| match Pin::new(&mut body).poll_frame(cx) {
            Poll::Ready(next) => Poll::Ready(Some(next)),
            Poll::Pending => stream.poll_reset(cx).map(|_| None),
        });
        let Some(next) = next.await else { return };
        let mut piece = match next {
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            // A truncated answer must not be taken for a complete one.
            Some(Err(_)) => return stream.send_reset(Reason::INTERNAL_ERROR),
            None => {
                // It fails if the client has gone.
                let _ = stream.send_data(Bytes::new(), true);
                return;
            }
        };
        while !piece.is_empty() {
            stream.reserve_capacity(piece.len());
            let capacity = poll_fn(|cx| poll_capacity(&mut stream, cx));
            let Ok(capacity) = tokio::time::timeout(write_timeout, capacity).await else {
                return stream.send_reset(Reason::CANCEL);
            };
            let Some(capacity) = capacity else { return };
            let part = piece.split_to(capacity.min(piece.len()));
            let is_end = piece.is_empty() && body.is_end_stream();
            if stream.send_data(part, is_end).is_err() || is_end {
                return;
            }
        }
    }
}

/// Waits until something may be sent; `None` if the client has reset the stream.
fn poll_capacity(stream: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<Option<usize>> {
    loop {
        let capacity = stream.capacity();
        if capacity > 0 {
            return Poll::Ready(Some(capacity));
        }
        match stream.poll_capacity(cx) {
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(None),
            Poll::Pending => return stream.poll_reset(cx).map(|_| None),
        }
    }
}
