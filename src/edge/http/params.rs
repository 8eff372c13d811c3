//! Limits and timings of a connection.
//!
//! Made on the Python thread, at the start and at each reload. Caveat: a connection keeps those with which it was
//! accepted.

use std::time::Duration;

use crate::edge::config::settings::limits::LimitSettings;
use crate::edge::config::settings::{NetworkSettings, ServerSettings};

/// Longest time for a TLS handshake, unless `read_timeout` is shorter.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

impl Default for ConnectionParams {
    fn default() -> Self {
        Self::new(&ServerSettings::default(), &LimitSettings::default(), &NetworkSettings::default())
    }
}

/// Limits and timings of a connection, ready to use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionParams {
    /// Bytes of request line and headers; more is 431.
    pub head_limit: usize,
    /// Number of headers; more is 431.
    pub head_fields: usize,
    /// Bytes of path and query; more is 414.
    pub target_size: usize,
    /// For a whole head, waiting for it on an idle connection included; and for a client to take some of its answer.
    pub read_timeout: Duration,
    /// For a whole TLS handshake, and for the preface of HTTP/2.
    pub handshake_timeout: Duration,
    /// Whether HTTP/2 is spoken.
    pub http2: bool,
}

impl ConnectionParams {
    /// Takes from the settings what concerns connections.
    pub(crate) fn new(settings: &ServerSettings, limits: &LimitSettings, network: &NetworkSettings) -> Self {
        Self {
            head_limit: limits.head_size,
            head_fields: limits.head_fields,
            target_size: limits.target_size,
            read_timeout: settings.read_timeout,
            handshake_timeout: settings.read_timeout.min(HANDSHAKE_TIMEOUT),
            http2: network.http2,
        }
    }
}
