//! The life of the server: it loads, serves, takes commands, and stops.
//!
//! Runs on the Python thread. Promise: the steps of the life cycle run one after the other, in the order of the
//! commands; a stop comes first and interrupts a load or reload. The steps themselves are in [`super::reload`] and
//! [`super::stop`]. Caveat: one host a process.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pyo3::prelude::*;

use super::backend::PythonBackend;
use super::browser;
use super::crash_guard::CrashGuard;
use super::environment::environment;
use super::generation::Generation;
use super::handle::{Ending, HostHandle, Interruption, Operation, Timings};
use super::mailbox::{Command, CommandSender, Mailbox};
use super::predecessor::Predecessor;
use super::reload_span::ReloadSpan;
use super::startup::{self, Summary};
use super::status::StatusRecord;
use crate::edge::config::difference::Digests;
use crate::edge::config::launch::LaunchOptions;
use crate::edge::config::places;
use crate::edge::config::settings::Settings;
use crate::edge::config::socket_address::SocketAddress;
use crate::edge::control::api::PluginAction;
use crate::edge::control::events::Event;
use crate::edge::control::kept::KeptState;
use crate::edge::control::process::ProcessRequests;
use crate::edge::control::stalls::StallLimits;
use crate::edge::control::{ReloadReport, ReloadTarget};
use crate::edge::gateway::state::{ServerState, Snapshot, url};
use crate::edge::gateway::static_mount::StaticMount;
use crate::edge::gateway::threads::IoThreads;
use crate::edge::http::control_socket::ControlSocket;
use crate::edge::http::forked::Listening;
use crate::edge::http::observed::Observers;
use crate::edge::http::tls::Tls;
use crate::edge::observe::metrics::thread;
use crate::edge::observe::{log_file, service_manager};
use crate::edge::queue::responder::CompletionQueue;
use crate::edge::routing::RouteTable;
use crate::edge::watch::Watch;
use crate::host::bridge::consumer::Consumer;
use crate::host::bridge::coroutine::{await_python, coroutine, host_task};
use crate::host::bridge::locked::Locked;
use crate::host::bridge::stall;
use crate::host::bridge::submission_queue::SubmissionQueue;
use crate::host::plugins::dispatch::dispatcher;
use crate::host::plugins::failure::describe;
use crate::host::plugins::module;
use crate::host::plugins::registry::Registry;
use crate::host::python::config::LoadedConfig;
use crate::host::python::logjam::LogJam;

/// Stands for the address of a socket of the service manager, for which the ini file says nothing.
const UNSPECIFIED: SocketAddress = SocketAddress::Ip(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0));

/// What a browser shows of the server.
const PAGE: &str = "/-/";

/// The same without that page.
const LIST: &str = "/plugins";

/// What a host is made from, besides the configuration.
pub(crate) struct Options {
    /// The command line.
    pub launch: LaunchOptions,
    /// Where the sockets listen.
    pub addresses: Vec<SocketAddress>,
    /// What TLS is spoken with, if it is on.
    pub tls: Option<Arc<Tls>>,
    /// What observes requests, if anything does.
    pub observers: Option<Arc<Observers>>,
    /// The listening sockets.
    pub listeners: Vec<Listening>,
    /// The control socket, if there is one.
    pub control: Option<ControlSocket>,
    /// Where requests to the process go.
    pub process: ProcessRequests,
    /// The process that is to be replaced, if one is.
    pub predecessor: Option<Arc<dyn Predecessor>>,
}

/// The server on the Python thread, which alone uses it.
pub(crate) struct Host {
    /// What other threads have a part in.
    pub(super) handle: Arc<HostHandle>,
    pub(super) launch: LaunchOptions,
    /// What `[network]` says, and where the server really listens, which differs for port 0. Of no meaning but for
    /// their order if the sockets are those of the service manager.
    pub(super) addresses: Locked<Vec<(SocketAddress, SocketAddress)>>,
    /// What the server was started with, by which some options go until the next start.
    pub(super) started: (Settings, Digests),
    /// What serves; its plugins are in the registry.
    generation: Locked<Arc<Generation>>,
    pub(super) registry: Arc<Registry>,
    /// Notes which plugin's code runs.
    pub(super) crash_guard: CrashGuard,
    /// What is told of the plugins.
    pub(super) record: StatusRecord,
    completion_queues: Vec<Arc<CompletionQueue>>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) consumer: Arc<Consumer>,
    /// Watches the plugin files, if that is wanted.
    pub(super) watch: Locked<Option<Watch>>,
    /// The process that is to be replaced, if one is.
    pub(super) predecessor: Option<Arc<dyn Predecessor>>,
}

impl Host {
    /// Puts the parts together; nothing runs yet.
    ///
    /// # Errors
    /// When the system or Python refuses something that every start needs.
    pub(crate) fn new(event_loop: &Bound<'_, PyAny>, reading: LoadedConfig, options: Options) -> PyResult<Arc<Self>> {
        let py = event_loop.py();
        let Options { launch, addresses, tls, observers, listeners, control, process, predecessor } = options;
        let environment = Arc::new(environment(py, &launch, &reading)?);
        let LoadedConfig { settings, digests, .. } = reading;
        let started = (settings.clone(), digests.clone());
        let submissions = Arc::new(SubmissionQueue::new()?);
        let mailbox = Arc::new(Mailbox::default());
        let commands = CommandSender::new(Arc::clone(&submissions), Arc::clone(&mailbox));
        let backend = PythonBackend::new(Arc::clone(&submissions), commands.clone());
        let static_mount = StaticMount::new(&settings, &launch);
        let live =
            Snapshot::new(&settings, RouteTable::default(), static_mount.as_ref(), tls.clone(), observers.clone());
        let state = ServerState::new(live, backend, &settings.limits, kept_state(&settings, &launch));
        state.process.get_or_init(|| process);
        state.python.get_or_init(|| startup::python().to_owned());
        let completion_queues: Vec<_> =
            (0..settings.server.io_threads).map(|_| Arc::new(CompletionQueue::default())).collect();
        let registry = Arc::new(Registry::default());
        let log = LogJam::server(py)?.into_any();
        let dispatch = dispatcher(py, Arc::clone(&registry), log)?;
        let timings = Timings::new(&settings.server);
        let configured = settings.listen.iter().cloned().chain(std::iter::repeat(UNSPECIFIED));
        let addresses: Vec<_> = configured.zip(addresses).collect();
        state.listening.store(Arc::new(texts(&addresses)));
        let crash_guard = CrashGuard::begin(&launch, &settings.server, &state.kept);
        let record = StatusRecord::new(&state, &registry);
        Ok(Arc::new(Self {
            consumer: Consumer::new(event_loop, submissions, completion_queues.clone(), dispatch)?,
            handle: HostHandle::new(state, commands, listeners, control, timings),
            launch,
            addresses: Locked::new(addresses),
            generation: Locked::new(Arc::new(Generation {
                settings,
                digests,
                environment,
                tls,
                observers,
                static_mount,
            })),
            registry,
            crash_guard,
            started,
            record,
            completion_queues,
            mailbox,
            watch: Locked::new(None),
            predecessor,
        }))
    }

    /// What other threads can ask of it.
    pub(crate) fn handle(&self) -> Arc<HostHandle> {
        Arc::clone(&self.handle)
    }

    /// Has the loop take requests and callbacks.
    ///
    /// # Errors
    /// When the loop cannot watch descriptors.
    pub(crate) fn attach(&self, py: Python<'_>) -> PyResult<()> {
        self.consumer.attach(py)
    }

    /// Ends the I/O threads; returns the sockets if the server is to start again.
    pub(crate) fn finish(&self, py: Python<'_>, timeout: Duration) -> Option<Vec<Listening>> {
        if !py.detach(|| self.handle.join(timeout)) {
            tracing::error!("an I/O thread did not end in time");
        }
        self.handle.is_restart().then(|| self.handle.listeners())
    }

    /// The whole life, as one future for the event loop.
    pub(crate) async fn live(self: Arc<Self>) -> PyResult<()> {
        // Before the files are read, so that no change is lost between.
        self.keep_watch();
        let host = Arc::clone(&self);
        self.run_cancellable(Interruption::AnyStop, async move { host.load_all().await }).await;
        Python::attach(module::remember_packages);
        if !self.is_stopping() {
            if self.predecessor_agrees() {
                self.open()?;
            } else {
                self.handle.begin_stop(Ending::Stop);
            }
        }
        // The I/O threads may be done before the stop that drained them is taken up.
        let mut drained = false;
        loop {
            match self.mailbox.next().await? {
                // The new process would not know of it.
                Command::Reload(_, reply) | Command::Change(_, _, reply) if self.handle.is_upgrading() => {
                    let _ = reply.send(ReloadReport::Upgrading);
                }
                Command::Reload(target, reply) => {
                    let report = self.reload_reporting(target).await;
                    // A client that left does not wait for the report.
                    let _ = reply.send(report);
                }
                Command::Change(action, id, reply) => {
                    let _ = reply.send(self.change(action, id).await);
                }
                Command::Sighup => {
                    for error in log_file::reopen_all() {
                        tracing::error!("{error}");
                    }
                    self.reload_reporting(ReloadTarget::All).await;
                }
                Command::Difference(reply) => drop(reply.send(Python::attach(|py| self.difference(py)))),
                Command::ReportReady => self.report_ready(),
                Command::Stop => break,
                Command::Drained => drained = true,
                Command::DrainTimeout => {}
            }
        }
        self.stop(drained).await
    }

    /// Runs `future` in a task that a stop cancels; `None` if it did.
    async fn run_cancellable<T: Send + 'static>(
        &self,
        interruption: Interruption,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        if self.handle.is_interrupted(interruption) {
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
            drop(self.handle.current_operation.replace(Some(Operation { task: task.clone_ref(py), interruption })));
            Ok(task)
        });
        let ended = match task {
            Ok(task) => await_python(task).await,
            Err(error) => Err(error),
        };
        drop(self.handle.current_operation.take());
        if let Err(error) = ended {
            tracing::info!("interrupted: {}", Python::attach(|py| describe(py, &error)));
        }
        result.take()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.handle.is_stopping()
    }

    async fn reload_cancellable(self: &Arc<Self>, target: ReloadTarget) -> ReloadReport {
        let host = Arc::clone(self);
        let reload = async move { host.reload(target).await };
        self.run_cancellable(Interruption::FinalStop, reload).await.unwrap_or(ReloadReport::Stopping)
    }

    /// Reloads, and reports it to the log and to the service manager.
    async fn reload_reporting(self: &Arc<Self>, target: ReloadTarget) -> ReloadReport {
        service_manager::reloading();
        let span = ReloadSpan::begin();
        self.handle.state.events.publish(Event::ReloadBegun(&target));
        let report = self.reload_cancellable(target.clone()).await;
        self.report(span, &target, &report);
        report
    }

    fn report(&self, span: ReloadSpan, target: &ReloadTarget, report: &ReloadReport) {
        log_report(target, report);
        let snapshot = self.handle.state.snapshot.load();
        if let Some(exporter) = snapshot.observers.as_ref().and_then(|observers| observers.exporter()) {
            span.end(exporter, target, report);
        }
        thread::current().server.reloads[usize::from(!report.is_success())].add(1);
        let events = &self.handle.state.events;
        match report {
            ReloadReport::Disabled { plugins, .. } => {
                for id in plugins {
                    events.publish(Event::PluginDisabled { id });
                }
            }
            ReloadReport::Enabled { plugins, .. } => {
                for id in plugins {
                    events.publish(Event::PluginEnabled { id });
                }
            }
            _ => {}
        }
        events.publish(Event::ReloadEnded(target, report));
        self.keep_watch();
        if !self.is_stopping() {
            self.report_ready();
        }
    }

    /// Changes one plugin, and reports it like a reload.
    async fn change(self: &Arc<Self>, action: PluginAction, id: String) -> ReloadReport {
        if matches!(action, PluginAction::Reload | PluginAction::Previous)
            && let Some(refusal) = self.refuses_reload(&id)
        {
            return refusal;
        }
        service_manager::reloading();
        let span = ReloadSpan::begin();
        let target = match action {
            PluginAction::Previous => ReloadTarget::Previous(id.clone()),
            _ => ReloadTarget::OneOrFailed(id.clone()),
        };
        self.handle.state.events.publish(Event::ReloadBegun(&target));
        let host = Arc::clone(self);
        let changed = async move {
            match action {
                PluginAction::Reload => host.reload(ReloadTarget::OneOrFailed(id)).await,
                PluginAction::Disable => host.disable(id).await,
                PluginAction::Enable => host.enable(id).await,
                PluginAction::Previous => host.reload(ReloadTarget::Previous(id)).await,
            }
        };
        let report = self.run_cancellable(Interruption::FinalStop, changed).await.unwrap_or(ReloadReport::Stopping);
        self.report(span, &target, &report);
        report
    }

    /// Has the server listen at other addresses, as far as others see it.
    pub(super) fn set_addresses(&self, addresses: Vec<(SocketAddress, SocketAddress)>) {
        self.handle.state.listening.store(Arc::new(texts(&addresses)));
        drop(self.addresses.replace(addresses));
    }

    /// Where the server listens.
    fn local_addresses(&self) -> Vec<SocketAddress> {
        self.addresses.with(|addresses| addresses.iter().map(|(_, local)| local.clone()).collect())
    }

    /// What serves, in one line.
    fn status(&self) -> String {
        let addresses = self.handle.state.listening.load().join(", ");
        format!("Serving {} plugins on {addresses}", self.registry.serving().plugins().len())
    }

    /// Starts to accept.
    fn open(&self) -> PyResult<()> {
        let generation = self.generation();
        let left = Arc::new(AtomicUsize::new(self.completion_queues.len()));
        let commands = self.handle.commands.clone();
        let ended: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
            if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                commands.send(Command::Drained);
            }
        });
        let (listeners, state) = (self.handle.listeners(), &self.handle.state);
        self.handle.set_open(IoThreads::start(
            &listeners,
            self.handle.control(),
            &self.completion_queues,
            state,
            &ended,
        )?);
        state.stalls.set_limits(StallLimits::new(&generation.settings.server));
        let shared = Arc::clone(state);
        let blamed = move |plugin: &str| {
            if let Some(endpoint) = shared.snapshot.load().table.get(plugin) {
                endpoint.entrance.parking.note_stall();
            }
        };
        stall::start(Arc::clone(self.consumer.submissions()), Arc::clone(&state.stalls), Box::new(blamed))?;
        for address in self.local_addresses() {
            let url = url(&address, generation.tls.is_some());
            tracing::info!("Server started on {address}");
            for plugin in self.registry.serving().plugins() {
                let audience = Python::attach(|py| plugin.audience(py));
                tracing::info!("Serving {url}/{}  [{audience}]", plugin.id);
            }
            // Unless a plugin has their place.
            let mount = generation.static_mount.as_ref();
            if let Some(mount) = mount.filter(|mount| self.registry.serving().get(mount.route()).is_none()) {
                tracing::info!("Serving {url}/{}/ from {}", mount.route(), mount.files.folder().display());
            }
        }
        let address = self.local_addresses().into_iter().find(|address| address.ip().is_some());
        let shown = if generation.settings.page { PAGE } else { LIST };
        let page = address.map(|address| format!("{}{shown}", url(&address, generation.tls.is_some())));
        if self.launch.open
            && let Some(page) = page.clone()
        {
            Python::attach(|py| browser::open(py, page));
        }
        let (keys, plugins) = (state.snapshot.load().keys.number(), Summary::of(&state.statuses.load()));
        Summary { page, keys, plugins }.show();
        self.report_ready();
        if let Some(predecessor) = &self.predecessor {
            let commands = self.handle.commands.clone();
            predecessor.serving(Box::new(move || commands.send(Command::ReportReady)));
        }
        Ok(())
    }

    /// Whether a process that serves, if there is one, agrees to be replaced.
    fn predecessor_agrees(&self) -> bool {
        let Some(predecessor) = self.predecessor.as_ref().map(Arc::clone) else { return true };
        let ids = self.registry.serving().plugins().iter().map(|plugin| plugin.id.to_string()).collect();
        let agrees = Python::attach(|py| py.detach(|| predecessor.agrees(ids)));
        if agrees {
            self.handle.own_files();
        }
        agrees
    }

    /// Whether it has begun to accept connections.
    pub(crate) fn has_served(&self) -> bool {
        self.handle.has_served()
    }

    /// Reports to the service manager what serves, and leaves the sockets with it.
    fn report_ready(&self) {
        let listeners = self.handle.listeners();
        // Its own sockets it has anyhow.
        let made_here = listeners.iter().filter(|listener| !listener.is_given()).map(|listener| listener.as_fd());
        service_manager::ready(&self.status(), &made_here.collect::<Vec<_>>());
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

/// Where a server really listens, as the log says it.
fn texts(addresses: &[(SocketAddress, SocketAddress)]) -> Vec<String> {
    addresses.iter().map(|(_, local)| local.to_string()).collect()
}

/// What is kept of the plugins since earlier starts.
fn kept_state(settings: &Settings, launch: &LaunchOptions) -> KeptState {
    let file = places::state_file(&settings.server.state_dir, launch.ini.as_deref(), &launch.folder);
    KeptState::open(file, launch.safe)
}

/// Logs how a reload went; what failed has been logged where it failed.
fn log_report(target: &ReloadTarget, report: &ReloadReport) {
    match report {
        ReloadReport::One { plugin, .. } => tracing::info!("Reloaded plugin {plugin}"),
        ReloadReport::All { loaded, .. } if *target == ReloadTarget::Changed => {
            tracing::info!("Reloaded what has changed; plugins that serve: {}", listed(loaded));
        }
        ReloadReport::All { loaded, .. } => tracing::info!("Reloaded all plugins: {}", listed(loaded)),
        ReloadReport::Enabled { plugins, .. } => tracing::info!("Enabled plugins: {}", listed(plugins)),
        ReloadReport::Disabled { plugins, .. } => tracing::info!("Disabled plugins: {}", listed(plugins)),
        ReloadReport::NoPrevious { plugin } => tracing::info!("Plugin {plugin} has no previous version"),
        ReloadReport::Withheld { plugin, .. } => tracing::info!("Plugin {plugin} is disabled, so it is not reloaded"),
        ReloadReport::Unknown { plugin } => tracing::info!("No such plugin to reload: {plugin}"),
        ReloadReport::Failed { loaded, .. } => {
            tracing::info!("Nothing was reloaded; plugins that serve: {}", listed(loaded));
        }
        ReloadReport::Stopping => tracing::info!("no reload, since the server stops"),
        ReloadReport::Upgrading => tracing::info!("no reload, since a new process is taking over"),
    }
}

fn listed(ids: &[String]) -> String {
    if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
}
