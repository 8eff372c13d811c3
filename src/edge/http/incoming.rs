//! The body of a request, by whichever version of HTTP it comes.
//!
//! Polled on the I/O threads. Promise: the bytes of an HTTP/2 stream count as taken, for flow control, when they have
//! been read here and not before, so that a body that is not read stops its client at the window of the stream.
//! Caveat: trailers are passed on; who reads a body ignores them.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};

/// A request body that has not been read.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// By HTTP/1.1.
    Http1(hyper::body::Incoming),
    /// By HTTP/2.
    Http2(StreamBody),
}

/// Why a body breaks off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IncomingError {
    /// On a connection of HTTP/1.1.
    #[error(transparent)]
    Http1(#[from] hyper::Error),
    /// On a stream of HTTP/2.
    #[error(transparent)]
    Http2(#[from] h2::Error),
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = IncomingError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, IncomingError>>> {
        match &mut *self {
            Self::Http1(body) => Pin::new(body).poll_frame(cx).map_err(IncomingError::from),
            Self::Http2(body) => body.poll_frame(cx).map_err(IncomingError::from),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.left.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

/// The receiving half of a stream.
#[derive(Debug)]
pub(crate) struct StreamBody {
    stream: RecvStream,
    /// What is to come by the request's `Content-Length`, which h2 compares with what does come.
    left: Option<u64>,
    wanted: Rc<Cell<bool>>,
}

impl StreamBody {
    /// The body of a request that declares `length`, if it does; `wanted` becomes true when it is read for the first
    /// time.
    pub(super) fn new(stream: RecvStream, length: Option<u64>, wanted: Rc<Cell<bool>>) -> Self {
        Self { stream, left: length, wanted }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        self.wanted.set(true);
        match ready!(self.stream.poll_data(cx)) {
            Some(Ok(piece)) => {
                // It fails only for a stream that has ended.
                let _ = self.stream.flow_control().release_capacity(piece.len());
                self.left = self.left.map(|left| left.saturating_sub(piece.len() as u64));
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => {
                let trailers = ready!(self.stream.poll_trailers(cx));
                Poll::Ready(trailers.transpose().map(|trailers| trailers.map(Frame::trailers)))
            }
        }
    }
}
