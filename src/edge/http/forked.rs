//! The server's sockets in processes that are forked from it.
//!
//! Used on all threads. A forked child inherits every descriptor. It closes the listening sockets at once, so that the
//! port is free when the server has ended. Connections that the server closes after a fork are shut down first, so
//! that they end for their clients even if a child has them open. Caveat: both depend on [`note_child`], which
//! `os.fork` triggers; after the server was killed, its connections stay open as long as such a child lives.

use std::io::{self, IoSlice};
use std::net::{Shutdown, TcpListener};
use std::ops::Deref;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The open listening sockets. Read without a lock, which a fork might leave locked for ever.
static LISTENING: LazyLock<ArcSwap<Vec<RawFd>>> = LazyLock::new(ArcSwap::default);

/// Whether this process has been forked.
static HAS_CHILDREN: AtomicBool = AtomicBool::new(false);

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
    socket: TcpListener,
    /// Whether the service manager made it (socket activation).
    is_given: bool,
}

impl Listening {
    /// A socket that the service manager made, which it keeps when the server has ended.
    pub(crate) fn given(socket: TcpListener) -> Self {
        Self { is_given: true, ..Self::from(socket) }
    }

    /// Whether the service manager made it.
    pub(crate) fn is_given(&self) -> bool {
        self.is_given
    }

    /// A copy of it.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { is_given: self.is_given, ..self.socket.try_clone()?.into() })
    }
}

impl From<TcpListener> for Listening {
    fn from(socket: TcpListener) -> Self {
        Self { _mark: Mark::new(&socket), socket, is_given: false }
    }
}

impl Deref for Listening {
    type Target = TcpListener;

    fn deref(&self) -> &TcpListener {
        &self.socket
    }
}

/// A connection that ends for its client when it is dropped.
#[derive(Debug)]
pub(crate) struct Stream(pub TcpStream);

impl Drop for Stream {
    fn drop(&mut self) {
        if HAS_CHILDREN.load(Ordering::Relaxed) {
            // A client that has gone already is what is wanted.
            let _ = SockRef::from(&self.0).shutdown(Shutdown::Both);
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
