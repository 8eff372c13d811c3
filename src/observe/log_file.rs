//! Log files that are appended to, shared by everyone who names the same path, and reopened on request.
//!
//! A line goes out in one write(2) on a file opened for appending, so that it stays whole even when another process
//! appends too. Caveat: a line that the disk has no room for is lost; logging never stops the server.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A log file could not be opened for appending.
#[derive(Debug, thiserror::Error)]
#[error("cannot append to the log file {}: {reason}; name a file that this user may write", path.display())]
pub struct LogFileError {
    /// The file, as an absolute path.
    pub path: PathBuf,
    /// What the system said.
    pub reason: io::Error,
}

/// A file that lines are appended to.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: Mutex<File>,
}

/// The open files by absolute path. They are held weakly: a file closes with its last user.
static OPEN_FILES: Mutex<Option<HashMap<PathBuf, Weak<LogFile>>>> = Mutex::new(None);

impl LogFile {
    /// Opens `path` for appending, or gives the file that is already open under this path: opened anew, since the one
    /// there may have been moved away, and whoever names a path means what is there now.
    ///
    /// A new file is readable by its owner and group only (0640, less the umask): what plugins log is theirs to judge.
    ///
    /// # Errors
    /// [`LogFileError`] when the file cannot be opened or created.
    pub fn open(path: &Path) -> Result<Arc<Self>, LogFileError> {
        let path = std::path::absolute(path).map_err(|reason| LogFileError { path: path.to_owned(), reason })?;
        let mut guard = lock(&OPEN_FILES);
        let open_files = guard.get_or_insert_default();
        if let Some(shared) = open_files.get(&path).and_then(Weak::upgrade) {
            shared.reopen()?;
            return Ok(shared);
        }
        let shared = Arc::new(Self { file: Mutex::new(append_to(&path)?), path: path.clone() });
        open_files.retain(|_, file| file.strong_count() > 0);
        open_files.insert(path, Arc::downgrade(&shared));
        Ok(shared)
    }

    /// The file's absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends `line`, which must end in a line feed. A failing write loses the line and is not reported.
    pub fn append(&self, line: &str) {
        write_line(&*lock(&self.file), line);
    }

    /// Opens the path anew, so that a file moved away by logrotate is let go; on failure the old file stays in use.
    ///
    /// # Errors
    /// [`LogFileError`] when the file cannot be opened or created.
    pub fn reopen(&self) -> Result<(), LogFileError> {
        let fresh = append_to(&self.path)?;
        *lock(&self.file) = fresh;
        Ok(())
    }
}

/// Reopens every log file in use, the server's and those that plugins opened; gives the failures, for the log.
#[must_use]
pub fn reopen_all() -> Vec<LogFileError> {
    let files: Vec<_> = lock(&OPEN_FILES).iter().flatten().filter_map(|(_, file)| file.upgrade()).collect();
    files.iter().filter_map(|file| file.reopen().err()).collect()
}

/// Writes a whole line with one write(2) where the system takes it in one piece. Every failure is swallowed: a closed
/// pipe (Python and Rust programs both ignore SIGPIPE) or a full disk must not reach whoever logs.
pub(super) fn write_line(output: impl AsFd, line: &str) {
    let mut rest = line.as_bytes();
    while !rest.is_empty() {
        match rustix::io::write(&output, rest) {
            Ok(written) if written > 0 => rest = &rest[written.min(rest.len())..],
            Err(rustix::io::Errno::INTR) => {}
            // A terminal or pipe made non-blocking by another process that shares it.
            Err(rustix::io::Errno::AGAIN) if becomes_writable(&output) => {}
            _ => return,
        }
    }
}

/// Waits at most a second for room in a non-blocking output; without any the line is given up.
fn becomes_writable(output: &impl AsFd) -> bool {
    let patience = Timespec { tv_sec: 1, tv_nsec: 0 };
    poll(&mut [PollFd::new(output, PollFlags::OUT)], Some(&patience)).is_ok_and(|ready| ready > 0)
}

fn append_to(path: &Path) -> Result<File, LogFileError> {
    let opened = OpenOptions::new().append(true).create(true).mode(0o640).open(path);
    opened.map_err(|reason| LogFileError { path: path.to_owned(), reason })
}

/// Locks even after a panic elsewhere: a file or a map of files is never left half changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A folder of a test's own, removed with the value.
    pub struct Folder(pub PathBuf);

    impl Folder {
        pub fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("plugincore-log-{}-{number}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        pub fn file(&self, name: &str) -> PathBuf {
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
        LogFile::open(&folder.file("a.log")).unwrap().append("new\n");
        assert_eq!("old\nnew\n", std::fs::read_to_string(folder.file("a.log")).unwrap());
    }

    #[test]
    fn a_file_moved_away_is_let_go_when_all_are_reopened() {
        let folder = Folder::new();
        let log = LogFile::open(&folder.file("a.log")).unwrap();
        log.append("before\n");
        std::fs::rename(folder.file("a.log"), folder.file("a.log.1")).unwrap();
        log.append("meanwhile\n");
        let failures = reopen_all();
        log.append("after\n");
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
        log.append("still here\n");
        assert_eq!("still here\n", std::fs::read_to_string(folder.file("kept/a.log")).unwrap());
    }

    #[test]
    fn an_unwritable_file_is_named_with_the_reason() {
        let folder = Folder::new();
        let error = LogFile::open(&folder.file("missing/a.log")).unwrap_err().to_string();
        assert!(error.contains("missing/a.log: No such file or directory"), "{error}");
    }

    #[test]
    fn a_full_disk_and_a_closed_pipe_lose_the_line_and_nothing_else() {
        write_line(File::options().append(true).open("/dev/full").unwrap(), "line\n");
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        write_line(writer, "line\n");
    }
}
