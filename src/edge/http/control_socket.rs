//! The Unix socket by which the server is controlled from its own machine.
//!
//! Opened on the Python thread, accepted from on the first I/O thread. Promise: only the server's user and root can
//! connect. Caveat: what holds for its file is in [`socket_file`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::net::UnixStream;

use super::forked::Mark;
use super::socket_file::{self, SocketFile, SocketFileError};
use super::transport::Stream;
use crate::edge::config::settings::UnixAccess;

/// The server's user alone.
const ACCESS: UnixAccess = UnixAccess { mode: 0o600, group: None };

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
    file: SocketFile,
}

impl ControlSocket {
    /// Listens at `path`.
    ///
    /// # Errors
    /// When a running server listens there, or when the system refuses it.
    pub(crate) fn open(path: &Path) -> Result<Self, ControlSocketError> {
        let (socket, file) = socket_file::listen(path, ACCESS, BACKLOG).map_err(|error| match error {
            SocketFileError::InUse => ControlSocketError::InUse(path.into()),
            SocketFileError::NoSocket => ControlSocketError::NoSocket(path.into()),
            SocketFileError::Refused(reason) => ControlSocketError::Refused { path: path.into(), reason },
        })?;
        Ok(Self::new(socket.into(), file))
    }

    /// Takes over what an earlier image of the process has listened on, if it is still what is found at `path`.
    pub(crate) fn adopt(listener: UnixListener, path: &Path) -> Option<Self> {
        Some(Self::new(listener, SocketFile::found(path)?))
    }

    fn new(listener: UnixListener, file: SocketFile) -> Self {
        Self { _mark: Mark::new(&listener), listener, file }
    }

    /// Its file.
    pub(crate) fn file(&self) -> &SocketFile {
        &self.file
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
    /// A client that has given up waiting to be accepted is passed over: what it asked for must not be done when it
    /// does not expect that any more.
    pub(crate) async fn accept(&mut self) -> Stream<UnixStream> {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) if has_hung_up(&stream) => {}
                Ok((stream, _)) => return Stream::new(stream),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_too_long_is_refused_with_the_limit() {
        let path = std::env::temp_dir().join("x".repeat(108));
        let text = ControlSocket::open(&path).unwrap_err().to_string();
        assert!(text.contains("at most 107 bytes"), "{text}");
    }
}
