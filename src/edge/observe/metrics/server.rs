//! What one thread counts of the server as a whole.
//!
//! Promise: as for all counts of a thread, a load and a store each. Caveat: the I/O threads count what concerns sockets,
//! the Python thread the rest; each leaves the others' places at 0.

use super::counter::{Count, Histogram};

/// The versions of TLS, as they are shown.
pub(crate) const TLS_VERSIONS: [&str; 2] = ["1.2", "1.3"];

/// How reloads end.
pub(crate) const RESULTS: [&str; 2] = ["success", "failure"];

/// The counts.
#[derive(Debug, Default)]
pub(crate) struct ServerCounts {
    /// Connections that were accepted.
    pub connections: Count,
    /// TLS handshakes that succeeded, in the order of [`TLS_VERSIONS`].
    pub handshakes: [Count; TLS_VERSIONS.len()],
    /// TLS handshakes that did not.
    pub failed_handshakes: Count,
    /// Bytes from clients, with what TLS adds.
    pub received: Count,
    /// Bytes to clients, with what TLS adds.
    pub sent: Count,
    /// Reloads and changes of plugins, in the order of [`RESULTS`].
    pub reloads: [Count; RESULTS.len()],
    /// From a call of the event loop to its turn.
    pub loop_lag: Histogram,
    /// From the wish for the interpreter to having it.
    pub gil_wait: Histogram,
}
