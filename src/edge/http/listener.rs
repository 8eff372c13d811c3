//! Listening sockets: all are bound or none, and accepting continues when the system runs short of resources.
//!
//! [`bind`] is called once, on the Python thread, before the I/O threads start; each I/O thread then accepts on a
//! `try_clone` of each socket. Caveat: clones share one queue in the kernel, so a listening socket must never be shut
//! down: a restarted process may have taken it over. A thread stops listening by dropping its clone.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::forked::{Listening, Mark};
use super::service::Peer;
use super::socket_file::{self, SocketFileError};
use super::transport::{Listener, Stream};
use crate::edge::config::settings::{DEFAULT_PORT, UnixAccess};
use crate::edge::config::socket_address::SocketAddress;

/// Connections that may wait in the kernel before they are accepted.
pub(super) const BACKLOG: usize = 1024;

/// Bytes of an answer that the kernel takes before the client does. With less, a socket is writable again as soon as a
/// client takes something; with the usual megabytes a slow client would look like one that takes nothing.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 128 * 1024;

/// How long to wait for a file descriptor to come free before accepting again.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);

/// An address that cannot be listened on; its text names the address, the reason and what to do.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {reason}; {remedy}")]
pub(crate) struct BindError {
    /// The configured address.
    pub address: SocketAddress,
    /// The system's error.
    #[source]
    pub reason: io::Error,
    remedy: String,
}

impl BindError {
    fn of_ip(address: SocketAddr, reason: io::Error) -> Self {
        Self { remedy: remedy(reason.kind(), address), address: address.into(), reason }
    }

    /// A Unix socket at `path` that cannot be opened, or whose file cannot be changed.
    pub(crate) fn of_unix(path: &Path, error: SocketFileError) -> Self {
        let (reason, remedy) = match error {
            SocketFileError::InUse => (
                io::Error::new(io::ErrorKind::AddrInUse, "a running server listens there"),
                "stop it, or change [network] listen",
            ),
            SocketFileError::NoSocket => {
                (io::Error::other("there is a file that is no socket"), "remove it, or change [network] listen")
            }
            SocketFileError::Refused(reason) => {
                let remedy = match reason.kind() {
                    io::ErrorKind::InvalidInput => "write a shorter path, of at most 107 bytes",
                    io::ErrorKind::PermissionDenied => {
                        "write a path in a folder that the server's user may write to; for unix_group, that user \
                         has to be a member of the group"
                    }
                    _ => "write a path in a folder that is there and writable",
                };
                (reason, remedy)
            }
        };
        Self { address: SocketAddress::Unix(path.into()), reason, remedy: remedy.to_owned() }
    }
}

fn remedy(reason: io::ErrorKind, address: SocketAddr) -> String {
    let port = address.port();
    // Who runs without an ini file has the variable.
    let change = |another: u16| {
        format!("change [network] port, or set PLUGINCORE_NETWORK_PORT={another} (in listen, change it there)")
    };
    match reason {
        io::ErrorKind::AddrInUse => {
            let change = change(port.checked_add(1).unwrap_or(DEFAULT_PORT));
            format!("another program uses port {port}: stop it (`ss -ltnp` names it) or {change}")
        }
        io::ErrorKind::PermissionDenied => format!(
            "port {port} is reserved for privileged programs: {}, or grant the CAP_NET_BIND_SERVICE capability",
            change(DEFAULT_PORT)
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!("{} is no address of this machine: correct [network] bindto or listen", address.ip())
        }
        _ => "check [network] bindto, port and listen".to_owned(),
    }
}

/// Opens a listening socket for each address, in order: non-blocking, closed on `exec`, IPv6 only where it is IPv6.
/// Clients of Unix sockets are those that `access` admits.
///
/// # Errors
///
/// The first address that cannot be had; those already bound are closed again.
pub(crate) fn bind(addresses: &[SocketAddress], access: UnixAccess) -> Result<Vec<Listening>, BindError> {
    let listen = |address: &SocketAddress| match address {
        SocketAddress::Ip(address) => bind_one(*address).map_err(|reason| BindError::of_ip(*address, reason)),
        SocketAddress::Unix(path) => socket_file::listen(path, access, backlog())
            .and_then(|(socket, file)| Ok(Listening::new(socket)?.with_file(file)))
            .map_err(|error| BindError::of_unix(path, error)),
    };
    addresses.iter().map(listen).collect()
}

/// Whether `address` can be listened on now; nothing listens there afterwards.
///
/// # Errors
/// When it cannot be had.
pub(crate) fn probe(address: &SocketAddress) -> Result<(), BindError> {
    match address {
        SocketAddress::Ip(address) => bind_one(*address).map(drop).map_err(|reason| BindError::of_ip(*address, reason)),
        SocketAddress::Unix(path) => socket_file::probe(path).map_err(|error| BindError::of_unix(path, error)),
    }
}

fn backlog() -> i32 {
    BACKLOG.try_into().unwrap_or(i32::MAX)
}

fn bind_one(address: SocketAddr) -> io::Result<Listening> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Without this a restart fails for as long as connections of the old process linger in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `::` and `0.0.0.0` can then both be configured, and an IPv4 client never shows as `::ffff:…`.
        socket.set_only_v6(true)?;
    }
    prepare(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(backlog())?;
    Listening::new(socket)
}

/// Makes `socket`, which may have been made elsewhere, fit for the I/O threads.
///
/// # Errors
/// When the system refuses an option.
pub(crate) fn prepare(socket: &Socket) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if !socket.local_addr()?.is_unix() {
        socket.set_tcp_notsent_lowat(UNSENT)?; // accepted sockets inherit it
    }
    socket.set_nonblocking(true)
}

/// Accepts connections for one I/O thread and outlives every failure to do so.
#[derive(Debug)]
pub(crate) struct Acceptor<L> {
    // Dropped before the socket is closed.
    _mark: Mark,
    listener: L,
    short: bool,
}

impl<L: Listener> Acceptor<L> {
    /// Takes this thread's clone of a listening socket.
    pub(crate) fn new(listener: L) -> Self {
        Self { _mark: Mark::new(&listener), listener, short: false }
    }

    /// Waits for the next connection.
    ///
    /// A client that gave up while queued is passed over. When descriptors or memory run short, it logs once, pauses
    /// and tries again. Safe to drop and call again.
    pub(crate) async fn accept(&mut self) -> (Stream<L::Connection>, Peer) {
        loop {
            match self.listener.accept().await {
                Ok((stream, remote)) => {
                    if std::mem::take(&mut self.short) {
                        tracing::info!("accepting connections again");
                    }
                    return (Stream::new(stream), remote);
                }
                Err(error) if gone_while_queued(error.kind()) => {}
                Err(error) => {
                    if !std::mem::replace(&mut self.short, true) {
                        tracing::error!(
                            %error,
                            "cannot accept connections; trying again until it works. \
                             If files ran out, raise the limit (`ulimit -n`, LimitNOFILE=)"
                        );
                    }
                    tokio::time::sleep(SHORTAGE_PAUSE).await;
                }
            }
        }
    }
}

fn gone_while_queued(error: io::ErrorKind) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error, ConnectionAborted | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::SocketAddr;

    use super::BindError;
    use crate::edge::config::settings::UnixAccess;
    use crate::edge::config::socket_address::SocketAddress;
    use crate::edge::http::forked::Listening;

    fn loopback(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn bind(addresses: &[SocketAddr]) -> Result<Vec<Listening>, BindError> {
        let addresses: Vec<_> = addresses.iter().copied().map(SocketAddress::Ip).collect();
        super::bind(&addresses, UnixAccess::default())
    }

    #[test]
    fn every_address_gets_a_nonblocking_socket() {
        let sockets = bind(&[loopback(0), loopback(0)]).unwrap();
        assert_eq!(2, sockets.len());
        for socket in sockets {
            assert_eq!(io::ErrorKind::WouldBlock, socket.share().unwrap().socket.accept().unwrap_err().kind());
        }
    }

    #[test]
    fn a_port_in_use_is_named_with_its_remedy() {
        let taken = bind(&[loopback(0)]).unwrap();
        let address = taken[0].address().ip().unwrap();
        let text = bind(&[address]).unwrap_err().to_string();
        assert!(text.starts_with(&format!("cannot listen on {address}: ")), "{text}");
        assert!(text.contains("another program uses port"), "{text}");
    }

    #[test]
    fn a_foreign_address_is_named_with_its_remedy() {
        let text = bind(&[SocketAddr::from(([192, 0, 2, 1], 0))]).unwrap_err().to_string();
        assert!(text.contains("192.0.2.1 is no address of this machine"), "{text}");
    }

    #[test]
    fn a_privileged_port_is_named_with_its_remedy() {
        let reason = io::Error::from(io::ErrorKind::PermissionDenied);
        let text = BindError::of_ip(loopback(80), reason).to_string();
        assert!(text.contains("CAP_NET_BIND_SERVICE"), "{text}");
    }
}
