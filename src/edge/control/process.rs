//! What concerns the process as a whole and is asked for through the control socket.
//!
//! Sent by the I/O threads, received by the signal thread, which treats it like a signal. Caveat: nothing tells whether
//! a stop was obeyed but what the server then does.

use tokio::sync::{mpsc, oneshot};

/// Where the outcome of an upgrade goes: the id of the process that serves, or the reasons why this one serves on.
pub(crate) type UpgradeReply = oneshot::Sender<Result<u32, Vec<String>>>;

/// A request to the process.
#[derive(Debug)]
pub(crate) enum ProcessRequest {
    /// The same as SIGTERM.
    Stop,
    /// The same as SIGUSR2.
    Upgrade(UpgradeReply),
}

/// Where requests to the process go.
pub(crate) type ProcessRequests = mpsc::UnboundedSender<ProcessRequest>;
