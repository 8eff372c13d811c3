//! What answers requests, and what it learns of the connection by which one came.
//!
//! Used on the I/O threads; a service is shared by all connections of a thread and is not `Send`. Caveat: every answer
//! of a service with a status of 400 or more must have a content type, by which [`malformed`](super::malformed)
//! distinguishes it from one that hyper made.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::{Either, Ready};
use http::{Request, Response};

use super::conformance::HeaderFlags;
use super::incoming::Incoming;
use super::response::Body;
use super::tls::ClientCertificate;
use crate::edge::config::socket_address::SocketAddress;
use crate::edge::observe::repeats::Requester;

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

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// By TCP.
    Ip(SocketAddr),
    /// By a Unix socket, whose clients have no address.
    Unix,
    /// Behind a proxy that does not know its address.
    Unknown,
}

impl Peer {
    /// Its port, if it has one.
    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Ip(address) => address.port(),
            Self::Unix | Self::Unknown => 0,
        }
    }

    /// Whose lines in the log its own are counted with.
    pub(crate) fn requester(self) -> Requester {
        match self {
            Self::Ip(address) => Requester::Address(address.ip()),
            Self::Unix => Requester::Unix,
            Self::Unknown => Requester::Unknown,
        }
    }
}

/// As the log names clients: without the port.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.ip().to_canonical().fmt(f),
            Self::Unix => f.write_str("unix"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// The two ends of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnectInfo {
    /// The client, or the proxy in front of it.
    pub remote: Peer,
    /// Our end.
    pub local: SocketAddress,
    /// Whether the connection is TLS.
    pub secure: bool,
    /// Whether it came by the control socket, whose clients may control the server.
    pub is_control: bool,
    /// The client's certificate, if it has shown one.
    pub certificate: Option<Arc<ClientCertificate>>,
}

impl ConnectInfo {
    /// A connection that is not the control socket's.
    pub(super) fn new(remote: Peer, local: SocketAddress, secure: bool) -> Self {
        Self { remote, local, secure, is_control: false, certificate: None }
    }

    /// A connection by TCP.
    pub(crate) fn tcp(remote: SocketAddr, local: SocketAddr, secure: bool) -> Self {
        Self::new(Peer::Ip(remote), local.into(), secure)
    }

    /// A connection by the control socket; its addresses stand for this machine.
    pub(super) fn control() -> Self {
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { is_control: true, ..Self::tcp(here, here, false) }
    }
}
