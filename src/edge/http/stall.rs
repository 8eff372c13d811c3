//! The time within which a client has to take something of what is sent to it.
//!
//! Runs on the I/O threads, between a socket and hyper or h2, which would wait without limit.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Sleep;

/// Measures how long a write has been pending; costs nothing while writes succeed at once.
#[derive(Debug)]
pub(super) struct WriteTimeout {
    limit: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl WriteTimeout {
    /// A write may be pending for `limit`.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, alarm: None }
    }

    /// Turns a write that has been pending for too long into an error.
    pub(super) fn poll<T>(&mut self, cx: &mut Context<'_>, write: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if write.is_ready() {
            self.alarm = None;
            return write;
        }
        let limit = self.limit;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(alarm.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}
