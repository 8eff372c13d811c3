//! A connection that has left HTTP: after the 101 answer, its bytes go through two pipes, one for each direction.
//!
//! Runs on the I/O threads. Promise: bytes pass in order and unchanged, each direction as fast as its slower end; each
//! end learns when the other is gone. What the bytes mean (WebSocket frames) is up to the users of the other ends.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::UPGRADE;
use http::{HeaderValue, Response};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::body::LINGER_BYTES;
use super::departure::{Departure, Socket};
use super::pipe::{Gone, Reader, Writer};
use super::response::Body;
use super::websocket::MaskCheck;

/// Bytes read from the client at a time, at most.
const PIECE: usize = 16 * 1024;

/// How long a client may go on sending after the server's side has ended.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// The ends of the two pipes that the connection takes over.
#[derive(Debug)]
pub struct Upgrade {
    /// For the bytes that the client sends.
    pub from_client: Writer,
    /// With the bytes for the client.
    pub to_client: Reader,
}

/// How an [`Upgrade`] travels with its 101 answer: extensions have to be `Clone`.
#[derive(Clone)]
struct UpgradeExtension(Arc<Mutex<Option<Upgrade>>>);

impl Upgrade {
    /// Puts the upgrade into the 101 answer that announces it.
    pub fn attach_to(self, response: &mut Response<Body>) {
        response.extensions_mut().insert(UpgradeExtension(Arc::new(Mutex::new(Some(self)))));
    }
}

/// What becomes of a connection once the 101 answer has been sent.
#[derive(Debug)]
pub(crate) struct Relay {
    upgrade: Upgrade,
    check: Option<MaskCheck>,
}

impl Relay {
    /// Takes the upgrade out of an answer that announces one.
    pub(crate) fn take_from(response: &mut Response<Body>) -> Option<Self> {
        let extension = response.extensions_mut().remove::<UpgradeExtension>()?;
        let upgrade = extension.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let protocol = response.headers().get(UPGRADE).map(HeaderValue::as_bytes);
        let is_websocket = protocol.is_some_and(|name| name.eq_ignore_ascii_case(b"websocket"));
        Some(Self { upgrade, check: is_websocket.then(MaskCheck::default) })
    }

    /// Carries bytes both ways, those in `unread` first, until the server's side has ended or the client is gone.
    pub(crate) async fn run<I: Socket>(self, io: I, unread: Bytes) {
        let Self { upgrade: Upgrade { from_client, to_client }, check } = self;
        let io = RefCell::new(io);
        let complete = {
            let receive = pin!(receive(Half(&io), from_client, unread, check));
            let send = pin!(send(Half(&io), to_client));
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
            let _ = tokio::time::timeout(LINGER_TIMEOUT, discard(Half(&io))).await;
        }
    }
}

/// One of the two users of a connection, neither of which holds it longer than for a moment.
struct Half<'a, I>(&'a RefCell<I>);

impl<I: Socket> AsyncRead for Half<'_, I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_read(cx, buf)
    }
}

impl<I: Socket> AsyncWrite for Half<'_, I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(cx)
    }
}

async fn receive<I: Socket>(mut incoming: Half<'_, I>, from_client: Writer, unread: Bytes, check: Option<MaskCheck>) {
    let (mut piece, mut check, mut departure) = (unread, check, Departure::default());
    loop {
        let checked = check.as_mut().map_or(Ok(piece.clone()), |check| check.follow(piece));
        let is_last = checked.is_err();
        departure.note_read(true);
        let room = poll_fn(|cx| {
            // What comes after the last is not read.
            if !is_last && let Poll::Ready(room) = from_client.poll_room(cx) {
                return Poll::Ready(room);
            }
            departure.poll(&*incoming.0.borrow(), cx).map(|()| Err(Gone))
        });
        if from_client.write(checked.unwrap_or_else(|last| last)).is_err() || room.await.is_err() {
            return; // the handler no longer reads, or the client has gone
        }
        let mut buffer = BytesMut::with_capacity(PIECE);
        match incoming.read_buf(&mut buffer).await {
            Ok(1..) => piece = buffer.freeze(),
            Ok(0) => return from_client.finish(),
            Err(_) => return, // dropping the writer breaks the stream
        }
    }
}

/// Sends what there is to be sent; true if that is all there was to say.
async fn send<I: Socket>(mut outgoing: Half<'_, I>, mut to_client: Reader) -> bool {
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

async fn discard<I: Socket>(mut incoming: Half<'_, I>) {
    let mut left = LINGER_BYTES;
    let mut buffer = BytesMut::with_capacity(PIECE);
    while let Ok(read @ 1..) = incoming.read_buf(&mut buffer).await
        && read <= left
    {
        left -= read;
        buffer.clear();
    }
}
