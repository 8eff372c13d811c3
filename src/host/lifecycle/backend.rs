//! The plugins of this process as the gateway sees them.
//!
//! Called on the I/O threads: what it is given goes into the queue to the Python thread, and nothing is awaited or
//! attached to. Caveat: a callback in the queue does attach, but it is run by the Python thread.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::mailbox::{Command, CommandSender};
use crate::edge::control::api::PluginAction;
use crate::edge::control::{DifferenceReport, ReloadReport, ReloadTarget};
use crate::edge::observe::line::Level;
use crate::edge::observe::metrics::exposition::Format;
use crate::edge::queue::backend::Backend;
use crate::edge::queue::board::RequestNumber;
use crate::edge::queue::responder::QueuedRequest;
use crate::host::bridge::overdue;
use crate::host::bridge::submission_queue::SubmissionQueue;
use crate::host::python::{logjam, registry_text};

/// The way of requests and reloads to the Python thread.
pub(crate) struct PythonBackend {
    submissions: Arc<SubmissionQueue>,
    commands: CommandSender,
}

impl PythonBackend {
    /// The backend whose requests go into `submissions`, and whose reloads are sent by `commands`.
    pub(crate) fn new(submissions: Arc<SubmissionQueue>, commands: CommandSender) -> Arc<Self> {
        Arc::new(Self { submissions, commands })
    }
}

impl Backend for PythonBackend {
    fn submit(&self, requests: &mut Vec<QueuedRequest>) {
        self.submissions.submit(requests);
    }

    fn cancel(&self, requests: Vec<RequestNumber>) {
        overdue::cancel(&self.submissions, requests);
    }

    fn reload(&self, target: ReloadTarget) -> oneshot::Receiver<ReloadReport> {
        let (reply, report) = oneshot::channel();
        self.commands.send(Command::Reload(target, reply));
        report
    }

    fn change(&self, action: PluginAction, id: String) -> oneshot::Receiver<ReloadReport> {
        let (reply, report) = oneshot::channel();
        self.commands.send(Command::Change(action, id, reply));
        report
    }

    fn difference(&self) -> oneshot::Receiver<DifferenceReport> {
        let (reply, report) = oneshot::channel();
        self.commands.send(Command::Difference(reply));
        report
    }

    fn collect_registry(&self, format: Format) -> oneshot::Receiver<String> {
        let (receiver, text) = oneshot::channel();
        self.commands.call(move |py| registry_text::collect(py, format, receiver));
        text
    }

    fn set_log_level(&self, level: Level) {
        self.commands.call(move |py| logjam::set_level(py, level));
    }
}
