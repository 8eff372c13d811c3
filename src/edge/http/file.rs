//! A response body that is a part of a file, read piece by piece as the client takes it.
//!
//! Polled on the I/O threads; the file is read on the runtime's blocking threads. Promise: at most one piece of
//! [`PIECE`] bytes is held in memory, and a file that has become shorter breaks the connection, so that a truncated
//! answer is never taken for a complete one. Caveat: a file that is overwritten in place while it is sent reaches the
//! client mixed; replacing it by renaming is safe.

use std::fs::File;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::task::{JoinHandle, spawn_blocking};

use super::pipe::Broken;
use crate::edge::observe::line::Level;
use crate::edge::observe::repeats::LineKind;

/// Bytes that are read at one time: a slow client holds some such pieces. In CPU time for each byte of a cached file,
/// half of it costs an eighth more and a quarter of it twice as much; twice as much saves a quarter, four times as much
/// a third.
pub(crate) const PIECE: usize = 128 * 1024;

/// What is left to be sent of a file that is read from where it stands.
#[derive(Debug)]
pub struct FileBody {
    file: Arc<File>,
    left: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl FileBody {
    /// The next `length` bytes of `file`.
    pub fn new(file: File, length: u64) -> Self {
        Self { file: Arc::new(file), left: length, reading: None }
    }

    /// Bytes that are left.
    pub fn left(&self) -> u64 {
        self.left
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let reading = self.reading.get_or_insert_with(|| {
            let (file, length) = (Arc::clone(&self.file), self.left.min(PIECE as u64));
            spawn_blocking(move || read(&file, length))
        });
        let read = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        Poll::Ready(Some(match read {
            Ok(Ok(piece)) if !piece.is_empty() => {
                self.left -= piece.len() as u64;
                Ok(piece)
            }
            Ok(Ok(_)) => broken("it has become shorter while it was sent"),
            Ok(Err(error)) => broken(&error.to_string()),
            Err(_) => broken("the server ends"),
        }))
    }
}

fn broken<T>(why: &str) -> Result<T, Broken> {
    static CUT_SHORT: LineKind = LineKind::new(Level::Warn, "a file that is being sent cannot be read to its end");
    if CUT_SHORT.admits_any() {
        tracing::warn!("a file that is being sent cannot be read to its end: {why}");
    }
    Err(Broken)
}

/// Reads `length` bytes from where the file stands; fewer if it ends before.
///
/// # Errors
/// The system's error.
pub(crate) fn read(mut file: &File, length: u64) -> io::Result<Bytes> {
    let mut piece = Vec::with_capacity(usize::try_from(length).unwrap_or_default().min(PIECE));
    file.by_ref().take(length).read_to_end(&mut piece)?;
    Ok(Bytes::from(piece))
}
