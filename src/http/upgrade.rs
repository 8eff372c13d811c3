//! A connection that has left HTTP behind: after a 101 answer its bytes go through two pipes, one a direction.
//!
//! Promise: bytes pass in order and unchanged, each direction as fast as its slower end; either end learns that the
//! other is gone. Caveat: what the bytes mean (web socket frames) is the business of whoever holds the other ends.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Response;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

use super::body::DISCARD_BYTES;
use super::pipe::{Reader, Writer};
use super::response::Body;

/// Bytes read from the client at a time, at most.
const PIECE: usize = 16 * 1024;

/// How long a client may go on sending after the server's side has said all.
const LINGER: Duration = Duration::from_secs(1);

/// The ends of the two pipes that the connection takes over.
#[derive(Debug)]
pub struct Upgrade {
    /// What the client says.
    pub from_client: Writer,
    /// What it is told.
    pub to_client: Reader,
}

/// How an [`Upgrade`] travels with its 101 answer: extensions have to be `Clone`.
#[derive(Clone)]
struct Luggage(Arc<Mutex<Option<Upgrade>>>);

impl Upgrade {
    /// Puts the upgrade into the 101 answer that announces it.
    pub fn attach_to(self, response: &mut Response<Body>) {
        response.extensions_mut().insert(Luggage(Arc::new(Mutex::new(Some(self)))));
    }

    /// Takes the upgrade out of an answer that announces one.
    pub fn take_from(response: &mut Response<Body>) -> Option<Self> {
        let luggage = response.extensions_mut().remove::<Luggage>()?;
        luggage.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Carries bytes both ways, those in `unread` first, until the server's side has said all or the client is gone.
    pub async fn relay<I: AsyncRead + AsyncWrite + Unpin>(self, io: I, unread: Bytes) {
        let (mut incoming, mut outgoing) = tokio::io::split(io);
        let complete = {
            let (receive, send) =
                (pin!(receive(&mut incoming, self.from_client, unread)), pin!(send(&mut outgoing, self.to_client)));
            tokio::select! {
                complete = send => complete,
                () = async {
                    receive.await;
                    // The server's side has its say after the client has had its own.
                    std::future::pending::<()>().await;
                } => false,
            }
        };
        if complete {
            // Closing a socket with unread bytes resets it, and the last words of the server's side would be lost.
            let _ = tokio::time::timeout(LINGER, discard(&mut incoming)).await;
        }
    }
}

async fn receive<I: AsyncRead + AsyncWrite + Unpin>(incoming: &mut ReadHalf<I>, from_client: Writer, unread: Bytes) {
    let mut piece = unread;
    loop {
        if from_client.write(piece).is_err() || poll_fn(|cx| from_client.poll_room(cx)).await.is_err() {
            return; // nobody listens any more
        }
        let mut buffer = BytesMut::with_capacity(PIECE);
        match incoming.read_buf(&mut buffer).await {
            Ok(1..) => piece = buffer.freeze(),
            Ok(0) => return from_client.finish(),
            Err(_) => return, // dropping the writer says that the stream broke
        }
    }
}

/// Sends what there is to be sent; true if that is all there was to say.
async fn send<I: AsyncRead + AsyncWrite + Unpin>(outgoing: &mut WriteHalf<I>, mut to_client: Reader) -> bool {
    loop {
        match poll_fn(|cx| to_client.poll_next(cx)).await {
            Some(Ok(piece)) => {
                if outgoing.write_all(&piece).await.is_err() {
                    return false;
                }
            }
            Some(Err(_)) => return false,
            None => return outgoing.shutdown().await.is_ok(),
        }
    }
}

async fn discard<I: AsyncRead + AsyncWrite + Unpin>(incoming: &mut ReadHalf<I>) {
    let mut left = DISCARD_BYTES;
    let mut buffer = BytesMut::with_capacity(PIECE);
    while let Ok(read @ 1..) = incoming.read_buf(&mut buffer).await
        && read <= left
    {
        left -= read;
        buffer.clear();
    }
}
