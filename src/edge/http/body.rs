//! Request bodies: read completely within a limit, or refused so that the client can read the answer.
//!
//! Runs on the I/O threads. [`read`] collects a body, [`discard`] reads one that is not used. Caveat: the timeout is
//! for the idle time between two pieces, not for the whole body, so a slow client can keep a connection open until
//! `limit` bytes have arrived.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;

use super::content_coding::{ContentCoding, Decoder, Undecodable};

/// How long a refused client may go on sending before the connection is closed on it.
pub(super) const LINGER_TIMEOUT: Duration = Duration::from_secs(5);

/// How many bytes a refused client may go on sending before the connection is closed on it.
pub(super) const LINGER_BYTES: usize = 16 * 1024 * 1024;

/// Most memory that is reserved for a body by its `Content-Length`, before its bytes arrive.
const RESERVE: usize = 1024 * 1024;

/// How many bytes of a compressed body are decoded at a time.
const DECODED_CHUNK: usize = 32 * 1024;

/// A body that cannot be had. Answer with `connection: close`: the rest of it may still be on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// More bytes than the limit, announced or received; what follows is being discarded.
    #[error("request body is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// No byte arrived for so long.
    #[error("no byte of the request body arrived for {} seconds", idle.as_secs_f64())]
    Timeout {
        /// The longest gap allowed.
        idle: Duration,
    },
    /// The bytes break the chunked encoding.
    #[error("request body is not valid chunked encoding")]
    Malformed,
    /// The bytes break the content coding that the request declares, or end within it.
    #[error("request body is not valid in its Content-Encoding, or cut short")]
    Undecodable,
    /// The connection ended before the body did; no client is left to answer.
    #[error("client closed the connection within the request body")]
    Disconnected,
}

impl From<Undecodable> for BodyError {
    fn from(_: Undecodable) -> Self {
        Self::Undecodable
    }
}

/// Reads a body of at most `limit` bytes, pausing at most for `idle`, and decodes it if it has a `coding`. The limit is
/// for the bytes as they arrive and for the decoded ones.
///
/// A body whose `Content-Length` is above the limit is refused without reading it, so a client that sent
/// `Expect: 100-continue` gets its refusal instead of the permission to send. A body that arrived in one piece is
/// handed on without copying, unless it has to be decoded.
///
/// # Errors
///
/// A [`BodyError`]; after `TooLarge` and `Undecodable` the rest is [discarded](discard), with its requirements.
pub(crate) async fn read<B>(
    body: B,
    coding: Option<ContentCoding>,
    limit: usize,
    idle: Duration,
) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: StdError + 'static,
{
    let mut pieces = Pieces { body, received: 0, limit, idle };
    let whole = match coding {
        None => pieces.join().await,
        Some(coding) => pieces.decode(coding).await,
    };
    if matches!(whole, Err(BodyError::TooLarge { .. } | BodyError::Undecodable)) {
        discard(pieces.body);
    }
    whole
}

/// A body that is being received.
struct Pieces<B> {
    body: B,
    received: usize,
    limit: usize,
    idle: Duration,
}

impl<B> Pieces<B>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: StdError + 'static,
{
    /// The length that is still to come according to the client.
    fn announced(&self) -> usize {
        usize::try_from(self.body.size_hint().lower()).unwrap_or(usize::MAX)
    }

    fn check(&self, length: usize) -> Result<(), BodyError> {
        if length > self.limit { Err(BodyError::TooLarge { limit: self.limit }) } else { Ok(()) }
    }

    /// The next piece, which may be empty; `None` after the last.
    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        if self.body.is_end_stream() {
            return Ok(None);
        }
        let piece = match tokio::time::timeout(self.idle, self.body.frame()).await {
            Err(_) => return Err(BodyError::Timeout { idle: self.idle }),
            Ok(Some(Err(error))) => return Err(classify(&error)),
            Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            Ok(None) if self.body.size_hint().lower() > 0 => return Err(BodyError::Disconnected),
            Ok(None) => return Ok(None),
        };
        self.received += piece.len();
        self.check(self.received)?;
        Ok(Some(piece))
    }

    async fn join(&mut self) -> Result<Bytes, BodyError> {
        let announced = self.announced();
        self.check(announced)?;
        let mut first = Bytes::new();
        let mut joined = BytesMut::new();
        while let Some(piece) = self.next().await? {
            if first.is_empty() && joined.is_empty() {
                first = piece;
            } else if !piece.is_empty() {
                if joined.is_empty() {
                    joined.reserve(announced.min(RESERVE).max(first.len() + piece.len()));
                    joined.extend_from_slice(&std::mem::take(&mut first));
                }
                if joined.capacity() - joined.len() < piece.len() {
                    // The client has sent what was set aside; to believe the rest of its word spares copies at each
                    // doubling.
                    joined.reserve(announced.saturating_sub(joined.len()).max(piece.len()));
                }
                joined.extend_from_slice(&piece);
            }
        }
        Ok(if joined.is_empty() { first } else { joined.freeze() })
    }

    async fn decode(&mut self, coding: ContentCoding) -> Result<Bytes, BodyError> {
        self.check(self.announced())?;
        let mut decoder = Decoder::new(coding);
        let mut whole = BytesMut::new();
        let mut chunk = vec![0; DECODED_CHUNK];
        while let Some(piece) = self.next().await? {
            let mut input = &piece[..];
            loop {
                let written = decoder.decode(&mut input, &mut chunk)?;
                self.check(whole.len() + written)?;
                whole.extend_from_slice(&chunk[..written]);
                if written == chunk.len() {
                    // A few bytes can stand for very many; others on this thread have their turn in between.
                    tokio::task::yield_now().await;
                } else if input.is_empty() {
                    break;
                }
            }
        }
        decoder.finish()?;
        Ok(whole.freeze())
    }
}

/// Keeps reading a body that is not wanted, in a task of its own, for a bounded time and amount.
///
/// To be called right before a refusal is returned. A client that is still sending usually does not look at the answer
/// until it has finished, and closing a connection with unread bytes resets it, which can destroy an answer that is
/// already on its way. It must be called where local tasks can be spawned.
pub(crate) fn discard<B>(mut body: B)
where
    B: Body<Data = Bytes> + Unpin + 'static,
{
    if body.is_end_stream() {
        return;
    }
    tokio::task::spawn_local(async move {
        let reading = async {
            let mut left = LINGER_BYTES;
            while let Some(Ok(frame)) = body.frame().await {
                let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { break };
                left = rest;
            }
        };
        // Whether the end was reached does not matter; dropping the body closes the connection if it was not.
        let _ = tokio::time::timeout(LINGER_TIMEOUT, reading).await;
    });
}

/// hyper reports a broken chunk as an I/O error of invalid input or data, somewhere below its own.
fn classify(error: &(dyn StdError + 'static)) -> BodyError {
    let mut causes = std::iter::successors(Some(error), |error| (*error).source());
    let malformed = causes.any(|cause| {
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        matches!(kind, Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData))
    });
    if malformed { BodyError::Malformed } else { BodyError::Disconnected }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use bytes::Bytes;
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::{Full, StreamBody};

    use super::{BodyError, ContentCoding, read};

    const IDLE: Duration = Duration::from_millis(20);

    fn run<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, future)
    }

    fn pieces(pieces: &'static [&'static str]) -> impl http_body::Body<Data = Bytes, Error = Infallible> + Unpin {
        let frames = pieces.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes()))));
        StreamBody::new(stream::iter(frames))
    }

    #[test]
    fn a_body_in_one_piece_is_not_copied() {
        let sent = Bytes::from_static(b"hello");
        let got = run(read(Full::new(sent.clone()), None, 5, IDLE)).unwrap();
        assert_eq!(sent.as_ptr(), got.as_ptr());
        assert_eq!(sent, got);
    }

    #[test]
    fn pieces_are_joined_in_order() {
        assert_eq!(Ok(Bytes::from("abcd")), run(read(pieces(&["a", "", "bc", "d"]), None, 4, IDLE)));
    }

    #[test]
    fn an_announced_length_above_the_limit_is_refused() {
        let got = run(read(Full::new(Bytes::from_static(b"hello")), None, 4, IDLE));
        assert_eq!(Err(BodyError::TooLarge { limit: 4 }), got);
    }

    #[test]
    fn pieces_are_counted_as_they_come() {
        assert_eq!(Err(BodyError::TooLarge { limit: 3 }), run(read(pieces(&["ab", "cd"]), None, 3, IDLE)));
    }

    #[test]
    fn a_compressed_body_is_limited_by_what_it_stands_for() {
        // 100 times `a`.
        let frames = || {
            let zlib = [&[0x78, 0x9c, 0x4b, 0x4c, 0xa4, 0x3d, 0x00, 0x00][..], &[0x7a, 0x47, 0x25, 0xe5]];
            StreamBody::new(stream::iter(
                zlib.map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(piece)))),
            ))
        };
        let read = |limit| run(read(frames(), Some(ContentCoding::Deflate), limit, IDLE));
        assert_eq!(Ok(Bytes::from("a".repeat(100))), read(100));
        assert_eq!(Err(BodyError::TooLarge { limit: 99 }), read(99));
    }

    #[test]
    fn a_gap_longer_than_allowed_is_a_timeout() {
        let silent = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        assert_eq!(Err(BodyError::Timeout { idle: IDLE }), run(read(silent, None, 3, IDLE)));
    }
}
