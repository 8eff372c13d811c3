//! Log files: opened for appending, shared by all users of the same path, and reopened on request.
//!
//! Used on all threads. A line is written by one write(2) to a file opened for appending, so that it stays whole even
//! when another process appends as well. A named pipe may be a log file, too: it is opened whether or not it has a
//! reader, and lines that it does not accept wait. Caveat: a line for which the disk has no room is lost; logging
//! never stops the server.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Instant;

use rustix::fs::OFlags;

use super::output::{Output, lock};

/// A log file could not be opened for appending.
#[derive(Debug, thiserror::Error)]
#[error("cannot append to the log file {}: {reason}; name a file that this user may write", path.display())]
pub(crate) struct LogFileError {
    /// The file, as an absolute path.
    pub path: PathBuf,
    /// The system's error.
    pub reason: io::Error,
}

/// A file that lines are appended to.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    output: Arc<Output>,
}

/// The open files by absolute path. They are held weakly: a file closes with its last user.
static OPEN_FILES: Mutex<Option<HashMap<PathBuf, Weak<LogFile>>>> = Mutex::new(None);

/// Where relative paths begin, if that is not where the process is.
static START: OnceLock<PathBuf> = OnceLock::new();

/// Has relative paths of log files begin at `folder` from now on, wherever the process goes. The first call counts.
pub(crate) fn begin_at(folder: &Path) {
    // A server starts once in a process.
    let _ = START.set(folder.to_owned());
}

fn absolute(path: &Path) -> io::Result<PathBuf> {
    match START.get() {
        Some(start) => Ok(start.join(path)),
        None => std::path::absolute(path),
    }
}

impl LogFile {
    /// Opens `path` for appending, or returns the file that is already open under this path: opened anew, since the
    /// file may have been moved away, and a path means the file that is there now.
    ///
    /// A new file is readable by its owner and group only (0640, less the umask): what plugins log is theirs to judge.
    ///
    /// # Errors
    /// [`LogFileError`] when the file cannot be opened or created.
    pub(crate) fn open(path: &Path) -> Result<Arc<Self>, LogFileError> {
        Self::open_with(path, Output::own)
    }

    /// The same for a file whose lines are all deferred, unless it is open already.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub(crate) fn open_deferred(path: &Path) -> Result<Arc<Self>, LogFileError> {
        Self::open_with(path, Output::deferred)
    }

    fn open_with(path: &Path, output: fn(File) -> Arc<Output>) -> Result<Arc<Self>, LogFileError> {
        let path = absolute(path).map_err(|reason| LogFileError { path: path.to_owned(), reason })?;
        let mut guard = lock(&OPEN_FILES);
        let open_files = guard.get_or_insert_default();
        if let Some(shared) = open_files.get(&path).and_then(Weak::upgrade) {
            shared.reopen()?;
            return Ok(shared);
        }
        let shared = Arc::new(Self { output: output(append_to(&path)?), path: path.clone() });
        open_files.retain(|_, file| file.strong_count() > 0);
        open_files.insert(path, Arc::downgrade(&shared));
        Ok(shared)
    }

    /// The file's absolute path.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends `line`, which must end in a line feed, without waiting. A line that cannot be written is lost.
    pub(crate) fn append(&self, line: String) {
        self.output.write(line.into_bytes());
    }

    /// Where its lines leave.
    pub(crate) fn output(&self) -> &Arc<Output> {
        &self.output
    }

    /// Opens the path anew, so that a file moved away by logrotate is let go; on failure the old file stays in use.
    ///
    /// # Errors
    /// [`LogFileError`] when the file cannot be opened or created.
    pub(crate) fn reopen(&self) -> Result<(), LogFileError> {
        self.output.replace(append_to(&self.path)?);
        Ok(())
    }
}

/// Reopens every log file in use, the server's and those that plugins opened; gives the failures, for the log.
#[must_use]
pub(crate) fn reopen_all() -> Vec<LogFileError> {
    in_use().iter().filter_map(|file| file.reopen().err()).collect()
}

/// Waits until the lines of every log file are written, at most until `deadline`.
pub(crate) fn finish_all(deadline: Instant) {
    for file in in_use() {
        file.output.finish(deadline);
    }
}

fn in_use() -> Vec<Arc<LogFile>> {
    lock(&OPEN_FILES).iter().flatten().filter_map(|(_, file)| file.upgrade()).collect()
}

fn append_to(path: &Path) -> Result<File, LogFileError> {
    // Without a reader a pipe could not be opened for writing alone, or not before one comes.
    let is_pipe = std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo());
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options.read(is_pipe).append(true).create(true).mode(0o640).custom_flags(flags.bits().cast_signed());
    let opened = options.open(path);
    opened.map_err(|reason| LogFileError { path: path.to_owned(), reason })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A folder of a test's own, removed with the value.
    pub(crate) struct Folder(pub PathBuf);

    impl Folder {
        pub(crate) fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("plugincore-log-{}-{number}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        pub(crate) fn file(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_same_path_is_opened_once() {
        let folder = Folder::new();
        let first = LogFile::open(&folder.file("a.log")).unwrap();
        assert!(Arc::ptr_eq(&first, &LogFile::open(&folder.file("a.log")).unwrap()));
        assert!(!Arc::ptr_eq(&first, &LogFile::open(&folder.file("b.log")).unwrap()));
    }

    #[test]
    fn lines_are_added_to_what_the_file_holds() {
        let folder = Folder::new();
        std::fs::write(folder.file("a.log"), "old\n").unwrap();
        LogFile::open(&folder.file("a.log")).unwrap().append("new\n".to_owned());
        assert_eq!("old\nnew\n", std::fs::read_to_string(folder.file("a.log")).unwrap());
    }

    #[test]
    fn a_file_moved_away_is_let_go_when_all_are_reopened() {
        let folder = Folder::new();
        let log = LogFile::open(&folder.file("a.log")).unwrap();
        log.append("before\n".to_owned());
        std::fs::rename(folder.file("a.log"), folder.file("a.log.1")).unwrap();
        log.append("meanwhile\n".to_owned());
        let failures = reopen_all();
        log.append("after\n".to_owned());
        assert!(!failures.iter().any(|failure| failure.path.starts_with(&folder.0)));
        assert_eq!("before\nmeanwhile\n", std::fs::read_to_string(folder.file("a.log.1")).unwrap());
        assert_eq!("after\n", std::fs::read_to_string(folder.file("a.log")).unwrap());
    }

    #[test]
    fn a_failed_reopening_keeps_the_old_file_in_use() {
        let folder = Folder::new();
        std::fs::create_dir(folder.file("logs")).unwrap();
        let log = LogFile::open(&folder.file("logs/a.log")).unwrap();
        std::fs::rename(folder.file("logs"), folder.file("kept")).unwrap();
        assert!(log.reopen().is_err());
        log.append("still here\n".to_owned());
        assert_eq!("still here\n", std::fs::read_to_string(folder.file("kept/a.log")).unwrap());
    }

    #[test]
    fn an_unwritable_file_is_named_with_the_reason() {
        let folder = Folder::new();
        let error = LogFile::open(&folder.file("missing/a.log")).unwrap_err().to_string();
        assert!(error.contains("missing/a.log: No such file or directory"), "{error}");
    }
}
