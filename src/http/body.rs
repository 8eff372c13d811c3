//! Request bodies: read whole within a limit, or refused in a way the client gets to hear of.
//!
//! [`read`] collects a body, [`discard`] gets rid of one that nobody wants. Caveat: the time-out is for a gap between
//! two pieces, not for the whole; `limit` bytes are what a slow client can hold a connection with.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;

/// How long a refused client may go on sending before the connection is closed on it.
pub(super) const DISCARD_TIME: Duration = Duration::from_secs(5);

/// How many bytes a refused client may go on sending before the connection is closed on it.
pub(super) const DISCARD_BYTES: usize = 16 * 1024 * 1024;

/// Most that is set aside for a body because its `Content-Length` says so, before its bytes are there.
const RESERVE: usize = 1024 * 1024;

/// A body that cannot be had. Answer with `connection: close`: the rest of it may still be on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
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
    /// The connection ended before the body did; nobody is left to answer to.
    #[error("client closed the connection within the request body")]
    Disconnected,
}

/// Reads a body of at most `limit` bytes with no gap longer than `idle`.
///
/// A body whose `Content-Length` is above the limit is refused without asking for it, so a client that sent
/// `Expect: 100-continue` gets its refusal instead of the permission to send. A body that arrived in one piece is
/// handed on without copying.
///
/// # Errors
///
/// A [`BodyError`]; after `TooLarge` the rest is [discarded](discard), with its requirements.
pub async fn read<B>(mut body: B, limit: usize, idle: Duration) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: StdError + 'static,
{
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        discard(body);
        return Err(BodyError::TooLarge { limit });
    }
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    while !body.is_end_stream() {
        let piece = match tokio::time::timeout(idle, body.frame()).await {
            Err(_) => return Err(BodyError::Timeout { idle }),
            Ok(Some(Err(error))) => return Err(classify(&error)),
            Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            Ok(None) if body.size_hint().lower() > 0 => return Err(BodyError::Disconnected),
            Ok(None) => break,
        };
        if first.len() + joined.len() + piece.len() > limit {
            discard(body);
            return Err(BodyError::TooLarge { limit });
        }
        if first.is_empty() && joined.is_empty() {
            first = piece;
        } else if !piece.is_empty() {
            if joined.is_empty() {
                joined.reserve(announced.min(RESERVE).max(first.len() + piece.len()));
                joined.extend_from_slice(&std::mem::take(&mut first));
            }
            if joined.capacity() - joined.len() < piece.len() {
                // The client has sent what was set aside; to believe the rest of its word spares copies at each doubling.
                joined.reserve(announced.saturating_sub(joined.len()).max(piece.len()));
            }
            joined.extend_from_slice(&piece);
        }
    }
    Ok(if joined.is_empty() { first } else { joined.freeze() })
}

/// Keeps reading a body that is not wanted, in a task of its own, for a bounded time and amount.
///
/// To be called right before a refusal is returned. A client that is still sending usually does not look at the answer
/// until it has finished, and closing a connection with unread bytes resets it, which can destroy an answer that is
/// already on its way. It must be called where local tasks can be spawned.
pub fn discard<B>(mut body: B)
where
    B: Body<Data = Bytes> + Unpin + 'static,
{
    if body.is_end_stream() {
        return;
    }
    tokio::task::spawn_local(async move {
        let reading = async {
            let mut left = DISCARD_BYTES;
            while let Some(Ok(frame)) = body.frame().await {
                let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { break };
                left = rest;
            }
        };
        // Whether the end was reached does not matter; dropping the body closes the connection if it was not.
        let _ = tokio::time::timeout(DISCARD_TIME, reading).await;
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

    use super::{BodyError, read};

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
        let got = run(read(Full::new(sent.clone()), 5, IDLE)).unwrap();
        assert_eq!(sent.as_ptr(), got.as_ptr());
        assert_eq!(sent, got);
    }

    #[test]
    fn pieces_are_joined_in_order() {
        assert_eq!(Ok(Bytes::from("abcd")), run(read(pieces(&["a", "", "bc", "d"]), 4, IDLE)));
    }

    #[test]
    fn an_announced_length_above_the_limit_is_refused() {
        let got = run(read(Full::new(Bytes::from_static(b"hello")), 4, IDLE));
        assert_eq!(Err(BodyError::TooLarge { limit: 4 }), got);
    }

    #[test]
    fn pieces_are_counted_as_they_come() {
        assert_eq!(Err(BodyError::TooLarge { limit: 3 }), run(read(pieces(&["ab", "cd"]), 3, IDLE)));
    }

    #[test]
    fn a_gap_longer_than_allowed_is_a_timeout() {
        let silent = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        assert_eq!(Err(BodyError::Timeout { idle: IDLE }), run(read(silent, 3, IDLE)));
    }
}
