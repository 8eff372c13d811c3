//! A connection of HTTP/2, by h2.
//!
//! Runs on the I/O threads; all streams of a connection are part of its one task, so that a panic ends the connection
//! and no other. Promise: a request gets the answer that it would get by HTTP/1.1, under the same limits; a stream that
//! is refused or reset leaves the others alone. When the server drains, the client gets GOAWAY, and what it has begun
//! is finished. h2 limits header lists, CONTINUATION frames, resets of streams that have not been taken up and small
//! DATA frames; [`flood`] limits what else a client can send for nothing. Upgrades, such as to a
//! `WebSocket`, are for HTTP/1.1 only: extended CONNECT (RFC 8441) is not offered.
//!
//! h2 is used without hyper, which neither answers `Expect: 100-continue` nor gives a reason for GOAWAY.

mod flood;
mod head;
mod stream;
mod wire;

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::{Either, ready};
use futures_util::stream::FuturesUnordered;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::header::{CONTENT_LENGTH, EXPECT};
use http::{HeaderValue, Method, Request, Response};
use tokio::time::Instant;

use super::added_headers::AddedHeaders;
use super::body;
use super::conformance::KnownHeaders;
use super::departure::Socket;
use super::drain::{Drain, LAST_GRACE};
use super::incoming::{Incoming, StreamBody};
use super::malformed::{UnreadClient, note_refusal};
use super::params::ConnectionParams;
use super::request_id::RequestId;
use super::rescue::ErrorFormat;
use super::response::Body;
use super::service::{ConnectInfo, ResponseFuture, Service};
use head::Refusal;
use stream::Asked;
use wire::{Observed, Wire};

/// Requests of one connection that may be under way; more are refused, and clients know the number.
const MAX_STREAMS: u32 = 128;

/// Bytes of a body that a client may send before they are read.
const STREAM_WINDOW: u32 = 256 * 1024;

/// The same for all streams of a connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Header lists that are larger than this many times the limit for heads get h2's answer: 431 without a body.
const HEADROOM: usize = 2;

/// Serves a connection until its client, the protocol or the drain ends it. `unread` is what has been read of it.
pub(super) async fn serve<S: Service, I: Socket>(
    io: I,
    unread: Bytes,
    connect_info: ConnectInfo,
    params: ConnectionParams,
    service: Rc<S>,
    mut drain: Drain,
) {
    let observed = Rc::new(Observed::default());
    let wire = Wire::new(io, unread, params.send_idle_time, Rc::clone(&observed));
    let handshake = Builder::new()
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size((params.head_limit * HEADROOM).try_into().unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake::<_, Bytes>(wire);
    let handshake = tokio::select! {
        () = async {
            drain.started().await;
            tokio::time::sleep(drain.kind().idle_grace).await;
        } => return,
        handshake = tokio::time::timeout(params.handshake_timeout, handshake) => handshake,
    };
    let mut connection = match handshake {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::debug!(%error, "HTTP/2 connection failed"),
        Err(_) => return tracing::debug!("HTTP/2 connection failed: no preface in time"),
    };
    let (idle_time, head_time) = (params.idle_time, params.head_time);
    let mut requests =
        Requests { service, connect_info: Rc::new(connect_info), params, known: KnownHeaders::default() };
    let mut streams = FuturesUnordered::new();
    let mut end = End::None;
    let mut idle_since = None;
    let idle_grace = drain.clone();
    let (mut draining, mut alarm) = (pin!(drain.started()), pin!(tokio::time::sleep(idle_time)));
    let ended = poll_fn(|cx| {
        if end == End::None && draining.as_mut().poll(cx).is_ready() {
            end = End::Graceful { grace: idle_grace.kind().idle_grace };
            connection.graceful_shutdown();
            idle_since = None;
        }
        loop {
            if observed.is_flooded.get() && end != End::Abrupt {
                tracing::debug!("HTTP/2 connection ended: the client sends too many frames that carry nothing");
                end = End::Abrupt;
                streams.clear();
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            }
            match connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, reply)))) => {
                    idle_since = None;
                    streams.extend(requests.begin(request, reply));
                    continue;
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => {}
            }
            let mut has_finished = false;
            while let Poll::Ready(Some(())) = streams.poll_next_unpin(cx) {
                has_finished = true;
            }
            if !has_finished && (end == End::Abrupt || !observed.is_flooded.get()) {
                break;
            }
            idle_since = None;
        }
        if !streams.is_empty() {
            return Poll::Pending;
        }
        let since = *idle_since.get_or_insert_with(Instant::now);
        loop {
            let idle = since + end.time_limit(idle_time, connection.has_streams());
            let head = observed.head_since.get().map(|since| since + head_time);
            let deadline = head.map_or(idle, |head| head.min(idle));
            if alarm.deadline() > deadline {
                alarm.as_mut().reset(deadline);
            }
            if alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if alarm.deadline() < deadline {
                alarm.as_mut().reset(deadline);
                continue;
            }
            let is_head_late = head == Some(deadline);
            if !end.advance(&mut connection, is_head_late) {
                return Poll::Ready(Ok(()));
            }
            if is_head_late {
                observed.head_since.set(None);
            }
            idle_since = None;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
    })
    .await;
    // As with HTTP/1.1, before the log says it.
    drop(streams);
    if let Err(error) = ended {
        tracing::debug!(%error, "HTTP/2 connection ended");
    }
}

/// How far the end of a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    None,
    /// The client has been sent GOAWAY, and what it has begun is finished. If it does not answer the PING that comes
    /// with it, `grace` ends the wait.
    Graceful {
        grace: Duration,
    },
    /// Nothing more is accepted, and the last GOAWAY is on its way.
    Abrupt,
}

impl End {
    /// How long a connection stays like this on which no request is under way; `has_streams` if h2 still has answers
    /// to send.
    fn time_limit(self, idle: Duration, has_streams: bool) -> Duration {
        match self {
            Self::Graceful { grace } if !has_streams => grace,
            Self::None | Self::Graceful { .. } => idle,
            Self::Abrupt => LAST_GRACE,
        }
    }

    /// Goes one step further when that time is over; false if the connection has ended with it. If the head of a
    /// request is late, no other request can come: there is nothing to wait for.
    fn advance<I: Socket>(&mut self, connection: &mut Connection<Wire<I>, Bytes>, is_head_late: bool) -> bool {
        match self {
            Self::Abrupt => return false,
            Self::None if !is_head_late => {
                *self = Self::Graceful { grace: LAST_GRACE };
                connection.graceful_shutdown();
            }
            Self::None | Self::Graceful { .. } => {
                *self = Self::Abrupt;
                connection.abrupt_shutdown(Reason::NO_ERROR);
            }
        }
        true
    }
}

/// What all requests of a connection share.
struct Requests<S> {
    service: Rc<S>,
    connect_info: Rc<ConnectInfo>,
    params: ConnectionParams,
    known: KnownHeaders,
}

impl<S: Service> Requests<S> {
    /// Takes up a request; returns what is left to be done for its answer.
    fn begin(
        &mut self,
        request: Request<RecvStream>,
        mut reply: SendResponse<Bytes>,
    ) -> Option<impl Future<Output = ()> + use<S>> {
        let (parts, stream) = request.into_parts();
        let body_wanted = Rc::new(Cell::new(false));
        let asked = Asked {
            expects: parts.headers.contains_key(EXPECT),
            is_head: parts.method == Method::HEAD,
            body_wanted: Rc::clone(&body_wanted),
        };
        let length = parts.headers.get(CONTENT_LENGTH).and_then(number);
        let body = Incoming::Http2(StreamBody::new(stream, length, body_wanted));
        let write_timeout = self.params.send_idle_time;
        match self.respond(Request::from_parts(parts, body)) {
            Either::Left(response) => {
                let (stream, body) = stream::begin(&mut reply, response.into_inner(), asked.is_head)?;
                Some(Either::Left(stream::send(stream, body, write_timeout)))
            }
            Either::Right(response) => Some(Either::Right(stream::answer(reply, asked, response, write_timeout))),
        }
    }

    fn respond(
        &mut self,
        mut request: Request<Incoming>,
    ) -> ResponseFuture<impl Future<Output = Response<Body>> + use<S>> {
        match head::check(&mut request, &self.params, self.connect_info.secure, &mut self.known) {
            Ok(flags) => Rc::clone(&self.service).call(Rc::clone(&self.connect_info), request, flags),
            Err(refusal) => {
                let id = RequestId::from_headers(request.headers());
                let format = ErrorFormat::of(&id, request.headers());
                tracing::debug!(%id, "request refused: {refusal}");
                let (mut response, reason) = match refusal {
                    Refusal::Head(error) => (error.respond(&format), error.reason()),
                    Refusal::Violation(violation) => (violation.respond(&format), violation.reason()),
                };
                let client = UnreadClient::of(&self.connect_info, &self.params);
                note_refusal(&request, id, &client, &mut response, reason);
                body::discard(request.into_body());
                let (added, secure) = (self.params.added_headers.as_deref(), self.connect_info.secure);
                Either::Left(ready(AddedHeaders::complete(added, response, secure)))
            }
        }
    }
}

fn number(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.parse().ok()
}
