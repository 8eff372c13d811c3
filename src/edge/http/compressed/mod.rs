//! A response body that is compressed while it is sent.
//!
//! Polled on the I/O threads. Promise: a piece of a stream reaches the client as soon as it would without, since what
//! has come is flushed before more is waited for; and no body, however large, keeps the thread for longer than
//! [`PIECE`] bytes take. Caveat: it has no length beforehand.

mod encoder;

use std::mem;
use std::task::{Context, Poll};

use bytes::Bytes;

pub(super) use self::encoder::Encoder;
use super::pipe::Broken;
use super::streamed::Streamed;
use crate::edge::observe::metrics::slots::Slot;

/// Bytes that are compressed at one time; others on the thread have their turn in between.
pub(super) const PIECE: usize = 64 * 1024;

/// Compressed bytes that are sent before more is compressed.
const FRAME: usize = 16 * 1024;

/// A body that is compressed while it is sent.
#[derive(Debug)]
pub struct Compressed {
    /// What of the source has come and is not compressed yet.
    piece: Bytes,
    /// Where more comes from.
    stream: Option<Streamed>,
    /// `None` after the end.
    encoder: Option<Encoder>,
    /// Whether the encoder has taken bytes that the client cannot decode yet.
    is_unflushed: bool,
    /// Whether others have their turn before more is compressed.
    rests: bool,
    /// Where its bytes are counted as they are sent.
    pub(super) slot: Option<Slot>,
}

impl Compressed {
    /// The compressed form of `bytes`.
    pub(super) fn whole(bytes: Bytes, encoder: Encoder) -> Self {
        Self { piece: bytes, stream: None, encoder: Some(encoder), is_unflushed: false, rests: false, slot: None }
    }

    /// The compressed form of what comes out of `stream`.
    pub(super) fn streamed(stream: Streamed, encoder: Encoder) -> Self {
        Self { stream: Some(stream), ..Self::whole(Bytes::new(), encoder) }
    }

    /// Whether all has been sent.
    pub(super) fn has_ended(&self) -> bool {
        self.encoder.is_none()
    }

    /// The next compressed bytes.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            let Some(encoder) = &mut self.encoder else { return Poll::Ready(None) };
            if !self.piece.is_empty() {
                if mem::take(&mut self.rests) {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let part = self.piece.split_to(self.piece.len().min(PIECE));
                if encoder.write(&part).is_none() {
                    return Poll::Ready(Some(Err(Broken)));
                }
                self.is_unflushed = true;
                self.rests = part.len() == PIECE;
                if encoder.written() >= FRAME {
                    return Poll::Ready(Some(Ok(encoder.take())));
                }
                continue;
            }
            let next = match &mut self.stream {
                Some(stream) => stream.poll_next(cx),
                None => Poll::Ready(None),
            };
            match next {
                Poll::Ready(Some(Ok(piece))) => self.piece = piece,
                Poll::Ready(Some(Err(broken))) => return Poll::Ready(Some(Err(broken))),
                Poll::Ready(None) => {
                    let last = self.encoder.take().and_then(Encoder::finish);
                    return Poll::Ready(Some(last.ok_or(Broken)));
                }
                Poll::Pending if mem::take(&mut self.is_unflushed) => {
                    return Poll::Ready(Some(encoder.flush().map(|()| encoder.take()).ok_or(Broken)));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
