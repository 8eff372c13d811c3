//! Connections of proxies that say by the PROXY protocol for whom they connect.
//!
//! Runs on the I/O threads, before TLS. Promise: of what follows the header nothing is read, whatever the pieces are in
//! which bytes arrive; a connection without a header never becomes one of a client. Caveat: a proxy that connects and
//! leaves without a word, as health checks do, is logged at DEBUG only.

use std::io;
use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::drain::Drain;
use super::proxy_header::{self, NoHeader, Source};
use super::service::Peer;
use super::transport::{Stream, Transport};
use crate::edge::observe::line::Level;
use crate::edge::observe::repeats::LineKind;

/// Bytes that are looked at in one step.
const STEP: usize = 512;

/// Logs that the connection of a client that is no trusted proxy is closed.
pub(super) fn log_stranger(peer: Peer) {
    static STRANGER: LineKind = LineKind::new(Level::Warn, "connections closed: not of trusted_proxies");
    if STRANGER.admits(peer.requester()) {
        tracing::warn!("{peer} - connection closed: with [network] proxy_protocol, only trusted_proxies may connect");
    }
}

/// Reads the header that `proxy` has to send within `time`; nothing if it does not, which has been logged, or once the
/// server drains.
pub(super) async fn receive<T: Transport>(
    stream: &mut Stream<T>,
    proxy: Peer,
    time: Duration,
    mut drain: Drain,
) -> Option<Source> {
    static NO_HEADER: LineKind = LineKind::new(Level::Warn, "connections closed: no PROXY header");
    let received = tokio::select! {
        () = async {
            drain.started().await;
            tokio::time::sleep(drain.kind().idle_grace).await;
        } => return None,
        received = tokio::time::timeout(time, read(stream)) => received,
    };
    let reason = match received {
        Ok(Ok(source)) => return Some(source),
        Ok(Err(Failure::Left)) => {
            tracing::debug!(%proxy, "a proxy left without a PROXY header");
            return None;
        }
        Ok(Err(Failure::NoHeader(reason))) => reason.to_string(),
        Ok(Err(Failure::Io(error))) => error.to_string(),
        Err(_) => "no whole PROXY header within head_time".to_owned(),
    };
    if NO_HEADER.admits(proxy.requester()) {
        tracing::warn!("{proxy} - connection closed: {reason}, which [network] proxy_protocol asks for");
    }
    None
}

/// Why there is no header.
enum Failure {
    /// The proxy has sent nothing at all.
    Left,
    NoHeader(NoHeader),
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Takes from the connection what belongs to the header, and no more.
async fn read<T: Transport>(stream: &mut Stream<T>) -> Result<Source, Failure> {
    let (mut header, mut step) = (Vec::new(), [0; STEP]);
    loop {
        let seen = stream.0.look_ahead(&mut step).await?;
        if seen == 0 {
            let cut_short = Failure::Io(io::Error::other("a PROXY header without its end"));
            return Err(if header.is_empty() { Failure::Left } else { cut_short });
        }
        let before = header.len();
        header.extend_from_slice(&step[..seen]);
        let found = proxy_header::parse(&header).map_err(Failure::NoHeader)?;
        // What was there for one more look is there to be read.
        let taken = found.map_or(seen, |found| found.length - before);
        stream.read_exact(&mut step[..taken]).await?;
        if let Some(found) = found {
            return Ok(found.source);
        }
    }
}
