//! Unix sockets that listen, and the files by which clients find them.
//!
//! Opened on the Python thread. Promise: a file has its mode and group before the first moment in which its socket
//! listens; the socket of a server that is gone is replaced, that of a running one and any other file never; at the end
//! the own file is removed and no other. Caveat: a socket is taken for that of a server which is gone if the system
//! refuses a connection to it.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::edge::config::settings::UnixAccess;

/// Why a socket cannot listen at a path.
#[derive(Debug)]
pub(crate) enum SocketFileError {
    /// Another server listens there.
    InUse,
    /// There is something else.
    NoSocket,
    /// The system refuses it.
    Refused(io::Error),
}

impl From<io::Error> for SocketFileError {
    fn from(reason: io::Error) -> Self {
        if reason.kind() == io::ErrorKind::AddrInUse { Self::InUse } else { Self::Refused(reason) }
    }
}

/// The file of a socket that listens; it is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
    is_kept: AtomicBool,
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Listens at `path`, whose clients are those that `access` admits.
///
/// # Errors
/// When a running server listens there, or when the system refuses it; nothing has changed then, but for a stale file.
pub(crate) fn listen(path: &Path, access: UnixAccess, backlog: i32) -> Result<(Socket, SocketFile), SocketFileError> {
    // Before anything is removed: the path may be too long.
    let address = SockAddr::unix(path)?;
    match path.symlink_metadata() {
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(SocketFileError::NoSocket),
        Ok(_) if is_alive(&address) => return Err(SocketFileError::InUse),
        Ok(_) => fs::remove_file(path)?,
        Err(_) => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address)?;
    let file = SocketFile::new(path, &path.symlink_metadata()?);
    // Before it listens, so that no client connects with other permissions. If that fails, the file is removed.
    file.admit(access)?;
    socket.listen(backlog)?;
    Ok((socket, file))
}

impl SocketFile {
    /// The file of a socket that listens at `path` already; nothing if there is none any more.
    pub(crate) fn found(path: &Path) -> Option<Self> {
        let metadata = path.symlink_metadata().ok().filter(|metadata| metadata.file_type().is_socket())?;
        Some(Self::new(path, &metadata))
    }

    fn new(path: &Path, metadata: &Metadata) -> Self {
        Self { path: path.to_path_buf(), identity: identity(metadata), is_kept: AtomicBool::new(false) }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Has it admit others from now on.
    ///
    /// # Errors
    /// When the server may not change it.
    pub(crate) fn admit(&self, access: UnixAccess) -> io::Result<()> {
        if access.group.is_some() {
            chown(&self.path, None, access.group)?;
        }
        fs::set_permissions(&self.path, Permissions::from_mode(access.mode))
    }

    /// Whether clients still find the socket by it.
    pub(crate) fn is_in_place(&self) -> bool {
        self.path.symlink_metadata().is_ok_and(|found| identity(&found) == self.identity)
    }

    /// Leaves the file in place for the next image of the process, or for another process.
    pub(crate) fn keep(&self) {
        self.is_kept.store(true, Ordering::Relaxed);
    }

    /// Removes the file at the end after all.
    pub(crate) fn own(&self) {
        self.is_kept.store(false, Ordering::Relaxed);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !*self.is_kept.get_mut() && self.is_in_place() {
            // Somebody else may have removed it, which is all that is wanted.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether [`listen`] would succeed at `path`, as far as that can be known without doing it.
///
/// # Errors
/// As for [`listen`].
pub(crate) fn probe(path: &Path) -> Result<(), SocketFileError> {
    let address = SockAddr::unix(path)?;
    match path.symlink_metadata() {
        Ok(metadata) if !metadata.file_type().is_socket() => Err(SocketFileError::NoSocket),
        Ok(_) if is_alive(&address) => Err(SocketFileError::InUse),
        Ok(_) => Ok(()),
        Err(_) => Ok(path.parent().map_or(Ok(()), |folder| fs::read_dir(folder).map(drop))?),
    }
}

/// Whether a process listens at `address`; one that refuses this user counts, too.
fn is_alive(address: &SockAddr) -> bool {
    // One whose queue is full would make a blocking connection wait.
    let connected = Socket::new(Domain::UNIX, Type::STREAM, None).and_then(|socket| {
        socket.set_nonblocking(true)?;
        socket.connect(address)
    });
    match connected {
        Ok(()) => true,
        Err(error) => !matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::observe::log_file::tests::Folder;

    const ACCESS: UnixAccess = UnixAccess { mode: 0o640, group: None };

    fn open(path: &Path) -> Result<(Socket, SocketFile), SocketFileError> {
        listen(path, ACCESS, 1)
    }

    #[test]
    fn a_stale_file_is_replaced_and_a_live_socket_never() {
        let folder = Folder::new();
        let path = folder.file("x.sock");
        let (socket, file) = open(&path).unwrap();
        assert_eq!(0o640, path.metadata().unwrap().permissions().mode() & 0o777);
        assert!(matches!(open(&path), Err(SocketFileError::InUse)));
        file.keep();
        drop((socket, file));
        assert!(path.exists());
        let second = open(&path).unwrap();
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_no_socket_stays() {
        let folder = Folder::new();
        let path = folder.file("notes");
        fs::write(&path, "x").unwrap();
        assert!(matches!(open(&path), Err(SocketFileError::NoSocket)));
        assert_eq!("x", fs::read_to_string(&path).unwrap());
    }

    #[test]
    fn only_the_own_file_is_removed() {
        let folder = Folder::new();
        let path = folder.file("x.sock");
        let first = open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let second = open(&path).unwrap();
        assert!(!first.1.is_in_place());
        drop(first);
        assert!(path.exists());
        drop(second);
    }

    #[test]
    fn a_path_that_is_too_long_is_refused() {
        let path = std::env::temp_dir().join("x".repeat(108));
        let Err(SocketFileError::Refused(reason)) = open(&path) else { panic!("it is refused") };
        assert_eq!(io::ErrorKind::InvalidInput, reason.kind());
    }
}
