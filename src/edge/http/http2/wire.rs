//! The socket under h2.
//!
//! Runs on the I/O threads. Promise: a client that takes nothing, or floods the server with frames, is noticed; the
//! end of a connection reaches a client that is still sending, since what it sends is read for a while: closing with
//! unread bytes would reset the connection and could destroy answers on their way.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::flood::FloodMeter;
use crate::edge::http::body::LINGER_BYTES;
use crate::edge::http::departure::Socket;
use crate::edge::http::stall::WriteTimeout;

/// How long a client may go on sending after the end of the connection.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// What the task of the connection is to know of what its client sends.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// The client has sent too many frames that carry nothing; from then on, nothing is read.
    pub is_flooded: Cell<bool>,
    /// Since when it has been sending a head that is not complete.
    pub head_since: Cell<Option<Instant>>,
}

/// A socket with what is added to it.
#[derive(Debug)]
pub(super) struct Wire<I> {
    io: I,
    /// What has been read of the connection before.
    unread: Bytes,
    write_timeout: WriteTimeout,
    meter: FloodMeter,
    observed: Rc<Observed>,
    linger: Option<Linger>,
}

#[derive(Debug)]
struct Linger {
    alarm: Pin<Box<Sleep>>,
    left: usize,
}

impl<I: Socket> Wire<I> {
    /// Wraps a socket of which `unread` has been read already.
    pub(super) fn new(io: I, unread: Bytes, write_timeout: Duration, observed: Rc<Observed>) -> Self {
        let (write_timeout, meter) = (WriteTimeout::new(write_timeout), FloodMeter::new());
        Self { io, unread, write_timeout, meter, observed, linger: None }
    }
}

impl<I: Socket> AsyncRead for Wire<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.observed.is_flooded.get() {
            return Poll::Pending; // the connection is ended by the task that looks at the flag
        }
        let before = buf.filled().len();
        if self.unread.is_empty() {
            ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        } else {
            let length = self.unread.len().min(buf.remaining());
            let piece = self.unread.split_to(length);
            buf.put_slice(&piece);
        }
        if !self.meter.follow(&buf.filled()[before..]) {
            self.observed.is_flooded.set(true);
            cx.waker().wake_by_ref();
        }
        let head_since = &self.observed.head_since;
        // The clock is read for heads that come in pieces only.
        let since = self.meter.is_within_head().then(|| head_since.get().unwrap_or_else(Instant::now));
        head_since.set(since);
        Poll::Ready(Ok(()))
    }
}

impl<I: Socket> AsyncWrite for Wire<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        let written = ready!(self.write_timeout.poll(cx, written))?;
        self.meter.note_sent(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, parts);
        let written = ready!(self.write_timeout.poll(cx, written))?;
        self.meter.note_sent(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.write_timeout.poll(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { io, linger, .. } = &mut *self;
        if linger.is_none() {
            ready!(Pin::new(&mut *io).poll_shutdown(cx))?;
        }
        let start = || Linger { alarm: Box::pin(tokio::time::sleep(LINGER_TIMEOUT)), left: LINGER_BYTES };
        let linger = linger.get_or_insert_with(start);
        let mut space = [0; 4096];
        while linger.alarm.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut *io).poll_read(cx, &mut buffer))?;
            let read = buffer.filled().len();
            if read == 0 || read > linger.left {
                break;
            }
            linger.left -= read;
        }
        Poll::Ready(Ok(()))
    }
}
