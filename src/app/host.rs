//! The life of the server on the Python thread: load, serve, reload, stop.
//!
//! Promise: a new plugin instance is built and initialised before it takes over, the old one is drained and terminated
//! after; whatever fails leaves what was serving in place and says why. Caveat: life-cycle steps run one after the other;
//! a stop interrupts a load or reload that is under way.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::PyCFunction;
use rustls::ServerConfig;
use tokio::sync::oneshot;

use super::io::IoThreads;
use super::mailbox::{Command, Mailbox};
use super::run::{Launch, StartError, warn};
use super::shared::{Live, Shared, url};
use super::supervisor::{Acknowledged, Request};
use crate::bridge::consumer::Consumer;
use crate::bridge::coroutine::{await_python, coroutine};
use crate::bridge::exchange::Outbox;
use crate::bridge::inbox::Inbox;
use crate::config::settings::Settings;
use crate::control::{Operator, Report, Target};
use crate::http::connection::{ConnectionParams, Counts};
use crate::http::tls;
use crate::observe::log_file;
use crate::plugins::discover::discover;
use crate::plugins::dispatch::dispatcher;
use crate::plugins::environment::Environment;
use crate::plugins::load::{LoadedFile, describe, load_file};
use crate::plugins::module;
use crate::plugins::registry::Registry;
use crate::plugins::resident::Resident;
use crate::plugins::terminate::{drain, report_stubborn, terminate, wait_for};
use crate::policy::admission::Limit;
use crate::python::config::{self, Reading};
use crate::python::interpreter;
use crate::python::logjam::LogJam;
use crate::routing::{Endpoint, RouteTable};

/// What a host is made from, besides the configuration.
pub struct Options {
    /// The command line.
    pub launch: Launch,
    /// Where the sockets listen.
    pub addresses: Vec<SocketAddr>,
    /// The certificate, if TLS is on.
    pub certificate: Option<Arc<ServerConfig>>,
    /// The listening sockets.
    pub listeners: Vec<TcpListener>,
}

/// The server on the Python thread.
pub struct Host {
    launch: Launch,
    addresses: Vec<SocketAddr>,
    /// Emptied by a stop, so that new connections are refused at once; kept for a restart.
    listeners: Mutex<Vec<TcpListener>>,
    settings: Mutex<Settings>,
    environment: Mutex<Arc<Environment>>,
    registry: Arc<Registry>,
    limits: Mutex<HashMap<Arc<str>, Arc<Limit>>>,
    shared: Arc<Shared>,
    outboxes: Vec<Arc<Outbox>>,
    consumer: Arc<Consumer>,
    mailbox: Arc<Mailbox>,
    io: Mutex<Option<IoThreads>>,
    /// The asyncio task of the load or reload that is under way.
    under_way: Mutex<Option<Py<PyAny>>>,
    acknowledged: Acknowledged,
    stopping: AtomicBool,
    restart: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Values are only replaced or read under these locks, so a panic elsewhere leaves them whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks the Python thread for a reload.
struct ReloadDesk {
    inbox: Arc<Inbox>,
    mailbox: Arc<Mailbox>,
}

impl Operator for ReloadDesk {
    fn reload(&self, target: Target) -> oneshot::Receiver<Report> {
        let (reply, report) = oneshot::channel();
        let mailbox = Arc::clone(&self.mailbox);
        self.inbox.send(Box::new(move |py| mailbox.post(py, Command::Reload(target, reply))));
        report
    }
}

impl Host {
    /// Puts the parts together; nothing runs yet.
    ///
    /// # Errors
    /// When the system or Python refuses something that every start needs.
    pub fn new(event_loop: &Bound<'_, PyAny>, reading: Reading, options: Options) -> Result<Arc<Self>, StartError> {
        let py = event_loop.py();
        let Options { launch, addresses, certificate, listeners } = options;
        let settings = reading.settings;
        let inbox = Arc::new(Inbox::new()?);
        let mailbox = Arc::new(Mailbox::default());
        let desk = ReloadDesk { inbox: Arc::clone(&inbox), mailbox: Arc::clone(&mailbox) };
        let most = settings.server.max_in_flight;
        let live = Live::new(&settings, RouteTable::default());
        let shared = Shared::new(live, certificate, Arc::clone(&inbox), most, Box::new(desk));
        let outboxes: Vec<_> = (0..settings.server.io_threads).map(|_| Arc::new(Outbox::default())).collect();
        let registry = Arc::new(Registry::default());
        let log = LogJam::server(py)?.into_any();
        let dispatch = dispatcher(Arc::clone(&registry), log);
        let environment = environment(py, &launch, &settings, reading.config)?;
        Ok(Arc::new(Self {
            consumer: Consumer::new(event_loop, inbox, outboxes.clone(), dispatch)?,
            launch,
            addresses,
            listeners: Mutex::new(listeners),
            settings: Mutex::new(settings),
            environment: Mutex::new(Arc::new(environment)),
            registry,
            limits: Mutex::default(),
            shared,
            outboxes,
            mailbox,
            io: Mutex::new(None),
            under_way: Mutex::new(None),
            acknowledged: Acknowledged::default(),
            stopping: AtomicBool::new(false),
            restart: AtomicBool::new(false),
        }))
    }

    /// Set when a stop has been taken up.
    pub fn acknowledged(&self) -> Acknowledged {
        Arc::clone(&self.acknowledged)
    }

    /// What the supervisor calls, on its own thread.
    pub fn signal_handler(self: &Arc<Self>) -> impl Fn(Request) + Send + use<> {
        let host = Arc::clone(self);
        move |request| {
            if request == Request::Reload {
                let mailbox = Arc::clone(&host.mailbox);
                return host.shared.inbox.send(Box::new(move |py| mailbox.post(py, Command::Hangup)));
            }
            host.stopping.store(true, Ordering::Release);
            host.restart.store(request == Request::Restart, Ordering::Release);
            if request == Request::Stop {
                lock(&host.listeners).clear();
            }
            host.begin_drain();
            let errand = Arc::clone(&host);
            host.shared.inbox.send(Box::new(move |py| errand.take_up_stop(py)));
        }
    }

    /// Has the loop take requests and errands.
    ///
    /// # Errors
    /// When the loop cannot watch descriptors.
    pub fn attach(&self, py: Python<'_>) -> PyResult<()> {
        self.consumer.attach(py)
    }

    /// Ends the I/O threads; returns the sockets if the server is to start again.
    pub fn finish(&self, py: Python<'_>, patience: Duration) -> Option<Vec<TcpListener>> {
        let threads = lock(&self.io).take();
        if let Some(threads) = threads
            && !py.detach(|| threads.join(patience))
        {
            tracing::error!("an I/O thread did not end in time");
        }
        self.restart.load(Ordering::Acquire).then(|| self.listeners())
    }

    /// The sockets that an image of this process which takes over needs.
    pub fn listeners(&self) -> Vec<TcpListener> {
        lock(&self.listeners).iter().filter_map(|listener| listener.try_clone().ok()).collect()
    }

    /// Stops accepting, natively, so that it happens even while a plugin blocks Python.
    fn begin_drain(&self) {
        self.shared.set_ready(false);
        if let Some(threads) = &*lock(&self.io) {
            threads.drain();
        }
    }

    fn take_up_stop(&self, py: Python<'_>) {
        self.acknowledged.store(true, Ordering::Release);
        if let Some(task) = lock(&self.under_way).take()
            && let Err(error) = task.bind(py).call_method0("cancel")
        {
            tracing::error!("a load cannot be cancelled: {error}");
        }
        self.mailbox.post(py, Command::Stop);
    }

    /// The whole life, as one future for the event loop.
    pub async fn live(self: Arc<Self>) -> PyResult<()> {
        let host = Arc::clone(&self);
        self.undisturbed(async move { host.load_all().await }).await;
        if !self.is_stopping() {
            self.open()?;
        }
        // The I/O threads may be done before the stop that drained them is taken up.
        let mut drained = false;
        loop {
            match self.mailbox.next().await? {
                Command::Reload(target, reply) => {
                    let report = self.reload_undisturbed(target).await;
                    log_report(&report);
                    // A client that left does not wait for the report.
                    let _ = reply.send(report);
                }
                Command::Hangup => {
                    for error in log_file::reopen_all() {
                        tracing::error!("{error}");
                    }
                    log_report(&self.reload_undisturbed(Target::All).await);
                }
                Command::Stop => break,
                Command::Drained => drained = true,
                Command::TooLate => {}
            }
        }
        self.stop(drained).await
    }

    /// Runs `future` in a task that a stop cancels; `None` if it did.
    async fn undisturbed<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Option<T> {
        if self.is_stopping() {
            return None;
        }
        let result = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&result);
        let task = Python::attach(|py| -> PyResult<Py<PyAny>> {
            let work = coroutine(py, async move {
                let value = future.await;
                *lock(&slot) = Some(value);
                Ok(())
            })?;
            let task = self.consumer.event_loop(py).call_method1("create_task", (work,))?.unbind();
            *lock(&self.under_way) = Some(task.clone_ref(py));
            Ok(task)
        });
        let ended = match task {
            Ok(task) => await_python(task).await,
            Err(error) => Err(error),
        };
        lock(&self.under_way).take();
        if let Err(error) = ended {
            tracing::info!("interrupted: {}", Python::attach(|py| describe(py, &error)));
        }
        lock(&result).take()
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    async fn reload_undisturbed(self: &Arc<Self>, target: Target) -> Report {
        let host = Arc::clone(self);
        self.undisturbed(async move { host.reload(target).await }).await.unwrap_or(Report::Stopping)
    }

    /// The first load: each file for itself, in sorted order.
    async fn load_all(self: Arc<Self>) {
        let environment = self.environment();
        tracing::info!("Loading plugins from {}", environment.folder.display());
        if let Err(error) = Python::attach(|py| module::add_to_path(py, &environment.folder)) {
            tracing::warn!("modules beside the plugins cannot be imported: {error}");
        }
        let files = match discover(&environment.folder) {
            Ok(files) => files,
            Err(error) => {
                tracing::warn!("[paths] plugins: {}: {error}; serving no plugins", environment.folder.display());
                return;
            }
        };
        if files.is_empty() {
            tracing::warn!("[paths] plugins: {} holds no *.py file; serving no plugins", environment.folder.display());
        }
        for file in files {
            let problems = self.bring_in(&environment, &file).await;
            if self.is_stopping() {
                return;
            }
            for reason in problems {
                tracing::error!("{reason}");
            }
        }
    }

    /// Starts to accept.
    fn open(&self) -> PyResult<()> {
        let settings = lock(&self.settings).clone();
        let params = ConnectionParams::new(&settings.server, Arc::new(Counts::default()));
        let left = Arc::new(std::sync::atomic::AtomicUsize::new(self.outboxes.len()));
        let (inbox, mailbox) = (Arc::clone(&self.shared.inbox), Arc::clone(&self.mailbox));
        let ended: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
            if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                let mailbox = Arc::clone(&mailbox);
                inbox.send(Box::new(move |py| mailbox.post(py, Command::Drained)));
            }
        });
        *lock(&self.io) = Some(IoThreads::start(&self.listeners(), &self.outboxes, &self.shared, &params, &ended)?);
        self.shared.set_ready(true);
        for address in &self.addresses {
            let url = url(*address, settings.tls.is_some());
            tracing::info!("Server started on {address}");
            for resident in self.registry.serving().residents() {
                tracing::info!("Serving {url}/{}", resident.id);
            }
        }
        Ok(())
    }

    fn environment(&self) -> Arc<Environment> {
        Arc::clone(&lock(&self.environment))
    }

    /// Reads the ini file and loads what `target` names.
    async fn reload(self: Arc<Self>, target: Target) -> Report {
        let serving = self.registry.serving();
        let file = match &target {
            Target::All => None,
            Target::One(id) => match serving.get(id) {
                Some(resident) => Some(resident.file.clone()),
                None => return Report::Unknown { plugin: id.clone() },
            },
        };
        if let Err(reasons) = Python::attach(|py| self.read_again(py, file.is_none())) {
            return self.failed(target, reasons);
        }
        let mut reasons = Vec::new();
        let environment = self.environment();
        let helpers = Python::attach(|py| module::forget_helpers(py, &environment.folder)).unwrap_or_default();
        let files = match &file {
            Some(file) => vec![file.clone()],
            None => match discover(&environment.folder) {
                Ok(files) => files,
                Err(error) => {
                    return self.failed(target, vec![format!("{}: {error}", environment.folder.display())]);
                }
            },
        };
        let mut failed = Vec::new();
        for file in &files {
            let served = !self.registry.serving().of_file(file).is_empty();
            let problems = self.bring_in(&environment, file).await;
            if self.is_stopping() {
                return Report::Stopping;
            }
            if served || matches!(target, Target::One(_)) { &mut reasons } else { &mut failed }.extend(problems);
        }
        if file.is_none() {
            self.let_go(&files).await;
        }
        if !reasons.is_empty() {
            if let Err(error) = Python::attach(|py| module::restore_helpers(py, helpers)) {
                tracing::error!("helper modules cannot be restored: {error}");
            }
            reasons.extend(failed);
            return self.failed(target, reasons);
        }
        match target {
            Target::All => Report::All { loaded: self.loaded(), failed },
            Target::One(plugin) => Report::One { plugin },
        }
    }

    fn failed(&self, target: Target, reasons: Vec<String>) -> Report {
        Report::Failed { target, reasons, loaded: self.loaded() }
    }

    fn loaded(&self) -> Vec<String> {
        self.registry.serving().residents().iter().map(|resident| resident.id.to_string()).collect()
    }

    /// Reads the ini file again and applies what can change while serving.
    fn read_again(&self, py: Python<'_>, everything: bool) -> Result<(), Vec<String>> {
        let told = |error: &dyn std::fmt::Display| vec![error.to_string()];
        let (reading, warnings) = config::load(py, self.launch.ini.as_deref(), &self.launch.level);
        warn(&warnings);
        let reading = reading.map_err(|errors| errors.0.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let certificate = match &reading.settings.tls {
            Some(files) if everything => Some(tls::load(files).map_err(|error| told(&error))?),
            _ => None,
        };
        let environment = environment(py, &self.launch, &reading.settings, reading.config);
        *lock(&self.environment) = Arc::new(environment.map_err(|error| told(&error))?);
        if everything {
            self.shared.tls.store(certificate);
        }
        let before = std::mem::replace(&mut *lock(&self.settings), reading.settings);
        for option in lock(&self.settings).needing_restart(&before) {
            tracing::warn!("{option} has changed; the new value counts after a restart");
        }
        self.publish(self.registry.serving().residents().to_vec());
        Ok(())
    }

    /// Loads one file and, if that went well, has it take over from its earlier generation. Returns what went wrong.
    async fn bring_in(&self, environment: &Arc<Environment>, file: &Path) -> Vec<String> {
        let mut old = self.registry.serving().of_file(file);
        let mut loaded = load_file(environment, file).await;
        let refused = self.refuse_taken_ids(&mut loaded, file);
        terminate(&refused, Instant::now() + environment.patience).await;
        let mut reasons: Vec<String> = loaded.failures.iter().map(ToString::to_string).collect();
        if !loaded.failures.is_empty() && !old.is_empty() {
            reasons.push(format!("{}: the earlier version goes on serving", file.display()));
            terminate(&loaded.residents, Instant::now() + environment.patience).await;
            if let Some(registration) = loaded.registration {
                Python::attach(|py| registration.undo(py));
            }
            return reasons;
        }
        old.extend(self.replace(file, loaded.residents.clone()));
        for resident in &loaded.residents {
            tracing::info!("Loaded plugin {} from {}", resident.id, file.display());
        }
        self.end(&old).await;
        reasons
    }

    /// An id belongs to the file that had it first, for as long as that file is there.
    fn refuse_taken_ids(&self, loaded: &mut LoadedFile, file: &Path) -> Vec<Arc<Resident>> {
        let serving = self.registry.serving();
        let mut table = RouteTable::default();
        let others = serving.residents().iter().filter(|resident| resident.file != file && resident.file.exists());
        for resident in others {
            // Those were accepted when they were loaded.
            let _ = self.endpoint(resident).and_then(|endpoint| table.insert(endpoint));
        }
        loaded.refuse(|resident| self.endpoint(resident).and_then(|endpoint| table.insert(endpoint)).err())
    }

    fn endpoint(&self, resident: &Resident) -> Result<Arc<Endpoint>, crate::routing::RouteError> {
        let most = lock(&self.settings).server.max_in_flight_per_plugin;
        let mut limits = lock(&self.limits);
        let limit = limits.entry(Arc::clone(&resident.id)).or_insert_with(|| Limit::new(most));
        let (limit, policy) = (Arc::clone(limit), Arc::clone(&resident.policy));
        Endpoint::new(&resident.id, limit, resident.methods, policy).map(Arc::new)
    }

    /// Puts `new` where the plugins of `file` are, or at the end. Returns the plugins of other, deleted files whose ids
    /// they take over.
    fn replace(&self, file: &Path, new: Vec<Arc<Resident>>) -> Vec<Arc<Resident>> {
        let serving = self.registry.serving();
        let mut residents: Vec<_> = serving.residents().to_vec();
        let place = residents.iter().position(|resident| resident.file == file).unwrap_or(residents.len());
        residents.retain(|resident| resident.file != file);
        residents.splice(place..place, new.iter().cloned());
        let heir = |resident: &Resident| new.iter().any(|new| new.id == resident.id && new.file != resident.file);
        let superseded = residents.iter().filter(|resident| heir(resident)).cloned().collect();
        residents.retain(|resident| !heir(resident));
        self.publish(residents);
        superseded
    }

    /// Swaps the registry and then the native table, so that whatever the table names is there.
    fn publish(&self, residents: Vec<Arc<Resident>>) {
        let mut table = RouteTable::default();
        for resident in &residents {
            if let Err(error) = self.endpoint(resident).and_then(|endpoint| table.insert(endpoint)) {
                tracing::error!("{}: {error}", resident.file.display());
            }
        }
        self.registry.publish(residents);
        let live = Live::new(&lock(&self.settings), table);
        self.shared.live.store(Arc::new(live));
    }

    /// Ends the plugins whose files are gone.
    async fn let_go(&self, files: &[PathBuf]) {
        let serving = self.registry.serving();
        let gone: Vec<_> = serving.residents().iter().filter(|one| !files.contains(&one.file)).cloned().collect();
        for resident in &gone {
            tracing::info!("{} is gone, and plugin {} with it", resident.file.display(), resident.id);
            self.replace(&resident.file, Vec::new());
        }
        self.end(&gone).await;
    }

    /// Ends plugins that serve no more, once the requests inside them have ended.
    async fn end(&self, residents: &[Arc<Resident>]) {
        let deadline = Instant::now() + lock(&self.settings).server.shutdown_timeout;
        if let Err(error) = drain(residents, deadline).await {
            tracing::warn!("not waiting for requests any longer: {error}");
        }
        terminate(residents, deadline).await;
    }

    /// Drains, ends the plugins and whatever they left behind.
    async fn stop(&self, drained: bool) -> PyResult<()> {
        let patience = lock(&self.settings).server.shutdown_timeout;
        self.begin_drain();
        if !drained && lock(&self.io).is_some() {
            self.wait_until_drained(patience).await?;
        }
        Python::attach(|py| self.consumer.detach(py))?;
        let deadline = Instant::now() + patience;
        terminate(self.registry.serving().residents(), deadline).await;
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
            report_stubborn(await_python(waiting).await?)?;
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

    async fn wait_until_drained(&self, patience: Duration) -> PyResult<()> {
        let mailbox = Arc::clone(&self.mailbox);
        let timer = Python::attach(|py| -> PyResult<Py<PyAny>> {
            let too_late = PyCFunction::new_closure(py, None, None, move |arguments, _| {
                mailbox.post(arguments.py(), Command::TooLate);
            })?;
            let event_loop = self.consumer.event_loop(py);
            Ok(event_loop.call_method1("call_later", (patience.as_secs_f64(), too_late))?.unbind())
        })?;
        loop {
            match self.mailbox.next().await? {
                Command::Drained => break,
                Command::TooLate => {
                    tracing::warn!("requests still run; stopping without their answers");
                    break;
                }
                Command::Reload(_, reply) => drop(reply.send(Report::Stopping)),
                Command::Stop | Command::Hangup => {}
            }
        }
        Python::attach(|py| timer.bind(py).call_method0("cancel").map(drop))
    }
}

fn environment(py: Python<'_>, launch: &Launch, settings: &Settings, config: Py<PyAny>) -> PyResult<Environment> {
    let ini = launch.ini.as_ref().map(|ini| ini.to_string_lossy().into_owned()).unwrap_or_default();
    let log = launch.log.as_ref().map(|log| log.to_string_lossy().into_owned());
    Ok(Environment {
        config,
        log: LogJam::server(py)?.into_any(),
        task_callback: None,
        args: interpreter::program_arguments(py, &ini, log.as_deref(), &launch.level)?,
        folder: settings.paths.plugins.clone(),
        patience: settings.server.plugin_timeout,
        legacy_status: settings.legacy_status,
    })
}

fn log_report(report: &Report) {
    match report {
        Report::One { plugin } => tracing::info!("Reloaded plugin {plugin}"),
        Report::All { loaded, failed } => {
            tracing::info!("Reloaded all plugins: {}", loaded.join(", "));
            for reason in failed {
                tracing::error!("{reason}");
            }
        }
        Report::Unknown { plugin } => tracing::info!("No such plugin to reload: {plugin}"),
        Report::Failed { reasons, .. } => {
            for reason in reasons {
                tracing::error!("reload: {reason}");
            }
        }
        Report::Stopping => tracing::info!("no reload, since the server stops"),
    }
}
