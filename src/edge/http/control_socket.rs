//! The Unix socket by which the server is controlled from its own machine.
//!
//! Opened on the Python thread, accepted from on the first I/O thread. Promise: only the server's user and root can
//! connect (mode 0600, from before the first moment in which it listens); the file of a server that is gone is
//! replaced, that of a running one never, and at the end the own file is removed and no other. Caveat: a file is taken
//! for that of a server which is gone if nobody answers a connection to it.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;

use super::departure;
use super::forked::Mark;

/// Connections that may wait before they are accepted.
const BACKLOG: i32 = 64;

/// How long to wait before accepting again when the system runs short of resources.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlSocketError {
    /// Another server has it.
    #[error("{}: a running server has this control socket; set [server] control_socket for this one", .0.display())]
    InUse(PathBuf),
    /// There is something else.
    #[error("{}: this is no socket; set [server] control_socket to another path", .0.display())]
    NoSocket(PathBuf),
    /// The system refuses it.
    #[error("{}: the control socket cannot be opened: {}; set [server] control_socket to a {}", path.display(), reason, remedy(reason))]
    Refused {
        /// Where it was to be.
        path: PathBuf,
        /// Why not.
        reason: io::Error,
    },
}

fn remedy(reason: &io::Error) -> &'static str {
    if reason.kind() == io::ErrorKind::InvalidInput {
        "shorter path, of at most 107 bytes"
    } else {
        "path in a folder that is writable, or to none"
    }
}

/// The open socket; its file is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    // Dropped before the socket is closed.
    _mark: Mark,
    listener: UnixListener,
    path: PathBuf,
    identity: (u64, u64),
    is_kept: bool,
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

impl ControlSocket {
    /// Listens at `path`.
    ///
    /// # Errors
    /// When a running server listens there, or when the system refuses it.
    pub(crate) fn open(path: &Path) -> Result<Self, ControlSocketError> {
        let refused = |reason| ControlSocketError::Refused { path: path.to_path_buf(), reason };
        match path.symlink_metadata() {
            Ok(metadata) if !metadata.file_type().is_socket() => return Err(ControlSocketError::NoSocket(path.into())),
            Ok(_) if is_alive(path) => return Err(ControlSocketError::InUse(path.into())),
            _ => {}
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(refused)?;
        socket.set_nonblocking(true).map_err(refused)?;
        // Beside its place, and moved there when its mode is right.
        let name = format!(".{}.sock", std::process::id());
        let beside = path.with_file_name(name);
        // The longer of both has to be short enough for an address.
        SockAddr::unix(path).map_err(refused)?;
        let address = SockAddr::unix(&beside).map_err(refused)?;
        // What an earlier process of this number has left behind.
        let _ = fs::remove_file(&beside);
        socket.bind(&address).map_err(refused)?;
        let placed = fs::set_permissions(&beside, Permissions::from_mode(0o600))
            .and_then(|()| socket.listen(BACKLOG))
            .and_then(|()| fs::rename(&beside, path))
            .and_then(|()| path.symlink_metadata());
        let metadata = placed.map_err(|reason| {
            let _ = fs::remove_file(&beside);
            refused(reason)
        })?;
        Ok(Self::new(socket.into(), path.to_path_buf(), &metadata))
    }

    /// Takes over what an earlier image of the process has listened on, if it is still what is found at `path`.
    pub(crate) fn adopt(listener: UnixListener, path: &Path) -> Option<Self> {
        let metadata = path.symlink_metadata().ok()?;
        Some(Self::new(listener, path.to_path_buf(), &metadata))
    }

    fn new(listener: UnixListener, path: PathBuf, metadata: &Metadata) -> Self {
        Self { _mark: Mark::new(&listener), listener, path, identity: identity(metadata), is_kept: false }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the file in place for the next image of the process, or for another process.
    pub(crate) fn keep(&mut self) {
        self.is_kept = true;
    }

    /// Removes the file at the end after all.
    pub(crate) fn own(&mut self) {
        self.is_kept = false;
    }

    /// What an I/O thread accepts from.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub(crate) fn share(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl AsFd for ControlSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if !self.is_kept && self.path.symlink_metadata().is_ok_and(|found| identity(&found) == self.identity) {
            // Somebody else may have removed it, which is all that is wanted.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether somebody listens at `path`; one who does not let us in counts, too.
fn is_alive(path: &Path) -> bool {
    // One whose queue is full would make a blocking connection wait.
    let connected = Socket::new(Domain::UNIX, Type::STREAM, None).and_then(|socket| {
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    });
    match connected {
        Ok(()) => true,
        Err(error) => !matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound),
    }
}

/// Accepts connections for the first I/O thread.
#[derive(Debug)]
pub(crate) struct ControlAcceptor {
    _mark: Mark,
    listener: tokio::net::UnixListener,
}

impl ControlAcceptor {
    /// Accepts from `listener`; to be called within the runtime.
    ///
    /// # Errors
    /// When the runtime cannot watch it.
    pub(crate) fn new(listener: UnixListener) -> io::Result<Self> {
        Ok(Self { _mark: Mark::new(&listener), listener: tokio::net::UnixListener::from_std(listener)? })
    }

    /// Waits for the next connection. Safe to drop and call again.
    ///
    /// A client that has given up waiting to be accepted is passed over: what it asked for must not be done when it does
    /// not expect that any more.
    pub(crate) async fn accept(&mut self) -> ControlStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) if has_hung_up(&stream) => {}
                Ok((stream, _)) => return ControlStream(stream),
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection on the control socket");
                    tokio::time::sleep(SHORTAGE_PAUSE).await;
                }
            }
        }
    }
}

/// Whether the other side has closed the connection.
fn has_hung_up(stream: &UnixStream) -> bool {
    let mut watched = [PollFd::new(stream, PollFlags::empty())];
    poll(&mut watched, Some(&Timespec::default())).is_ok() && watched[0].revents().contains(PollFlags::HUP)
}

/// A connection by the control socket.
#[derive(Debug)]
pub(crate) struct ControlStream(UnixStream);

impl departure::Socket for ControlStream {
    fn has_ended(&self) -> bool {
        matches!(self.0.ready(Interest::READABLE).now_or_never(), Some(Ok(ready)) if ready.is_read_closed())
    }
}

impl AsyncRead for ControlStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for ControlStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::observe::log_file::tests::Folder;

    #[test]
    fn a_stale_file_is_replaced_and_a_live_socket_never() {
        let folder = Folder::new();
        let path = folder.file("x.sock");
        let first = ControlSocket::open(&path).unwrap();
        assert_eq!(0o600, path.metadata().unwrap().permissions().mode() & 0o777);
        assert!(matches!(ControlSocket::open(&path), Err(ControlSocketError::InUse(_))));
        let mut killed = first;
        killed.keep();
        drop(killed);
        assert!(path.exists());
        let second = ControlSocket::open(&path).unwrap();
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_no_socket_stays() {
        let folder = Folder::new();
        let path = folder.file("notes");
        fs::write(&path, "x").unwrap();
        assert!(matches!(ControlSocket::open(&path), Err(ControlSocketError::NoSocket(_))));
        assert_eq!("x", fs::read_to_string(&path).unwrap());
    }

    #[test]
    fn only_the_own_file_is_removed() {
        let folder = Folder::new();
        let path = folder.file("x.sock");
        let first = ControlSocket::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let second = ControlSocket::open(&path).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
    }

    #[test]
    fn a_path_that_is_too_long_is_refused_with_the_limit() {
        let path = std::env::temp_dir().join("x".repeat(108));
        let text = ControlSocket::open(&path).unwrap_err().to_string();
        assert!(text.contains("at most 107 bytes"), "{text}");
    }
}
