//! `[paths] pidfile`.
//!
//! Used on the Python thread, and on the signal thread at a forced end. Promise: the file holds the id of the process
//! that serves, from before its first request until the server has stopped, however it was asked to stop; a process
//! removes it only while it names that process. Caveat: it is information, not a lock; an old file is overwritten.

use std::io;
use std::path::{Path, PathBuf};

/// A file with the process id; removed when dropped.
pub(crate) struct PidFile {
    /// As it was configured.
    name: PathBuf,
    path: PathBuf,
}

/// The file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("[paths] pidfile: {} cannot be written: {reason} (name a file in a folder that is writable)", path.display())]
pub(crate) struct PidFileError {
    path: PathBuf,
    reason: io::Error,
}

impl PidFile {
    /// The file at `path`, which is not written yet.
    pub(crate) fn at(path: &Path) -> Self {
        // Plugins may change the working directory before the file is removed.
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        Self { name: path.to_path_buf(), path: absolute }
    }

    /// Writes the id of this process.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self) -> Result<(), PidFileError> {
        std::fs::write(&self.path, format!("{}\n", std::process::id()))
            .map_err(|reason| PidFileError { path: self.name.clone(), reason })
    }

    /// Whether the file names this process.
    pub(crate) fn is_ours(&self) -> bool {
        let content = std::fs::read_to_string(&self.path);
        content.is_ok_and(|content| content.trim().parse() == Ok(std::process::id()))
    }

    /// Removes the file, unless it names another process, which has taken over.
    pub(crate) fn remove(&self) {
        if self.is_ours() {
            // Somebody else may have removed it, which is all that is wanted.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        self.remove();
    }
}
