//! Connections: accepted sockets deliver requests to a [`Service`], whose answers go back.
//!
//! Runs on the I/O threads, one local task a connection: [`handshake`](super::handshake) if TLS is configured, then
//! [`http1`] or [`http2`]: by TLS as client and server have agreed, by plain TCP as the client begins. A panic ends its
//! connection and no other.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::task::{JoinError, JoinSet};

use super::connection_count::{ConnectionPlace, Gate};
use super::control_socket::ControlAcceptor;
use super::departure::Socket;
use super::drain::Drain;
use super::handshake::shake_hands;
use super::listener::{Acceptor, BACKLOG};
use super::malformed::{self, UnreadClient};
use super::params::ConnectionParams;
use super::proxied;
use super::proxy_header::Source;
use super::rescue::HeadError;
use super::service::{ConnectInfo, Peer, Service};
use super::tls::{ClientCertificate, HTTP2};
use super::transport::{Listener, Stream, Transport};
use super::{http1, http2};
use crate::edge::config::socket_address::SocketAddress;
use crate::edge::observe::metrics::thread;

/// How long a refused client has to read why.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Returns the certificate of the moment; none for plain HTTP.
pub(crate) type CertificateSource = Box<dyn Fn() -> Option<Arc<ServerConfig>>>;

/// Returns the limits and timings of the moment.
pub(crate) type ParamsSource = Box<dyn Fn() -> ConnectionParams>;

/// Serves a listening socket until the drain starts, or `removed` is ready, and its last connection has ended.
///
/// A connection for which `gate` has no place is refused. New connections use what `certificate` and `params` return at
/// that moment, or speak plain HTTP when there is no certificate. To be awaited where local tasks can be spawned;
/// dropping the future closes every connection that is left. Connections of a socket that was removed go on.
pub(crate) async fn serve<S: Service, L: Listener>(
    listener: L,
    certificate: CertificateSource,
    params: ParamsSource,
    gate: Gate,
    service: Rc<S>,
    mut drain: Drain,
    removed: impl Future<Output = ()>,
) {
    let mut removed = std::pin::pin!(removed);
    let gate = Rc::new(gate);
    let server = Rc::new(Server::new(certificate, params, service, drain.clone()));
    let mut acceptor = Acceptor::new(listener);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = drain.started() => break,
            () = &mut removed => break,
            Some(ended) = connections.join_next() => server.note_end(ended),
            (stream, remote) = acceptor.accept() => {
                take_up(&server, &gate, &mut connections, (stream, remote));
            }
        }
    }
    if !drain.kind().has_successor {
        // The system has accepted these clients already, and would reset them. Once around, so that the runtime has
        // asked it for them: signal and clients may have come at the same time.
        tokio::task::yield_now().await;
        for (stream, remote) in std::iter::from_fn(|| acceptor.accept().now_or_never()).take(BACKLOG) {
            take_up(&server, &gate, &mut connections, (stream, remote));
        }
    }
    drop(acceptor);
    while let Some(ended) = connections.join_next().await {
        server.note_end(ended);
    }
}

/// Serves a connection that has just been accepted, or refuses it.
fn take_up<S: Service, T: Transport>(
    server: &Rc<Server<S>>,
    gate: &Rc<Gate>,
    connections: &mut JoinSet<()>,
    (stream, remote): (Stream<T>, Peer),
) {
    thread::current().server.connections.add(1);
    let params = (server.params)();
    if params.proxy_protocol && !(gate.is_trusted)(remote) {
        return proxied::log_stranger(remote);
    }
    match gate.enter(remote) {
        Ok(place) => {
            let accepted = Accepted { stream, remote, place, gate: Rc::clone(gate) };
            connections.spawn_local(Rc::clone(server).handle_connection(accepted, params));
        }
        Err(_) => {
            if let Some(refusal) = server.refusal(stream, remote, gate, params) {
                connections.spawn_local(refusal);
            }
        }
    }
}

/// Answers 503 to a client for which there is no place, whatever it asks for.
async fn refuse<T: Transport>(mut stream: Stream<T>, remote: Peer, params: &ConnectionParams) {
    let client = UnreadClient { remote, secure: false, observers: params.observers.as_ref() };
    let added = params.added_headers.as_deref().map(|added| (added, false));
    let answer = malformed::refuse(&HeadError::Crowded, &client, false, added);
    // The client has its answer or it has not: this is not worth the descriptor for longer.
    let _ = tokio::time::timeout(REFUSAL_TIMEOUT, malformed::lingering_close(&mut stream, &answer)).await;
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
                    server.serve_http(stream, ConnectInfo::control(), params).await;
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
    let served = http1::serve(io, connect_info.clone(), params.clone(), Rc::clone(&service), drain.clone());
    if let Some((io, unread)) = served.await {
        // Boxed, or every connection would carry the room for it.
        Box::pin(http2::serve(io, unread, connect_info, params, service, drain)).await;
    }
}

/// A connection that has its place.
struct Accepted<T: Transport> {
    stream: Stream<T>,
    remote: Peer,
    place: ConnectionPlace,
    gate: Rc<Gate>,
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
    async fn handle_connection<T: Transport>(self: Rc<Self>, mut accepted: Accepted<T>, params: ConnectionParams) {
        let Ok(mut local) = accepted.stream.0.local_address() else {
            return; // the client has gone already
        };
        if params.proxy_protocol {
            // Boxed, or every other connection would carry the room for it.
            let ends = Box::pin(self.find_client(accepted, local, &params)).await;
            let Some(ends) = ends else { return };
            (accepted, local) = ends;
        }
        let Accepted { stream, remote, place: _place, .. } = accepted;
        let connect_info = ConnectInfo::new(remote, local, false);
        let stream = match (self.certificate)() {
            None => stream,
            Some(config) => match T::for_tls(stream) {
                // Boxed, or every plain connection would carry the room that a TLS session takes.
                Ok(stream) => return Box::pin(self.serve_tls(stream, config, connect_info, params)).await,
                Err(stream) => stream,
            },
        };
        self.serve_http(stream, connect_info, params).await;
    }

    /// The connection of a proxy as one of the client that its header names, and the address that this one has
    /// connected to; nothing if the header does not come, or the client has too many connections.
    async fn find_client<T: Transport>(
        &self,
        mut accepted: Accepted<T>,
        local: SocketAddress,
        params: &ConnectionParams,
    ) -> Option<(Accepted<T>, SocketAddress)> {
        let proxy = accepted.remote;
        let source = proxied::receive(&mut accepted.stream, proxy, params.head_time, self.drain.clone()).await?;
        let (remote, local) = match source {
            Source::Client { client, server } => (Peer::Ip(client), server.into()),
            Source::Unknown => (Peer::Unknown, local),
            Source::Proxy => (proxy, local),
        };
        if accepted.gate.reveal(&mut accepted.place, remote).is_err() {
            if let Some(refusal) = self.refusal(accepted.stream, remote, &accepted.gate, params.clone()) {
                refusal.await;
            }
            return None;
        }
        Some((Accepted { remote, ..accepted }, local))
    }

    /// What tells a client that there is no place for it; nothing if it could not read that, or there are too many.
    fn refusal<T: Transport>(
        &self,
        stream: Stream<T>,
        remote: Peer,
        gate: &Gate,
        params: ConnectionParams,
    ) -> Option<impl Future<Output = ()> + use<S, T>> {
        // A client of TLS could not.
        let lingering = if (self.certificate)().is_some() { None } else { gate.count.linger() };
        lingering.map(|place| async move {
            refuse(stream, remote, &params).await;
            drop(place);
        })
    }

    async fn serve_tls(
        &self,
        stream: Stream<TcpStream>,
        config: Arc<ServerConfig>,
        connect_info: ConnectInfo,
        params: ConnectionParams,
    ) {
        let handshake = shake_hands(stream, config, &connect_info, &params, self.drain.clone()).await;
        let Some(stream) = handshake else { return };
        let (_, session) = stream.get_ref();
        let is_http2 = session.alpn_protocol() == Some(HTTP2);
        let certificate = session.peer_certificates().and_then(<[_]>::first).map(ClientCertificate::of);
        let connect_info = ConnectInfo { secure: true, certificate: certificate.map(Arc::new), ..connect_info };
        if is_http2 {
            let (service, drain) = (Rc::clone(&self.service), self.drain.clone());
            return http2::serve(stream, Bytes::new(), connect_info, params, service, drain).await;
        }
        self.serve_http(stream, connect_info, params).await;
    }

    async fn serve_http<I: Socket>(&self, io: I, connect_info: ConnectInfo, params: ConnectionParams) {
        serve_connection(io, connect_info, params, Rc::clone(&self.service), self.drain.clone()).await;
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
