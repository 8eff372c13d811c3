//! How the server stops.
//!
//! Runs on the Python thread. Promise: open requests get their time, then `terminate_plugin` of each plugin, then every
//! task that is left is cancelled and awaited, then the loop's generators and threads are ended. Caveat: each wait is
//! bounded; what does not end in time is left behind with a line in the log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::PyCFunction;

use super::host::Host;
use super::mailbox::Command;
use crate::edge::control::ReloadReport;
use crate::edge::http::drain::DrainKind;
use crate::host::bridge::coroutine::await_python;
use crate::host::bridge::time_limit;
use crate::host::plugins::failure::describe;
use crate::host::plugins::terminate::{close_long_lived_responses, log_uncancelled_tasks, terminate};
use crate::host::plugins::timeout::wait_for;

impl Host {
    /// Drains, ends the plugins and whatever they left behind.
    pub(super) async fn stop(&self, drained: bool) -> PyResult<()> {
        let timeout = self.generation().settings.server.shutdown_timeout;
        drop(self.watch.take());
        time_limit::lift();
        self.handle.state.stalls.end();
        self.handle.begin_drain(DrainKind::STOP);
        close_long_lived_responses(self.registry.serving().plugins());
        if !drained && self.handle.is_open() {
            self.wait_until_drained(timeout).await?;
        }
        Python::attach(|py| self.consumer.detach(py))?;
        let deadline = Instant::now() + timeout;
        terminate(self.registry.serving().plugins(), deadline).await;
        let waiting = Python::attach(|py| -> PyResult<_> {
            let asyncio = py.import("asyncio")?;
            let own = asyncio.call_method0("current_task")?;
            let mut tasks = Vec::new();
            for task in asyncio.call_method0("all_tasks")?.try_iter()? {
                let task = task?;
                if !task.is(&own) {
                    task.call_method0("cancel")?;
                    tasks.push(task);
                }
            }
            wait_for(py, tasks, deadline.saturating_duration_since(Instant::now()))
        })?;
        if let Some(waiting) = waiting {
            log_uncancelled_tasks(await_python(waiting).await?)?;
        }
        for step in ["shutdown_asyncgens", "shutdown_default_executor"] {
            let step = Python::attach(|py| -> PyResult<Py<PyAny>> {
                let step = self.consumer.event_loop(py).call_method0(step)?;
                let left = deadline.saturating_duration_since(Instant::now()).as_secs_f64().max(0.05);
                Ok(py.import("asyncio")?.getattr("wait_for")?.call1((step, left))?.unbind())
            })?;
            if let Err(error) = await_python(step).await {
                tracing::warn!("ending the event loop: {}", Python::attach(|py| describe(py, &error)));
            }
        }
        Ok(())
    }

    async fn wait_until_drained(&self, timeout: Duration) -> PyResult<()> {
        let mailbox = Arc::clone(&self.mailbox);
        let timer = Python::attach(|py| -> PyResult<Py<PyAny>> {
            let too_late = PyCFunction::new_closure(py, None, None, move |arguments, _| {
                mailbox.post(arguments.py(), Command::DrainTimeout);
            })?;
            let event_loop = self.consumer.event_loop(py);
            Ok(event_loop.call_method1("call_later", (timeout.as_secs_f64(), too_late))?.unbind())
        })?;
        loop {
            match self.mailbox.next().await? {
                Command::Drained => break,
                Command::DrainTimeout => {
                    tracing::warn!("requests still run; stopping without their answers");
                    break;
                }
                Command::Reload(_, reply) | Command::Change(_, _, reply) => drop(reply.send(ReloadReport::Stopping)),
                Command::Stop | Command::Sighup | Command::ReportReady | Command::Difference(_) => {}
            }
        }
        Python::attach(|py| timer.bind(py).call_method0("cancel").map(drop))
    }
}
