//! Connections: accepted sockets deliver requests to a [`Service`], whose answers go back in order.
//!
//! Runs on the I/O threads, one local task a connection: TLS if it is configured, then HTTP/1.1 by hyper, which keeps
//! pipelined requests in order, decodes chunked bodies and answers `Expect: 100-continue` as soon as a body is read. A
//! panic ends its connection and no other. Caveat: every answer of a service with a status of 400 or more must have a
//! content type, by which [`malformed`] distinguishes it from one that hyper made.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Either, Ready, ready};
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::body;
use super::conformance::{self, HeaderFlags, OldClient};
use super::control_socket::ControlAcceptor;
use super::departure::Socket;
use super::drain::Drain;
use super::forked::Stream;
use super::listener::{Acceptor, BACKLOG};
use super::malformed::{self, ConnectionState, ErrorInterceptor};
use super::request_id::RequestId;
use super::rescue::HeadError;
use super::response::Body;
use super::timer::LazyTimer;
use super::upgrade::Relay;
use crate::edge::config::settings::ServerSettings;

/// Smallest buffer that hyper accepts, in bytes; a smaller head limit still holds.
const MIN_BUFFER: usize = 8 * 1024;

/// Longest time for a TLS handshake, unless `read_timeout` is shorter.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long after a drain's idle grace the rest of a head may take of which a part has arrived, and then the client's end of the
/// connection: a client that does nothing more must not delay the end of the server.
const LAST_GRACE: Duration = Duration::from_secs(1);

/// Answers requests; shared by all connections of an I/O thread. What goes wrong is an answer, too.
pub(crate) trait Service: 'static {
    /// Answers one request. Dropped without notice when the client goes away or the drain's deadline passes.
    fn call(
        self: Rc<Self>,
        connect_info: Rc<ConnectInfo>,
        request: Request<Incoming>,
        flags: HeaderFlags,
    ) -> ResponseFuture<impl Future<Output = Response<Body>> + 'static>;
}

/// A response that is there now or comes later. One that is there needs no future that keeps the request; this is one
/// type for what services give and what connections answer themselves, so that no response is wrapped twice.
pub(crate) type ResponseFuture<F> = Either<Ready<Response<Body>>, F>;

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectInfo {
    /// The client, or the proxy in front of it.
    pub remote: SocketAddr,
    /// Our end.
    pub local: SocketAddr,
    /// Whether the connection is TLS.
    pub secure: bool,
    /// Whether it came by the control socket, whose clients may control the server.
    pub is_control: bool,
}

impl ConnectInfo {
    /// A connection by TCP.
    pub(crate) fn tcp(remote: SocketAddr, local: SocketAddr, secure: bool) -> Self {
        Self { remote, local, secure, is_control: false }
    }

    /// A connection by the control socket; its addresses stand for this machine.
    fn control() -> Self {
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { remote: here, local: here, secure: false, is_control: true }
    }
}

/// Limits and timings of a connection, ready to use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionParams {
    /// Bytes of request line and headers; more is 431.
    pub head_limit: usize,
    /// For a whole head, waiting for it on an idle connection included; and for a client to take some of its answer.
    pub read_timeout: Duration,
    /// For a whole TLS handshake.
    pub handshake_timeout: Duration,
}

impl ConnectionParams {
    /// Takes from the settings what concerns connections.
    pub(crate) fn new(settings: &ServerSettings) -> Self {
        Self {
            head_limit: settings.head_limit,
            read_timeout: settings.read_timeout,
            handshake_timeout: settings.read_timeout.min(HANDSHAKE_TIMEOUT),
        }
    }
}

/// Returns the certificate of the moment; none for plain HTTP.
pub(crate) type CertificateSource = Box<dyn Fn() -> Option<Arc<ServerConfig>>>;

/// Returns the limits and timings of the moment.
pub(crate) type ParamsSource = Box<dyn Fn() -> ConnectionParams>;

/// Serves a listening socket until the drain starts, or `removed` is ready, and its last connection has ended.
///
/// New connections use what `certificate` and `params` return at that moment, or speak plain HTTP when there is no
/// certificate. To be awaited where local tasks can be spawned; dropping the future closes every connection that is
/// left. Connections of a socket that was removed go on.
pub(crate) async fn serve<S: Service>(
    listener: TcpListener,
    certificate: CertificateSource,
    params: ParamsSource,
    service: Rc<S>,
    mut drain: Drain,
    removed: impl Future<Output = ()>,
) {
    let mut removed = std::pin::pin!(removed);
    let server = Rc::new(Server::new(certificate, params, service, drain.clone()));
    let mut acceptor = Acceptor::new(listener);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = drain.started() => break,
            () = &mut removed => break,
            Some(ended) = connections.join_next() => server.note_end(ended),
            (stream, remote) = acceptor.accept() => {
                connections.spawn_local(Rc::clone(&server).handle_connection(stream, remote));
            }
        }
    }
    if !drain.kind().has_successor {
        // The system has accepted these clients already, and would reset them. Once around, so that the runtime has asked
        // it for them: signal and clients may have come at the same time.
        tokio::task::yield_now().await;
        for (stream, remote) in std::iter::from_fn(|| acceptor.accept().now_or_never()).take(BACKLOG) {
            connections.spawn_local(Rc::clone(&server).handle_connection(stream, remote));
        }
    }
    drop(acceptor);
    while let Some(ended) = connections.join_next().await {
        server.note_end(ended);
    }
}

/// Serves the control socket; otherwise like [`serve`].
pub(crate) async fn serve_control<S: Service>(
    mut acceptor: ControlAcceptor,
    params: ParamsSource,
    service: Rc<S>,
    mut drain: Drain,
) {
    let server = Rc::new(Server::new(Box::new(|| None), params, service, drain.clone()));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = drain.started() => break,
            Some(ended) = connections.join_next() => server.note_end(ended),
            stream = acceptor.accept() => {
                let server = Rc::clone(&server);
                let params = (server.params)();
                connections.spawn_local(async move {
                    server.serve_connection(stream, ConnectInfo::control(), params).await;
                });
            }
        }
    }
    drop(acceptor);
    while let Some(ended) = connections.join_next().await {
        server.note_end(ended);
    }
}

/// Serves one plain connection that is there already, such as one within the process; otherwise like [`serve`].
pub(crate) async fn serve_connection<S: Service, I: Socket>(
    io: I,
    connect_info: ConnectInfo,
    params: ConnectionParams,
    service: Rc<S>,
    drain: Drain,
) {
    let server = Server::new(Box::new(|| None), Box::new(move || params), service, drain);
    server.serve_connection(io, connect_info, params).await;
}

/// What all connections of a listener share.
struct Server<S> {
    certificate: CertificateSource,
    params: ParamsSource,
    service: Rc<S>,
    drain: Drain,
}

impl<S: Service> Server<S> {
    fn new(certificate: CertificateSource, params: ParamsSource, service: Rc<S>, drain: Drain) -> Self {
        Self { certificate, params, service, drain }
    }

    /// Attends to one connection from its first byte to its last.
    async fn handle_connection(self: Rc<Self>, stream: Stream, remote: SocketAddr) {
        let Ok(local) = stream.0.local_addr() else {
            return; // the client has gone already
        };
        let params = (self.params)();
        match (self.certificate)() {
            None => self.serve_connection(stream, ConnectInfo::tcp(remote, local, false), params).await,
            Some(config) => {
                // Boxed, or every plain connection would carry the room that a TLS session takes.
                if let Some(stream) = Box::pin(self.tls_handshake(stream, config, remote, params)).await {
                    Box::pin(self.serve_connection(stream, ConnectInfo::tcp(remote, local, true), params)).await;
                }
            }
        }
    }

    async fn tls_handshake(
        &self,
        mut stream: Stream,
        config: Arc<ServerConfig>,
        remote: SocketAddr,
        params: ConnectionParams,
    ) -> Option<tokio_rustls::server::TlsStream<Stream>> {
        let handshake = async {
            let mut first = [0];
            stream.0.peek(&mut first).await?;
            if first[0].is_ascii_uppercase() {
                // The start of a method, never of a handshake.
                let hint = malformed::refuse(&HeadError::PlainHttp, false);
                malformed::lingering_close(&mut stream, &hint).await;
                return Err(std::io::Error::other("plain HTTP on a TLS port"));
            }
            TlsAcceptor::from(config).accept(stream).await
        };
        let mut drain = self.drain.clone();
        let outcome = tokio::select! {
            () = async {
                drain.started().await;
                tokio::time::sleep(drain.kind().idle_grace).await;
            } => return None,
            outcome = tokio::time::timeout(params.handshake_timeout, handshake) => outcome,
        };
        let reason = match outcome {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "took too long".to_owned(),
        };
        tracing::debug!(%remote, reason, "TLS handshake failed");
        None
    }

    async fn serve_connection<I: Socket>(&self, io: I, connect_info: ConnectInfo, params: ConnectionParams) {
        let (service, connect_info) = (Rc::clone(&self.service), Rc::new(connect_info));
        let last_request_arrived = Rc::new(Notify::new());
        let last_request = Rc::clone(&last_request_arrived);
        let (upgrade, state) = (Rc::new(Cell::new(None)), Rc::new(ConnectionState::default()));
        let (announced, service_state) = (Rc::clone(&upgrade), Rc::clone(&state));
        let (secure, known_host) = (connect_info.secure, RefCell::default());
        let respond = service_fn(move |mut request: Request<Incoming>| {
            if service_state.drains.get() {
                last_request.notify_one();
            }
            service_state.is_answering.set(true);
            let old_client = OldClient::of(&request);
            let answer = match conformance::check(&mut request, secure, &mut known_host.borrow_mut()) {
                Ok(flags) => Rc::clone(&service).call(Rc::clone(&connect_info), request, flags),
                Err(violation) => {
                    let id = RequestId::from_headers(request.headers());
                    tracing::debug!(%id, "request refused: {violation}");
                    body::discard(request.into_body());
                    Either::Left(ready(violation.respond(id.header())))
                }
            };
            let (announced, service_state) = (Rc::clone(&announced), Rc::clone(&service_state));
            answer.map(move |mut response| {
                service_state.is_answering.set(false);
                if service_state.drains.get() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
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
        let mut http = http1::Builder::new();
        http.header_read_timeout(params.read_timeout)
            .max_header_size(params.head_limit)
            .max_buf_size(params.head_limit.max(MIN_BUFFER));
        let mut connection = http
            .timer(timer.clone())
            .serve_connection(TokioIo::new(ErrorInterceptor::new(io, params.read_timeout, Rc::clone(&state))), respond);
        let mut drain = self.drain.clone();
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
        if let Err(error) = &ended {
            tracing::debug!(%error, "connection ended");
        }
        let parts = connection.into_parts();
        if let (Some(relay), Ok(())) = (upgrade.take(), &ended) {
            // Boxed, or every connection would carry the room for it.
            return Box::pin(relay.run(parts.io.into_inner().leave_http(), parts.read_buf)).await;
        }
        tokio::select! {
            () = async {
                drain.started().await;
                tokio::time::sleep(LAST_GRACE).await;
            } => {}
            () = parts.io.into_inner().finish(ended, &parts.read_buf, params.head_limit) => {}
        }
    }

    fn note_end(&self, ended: Result<(), JoinError>) {
        if let Err(error) = ended.map_err(JoinError::try_into_panic)
            && let Ok(panic) = error
        {
            tracing::error!(panic = panic_text(&*panic), "a connection was ended by a panic; please report it");
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("(no text)")
}
