//! Answers to requests that never become one: JSON with a reason instead of hyper's empty answer.
//!
//! Runs on the I/O threads. hyper itself answers a head that it cannot parse: one write of `HTTP/1.1 4xx …`,
//! `connection: close`, `content-length: 0` and a date; then it neither reads nor writes again, shuts the socket down
//! and ends the connection with a parse error. [`ErrorInterceptor`] holds such a write back and ignores the shutdown;
//! [`ErrorInterceptor::finish`] then sends the answer of [`rescue`](super::rescue). It also ends a connection whose
//! client takes no byte of an answer, for which hyper would wait without limit. Caveat: a service that gives an answer
//! of the same form (status 4xx, no body, no content type; ours never do) has it held as well; it is sent unchanged at
//! the next read or write, or at the end, so it can be late but is never lost.
//!
//! The interceptor also runs [`Framing`], which stops hyper where it would go on, and [`Departure`], which notices
//! clients that have gone when hyper does not, and makes answers to HTTP/1.0 say that they are HTTP/1.1.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::access_log::entry::Answered;
use super::added_headers::AddedHeaders;
use super::body::{LINGER_BYTES, LINGER_TIMEOUT};
use super::departure::{Departure, Socket};
use super::framing::{Framing, STOP};
use super::observed::{ObservedRequest, Observers};
use super::params::ConnectionParams;
use super::request_id::RequestId;
use super::rescue::HeadError;
use super::response::Body;
use super::service::{ConnectInfo, Peer};
use super::stall::WriteTimeout;
use super::timer::LazyTimer;
use super::trace::{TRACEPARENT, TraceContext};
use crate::edge::observe::metrics;
use crate::edge::observe::metrics::thread::{AnsweredRequest, CountedMethod, RefusalReason};

/// Headers that a request may have by hyper's own count.
pub(super) const MAX_HEADERS: usize = 100;

/// Longest answer that hyper makes by itself, amply rounded.
const BARE_ANSWER: usize = 256;

/// Bytes up to which head and body are copied together: one piece costs the system less than two.
const TOGETHER: usize = 1024;

/// A socket under hyper that holds back the answers which hyper gives by itself.
#[derive(Debug)]
pub(crate) struct ErrorInterceptor<I> {
    io: I,
    held: Vec<u8>,
    write_timeout: WriteTimeout,
    framing: Framing,
    head_timer: HeadTimer,
    /// Whether the connection may turn out to be one of HTTP/2.
    may_be_http2: bool,
    /// What was read of one that has, and hyper has not seen.
    unseen: Option<Bytes>,
    departure: Departure,
    state: Rc<ConnectionState>,
}

/// The time that a head has from its first byte on; before that, hyper waits as long as a connection may be idle.
#[derive(Debug)]
struct HeadTimer {
    timer: LazyTimer,
    limit: Duration,
    is_running: bool,
}

impl HeadTimer {
    /// Notes whether a part of a head has arrived, and not yet all of it. A head that comes whole costs nothing.
    fn note(&mut self, is_within_head: bool) {
        if is_within_head != self.is_running {
            self.is_running = is_within_head;
            if is_within_head {
                self.timer.begin_head(self.limit);
            } else {
                self.timer.end_head();
            }
        }
    }
}

/// State of a connection that the service's side sets and the socket's side reads.
#[derive(Debug, Default)]
pub(crate) struct ConnectionState {
    /// A request is being answered, and the answer has not begun.
    pub is_answering: Cell<bool>,
    /// The server drains: the answer of the moment, or else the next one, is the last of the connection.
    pub drains: Cell<bool>,
    /// The answer that has begun is for a client of HTTP/1.0. hyper says HTTP/1.0 then, too, while a server is to name
    /// the highest version that it speaks (RFC 9110, 2.5).
    pub is_http_1_0: Cell<bool>,
}

impl<I: Socket> ErrorInterceptor<I> {
    /// Wraps a socket of a connection with these `params`, for which hyper has `timer`. If it `may_be_http2` and its
    /// first bytes are those of HTTP/2, hyper gets an error and [`Self::take_unseen`] the bytes.
    pub(crate) fn new(
        io: I,
        params: &ConnectionParams,
        timer: LazyTimer,
        may_be_http2: bool,
        state: Rc<ConnectionState>,
    ) -> Self {
        let (framing, departure) = (Framing::default(), Departure::default());
        let head_timer = HeadTimer { timer, limit: params.head_time, is_running: false };
        let write_timeout = WriteTimeout::new(params.send_idle_time);
        Self { io, held: Vec::new(), write_timeout, framing, head_timer, may_be_http2, unseen: None, departure, state }
    }

    /// What was read of a connection that is one of HTTP/2 and has not reached hyper; `None` if it is not.
    pub(crate) fn take_unseen(&mut self) -> Option<Bytes> {
        self.unseen.take()
    }

    /// The socket.
    pub(crate) fn into_inner(self) -> I {
        self.io
    }

    /// Lets all bytes pass from now on, since the connection leaves HTTP behind.
    #[must_use]
    pub(crate) fn leave_http(mut self) -> Self {
        self.framing.stop();
        self
    }

    /// Sends the last words of a connection that hyper has ended, if there are any to be said.
    ///
    /// `unread` is what hyper had read of the next request, `params` are for the text and the headers, and `client` is
    /// who gets them.
    /// A head that began and was not finished in time gets a 408; an idle connection is closed without a word.
    pub(crate) async fn finish(
        mut self,
        ended: Result<(), hyper::Error>,
        unread: &[u8],
        params: &ConnectionParams,
        client: &ConnectInfo,
    ) {
        let added = params.added_headers.as_deref().map(|added| (added, client.secure));
        let unread_client = UnreadClient::of(client, params);
        let held = std::mem::take(&mut self.held);
        let last = match ended {
            Err(error) if error.is_parse() && !held.is_empty() => {
                let fault = self.framing.fault().map(HeadError::Fault);
                let is_head = unread.starts_with(b"HEAD ") || self.framing.is_head();
                refuse(
                    &fault.unwrap_or_else(|| unparsable(&held, &error, unread, params)),
                    &unread_client,
                    is_head,
                    added,
                )
            }
            Err(error) if error.is_timeout() && !unread.trim_ascii().is_empty() => {
                refuse(&HeadError::Timeout, &unread_client, false, added)
            }
            _ if held.is_empty() => return,
            _ => held,
        };
        lingering_close(&mut self.io, &last).await;
    }

    /// Lets a held answer go, since hyper went on: it was the service's.
    fn poll_release(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let written = Pin::new(&mut self.io).poll_write(cx, &self.held);
            let written = ready!(self.write_timeout.poll(cx, written))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

/// Whether a write is an answer that hyper makes by itself. Nearly every other write differs in its tenth byte.
fn is_bare_refusal(bytes: &[u8]) -> bool {
    let has = |wanted: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
    bytes.get(9) == Some(&b'4')
        && bytes.len() < BARE_ANSWER
        && bytes.starts_with(b"HTTP/1.")
        && bytes.ends_with(b"\r\n\r\n")
        && has(b"\r\ncontent-length: 0\r\n")
        && !has(b"\r\ncontent-type:")
}

/// The head of an answer with the version that this server speaks.
fn as_http_1_1(head: &[u8]) -> Option<Vec<u8>> {
    let rest = head.strip_prefix(b"HTTP/1.0 ")?;
    Some([b"HTTP/1.1 ", rest].concat())
}

/// Why hyper does not parse a head, by the answer that it gave.
fn unparsable(held: &[u8], error: &hyper::Error, unread: &[u8], params: &ConnectionParams) -> HeadError {
    let status = held.get(9..12).and_then(|code| StatusCode::from_bytes(code).ok()).unwrap_or(StatusCode::BAD_REQUEST);
    match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE if is_in_headers(unread, params.head_limit) => {
            HeadError::TooLarge { limit: params.head_limit, max_headers: params.head_fields }
        }
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE | StatusCode::URI_TOO_LONG => HeadError::TargetTooLong,
        _ => HeadError::Unparsable(status, error.to_string()),
    }
}

/// Whether a head that is too large has come as far as its headers within the limit, or not even to a target.
fn is_in_headers(unread: &[u8], head_limit: usize) -> bool {
    let line = unread.trim_ascii_start();
    let line = &line[..line.len().min(head_limit)];
    line.contains(&b'\n') || !line.contains(&b' ')
}

/// A client whose bytes do not become a request, and what observes that.
pub(crate) struct UnreadClient<'a> {
    /// The client, or the proxy in front of it.
    pub remote: Peer,
    /// Whether it uses TLS.
    pub secure: bool,
    /// What observes requests, if anything does.
    pub observers: Option<&'a Arc<Observers>>,
}

impl<'a> UnreadClient<'a> {
    /// The client of a connection with these `params`.
    pub(crate) fn of(connect_info: &ConnectInfo, params: &'a ConnectionParams) -> Self {
        Self { remote: connect_info.remote, secure: connect_info.secure, observers: params.observers.as_ref() }
    }
}

/// The answer to a head that does not become a request, under an id that the log has, too; with the headers that are
/// `added`, to a client that uses TLS or not.
pub(crate) fn refuse(
    error: &HeadError,
    client: &UnreadClient<'_>,
    is_head: bool,
    added: Option<(&AddedHeaders, bool)>,
) -> Vec<u8> {
    let id = RequestId::fresh();
    tracing::debug!(%id, "request refused: {error}");
    count(CountedMethod::UNKNOWN, error.status(), error.reason());
    let mut trace = TraceContext::begin(&id);
    if let Some(observers) = client.observers {
        observers.sample(&mut trace);
    }
    let bytes = error.to_bytes([id.header(), trace.header()], is_head, added);
    let from = (client.remote.requester(), client.secure);
    if let Some(observers) = client.observers {
        observers.note_unread((id, trace), from, error.status(), error.reason());
    }
    bytes
}

fn count(method: CountedMethod, status: StatusCode, reason: RefusalReason) {
    metrics::thread::current().note(&AnsweredRequest::malformed(method, status, reason));
}

/// Counts and notes the answer to a request that no service has seen, and puts that into its trace.
pub(super) fn note_refusal<B>(
    request: &Request<B>,
    id: RequestId,
    client: &UnreadClient<'_>,
    response: &mut Response<Body>,
    reason: RefusalReason,
) {
    let (status, headers) = (response.status(), request.headers());
    let has_one = headers.get_all(TRACEPARENT).iter().nth(1).is_none();
    let mut trace = if has_one { TraceContext::from_headers(headers, &id) } else { TraceContext::begin(&id) };
    if let Some(observers) = client.observers {
        observers.sample(&mut trace);
    }
    response.headers_mut().insert(TRACEPARENT, trace.header());
    count(CountedMethod::of(request.method()), status, reason);
    if let Some(observers) = client.observers {
        let head = (request.method(), request.uri(), request.version());
        let from = (client.remote.requester(), client.secure);
        if let Some(request) = ObservedRequest::new(observers, (id, trace), from, head, headers) {
            request.end(&Answered::refused(status, reason));
        }
    }
}

/// Sends an answer, closes our side and reads on for a while, so that a client still sending gets to see it: closing
/// with unread bytes would reset the connection and could destroy the answer on its way.
pub(crate) async fn lingering_close<I: AsyncRead + AsyncWrite + Unpin>(io: &mut I, answer: &[u8]) {
    let last_words = async {
        let mut rest = answer;
        while !rest.is_empty() {
            let written = std::future::poll_fn(|cx| Pin::new(&mut *io).poll_write(cx, rest)).await?;
            rest = rest.get(written..).filter(|_| written > 0).ok_or(io::ErrorKind::WriteZero)?;
        }
        std::future::poll_fn(|cx| Pin::new(&mut *io).poll_flush(cx)).await?;
        std::future::poll_fn(|cx| Pin::new(&mut *io).poll_shutdown(cx)).await?;
        // On the heap, or every connection would carry the room for it.
        let (mut space, mut left) = (vec![0; 4096], LINGER_BYTES);
        loop {
            let mut buffer = ReadBuf::new(&mut space);
            std::future::poll_fn(|cx| Pin::new(&mut *io).poll_read(cx, &mut buffer)).await?;
            let read = buffer.filled().len();
            if read == 0 || read > left {
                return io::Result::Ok(());
            }
            left -= read;
        }
    };
    if let Ok(Err(error)) = tokio::time::timeout(LINGER_TIMEOUT, last_words).await {
        tracing::debug!(%error, "client left before the refusal reached it");
    }
}

impl<I: Socket> Socket for ErrorInterceptor<I> {
    fn has_ended(&self) -> bool {
        self.io.has_ended()
    }
}

impl<I: Socket> AsyncRead for ErrorInterceptor<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_release(cx))?;
        let before = buf.filled().len();
        if self.framing.fault().is_none() {
            let read = Pin::new(&mut self.io).poll_read(cx, buf);
            let has_bytes = buf.filled().len() > before;
            self.departure.note_read(has_bytes);
            ready!(read)?;
            if !has_bytes && self.state.is_answering.get() {
                // hyper would drop the request.
                ready!(self.departure.poll_end_delay(cx));
            }
            let followed = self.framing.follow(&mut buf.filled_mut()[before..]);
            let is_within_head = self.framing.is_within_head();
            self.head_timer.note(is_within_head);
            let Some(allowed) = followed else {
                return Poll::Ready(Ok(()));
            };
            if self.may_be_http2 && self.framing.is_preface() {
                self.unseen = Some(Bytes::copy_from_slice(&buf.filled()[before..]));
                buf.set_filled(before);
                return Poll::Ready(Err(io::Error::other("this is HTTP/2")));
            }
            buf.set_filled(before + allowed);
        }
        buf.put_slice(&STOP[..STOP.len().min(buf.remaining())]);
        Poll::Ready(Ok(()))
    }
}

impl<I: Socket> AsyncWrite for ErrorInterceptor<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_release(cx))?;
        let newer = if self.state.is_http_1_0.get() { as_http_1_1(buf) } else { None };
        let buf = newer.as_deref().unwrap_or(buf);
        let written = if is_bare_refusal(buf) {
            self.held.extend_from_slice(buf);
            Poll::Ready(Ok(buf.len()))
        } else {
            let written = Pin::new(&mut self.io).poll_write(cx, buf);
            self.write_timeout.poll(cx, written)
        };
        if written.is_ready() {
            self.state.is_http_1_0.set(false);
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = bufs {
            return self.poll_write(cx, only);
        }
        if self.state.is_http_1_0.get()
            && let Some(head) = bufs.first()
        {
            // The rest follows by a write of its own.
            return self.poll_write(cx, head);
        }
        ready!(self.poll_release(cx))?;
        let written = if bufs.iter().map(|buf| buf.len()).sum::<usize>() <= TOGETHER {
            let (mut space, mut end) = ([0; TOGETHER], 0);
            for buf in bufs {
                space[end..end + buf.len()].copy_from_slice(buf);
                end += buf.len();
            }
            Pin::new(&mut self.io).poll_write(cx, &space[..end])
        } else {
            Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
        };
        self.write_timeout.poll(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes whenever it is polled, even if there is nothing to flush.
        let Self { io, departure, state, .. } = &mut *self;
        if !state.is_answering.get() && departure.cancel_end_delay() {
            cx.waker().wake_by_ref();
        }
        if departure.poll(io, cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_end = self.held.is_empty() && self.unseen.is_none();
        if is_end { Pin::new(&mut self.io).poll_shutdown(cx) } else { Poll::Ready(Ok(())) }
    }
}
