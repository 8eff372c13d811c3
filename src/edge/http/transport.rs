//! The two kinds of connection, by TCP and by Unix sockets, as far as they differ.
//!
//! Used on the I/O threads. Promise: everything above works with either, and is compiled for each, so that a read has
//! nothing to decide. Caveat: TLS is for TCP alone.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::forked;
use super::service::Peer;
use crate::edge::config::socket_address::SocketAddress;
use crate::edge::observe::metrics::server::ServerCounts;
use crate::edge::observe::metrics::thread;

/// A socket that connections are accepted from.
pub(crate) trait Listener: AsRawFd {
    /// Its connections.
    type Connection: Transport;

    /// Waits for the next one. Safe to drop and call again.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Connection, Peer)>>;
}

impl Listener for TcpListener {
    type Connection = TcpStream;

    /// Small answers are sent at once (`TCP_NODELAY`).
    async fn accept(&self) -> io::Result<(TcpStream, Peer)> {
        let (stream, remote) = Self::accept(self).await?;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%remote, %error, "cannot set TCP_NODELAY");
        }
        Ok((stream, Peer::Ip(remote)))
    }
}

impl Listener for UnixListener {
    type Connection = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, Peer)> {
        let (stream, _) = Self::accept(self).await?;
        Ok((stream, Peer::Unix))
    }
}

/// A connection.
pub(crate) trait Transport: AsyncRead + AsyncWrite + AsFd + Unpin + 'static {
    /// Our end of it.
    ///
    /// # Errors
    /// When the client has gone already.
    fn local_address(&self) -> io::Result<SocketAddress>;

    /// Waits until it is ready.
    fn readiness(&self, interest: Interest) -> impl Future<Output = io::Result<Ready>>;

    /// Waits for bytes and copies them, which stay unread. Safe to drop and call again.
    fn look_ahead(&self, buffer: &mut [u8]) -> impl Future<Output = io::Result<usize>>;

    /// The same connection, if TLS may be spoken on it.
    ///
    /// # Errors
    /// It is given back if not.
    fn for_tls(stream: Stream<Self>) -> Result<Stream<TcpStream>, Stream<Self>>
    where
        Self: Sized;
}

impl Transport for TcpStream {
    fn local_address(&self) -> io::Result<SocketAddress> {
        self.local_addr().map(SocketAddress::Ip)
    }

    fn readiness(&self, interest: Interest) -> impl Future<Output = io::Result<Ready>> {
        self.ready(interest)
    }

    fn look_ahead(&self, buffer: &mut [u8]) -> impl Future<Output = io::Result<usize>> {
        self.peek(buffer)
    }

    fn for_tls(stream: Stream<Self>) -> Result<Stream<TcpStream>, Stream<Self>> {
        Ok(stream)
    }
}

impl Transport for UnixStream {
    fn local_address(&self) -> io::Result<SocketAddress> {
        let address = self.local_addr()?;
        Ok(SocketAddress::Unix(address.as_pathname().unwrap_or(Path::new("")).into()))
    }

    fn readiness(&self, interest: Interest) -> impl Future<Output = io::Result<Ready>> {
        self.ready(interest)
    }

    async fn look_ahead(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let look = || Ok(recv(self, &mut *buffer, RecvFlags::PEEK)?.0);
        self.async_io(Interest::READABLE, look).await
    }

    fn for_tls(stream: Stream<Self>) -> Result<Stream<TcpStream>, Stream<Self>> {
        Err(stream)
    }
}

/// A connection that ends for its client when it is dropped; and where its thread counts the bytes, which is found once.
#[derive(Debug)]
pub(crate) struct Stream<T: AsFd>(pub T, &'static ServerCounts);

impl<T: AsFd> Stream<T> {
    /// One of the current thread, which it must not leave.
    pub(crate) fn new(connection: T) -> Self {
        Self(connection, &thread::current().server)
    }

    /// Counts what was sent.
    #[inline]
    fn count_sent(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(written)) = &written {
            self.1.sent.add(*written as u64);
        }
        written
    }
}

impl<T: AsFd> Drop for Stream<T> {
    fn drop(&mut self) {
        forked::end(&self.0);
    }
}

impl<T: Transport> AsyncRead for Stream<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.0).poll_read(cx, buffer);
        if read.is_ready() {
            self.1.received.add((buffer.filled().len() - before) as u64);
        }
        read
    }
}

impl<T: Transport> AsyncWrite for Stream<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.0).poll_write(cx, bytes);
        self.count_sent(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.0).poll_write_vectored(cx, parts);
        self.count_sent(written)
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
