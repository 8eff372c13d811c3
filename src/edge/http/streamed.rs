//! A response body that is still on its way from another thread.
//!
//! Polled on the I/O threads. Caveat: one that breaks off does so a turn later, so that the client has what there was.

use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::pipe::{Broken, Reader};
use crate::edge::observe::metrics::slots::Slot;

/// Bytes that come out of a pipe.
#[derive(Debug)]
pub struct Streamed {
    reader: Reader,
    length: Option<u64>,
    broken: bool,
    /// Where its bytes are counted as they are sent.
    pub(super) slot: Option<Slot>,
}

impl Streamed {
    /// What comes out of `reader`, with how many bytes that will be, if that is known.
    pub(super) fn new(reader: Reader, length: Option<u64>) -> Self {
        Self { reader, length, broken: false, slot: None }
    }

    /// How many bytes will come, if that is known.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// The next bytes.
    pub(super) fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let next = ready!(self.reader.poll_next(cx));
        if matches!(next, Some(Err(Broken))) && !self.broken {
            // hyper drops what it has not flushed when a body fails; a turn later the client has what there was.
            self.broken = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(next)
    }
}
