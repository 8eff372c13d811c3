//! Limits and timings of a connection.
//!
//! Made on the Python thread, at the start and at each reload. Caveat: a connection keeps those with which it was
//! accepted.

use std::sync::Arc;
use std::time::Duration;

use super::added_headers::AddedHeaders;
use super::observed::Observers;
use crate::edge::config::settings::NetworkSettings;
use crate::edge::config::settings::limits::LimitSettings;

/// Longest time for a TLS handshake, unless `head_time` is shorter.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// What stands for a time that is not limited.
const UNLIMITED: Duration = Duration::from_secs(365 * 24 * 3600);

impl Default for ConnectionParams {
    fn default() -> Self {
        Self::new(&LimitSettings::default(), &NetworkSettings::default(), None)
    }
}

/// Limits and timings of a connection, ready to use.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionParams {
    /// Bytes of request line and headers; more is 431.
    pub head_limit: usize,
    /// Number of headers; more is 431.
    pub head_fields: usize,
    /// Bytes of path and query; more is 414.
    pub target_size: usize,
    /// For a whole head, from its first byte on.
    pub head_time: Duration,
    /// How long a connection may be idle.
    pub idle_time: Duration,
    /// For a client to take some of its answer.
    pub send_idle_time: Duration,
    /// For a whole TLS handshake, and for the preface of HTTP/2.
    pub handshake_timeout: Duration,
    /// Whether HTTP/2 is spoken.
    pub http2: bool,
    /// Whether connections begin with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// What is added to answers that no service gives.
    pub added_headers: Option<Arc<AddedHeaders>>,
    /// What observes requests that no service answers.
    pub observers: Option<Arc<Observers>>,
}

impl ConnectionParams {
    /// Takes from the settings what concerns connections.
    pub(crate) fn new(
        limits: &LimitSettings,
        network: &NetworkSettings,
        added_headers: Option<Arc<AddedHeaders>>,
    ) -> Self {
        let [head_time, idle_time, send_idle_time] =
            [limits.head_time, limits.idle_time, limits.send_idle_time].map(|time| time.unwrap_or(UNLIMITED));
        Self {
            head_limit: limits.head_size,
            head_fields: limits.head_fields,
            target_size: limits.target_size,
            head_time,
            idle_time,
            send_idle_time,
            handshake_timeout: head_time.min(HANDSHAKE_TIMEOUT),
            http2: network.http2,
            proxy_protocol: network.proxy_protocol,
            added_headers,
            observers: None,
        }
    }
}
