//! A connection of HTTP/1.1, by hyper.
//!
//! Runs on the I/O threads. hyper keeps pipelined requests in order, decodes chunked bodies and answers
//! `Expect: 100-continue` as soon as a body is read; [`malformed`](super::malformed) is between it and the socket. A
//! connection that a drain finds idle waits for one more request, whose answer says that it is the last.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{Either, ready};
use http::header::CONNECTION;
use http::{HeaderValue, Request, StatusCode};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::sync::Notify;

use super::added_headers::AddedHeaders;
use super::body;
use super::conformance::{self, OldClient};
use super::departure::Socket;
use super::drain::{Drain, LAST_GRACE};
use super::incoming::Incoming;
use super::malformed::{ConnectionState, ErrorInterceptor, MAX_HEADERS, UnreadClient, note_refusal};
use super::params::ConnectionParams;
use super::request_id::RequestId;
use super::rescue::ErrorFormat;
use super::service::{ConnectInfo, Service};
use super::timer::LazyTimer;
use super::upgrade::Relay;

/// Smallest buffer that hyper accepts, in bytes; a smaller head limit still holds.
const MIN_BUFFER: usize = 8 * 1024;

/// What hyper is to go by.
fn builder(params: &ConnectionParams) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(params.idle_time)
        .max_header_size(params.head_limit)
        .max_buf_size(params.head_limit.max(MIN_BUFFER));
    if params.head_fields != MAX_HEADERS {
        // hyper allocates for each request then.
        builder.max_headers(params.head_fields);
    }
    builder
}

/// Serves a connection until its client, the protocol or the drain ends it. One that begins as one of HTTP/2 does, and
/// may, is returned with what has been read of it.
pub(super) async fn serve<S: Service, I: Socket>(
    io: I,
    connect_info: ConnectInfo,
    params: ConnectionParams,
    service: Rc<S>,
    mut drain: Drain,
) -> Option<(I, Bytes)> {
    let connect_info = Rc::new(connect_info);
    let [last_request_arrived, request_answered] = [(); 2].map(|()| Rc::new(Notify::new()));
    let (last_request, answered) = (Rc::clone(&last_request_arrived), Rc::clone(&request_answered));
    let (upgrade, state) = (Rc::new(Cell::new(None)), Rc::new(ConnectionState::default()));
    let (announced, service_state) = (Rc::clone(&upgrade), Rc::clone(&state));
    let (secure, known) = (connect_info.secure, RefCell::default());
    let (added_headers, target_size) = (params.added_headers.clone(), params.target_size);
    let (client, observers) = (Rc::clone(&connect_info), params.observers.clone());
    let remote = connect_info.remote;
    let respond = service_fn(move |mut request: Request<hyper::body::Incoming>| {
        if service_state.drains.get() {
            last_request.notify_one();
        }
        service_state.is_answering.set(true);
        let old_client = OldClient::of(&request);
        let checked = conformance::check_target_size(&request, target_size)
            .and_then(|()| conformance::check(&mut request, secure, &mut known.borrow_mut()));
        let answer = match checked {
            Ok(flags) => Rc::clone(&service).call(Rc::clone(&connect_info), request.map(Incoming::Http1), flags),
            Err(violation) => {
                let id = RequestId::from_headers(request.headers());
                let format = ErrorFormat::of(&id, request.headers());
                tracing::debug!(%id, "request refused: {violation}");
                let mut response = violation.respond(&format);
                let client = UnreadClient { remote, secure, observers: observers.as_ref() };
                note_refusal(&request, id, &client, &mut response, violation.reason());
                body::discard(request.into_body());
                Either::Left(ready(AddedHeaders::complete(added_headers.as_deref(), response, secure)))
            }
        };
        let (announced, service_state) = (Rc::clone(&announced), Rc::clone(&service_state));
        let answered = Rc::clone(&answered);
        answer.map(move |mut response| {
            service_state.is_answering.set(false);
            if service_state.drains.get() {
                answered.notify_one();
                if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
            }
            if let Some(client) = old_client {
                client.adapt(&mut response);
                service_state.is_http_1_0.set(true);
            } else if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                announced.set(Relay::take_from(&mut response));
            }
            Ok::<_, Infallible>(response)
        })
    });
    let timer = LazyTimer::default();
    // By TLS, the client says so in the handshake.
    let may_be_http2 = params.http2 && !secure;
    let io = ErrorInterceptor::new(io, &params, timer.clone(), may_be_http2, Rc::clone(&state));
    let mut connection = builder(&params).timer(timer.clone()).serve_connection(TokioIo::new(io), respond);
    let ended = tokio::select! {
        // The drain first, so that an answer which becomes ready with it says `connection: close`.
        biased;
        () = drain.started() => {
            state.drains.set(true);
            let last_request = async {
                if !state.is_answering.get() {
                    // None may come.
                    let _ = tokio::time::timeout(drain.kind().idle_grace, last_request_arrived.notified()).await;
                }
                // Its response says `close` by itself; from hyper, which says it with a 101 too, clients of WebSockets
                // would not take that.
                if state.is_answering.get() {
                    request_answered.notified().await;
                }
            };
            tokio::select! {
                // The connection first, which may have received a request with the end of its time.
                biased;
                ended = &mut connection => ended,
                () = last_request => {
                    timer.cut_short(LAST_GRACE);
                    std::pin::Pin::new(&mut connection).graceful_shutdown();
                    (&mut connection).await
                }
            }
        }
        ended = &mut connection => ended,
    };
    // Drops the request that is being answered, so that its handler can see that the client is gone before the log says
    // it.
    let parts = connection.into_parts();
    if let Err(error) = &ended {
        tracing::debug!(%error, "connection ended");
    }
    let mut io = parts.io.into_inner();
    if let Some(unseen) = io.take_unseen() {
        return Some((io.into_inner(), Bytes::from([parts.read_buf, unseen].concat())));
    }
    if let (Some(relay), Ok(())) = (upgrade.take(), &ended) {
        // Boxed, or every connection would carry the room for it.
        Box::pin(relay.run(io.leave_http(), parts.read_buf)).await;
        return None;
    }
    tokio::select! {
        () = async {
            drain.started().await;
            tokio::time::sleep(LAST_GRACE).await;
        } => {}
        () = io.finish(ended, &parts.read_buf, &params, &client) => {}
    }
    None
}
