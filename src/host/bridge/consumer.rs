//! The Python end of the queue: a reader callback of the event loop that takes jobs and hands them to the plugins.
//!
//! Promise: outcomes go home in batches, yet none waits for the next handler, which may block: an I/O thread that sleeps
//! is told before it begins, one that is awake looks by itself. The consumer gives the loop back after 2 ms, so that
//! timers and other tasks run however many requests come in. Caveat: one consumer a process, attached to one loop.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pyo3::intern;
use pyo3::prelude::*;

use super::driver::{Drive, Driver};
use super::locked::Locked;
use super::starter::Starter;
use crate::edge::queue::exchange::{Job, Outbox};
use crate::edge::queue::inbox::Inbox;

/// How long outcomes may gather, while the consumer goes on, for an I/O thread that is awake.
const FLUSH_AFTER: Duration = Duration::from_micros(50);
/// How long the consumer may keep the loop from its timers.
const YIELD_AFTER: Duration = Duration::from_millis(2);

/// What runs a job: looks the plugin up and calls its handler.
pub(crate) type Dispatch = Box<dyn Fn(Python<'_>, &Arc<Consumer>, Job) + Send + Sync>;

/// Takes jobs from the inbox and sends outcomes home.
pub struct Consumer {
    inbox: Arc<Inbox>,
    outboxes: Vec<Arc<Outbox>>,
    dispatch: Dispatch,
    /// Jobs taken and not yet run: what a busy turn leaves for the next.
    backlog: Locked<VecDeque<Job>>,
    draining: AtomicBool,
    flush_scheduled: AtomicBool,
    event_loop: Py<PyAny>,
    starter: Starter,
    cancelled_error: Py<PyAny>,
}

impl Consumer {
    /// A consumer for `event_loop`; it takes nothing before [`Consumer::attach`].
    ///
    /// # Errors
    /// When asyncio cannot be imported.
    pub fn new(
        event_loop: &Bound<'_, PyAny>,
        inbox: Arc<Inbox>,
        outboxes: Vec<Arc<Outbox>>,
        dispatch: Dispatch,
    ) -> PyResult<Arc<Self>> {
        let py = event_loop.py();
        let asyncio = py.import("asyncio")?;
        Ok(Arc::new(Self {
            inbox,
            outboxes,
            dispatch,
            backlog: Locked::default(),
            draining: AtomicBool::new(false),
            flush_scheduled: AtomicBool::new(false),
            event_loop: event_loop.clone().unbind(),
            starter: Starter::new(event_loop)?,
            cancelled_error: asyncio.getattr("CancelledError")?.unbind(),
        }))
    }

    /// The loop that everything runs on.
    pub fn event_loop<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.event_loop.bind(py)
    }

    /// The queue, for who wants to be run on the Python thread.
    pub fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// Has a task go on with a request whose handler is a coroutine, at once and up to its first wait.
    ///
    /// # Errors
    /// When there is no memory; the request is answered even then.
    pub fn start(&self, py: Python<'_>, drive: Drive) -> PyResult<()> {
        self.starter.start(self.event_loop(py), drive)
    }

    /// Cancels the tasks of the requests that have not ended, and returns them.
    ///
    /// # Errors
    /// When the loop is not the running one.
    pub fn cancel<'py>(self: &Arc<Self>, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let mut tasks = Vec::new();
        for task in py.import("asyncio")?.call_method0("all_tasks")?.try_iter()? {
            let task = task?;
            if task.call_method0("get_coro")?.cast::<Driver>().is_ok_and(|driver| driver.get().came_through(self)) {
                task.call_method0("cancel")?;
                tasks.push(task);
            }
        }
        Ok(tasks)
    }

    /// asyncio's `CancelledError`.
    pub fn cancelled_error<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.cancelled_error.bind(py)
    }

    /// Has the loop call the consumer whenever the inbox has something.
    ///
    /// # Errors
    /// When the loop cannot watch descriptors.
    pub fn attach(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let reader = Bound::new(py, Reader { consumer: Arc::clone(self) })?;
        self.event_loop(py).call_method1("add_reader", (self.inbox.raw_fd(), reader)).map(drop)
    }

    /// Takes the consumer off the loop and answers everything that waits with 503.
    ///
    /// # Errors
    /// When the loop is closed.
    pub fn detach(&self, py: Python<'_>) -> PyResult<()> {
        self.inbox.close();
        drop(self.backlog.take());
        self.flush();
        self.event_loop(py).call_method1("remove_reader", (self.inbox.raw_fd(),)).map(drop)
    }

    /// An outcome was handed over: see to it that it goes home, whatever comes next on this thread.
    pub fn completed(self: &Arc<Self>, py: Python<'_>) {
        if self.flush_to_sleepers() || self.draining.load(Ordering::Relaxed) {
            return;
        }
        // An I/O thread that is awake looks by itself; should it be busy for long, it is told a turn later.
        if self.flush_scheduled.swap(true, Ordering::Relaxed) {
            return;
        }
        let scheduled = Bound::new(py, Flush { consumer: Arc::clone(self) })
            .and_then(|flush| self.event_loop(py).call_method1(intern!(py, "call_soon"), (flush,)));
        if scheduled.is_err() {
            // The loop is closed: nothing will turn any more, so it goes home now.
            self.flush_scheduled.store(false, Ordering::Relaxed);
            self.flush();
        }
    }

    fn put_spare_task_away(&self, py: Python<'_>) {
        if let Err(error) = self.starter.rest(self.event_loop(py)) {
            tracing::error!("a task that somebody waits for cannot be ended: {error}");
        }
    }

    fn flush(&self) {
        for outbox in &self.outboxes {
            outbox.flush();
        }
    }

    /// Tells the I/O threads that sleep; true if no other has anything to be told.
    fn flush_to_sleepers(&self) -> bool {
        let mut all = true;
        for outbox in &self.outboxes {
            all &= outbox.flush_to_sleeper();
        }
        all
    }

    fn drain(self: &Arc<Self>, py: Python<'_>) {
        let _turn = Turn::begin(self);
        let started = Instant::now();
        let mut flushed = started;
        // Not held while plugin code runs: a handler may run the loop again (nest_asyncio does).
        let mut jobs = self.backlog.take();
        'turn: loop {
            for errand in self.inbox.take(&mut jobs) {
                self.put_spare_task_away(py);
                errand();
            }
            if jobs.is_empty() {
                if self.inbox.fall_asleep() {
                    break;
                }
                continue;
            }
            while let Some(job) = jobs.pop_front() {
                (self.dispatch)(py, self, job);
                let now = Instant::now();
                if now - flushed > FLUSH_AFTER {
                    self.flush();
                    flushed = now;
                }
                if now - started > YIELD_AFTER {
                    self.inbox.stay_ready();
                    break 'turn;
                }
            }
        }
        self.put_spare_task_away(py);
        if !jobs.is_empty() {
            self.backlog.with(|backlog| {
                jobs.append(backlog);
                *backlog = jobs;
            });
        }
    }
}

/// One call of [`Consumer::drain`]; ends in order even when Rust code in it panics.
struct Turn<'a>(&'a Consumer);

impl<'a> Turn<'a> {
    fn begin(consumer: &'a Consumer) -> Self {
        consumer.inbox.wake_up();
        consumer.draining.store(true, Ordering::Relaxed);
        Self(consumer)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.draining.store(false, Ordering::Relaxed);
        self.0.flush();
        if std::thread::panicking() {
            // The consumer never said that it sleeps, so no producer would wake it.
            self.0.inbox.stay_ready();
        }
    }
}

/// What the loop calls when the inbox is readable.
#[pyclass(frozen, module = "plugincore._core")]
struct Reader {
    consumer: Arc<Consumer>,
}

#[pymethods]
impl Reader {
    fn __call__(&self, py: Python<'_>) {
        self.consumer.drain(py);
    }
}

/// What the loop calls once a turn when outcomes from outside the consumer may not have been seen.
#[pyclass(frozen, module = "plugincore._core")]
struct Flush {
    consumer: Arc<Consumer>,
}

#[pymethods]
impl Flush {
    fn __call__(&self) {
        self.consumer.flush_scheduled.store(false, Ordering::Relaxed);
        self.consumer.flush();
    }
}
