//! A bounded pipe of bytes between two threads: one direction of a streamed answer or of an upgraded connection.
//!
//! One end is used on an I/O thread, the other on the Python thread. Promise: bytes come out in the order in which
//! they went in, and each side is woken when the other has bytes or room for it, has ended, or is gone. A writer that
//! is dropped without [`Writer::finish`] breaks the stream, so that a truncated answer is never taken for a complete
//! one. Caveat: the bound is soft, since pieces are never cut; a writer that does not wait for [`Writer::poll_room`]
//! is not slowed down.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

/// Bytes that wait in a pipe before its writer is asked to wait: enough to keep a fast client busy over one hand-over.
pub(crate) const CAPACITY: usize = 64 * 1024;

/// A pipe that asks its writer to wait when `capacity` bytes are in it.
pub(crate) fn pipe(capacity: usize) -> (Writer, Reader) {
    let shared = Arc::new(Shared { capacity, state: Mutex::default() });
    (Writer { shared: Arc::clone(&shared) }, Reader { shared })
}

/// The reader is gone: the client closed the connection, or the server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other side is gone")]
pub struct Gone;

/// The writer stopped before the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream was broken off")]
pub struct Broken;

#[derive(Debug)]
struct Shared {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pieces: VecDeque<Bytes>,
    bytes: usize,
    /// Set once the writer has come to its end.
    end: Option<Result<(), Broken>>,
    reader_is_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing can panic half-way through a change of the state, so a poisoned one is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, end: Result<(), Broken>) {
        let mut state = self.lock();
        state.end.get_or_insert(end);
        let reader = state.reader.take();
        drop(state);
        wake(reader);
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The end that bytes go in. Dropping it unfinished breaks the stream.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
}

impl Writer {
    /// Puts `piece` in, whether there is room or not.
    ///
    /// # Errors
    /// When the reader is gone.
    pub fn write(&self, piece: Bytes) -> Result<(), Gone> {
        let mut state = self.shared.lock();
        if state.reader_is_gone {
            return Err(Gone);
        }
        // An empty piece would look like the end of a chunked body.
        if piece.is_empty() || state.end.is_some() {
            return Ok(());
        }
        state.bytes += piece.len();
        state.pieces.push_back(piece);
        let reader = state.reader.take();
        drop(state);
        wake(reader);
        Ok(())
    }

    /// Waits until there is room for more; an error when the reader is gone.
    pub fn poll_room(&self, context: &Context<'_>) -> Poll<Result<(), Gone>> {
        let mut state = self.shared.lock();
        if state.reader_is_gone {
            return Poll::Ready(Err(Gone));
        }
        if state.bytes < self.shared.capacity {
            return Poll::Ready(Ok(()));
        }
        state.writer = Some(context.waker().clone());
        Poll::Pending
    }

    /// Waits until the reader is gone.
    pub fn poll_gone(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.shared.lock();
        if state.reader_is_gone {
            return Poll::Ready(());
        }
        state.writer = Some(context.waker().clone());
        Poll::Pending
    }

    /// The end, after what has been written. What is written later is discarded.
    pub fn finish(&self) {
        self.shared.end(Ok(()));
    }

    /// True once the stream has been finished or aborted.
    pub fn has_ended(&self) -> bool {
        self.shared.lock().end.is_some()
    }

    /// Breaks the stream off after what has been written.
    pub fn abort(&self) {
        self.shared.end(Err(Broken));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.abort();
    }
}

/// The end that bytes come out of. Dropping it wakes the writer.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    /// Waits for the next piece; `None` after the last.
    pub fn poll_next(&mut self, context: &Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let mut state = self.shared.lock();
        let Some(piece) = state.pieces.pop_front() else {
            return match state.end {
                Some(Ok(())) => Poll::Ready(None),
                Some(Err(broken)) => Poll::Ready(Some(Err(broken))),
                None => {
                    state.reader = Some(context.waker().clone());
                    Poll::Pending
                }
            };
        };
        state.bytes -= piece.len();
        // Half empty and not merely below the bound, or each piece taken would wake the writer for one piece more.
        let writer = if state.bytes <= self.shared.capacity / 2 { state.writer.take() } else { None };
        drop(state);
        wake(writer);
        Poll::Ready(Some(Ok(piece)))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.reader_is_gone = true;
        let pieces = std::mem::take(&mut state.pieces);
        state.bytes = 0;
        let writer = state.writer.take();
        drop(state);
        drop(pieces);
        wake(writer);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn next(reader: &mut Reader) -> Poll<Option<Result<Bytes, Broken>>> {
        reader.poll_next(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn pieces_come_out_in_order_and_then_the_end() {
        let (writer, mut reader) = pipe(8);
        for piece in ["a", "", "b"] {
            writer.write(Bytes::from(piece)).unwrap();
        }
        writer.finish();
        writer.write(Bytes::from("late")).unwrap();
        assert_eq!(Poll::Ready(Some(Ok(Bytes::from("a")))), next(&mut reader));
        assert_eq!(Poll::Ready(Some(Ok(Bytes::from("b")))), next(&mut reader));
        assert_eq!(Poll::Ready(None), next(&mut reader));
    }

    #[test]
    fn a_dropped_writer_breaks_the_stream_unless_it_was_finished() {
        let (writer, mut reader) = pipe(8);
        drop(writer);
        assert_eq!(Poll::Ready(Some(Err(Broken))), next(&mut reader));
        let (writer, mut reader) = pipe(8);
        writer.finish();
        drop(writer);
        assert_eq!(Poll::Ready(None), next(&mut reader));
    }

    #[test]
    fn a_full_pipe_wakes_its_writer_when_half_of_it_is_gone() {
        let (writer, mut reader) = pipe(4);
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let context = Context::from_waker(&waker);
        assert_eq!(Poll::Ready(Ok(())), writer.poll_room(&context));
        for _ in 0..4 {
            writer.write(Bytes::from("x")).unwrap();
        }
        assert_eq!(Poll::Pending, writer.poll_room(&context));
        let _ = next(&mut reader);
        assert_eq!(0, count.0.load(Ordering::SeqCst));
        let _ = next(&mut reader);
        assert_eq!(1, count.0.load(Ordering::SeqCst));
        assert_eq!(Poll::Ready(Ok(())), writer.poll_room(&context));
    }

    #[test]
    fn a_writer_is_told_that_the_reader_is_gone() {
        let (writer, reader) = pipe(4);
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        assert_eq!(Poll::Pending, writer.poll_gone(&Context::from_waker(&waker)));
        drop(reader);
        assert_eq!(1, count.0.load(Ordering::SeqCst));
        assert_eq!(Err(Gone), writer.write(Bytes::from("x")));
        assert_eq!(Poll::Ready(Err(Gone)), writer.poll_room(&Context::from_waker(&waker)));
    }

    #[test]
    fn a_reader_is_woken_by_bytes_and_by_the_end() {
        let (writer, mut reader) = pipe(4);
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let context = Context::from_waker(&waker);
        assert_eq!(Poll::Pending, reader.poll_next(&context));
        writer.write(Bytes::from("x")).unwrap();
        assert_eq!(1, count.0.load(Ordering::SeqCst));
        let _ = reader.poll_next(&context);
        assert_eq!(Poll::Pending, reader.poll_next(&context));
        writer.finish();
        assert_eq!(2, count.0.load(Ordering::SeqCst));
    }
}
