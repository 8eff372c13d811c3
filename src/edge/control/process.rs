//! What concerns the process as a whole and is asked for through the control socket.
//!
//! Sent by the I/O threads, received by the signal thread, which treats it like a signal. Caveat: nothing tells whether
//! a request was obeyed but what the server then does.

use tokio::sync::mpsc;

/// A request to the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProcessRequest {
    /// The same as SIGTERM.
    Stop,
}

/// Where requests to the process go.
pub(crate) type ProcessRequests = mpsc::UnboundedSender<ProcessRequest>;
