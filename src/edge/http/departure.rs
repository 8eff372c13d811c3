//! Detects clients that have closed the connection while bytes of theirs are still unread.
//!
//! Runs on the I/O threads. Reading a connection reveals its end. But while an answer is being made and the next
//! request, or one byte of it, has arrived, nothing more is read, so the end behind it would go unnoticed until the
//! answer is complete, which a stream may never be. Promise: [`Departure`] notices it within two of its periods,
//! without reading. A client that has gone cannot be distinguished from one that has only shut down its sending side
//! and waits for the answer, so either gets a whole period, which is enough for quick answers. Caveat: behind unread
//! bytes only the end of the TCP connection is detected, not that of TLS.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, Interest};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::transport::{Stream, Transport};

/// How often a connection that is not read is checked. The end behind unread bytes is not an event that can be awaited:
/// the socket stays readable all the time.
const PERIOD: Duration = Duration::from_millis(300);

/// A connection of which it can be seen whether its other side has closed it.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// True if the other side sends no more; nothing is read to find out.
    fn has_ended(&self) -> bool;
}

impl<T: Transport> Socket for Stream<T> {
    fn has_ended(&self) -> bool {
        // The system reports it beside the unread bytes, and tokio stores it.
        matches!(self.0.readiness(Interest::READABLE).now_or_never(), Some(Ok(ready)) if ready.is_read_closed())
    }
}

impl Socket for tokio_rustls::server::TlsStream<Stream<TcpStream>> {
    fn has_ended(&self) -> bool {
        self.get_ref().0.has_ended()
    }
}

/// Within the process each connection has one request, and nothing unread behind it.
impl Socket for DuplexStream {
    fn has_ended(&self) -> bool {
        false
    }
}

/// The state of one connection.
#[derive(Debug, Default)]
pub(crate) struct Departure {
    /// True if the last read got bytes, so that there may be more.
    is_unread: bool,
    /// True if that was since the last check.
    is_fresh: bool,
    alarm: Option<Pin<Box<Sleep>>>,
    /// Runs while the end that has been read is held back.
    end_delay: Option<Pin<Box<Sleep>>>,
}

impl Departure {
    /// Records the result of an attempt to read: bytes, or none yet, in which case the next read will reveal the end.
    pub(crate) fn note_read(&mut self, has_bytes: bool) {
        self.is_unread = has_bytes;
        self.is_fresh |= has_bytes;
    }

    /// Waits for a period, for which the end that has been read is held back.
    pub(crate) fn poll_end_delay(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.end_delay.get_or_insert_with(|| Box::pin(tokio::time::sleep(PERIOD))).as_mut().poll(cx)
    }

    /// Stops that wait; true if the end was held back, so that it has to be read once more.
    pub(crate) fn cancel_end_delay(&mut self) -> bool {
        self.end_delay.take().is_some()
    }

    /// Waits until the client of an unread connection is gone; polled by a task that is woken for other things, too.
    pub(crate) fn poll(&mut self, socket: &impl Socket, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_unread {
            return Poll::Pending;
        }
        loop {
            let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(PERIOD)));
            ready!(alarm.as_mut().poll(cx));
            // The timer may have been started by an earlier read.
            if !std::mem::take(&mut self.is_fresh) && socket.has_ended() {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(Instant::now() + PERIOD);
        }
    }
}
