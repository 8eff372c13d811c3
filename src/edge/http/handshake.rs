//! The TLS handshake of an accepted connection.
//!
//! Runs on the I/O threads. Promise: a client that does not get on with it does not delay a drain, and plain HTTP on a
//! TLS port gets an answer that can be read. Caveat: a failure is logged at DEBUG only, since port scanners cause it.

use std::sync::Arc;

use rustls::{ProtocolVersion, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::drain::Drain;
use super::malformed::{self, UnreadClient};
use super::params::ConnectionParams;
use super::rescue::HeadError;
use super::service::ConnectInfo;
use super::transport::Stream;
use crate::edge::observe::metrics::thread;

/// Makes `stream` a TLS session by `config`; nothing if that fails or takes too long, or once the server drains.
///
/// The bytes that are answered are those of a client that does not use TLS.
pub(super) async fn shake_hands(
    mut stream: Stream<TcpStream>,
    config: Arc<ServerConfig>,
    connect_info: &ConnectInfo,
    params: &ConnectionParams,
    mut drain: Drain,
) -> Option<TlsStream<Stream<TcpStream>>> {
    let handshake = async {
        let mut first = [0];
        stream.0.peek(&mut first).await?;
        if first[0].is_ascii_uppercase() {
            // The start of a method, never of a handshake.
            let added = params.added_headers.as_deref().map(|added| (added, false));
            let client = UnreadClient::of(connect_info, params);
            let hint = malformed::refuse(&HeadError::PlainHttp, &client, false, added);
            malformed::lingering_close(&mut stream, &hint).await;
            return Err(std::io::Error::other("plain HTTP on a TLS port"));
        }
        TlsAcceptor::from(config).accept(stream).await
    };
    let outcome = tokio::select! {
        () = async {
            drain.started().await;
            tokio::time::sleep(drain.kind().idle_grace).await;
        } => return None,
        outcome = tokio::time::timeout(params.handshake_timeout, handshake) => outcome,
    };
    let reason = match outcome {
        Ok(Ok(stream)) => {
            let is_newest = stream.get_ref().1.protocol_version() == Some(ProtocolVersion::TLSv1_3);
            thread::current().server.handshakes[usize::from(is_newest)].add(1);
            return Some(stream);
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "took too long".to_owned(),
    };
    thread::current().server.failed_handshakes.add(1);
    tracing::debug!(remote = %connect_info.remote, reason, "TLS handshake failed");
    None
}
