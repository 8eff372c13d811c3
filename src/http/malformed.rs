//! Requests that never become one: a clear JSON answer instead of hyper's empty one.
//!
//! hyper answers a head that it cannot parse by itself: one write of `HTTP/1.1 4xx …`, `connection: close`,
//! `content-length: 0` and a date, then it neither reads nor writes again, shuts the socket down and ends the connection
//! with a parse error. [`Guarded`] holds such a write back and ignores the shutdown; [`Guarded::finish`] then sends what
//! we say instead. It also gives up on a client that takes no byte of an answer, for which hyper would wait without end.
//! Caveat: a service may answer so itself (status 4xx, no body, no content type; ours never do). That answer is held as
//! well and goes out untouched at the next read or write, or at the end: it can be late, never lost.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::body::{DISCARD_BYTES, DISCARD_TIME};

/// Longest answer that hyper makes by itself, amply rounded.
const BARE_ANSWER: usize = 256;

/// Bytes up to which head and body are copied together: one piece costs the system less than two.
const TOGETHER: usize = 1024;

/// A socket under hyper that holds back the answers which hyper gives by itself.
#[derive(Debug)]
pub struct Guarded<I> {
    io: I,
    held: Vec<u8>,
    patience: Duration,
    stall: Option<Pin<Box<Sleep>>>,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Guarded<I> {
    /// Wraps a socket whose client has to take something of an answer within `patience`.
    pub fn new(io: I, patience: Duration) -> Self {
        Self { io, held: Vec::new(), patience, stall: None }
    }

    /// Sends the last words of a connection that hyper has ended, if there are any to be said.
    ///
    /// `unread` is what hyper had read of the next request, `head_limit` the size of a head, in bytes, for the text.
    /// A head that began and was not finished in time gets a 408; an idle connection is closed without a word.
    pub async fn finish(mut self, ended: Result<(), hyper::Error>, unread: &[u8], head_limit: usize) {
        let held = std::mem::take(&mut self.held);
        let last = match ended {
            Err(error) if error.is_parse() && !held.is_empty() => unparsable(&held, &error, head_limit),
            Err(error) if error.is_parse_version_h2() => {
                answer(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "HTTP/2 is not spoken here: use HTTP/1.1")
            }
            Err(error) if error.is_timeout() && !unread.is_empty() => {
                answer(StatusCode::REQUEST_TIMEOUT, "request line and headers took too long to arrive")
            }
            _ if held.is_empty() => return,
            _ => held,
        };
        say_and_close(&mut self.io, &last).await;
    }

    /// Lets a held answer go, since hyper went on: it was the service's.
    fn poll_release(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let written = Pin::new(&mut self.io).poll_write(cx, &self.held);
            let written = ready!(self.poll_patience(cx, written))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.drain(..written);
        }
        Poll::Ready(Ok(()))
    }

    /// Turns a write that has been pending for too long into an error.
    fn poll_patience(&mut self, cx: &mut Context<'_>, write: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if write.is_ready() {
            self.stall = None;
            return write;
        }
        let patience = self.patience;
        let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Whether a write is an answer that hyper makes by itself. Nearly every other write is told apart by its tenth byte.
fn is_bare_refusal(bytes: &[u8]) -> bool {
    let has = |wanted: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
    bytes.get(9) == Some(&b'4')
        && bytes.len() < BARE_ANSWER
        && bytes.starts_with(b"HTTP/1.")
        && bytes.ends_with(b"\r\n\r\n")
        && has(b"\r\ncontent-length: 0\r\n")
        && !has(b"\r\ncontent-type:")
}

fn unparsable(held: &[u8], error: &hyper::Error, head_limit: usize) -> Vec<u8> {
    let status = held.get(9..12).and_then(|code| StatusCode::from_bytes(code).ok()).unwrap_or(StatusCode::BAD_REQUEST);
    match status {
        StatusCode::URI_TOO_LONG => answer(status, "request line is too long"),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            let most = super::connection::MAX_HEADERS;
            answer(
                status,
                &format!("request line and headers are larger than {head_limit} bytes or over {most} headers"),
            )
        }
        _ => answer(status, &format!("malformed request: {error}")),
    }
}

/// A whole answer, head and JSON body, after which the connection closes.
pub fn answer(status: StatusCode, error: &str) -> Vec<u8> {
    let body = serde_json::json!({ "error": error }).to_string();
    let date = httpdate::fmt_http_date(SystemTime::now());
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: {length}\r\n\
         connection: close\r\ndate: {date}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Sends an answer, closes our side and reads on for a while, so that a client still sending gets to see it: closing
/// with unread bytes would reset the connection and could destroy the answer on its way.
pub async fn say_and_close<I: AsyncRead + AsyncWrite + Unpin>(io: &mut I, answer: &[u8]) {
    let last_words = async {
        let mut rest = answer;
        while !rest.is_empty() {
            let written = std::future::poll_fn(|cx| Pin::new(&mut *io).poll_write(cx, rest)).await?;
            rest = rest.get(written..).filter(|_| written > 0).ok_or(io::ErrorKind::WriteZero)?;
        }
        std::future::poll_fn(|cx| Pin::new(&mut *io).poll_flush(cx)).await?;
        std::future::poll_fn(|cx| Pin::new(&mut *io).poll_shutdown(cx)).await?;
        let (mut space, mut left) = ([0; 4096], DISCARD_BYTES);
        loop {
            let mut buffer = ReadBuf::new(&mut space);
            std::future::poll_fn(|cx| Pin::new(&mut *io).poll_read(cx, &mut buffer)).await?;
            let read = buffer.filled().len();
            if read == 0 || read > left {
                return io::Result::Ok(());
            }
            left -= read;
        }
    };
    if let Ok(Err(error)) = tokio::time::timeout(DISCARD_TIME, last_words).await {
        tracing::debug!(%error, "client left before the refusal reached it");
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guarded<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_release(cx))?;
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_release(cx))?;
        if is_bare_refusal(buf) {
            self.held.extend_from_slice(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.poll_patience(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = bufs {
            return self.poll_write(cx, only);
        }
        ready!(self.poll_release(cx))?;
        let written = if bufs.iter().map(|buf| buf.len()).sum::<usize>() <= TOGETHER {
            let (mut space, mut end) = ([0; TOGETHER], 0);
            for buf in bufs {
                space[end..end + buf.len()].copy_from_slice(buf);
                end += buf.len();
            }
            Pin::new(&mut self.io).poll_write(cx, &space[..end])
        } else {
            Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
        };
        self.poll_patience(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.held.is_empty() { Pin::new(&mut self.io).poll_shutdown(cx) } else { Poll::Ready(Ok(())) }
    }
}
