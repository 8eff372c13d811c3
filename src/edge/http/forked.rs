//! The server's sockets in processes that are forked from it.
//!
//! Used on all threads. A forked child inherits every descriptor. It closes the listening sockets at once, so that the
//! port is free when the server has ended. Connections that the server closes after a fork are shut down first, so
//! that they end for their clients even if a child has them open. Caveat: both depend on [`note_child`], which
//! `os.fork` triggers; after the server was killed, its connections stay open as long as such a child lives.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use socket2::{SockAddr, SockRef, Socket};

use super::socket_file::SocketFile;
use crate::edge::config::socket_address::SocketAddress;

/// The open listening sockets. Read without a lock, which a fork might leave locked for ever.
static LISTENING: LazyLock<ArcSwap<Vec<RawFd>>> = LazyLock::new(ArcSwap::default);

/// Whether this process has been forked.
static HAS_CHILDREN: AtomicBool = AtomicBool::new(false);

/// Shuts down a connection that is about to be closed, if a forked child may have it open as well.
pub(super) fn end(connection: &impl AsFd) {
    if HAS_CHILDREN.load(Ordering::Relaxed) {
        // A client that has gone already is what is wanted.
        let _ = SockRef::from(connection).shutdown(Shutdown::Both);
    }
}

/// To be called in the parent after each fork.
pub(crate) fn note_child() {
    HAS_CHILDREN.store(true, Ordering::Relaxed);
}

/// The numbers of the open listening sockets.
pub(crate) fn listening() -> Arc<Vec<RawFd>> {
    LISTENING.load_full()
}

/// Marks a descriptor as a listening socket of this process's own; to be dropped before it is closed.
#[derive(Debug)]
pub(crate) struct Mark(RawFd);

impl Mark {
    /// Marks `socket`.
    pub(crate) fn new(socket: &impl AsRawFd) -> Self {
        let number = socket.as_raw_fd();
        LISTENING.rcu(|numbers| numbers.iter().copied().chain([number]).collect::<Vec<_>>());
        Self(number)
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        LISTENING.rcu(|numbers| numbers.iter().copied().filter(|number| *number != self.0).collect::<Vec<_>>());
    }
}

/// A listening socket that forked children give up.
#[derive(Debug)]
pub(crate) struct Listening {
    // Fields are dropped in this order.
    _mark: Mark,
    socket: Socket,
    address: SocketAddress,
    /// The file of a Unix socket that this server made.
    file: Option<Arc<SocketFile>>,
    /// Whether the service manager made it (socket activation).
    is_given: bool,
}

/// A copy of a listening socket for an I/O thread.
pub(crate) struct Share {
    /// The socket.
    pub socket: Socket,
    /// Where it listens.
    pub address: SocketAddress,
}

impl Listening {
    /// A socket that listens by TCP or at a path.
    ///
    /// # Errors
    /// When it is of another kind.
    pub(crate) fn new(socket: Socket) -> io::Result<Self> {
        let address = address(&socket.local_addr()?).ok_or(io::ErrorKind::Unsupported)?;
        Ok(Self { _mark: Mark::new(&socket), socket, address, file: None, is_given: false })
    }

    /// With the file of a Unix socket, which is removed when the last copy of this is dropped.
    pub(crate) fn with_file(self, file: SocketFile) -> Self {
        Self { file: Some(Arc::new(file)), ..self }
    }

    /// A socket that an earlier process or image has made; nothing if it is a Unix socket that clients do not find any
    /// more.
    pub(crate) fn inherited(socket: Socket) -> Option<Self> {
        let listening = Self::new(socket).ok()?;
        match &listening.address {
            SocketAddress::Ip(_) => Some(listening),
            SocketAddress::Unix(path) => SocketFile::found(path).map(|file| listening.with_file(file)),
        }
    }

    /// A socket that the service manager made, which it keeps, and with it its file, when the server has ended.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub(crate) fn given(socket: Socket) -> io::Result<Self> {
        Ok(Self { is_given: true, ..Self::new(socket)? })
    }

    /// Whether the service manager made it.
    pub(crate) fn is_given(&self) -> bool {
        self.is_given
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &SocketAddress {
        &self.address
    }

    /// The file of a Unix socket that this server made.
    pub(crate) fn file(&self) -> Option<&Arc<SocketFile>> {
        self.file.as_ref()
    }

    /// A copy of it.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        let Share { socket, address } = self.share()?;
        Ok(Self { _mark: Mark::new(&socket), socket, address, file: self.file.clone(), is_given: self.is_given })
    }

    /// A copy for an I/O thread.
    ///
    /// # Errors
    /// As for [`Self::try_clone`].
    pub(crate) fn share(&self) -> io::Result<Share> {
        Ok(Share { socket: self.socket.try_clone()?, address: self.address.clone() })
    }
}

/// Where a socket of the system's address listens.
fn address(address: &SockAddr) -> Option<SocketAddress> {
    if let Some(address) = address.as_socket() {
        return Some(address.into());
    }
    if !address.is_unix() {
        return None;
    }
    let in_namespace = || address.as_abstract_namespace().map(|name| format!("@{}", String::from_utf8_lossy(name)));
    let path = address.as_pathname().map(PathBuf::from).or_else(|| in_namespace().map(PathBuf::from))?;
    Some(SocketAddress::Unix(path.into()))
}

impl AsFd for Listening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
