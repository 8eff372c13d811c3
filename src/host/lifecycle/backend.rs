//! The plugins of this process as the gateway sees them.
//!
//! Called on the I/O threads: what it is given goes into the queue to the Python thread, and nothing is awaited or
//! attached to. Caveat: a callback in the queue does attach, but it is run by the Python thread.

use std::sync::Arc;

use pyo3::prelude::*;
use tokio::sync::oneshot;

use super::mailbox::{Command, Mailbox};
use crate::edge::control::{ReloadReport, ReloadTarget};
use crate::edge::queue::backend::Backend;
use crate::edge::queue::responder::QueuedRequest;
use crate::host::bridge::submission_queue::SubmissionQueue;

/// The way of requests and reloads to the Python thread.
pub(crate) struct PythonBackend {
    submissions: Arc<SubmissionQueue>,
    mailbox: Arc<Mailbox>,
}

impl PythonBackend {
    /// The backend whose requests go into `submissions`, and whose reloads into `mailbox`.
    pub(crate) fn new(submissions: Arc<SubmissionQueue>, mailbox: Arc<Mailbox>) -> Arc<Self> {
        Arc::new(Self { submissions, mailbox })
    }
}

impl Backend for PythonBackend {
    fn submit(&self, requests: &mut Vec<QueuedRequest>) {
        self.submissions.submit(requests);
    }

    fn reload(&self, target: ReloadTarget) -> oneshot::Receiver<ReloadReport> {
        let (reply, report) = oneshot::channel();
        let mailbox = Arc::clone(&self.mailbox);
        self.submissions.send(Box::new(move || Python::attach(|py| mailbox.post(py, Command::Reload(target, reply)))));
        report
    }
}
