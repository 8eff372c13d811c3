//! The life of the server on the Python thread: it loads, serves, does as it is told, and stops.
//!
//! Promise: life-cycle steps run one after the other, in the order they were asked for; a stop comes first and interrupts
//! a load or reload that is under way. The steps themselves are in [`super::reload`] and [`super::stop`]. Caveat: one
//! host a process.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use rustls::ServerConfig;

use super::backend::PythonBackend;
use super::environment::environment;
use super::generation::Generation;
use super::mailbox::{Command, Mailbox};
use crate::edge::config::launch::LaunchOptions;
use crate::edge::control::{ReloadReport, ReloadTarget};
use crate::edge::gateway::state::{ServerState, Snapshot, url};
use crate::edge::gateway::static_mount::StaticMount;
use crate::edge::gateway::threads::IoThreads;
use crate::edge::http::connection::ConnectionParams;
use crate::edge::http::forked::Listening;
use crate::edge::observe::log_file;
use crate::edge::policy::admission::Limit;
use crate::edge::queue::responder::CompletionQueue;
use crate::edge::routing::RouteTable;
use crate::host::bridge::consumer::Consumer;
use crate::host::bridge::coroutine::{await_python, coroutine, host_task};
use crate::host::bridge::locked::Locked;
use crate::host::bridge::submission_queue::SubmissionQueue;
use crate::host::plugins::dispatch::dispatcher;
use crate::host::plugins::failure::describe;
use crate::host::plugins::registry::Registry;
use crate::host::python::config::Reading;
use crate::host::python::logjam::LogJam;

/// What a host is made from, besides the configuration.
pub(crate) struct Options {
    /// The command line.
    pub launch: LaunchOptions,
    /// Where the sockets listen.
    pub addresses: Vec<SocketAddr>,
    /// The certificate, if TLS is on.
    pub certificate: Option<Arc<ServerConfig>>,
    /// The listening sockets.
    pub listeners: Vec<Listening>,
}

/// The server on the Python thread.
pub(crate) struct Host {
    pub(super) launch: LaunchOptions,
    pub(super) addresses: Vec<SocketAddr>,
    /// Emptied by a stop, so that new connections are refused at once; kept for a restart.
    pub(super) listeners: Mutex<Vec<Listening>>,
    /// `[server] shutdown_timeout` as it was at the start, by which the supervisor reckons too.
    pub(super) timeout: Duration,
    /// What serves; its plugins are in the registry.
    generation: Locked<Arc<Generation>>,
    pub(super) registry: Arc<Registry>,
    pub(super) limits: Mutex<HashMap<Arc<str>, Arc<Limit>>>,
    pub(super) shared: Arc<ServerState<PythonBackend>>,
    pub(super) completion_queues: Vec<Arc<CompletionQueue>>,
    pub(super) consumer: Arc<Consumer>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) io: Mutex<Option<IoThreads>>,
    /// The asyncio task of the load or reload that is under way.
    pub(super) current_operation: Locked<Option<Py<PyAny>>>,
    pub(super) acknowledged: Arc<AtomicBool>,
    pub(super) stopping: AtomicBool,
    pub(super) restart: AtomicBool,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Values are only replaced or read under these locks, so a panic elsewhere leaves them whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Host {
    /// Puts the parts together; nothing runs yet.
    ///
    /// # Errors
    /// When the system or Python refuses something that every start needs.
    pub(crate) fn new(event_loop: &Bound<'_, PyAny>, reading: Reading, options: Options) -> PyResult<Arc<Self>> {
        let py = event_loop.py();
        let Options { launch, addresses, certificate, listeners } = options;
        let settings = reading.settings;
        let submissions = Arc::new(SubmissionQueue::new()?);
        let mailbox = Arc::new(Mailbox::default());
        let backend = PythonBackend::new(Arc::clone(&submissions), Arc::clone(&mailbox));
        let most = settings.server.max_in_flight;
        let static_mount = StaticMount::new(&settings, &launch);
        let live = Snapshot::new(&settings, RouteTable::default(), static_mount.as_ref(), certificate.clone());
        let shared = ServerState::new(live, backend, most);
        let completion_queues: Vec<_> =
            (0..settings.server.io_threads).map(|_| Arc::new(CompletionQueue::default())).collect();
        let registry = Arc::new(Registry::default());
        let log = LogJam::server(py)?.into_any();
        let dispatch = dispatcher(py, Arc::clone(&registry), log)?;
        let environment = Arc::new(environment(py, &launch, &settings, reading.config)?);
        let timeout = settings.server.shutdown_timeout;
        Ok(Arc::new(Self {
            consumer: Consumer::new(event_loop, submissions, completion_queues.clone(), dispatch)?,
            launch,
            addresses,
            listeners: Mutex::new(listeners),
            timeout,
            generation: Locked::new(Arc::new(Generation { settings, environment, certificate, static_mount })),
            registry,
            limits: Mutex::default(),
            shared,
            completion_queues,
            mailbox,
            io: Mutex::new(None),
            current_operation: Locked::new(None),
            acknowledged: Arc::default(),
            stopping: AtomicBool::new(false),
            restart: AtomicBool::new(false),
        }))
    }

    /// Set when a stop has been taken up.
    pub(crate) fn acknowledged(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.acknowledged)
    }

    /// Reloads everything and reopens the log files, once the Python thread comes to it. For any thread.
    pub(crate) fn hang_up(&self) {
        let mailbox = Arc::clone(&self.mailbox);
        self.consumer.submissions().send(Box::new(move || Python::attach(|py| mailbox.post(py, Command::Sighup))));
    }

    /// Starts to drain at once and stops when the Python thread comes to it; keeps the sockets if the process is to be
    /// replaced. For any thread, while a plugin blocks Python, too.
    pub(crate) fn begin_stop(self: &Arc<Self>, restart: bool) {
        self.stopping.store(true, Ordering::Release);
        self.restart.store(restart, Ordering::Release);
        if !restart {
            lock(&self.listeners).clear();
        }
        self.begin_drain();
        let host = Arc::clone(self);
        self.consumer.submissions().send(Box::new(move || Python::attach(|py| host.take_up_stop(py))));
    }

    /// Has the loop take requests and errands.
    ///
    /// # Errors
    /// When the loop cannot watch descriptors.
    pub(crate) fn attach(&self, py: Python<'_>) -> PyResult<()> {
        self.consumer.attach(py)
    }

    /// Ends the I/O threads; returns the sockets if the server is to start again.
    pub(crate) fn finish(&self, py: Python<'_>, timeout: Duration) -> Option<Vec<Listening>> {
        let threads = lock(&self.io).take();
        if let Some(threads) = threads
            && !py.detach(|| threads.join(timeout))
        {
            tracing::error!("an I/O thread did not end in time");
        }
        self.restart.load(Ordering::Acquire).then(|| self.listeners())
    }

    /// The sockets that an image of this process which takes over needs.
    pub(crate) fn listeners(&self) -> Vec<Listening> {
        lock(&self.listeners).iter().filter_map(|listener| listener.try_clone().ok()).collect()
    }

    /// Stops accepting, natively, so that it happens even while a plugin blocks Python.
    pub(super) fn begin_drain(&self) {
        self.shared.set_ready(false);
        if let Some(threads) = &*lock(&self.io) {
            threads.drain();
        }
    }

    fn take_up_stop(&self, py: Python<'_>) {
        self.acknowledged.store(true, Ordering::Release);
        if let Some(task) = self.current_operation.take()
            && let Err(error) = task.bind(py).call_method0("cancel")
        {
            tracing::error!("a load cannot be cancelled: {error}");
        }
        self.mailbox.post(py, Command::Stop);
    }

    /// The whole life, as one future for the event loop.
    pub(crate) async fn live(self: Arc<Self>) -> PyResult<()> {
        let host = Arc::clone(&self);
        self.run_cancellable(async move { host.load_all().await }).await;
        if !self.is_stopping() {
            self.open()?;
        }
        // The I/O threads may be done before the stop that drained them is taken up.
        let mut drained = false;
        loop {
            match self.mailbox.next().await? {
                Command::Reload(target, reply) => {
                    let report = self.reload_cancellable(target).await;
                    log_report(&report);
                    // A client that left does not wait for the report.
                    let _ = reply.send(report);
                }
                Command::Sighup => {
                    for error in log_file::reopen_all() {
                        tracing::error!("{error}");
                    }
                    log_report(&self.reload_cancellable(ReloadTarget::All).await);
                }
                Command::Stop => break,
                Command::Drained => drained = true,
                Command::DrainTimeout => {}
            }
        }
        self.stop(drained).await
    }

    /// Runs `future` in a task that a stop cancels; `None` if it did.
    async fn run_cancellable<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Option<T> {
        if self.is_stopping() {
            return None;
        }
        let result = Arc::new(Locked::new(None));
        let slot = Arc::clone(&result);
        let task = Python::attach(|py| -> PyResult<Py<PyAny>> {
            let work = coroutine(py, async move {
                let value = future.await;
                drop(slot.replace(Some(value)));
                Ok(())
            })?;
            let task = host_task(self.consumer.event_loop(py), work)?.unbind();
            drop(self.current_operation.replace(Some(task.clone_ref(py))));
            Ok(task)
        });
        let ended = match task {
            Ok(task) => await_python(task).await,
            Err(error) => Err(error),
        };
        drop(self.current_operation.take());
        if let Err(error) = ended {
            tracing::info!("interrupted: {}", Python::attach(|py| describe(py, &error)));
        }
        result.take()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    async fn reload_cancellable(self: &Arc<Self>, target: ReloadTarget) -> ReloadReport {
        let host = Arc::clone(self);
        self.run_cancellable(async move { host.reload(target).await }).await.unwrap_or(ReloadReport::Stopping)
    }

    /// Starts to accept.
    fn open(&self) -> PyResult<()> {
        let generation = self.generation();
        let params = ConnectionParams::new(&generation.settings.server);
        let left = Arc::new(std::sync::atomic::AtomicUsize::new(self.completion_queues.len()));
        let (submissions, mailbox) = (Arc::clone(self.consumer.submissions()), Arc::clone(&self.mailbox));
        let ended: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
            if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                let mailbox = Arc::clone(&mailbox);
                submissions.send(Box::new(move || Python::attach(|py| mailbox.post(py, Command::Drained))));
            }
        });
        *lock(&self.io) =
            Some(IoThreads::start(&self.listeners(), &self.completion_queues, &self.shared, &params, &ended)?);
        self.shared.set_ready(true);
        for address in &self.addresses {
            let url = url(*address, generation.certificate.is_some());
            tracing::info!("Server started on {address}");
            for resident in self.registry.serving().residents() {
                let audience = Python::attach(|py| resident.audience(py));
                tracing::info!("Serving {url}/{}  [{audience}]", resident.id);
            }
            // Unless a plugin has their place.
            let mount = generation.static_mount.as_ref();
            if let Some(mount) = mount.filter(|mount| self.registry.serving().get(mount.route()).is_none()) {
                tracing::info!("Serving {url}/{}/ from {}", mount.route(), mount.documents.folder().display());
            }
        }
        Ok(())
    }

    /// What serves.
    pub(super) fn generation(&self) -> Arc<Generation> {
        self.generation.with(|generation| Arc::clone(generation))
    }

    /// Has `generation` serve from now on, as soon as its plugins are published; returns the one before.
    pub(super) fn replace_generation(&self, generation: Arc<Generation>) -> Arc<Generation> {
        self.generation.replace(generation)
    }
}

/// Logs how a reload went; what failed has been logged where it failed.
fn log_report(report: &ReloadReport) {
    match report {
        ReloadReport::One { plugin, .. } => tracing::info!("Reloaded plugin {plugin}"),
        ReloadReport::All { loaded, .. } => tracing::info!("Reloaded all plugins: {}", listed(loaded)),
        ReloadReport::Unknown { plugin } => tracing::info!("No such plugin to reload: {plugin}"),
        ReloadReport::Failed { loaded, .. } => {
            tracing::info!("Nothing was reloaded; plugins that serve: {}", listed(loaded));
        }
        ReloadReport::Stopping => tracing::info!("no reload, since the server stops"),
    }
}

fn listed(ids: &[String]) -> String {
    if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
}
