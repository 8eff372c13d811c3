//! Request bodies: read completely within a limit, or refused so that the client can read the answer.
//!
//! Runs on the I/O threads. [`read`] collects a body, [`discard`] reads one that is not used. Promise: a client that
//! sends in drops is cut off: the whole body has a time, which grows only with the bytes that have arrived. Caveat: a
//! slow client of a large limit may so still be there for long, at the lowest rate that is allowed.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::Instant;

use super::content_coding::{BodyDecoder, ContentCoding, DecodeError};
use crate::edge::config::settings::limits::BodyTimes;

/// How long a refused client may go on sending before the connection is closed on it.
pub(super) const LINGER_TIMEOUT: Duration = Duration::from_secs(5);

/// How many bytes a refused client may go on sending before the connection is closed on it.
pub(super) const LINGER_BYTES: usize = 16 * 1024 * 1024;

/// Most that the lowest rate grants, which is longer than any connection lasts.
const MOST_GRANTED: Duration = Duration::from_secs(365 * 24 * 3600);

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
    /// It took too long, or a gap within it did.
    #[error("the request body did not arrive in time")]
    Timeout,
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

/// Reads a body of at most `limit` bytes, which takes no longer than `times` allow, and decodes it if it has `codings`.
/// The limit is for the bytes as they arrive, for the decoded ones and for those between two codings.
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
    codings: &[ContentCoding],
    limit: usize,
    times: BodyTimes,
) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: StdError + 'static,
{
    let mut pieces = Pieces { body, received: 0, limit, times, begun: None };
    let whole = match BodyDecoder::new(codings, limit) {
        None => pieces.join().await,
        Some(decoder) => pieces.decode(decoder).await,
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
    times: BodyTimes,
    begun: Option<Instant>,
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

    /// When the next piece has to be there.
    fn deadline(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let begun = *self.begun.get_or_insert(now);
        let BodyTimes { idle, whole, min_rate } = self.times;
        #[expect(clippy::cast_precision_loss, reason = "so many bytes are not a matter of seconds")]
        let granted = min_rate.map_or(0.0, |rate| self.received as f64 / rate as f64);
        // No sum with the longest time and the largest body is beyond what an instant can be.
        let whole = whole.map(|whole| begun + whole + Duration::try_from_secs_f64(granted).unwrap_or(MOST_GRANTED));
        let idle = idle.map(|idle| now + idle);
        whole.into_iter().chain(idle).min()
    }

    /// The next piece, which may be empty; `None` after the last.
    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        if self.body.is_end_stream() {
            return Ok(None);
        }
        let frame = match self.deadline() {
            Some(deadline) => tokio::time::timeout_at(deadline, self.body.frame()).await,
            None => Ok(self.body.frame().await),
        };
        let piece = match frame {
            Err(_) => return Err(BodyError::Timeout),
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

    async fn decode(&mut self, mut decoder: BodyDecoder) -> Result<Bytes, BodyError> {
        self.check(self.announced())?;
        let limit = self.limit;
        let error = |error| match error {
            DecodeError::Undecodable => BodyError::Undecodable,
            DecodeError::TooLarge => BodyError::TooLarge { limit },
        };
        let mut whole = BytesMut::new();
        let mut chunk = vec![0; DECODED_CHUNK];
        while let Some(piece) = self.next().await? {
            let mut input = &piece[..];
            while let Some(written) = decoder.decode(&mut input, &mut chunk).map_err(error)? {
                self.check(whole.len() + written)?;
                whole.extend_from_slice(&chunk[..written]);
                if written == chunk.len() || (written == 0 && !input.is_empty()) {
                    // A few bytes can stand for very many; others on this thread have their turn in between.
                    tokio::task::yield_now().await;
                }
            }
        }
        decoder.finish().map_err(error)?;
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

    use super::{BodyError, BodyTimes, ContentCoding, read};

    const TIMES: BodyTimes = BodyTimes { idle: Some(Duration::from_millis(20)), whole: None, min_rate: None };

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
        let got = run(read(Full::new(sent.clone()), &[], 5, TIMES)).unwrap();
        assert_eq!(sent.as_ptr(), got.as_ptr());
        assert_eq!(sent, got);
    }

    #[test]
    fn pieces_are_joined_in_order() {
        assert_eq!(Ok(Bytes::from("abcd")), run(read(pieces(&["a", "", "bc", "d"]), &[], 4, TIMES)));
    }

    #[test]
    fn an_announced_length_above_the_limit_is_refused() {
        let got = run(read(Full::new(Bytes::from_static(b"hello")), &[], 4, TIMES));
        assert_eq!(Err(BodyError::TooLarge { limit: 4 }), got);
    }

    #[test]
    fn pieces_are_counted_as_they_come() {
        assert_eq!(Err(BodyError::TooLarge { limit: 3 }), run(read(pieces(&["ab", "cd"]), &[], 3, TIMES)));
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
        let read = |limit| run(read(frames(), &[ContentCoding::Deflate], limit, TIMES));
        assert_eq!(Ok(Bytes::from("a".repeat(100))), read(100));
        assert_eq!(Err(BodyError::TooLarge { limit: 99 }), read(99));
    }

    #[test]
    fn a_gap_longer_than_allowed_is_a_timeout() {
        let silent = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        assert_eq!(Err(BodyError::Timeout), run(read(silent, &[], 3, TIMES)));
    }

    /// Runs a future on a clock that jumps to the next alarm instead of waiting for it.
    fn run_paused<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, future)
    }

    /// A byte each second, for ever.
    fn drops() -> impl http_body::Body<Data = Bytes, Error = Infallible> + Unpin {
        let bytes = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok(Frame::data(Bytes::from_static(b"x"))), ()))
        });
        StreamBody::new(Box::pin(bytes))
    }

    #[test]
    fn a_body_that_comes_in_drops_has_a_time_in_all() {
        let idle = Some(Duration::from_secs(5));
        let times = |seconds, min_rate| BodyTimes { idle, whole: Some(Duration::from_secs(seconds)), min_rate };
        let read = |times| {
            run_paused(async move {
                let begun = tokio::time::Instant::now();
                (read(drops(), &[], 100, times).await, begun.elapsed().as_secs())
            })
        };
        assert_eq!((Err(BodyError::Timeout), 9), read(times(9, Some(1000))));
        assert_eq!((Err(BodyError::Timeout), 9), read(times(9, None)));
        // Each of the bytes grants half a second.
        assert_eq!((Err(BodyError::Timeout), 19), read(times(10, Some(2))));
        assert_eq!((Err(BodyError::TooLarge { limit: 100 }), 101), read(times(10, Some(1))));
    }
}
