//! `[paths] pidfile`.
//!
//! Promise: the file holds the process id from before the first request until the server has stopped, however it was
//! asked to stop. Caveat: it is information, not a lock; an old file is overwritten.

use std::io;
use std::path::{Path, PathBuf};

/// A file with the process id; removed when dropped.
pub(crate) struct PidFile {
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
    /// Writes the id of this process.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(path: &Path) -> Result<Self, PidFileError> {
        // Plugins may change the working directory before the file is removed.
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        std::fs::write(path, format!("{}\n", std::process::id()))
            .map_err(|reason| PidFileError { path: path.to_path_buf(), reason })?;
        Ok(Self { path: absolute })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> PathBuf {
        self.path.clone()
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Removes the file at `path`.
pub(crate) fn remove(path: &Path) {
    // Somebody else may have removed it, which is all that is wanted.
    let _ = std::fs::remove_file(path);
}
