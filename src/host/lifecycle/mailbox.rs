//! Commands for the life cycle, awaited on the event loop.
//!
//! Runs on the Python thread; other threads reach it through callbacks in the submission queue. Promise: commands are
//! taken in the order in which they came, and waiting for one is awaiting a plain asyncio future. Caveat: there is one
//! reader.

use std::collections::VecDeque;
use std::sync::Arc;

use pyo3::prelude::*;
use tokio::sync::oneshot;

use crate::edge::control::api::PluginAction;
use crate::edge::control::{DifferenceReport, ReloadReport, ReloadTarget};
use crate::host::bridge::coroutine::await_python;
use crate::host::bridge::locked::Locked;
use crate::host::bridge::submission_queue::SubmissionQueue;

/// What the life cycle is asked to do.
pub(crate) enum Command {
    /// Load plugins anew and report.
    Reload(ReloadTarget, oneshot::Sender<ReloadReport>),
    /// Change one plugin and report.
    Change(PluginAction, String, oneshot::Sender<ReloadReport>),
    /// Tell what a reload of everything would change.
    Difference(oneshot::Sender<DifferenceReport>),
    /// Load everything anew, by a signal: the result goes to the log.
    Sighup,
    /// Report to the service manager what serves: this process is its main process again, or has become it.
    ReportReady,
    /// Stop, and start again in the same process if asked to.
    Stop,
    /// The I/O threads have no connection left.
    Drained,
    /// The time for draining is over.
    DrainTimeout,
}

/// The life cycle's queue.
#[derive(Default)]
pub(crate) struct Mailbox {
    state: Locked<State>,
}

#[derive(Default)]
struct State {
    commands: VecDeque<Command>,
    waiter: Option<Py<PyAny>>,
}

/// Puts commands into a mailbox; for any thread.
#[derive(Clone)]
pub(crate) struct CommandSender {
    submissions: Arc<SubmissionQueue>,
    mailbox: Arc<Mailbox>,
}

impl CommandSender {
    /// For the `mailbox` of the Python thread that takes `submissions`.
    pub(crate) fn new(submissions: Arc<SubmissionQueue>, mailbox: Arc<Mailbox>) -> Self {
        Self { submissions, mailbox }
    }

    /// Puts a command in as soon as the Python thread comes to it; waits for nothing.
    pub(crate) fn send(&self, command: Command) {
        let mailbox = Arc::clone(&self.mailbox);
        self.call(move |py| mailbox.post(py, command));
    }

    /// Has the Python thread run `callback` when it comes to it.
    pub(crate) fn call(&self, callback: impl FnOnce(Python<'_>) + Send + 'static) {
        self.submissions.send(Box::new(move || Python::attach(callback)));
    }

    /// Puts a command in at once, on the Python thread.
    pub(crate) fn post(&self, py: Python<'_>, command: Command) {
        self.mailbox.post(py, command);
    }
}

impl Mailbox {
    /// Puts a command in and wakes the reader.
    pub(crate) fn post(&self, py: Python<'_>, command: Command) {
        let waiter = self.state.with(|state| {
            state.commands.push_back(command);
            state.waiter.take()
        });
        if let Some(waiter) = waiter {
            let waiter = waiter.bind(py);
            let done = waiter.call_method0("done").and_then(|done| done.is_truthy());
            if let Ok(false) = done
                && let Err(error) = waiter.call_method1("set_result", (py.None(),))
            {
                tracing::error!("the life cycle cannot be woken: {error}");
            }
        }
    }

    /// The next command. Safe to cancel: a command is taken only when it is returned.
    pub(crate) async fn next(self: &Arc<Self>) -> PyResult<Command> {
        loop {
            if let Some(command) = self.state.with(|state| state.commands.pop_front()) {
                return Ok(command);
            }
            let waiter = Python::attach(|py| -> PyResult<Py<PyAny>> {
                let event_loop = py.import("asyncio")?.call_method0("get_running_loop")?;
                let waiter = event_loop.call_method0("create_future")?.unbind();
                let known = waiter.clone_ref(py);
                drop(self.state.with(|state| state.waiter.replace(known)));
                Ok(waiter)
            })?;
            await_python(waiter).await?;
        }
    }
}
