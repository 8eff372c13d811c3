//! The order of it all: settings → log → sockets → signals → plugins → serving → stop.
//!
//! Promise: sockets are bound before plugins load and accept when plugins are ready; whatever fails before that is
//! reported and ends with the documented code; at the end everything that was started has been stopped. Caveat: runs on
//! the main thread, once a process. A process that is to replace another is silent until that one has agreed.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::PySystemExit;
use pyo3::prelude::*;
use tokio::sync::mpsc;

use super::handover;
use super::inherited;
use super::pidfile::{PidFile, PidFileError};
use super::predecessor::{OldProcess, Superseded};
use super::successor::{Program, Successor};
use super::supervisor::{self, Request, Supervised};
use crate::edge::config::diagnostic::{self, ConfigErrors};
use crate::edge::config::fields::EventLoop;
use crate::edge::config::launch::LaunchOptions;
use crate::edge::config::places::Places;
use crate::edge::config::settings::{Settings, UnixAccess};
use crate::edge::config::socket_address::SocketAddress;
use crate::edge::http::control_socket::{ControlSocket, ControlSocketError};
use crate::edge::http::forked::Listening;
use crate::edge::http::listener::{self, BindError};
use crate::edge::http::observed::Observers;
use crate::edge::http::socket_file::SocketFile;
use crate::edge::http::tls::{Tls, TlsError};
use crate::edge::observe::line::{self, Level};
use crate::edge::observe::log_file::LogFileError;
use crate::edge::observe::{output, service_manager, subscriber};
use crate::host::bridge::coroutine::{coroutine, host_task};
use crate::host::bridge::{fork, running};
use crate::host::lifecycle::handle::{Ending, HostHandle, Timings};
use crate::host::lifecycle::host::{Host, Options};
use crate::host::lifecycle::predecessor::Predecessor;
use crate::host::lifecycle::reports;
use crate::host::plugins::task_scope::install_task_factory;
use crate::host::python::config::LoadedConfig;
use crate::host::python::{config, interpreter, logjam};

/// How long the I/O threads may take to end once their connections are closed.
const JOIN: Duration = Duration::from_secs(2);

/// Exit code of a stop that did not wait for plugins to end.
const FORCED: i32 = 3;

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The log file cannot be written.
    #[error(transparent)]
    Log(#[from] LogFileError),
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The control socket cannot be opened.
    #[error("[server] control_socket: {0}")]
    Control(#[from] ControlSocketError),
    /// The process id cannot be written.
    #[error(transparent)]
    PidFile(#[from] PidFileError),
    /// The system refused something that every start needs.
    #[error("the server cannot start: {0}")]
    System(#[from] std::io::Error),
    /// The package of the event loop cannot be used.
    #[error("[server] event_loop: {name} cannot be imported ({reason}); install it, or leave the key out for asyncio")]
    EventLoop {
        /// The package.
        name: &'static str,
        /// What Python says.
        reason: PyErr,
    },
    /// The process that was to be replaced serves on.
    #[error("the upgrade failed; the process that serves goes on, and its log says why")]
    Upgrade,
    /// Python refused something that every start needs.
    #[error("the server cannot start: {0}")]
    Python(#[from] PyErr),
}

/// Serves until a stop is asked for, or another process has taken over.
///
/// # Errors
/// When the server cannot start; nothing is left running then.
pub(crate) fn run(py: Python<'_>, launch: LaunchOptions) -> Result<(), StartError> {
    // First of all, so that no child and no later image of the process can see the variables.
    let variables = Variables::take(py)?;
    let old_process = OldProcess::from_variable(&variables.upgrade)?;
    let result = serve(py, launch, &variables, old_process.clone());
    if let (Some(old_process), Err(error)) = (old_process, &result) {
        old_process.report_failure(match error {
            StartError::Config(errors) => errors.0.iter().map(ToString::to_string).collect(),
            // If that was the other process's decision, it does not listen any more.
            StartError::Upgrade => vec!["it was stopped before it was ready".to_owned()],
            error => vec![error.to_string()],
        });
    }
    result
}

/// What is in the environment for this process alone.
struct Variables {
    listeners: String,
    control: String,
    upgrade: String,
    activation: [String; 3],
    /// The rest, as it was at the start: plugins may change it since, while another thread needs it.
    environment: Vec<(OsString, OsString)>,
}

impl Variables {
    fn take(py: Python<'_>) -> PyResult<Self> {
        let take = |name| interpreter::take_variable(py, name);
        let [pid, count, names] = inherited::ACTIVATION.map(take);
        let (listeners, control) = (take(inherited::VARIABLE)?, take(inherited::CONTROL)?);
        let upgrade = take(handover::VARIABLE)?;
        // The limit is for whichever process is the main one, which a process that takes over becomes.
        let is_watched = service_manager::watchdog_timeout().is_some();
        let kept = std::env::vars_os().filter(|(name, _)| !is_watched || name != "WATCHDOG_PID");
        Ok(Self { listeners, control, upgrade, activation: [pid?, count?, names?], environment: kept.collect() })
    }
}

fn serve(
    py: Python<'_>,
    launch: LaunchOptions,
    variables: &Variables,
    old_process: Option<Arc<OldProcess>>,
) -> Result<(), StartError> {
    let level = Level::parse(&launch.level);
    subscriber::install(&launch.name, level, launch.log.as_deref())?;
    subscriber::report_panics();
    output::may_wait();
    let replaces = old_process.is_some();
    let mut inherited = inherited::take_over(&variables.listeners, replaces);
    let inherited_control = inherited::take_over_control(&variables.control, replaces);
    let [pid, count, names] = &variables.activation;
    inherited.extend(inherited::given(pid, count, names));
    let reading = read(py, &launch)?;
    config::proclaim(reading.config.bind(py))?;
    let settings = &reading.settings;
    let tls = settings.tls.as_ref().map(|tls| Tls::load(&launch.folder, tls)).transpose()?;
    let observers = Observers::open(settings, &launch.folder)?;
    let (listeners, files) = bind(&settings.listen, settings.network.unix, inherited)?;
    let addresses = listeners.iter().map(|listener| listener.address().clone()).collect();
    let (control, superseded) = control_socket(&launch, settings, inherited_control)?;
    let superseded = Superseded { control: superseded, files };
    let pidfile = settings.paths.pidfile.as_deref().map(PidFile::at).map(Arc::new);
    if let Some(old_process) = &old_process {
        old_process.report_start(settings.server.plugin_timeout, pidfile.clone(), superseded);
    } else {
        drop(superseded);
        pidfile.as_ref().map_or(Ok(()), |file| file.write())?;
    }
    interpreter::prepare(py)?;
    logjam::install_logging_bridge(py)?;

    let event_loop = new_event_loop(py, settings.server.event_loop)?;
    py.import("asyncio")?.call_method1("set_event_loop", (&event_loop,))?;
    install_task_factory(&event_loop)?;
    fork::prepare(&event_loop)?;
    let predecessor = old_process.map(|old_process| -> Arc<dyn Predecessor> { old_process });
    let (process, requests) = mpsc::unbounded_channel();
    let options =
        Options { launch: launch.clone(), addresses, tls, observers, listeners, control, process, predecessor };
    let host = Host::new(&event_loop, reading, options)?;
    let environment = variables.environment.clone();
    let program = Program { command: launch.command.clone(), folder: launch.folder.clone(), environment };
    let controls = Controls { host: host.handle(), program, pidfile: pidfile.clone() };
    let supervisor = supervisor::start(host.handle().acknowledged(), requests, controls)?;

    reports::install(&event_loop, &host)?;
    host.attach(py)?;
    let life = host_task(&event_loop, coroutine(py, Arc::clone(&host).live())?)?;
    let result = turn(&event_loop, &life);
    let restart = host.finish(py, JOIN);
    let control = host.handle().take_control();
    close(&event_loop);
    pidfile.inspect(|file| file.remove());
    result?;
    if replaces && !host.has_served() {
        return Err(StartError::Upgrade);
    }
    let Some(listeners) = restart else { return Ok(()) };
    // What Python does at its end, which does not come otherwise. The supervisor limits its time.
    interpreter::run_exit_functions(py);
    if py.detach(|| supervisor.final_request()) == Request::Stop {
        return Ok(());
    }
    interpreter::prepare_replacement(py)?;
    Err(inherited::replace(&launch.command, &launch.folder, &listeners, control).into())
}

/// Reads and checks the ini file; warnings go to the log.
fn read(py: Python<'_>, launch: &LaunchOptions) -> Result<LoadedConfig, ConfigErrors> {
    let (reading, warnings) = config::load(py, &launch.folder, launch.ini.as_deref(), &launch.level, &launch.replaced);
    if let Ok(reading) = &reading {
        line::set_json(reading.settings.log_as_json);
    }
    diagnostic::log_warnings(&warnings);
    reading
}

/// The control socket: that of an earlier image of this process if it is still in its place, else a new one. There is
/// none if another server has it, or if the server has chosen the place by itself and cannot use it. Beside it, what
/// was inherited and is not used.
///
/// # Errors
/// When the place that the ini file names cannot be used.
fn control_socket(
    launch: &LaunchOptions,
    settings: &Settings,
    inherited: Option<ControlSocket>,
) -> Result<(Option<ControlSocket>, Option<ControlSocket>), ControlSocketError> {
    let pidfile = settings.paths.pidfile.as_deref();
    let places = Places {
        setting: &settings.server.control_socket,
        pidfile,
        ini: launch.ini.as_deref(),
        folder: &launch.folder,
    };
    let Some((path, is_chosen)) = places.control_socket() else { return Ok((None, inherited)) };
    if inherited.as_ref().is_some_and(|socket| socket.file().path() == path) {
        return Ok((inherited, None));
    }
    let opened = match ControlSocket::open(&path) {
        Ok(socket) => {
            tracing::debug!("Control socket: {}", path.display());
            Ok(Some(socket))
        }
        Err(error @ ControlSocketError::InUse(_)) => {
            tracing::warn!("{error}; this server has none");
            Ok(None)
        }
        Err(error) if is_chosen => Err(error),
        Err(error) => {
            tracing::info!("{error}; this server has none");
            Ok(None)
        }
    };
    Ok((opened?, inherited))
}

/// The listening sockets: those of the service manager if there are any, else those of an earlier image of this process
/// and new ones for the rest. Beside them, the files of Unix sockets that were inherited and are not used.
fn bind(
    addresses: &[SocketAddress],
    access: UnixAccess,
    mut inherited: Vec<Listening>,
) -> Result<(Vec<Listening>, Vec<Arc<SocketFile>>), BindError> {
    if inherited.iter().any(Listening::is_given) {
        let unused: Vec<_> = inherited.extract_if(.., |listener| !listener.is_given()).collect();
        tracing::info!("serving the sockets of the service manager instead of those of [network]");
        return Ok((inherited, forget(unused)));
    }
    let mut find = |address: &SocketAddress| {
        // Port 0 asks for any port, such as the one that clients know already.
        let serves = |listener: &Listening| match (listener.address(), address) {
            (SocketAddress::Ip(local), SocketAddress::Ip(address)) => {
                local.ip() == address.ip() && (address.port() == 0 || local.port() == address.port())
            }
            (local, address) => local == address,
        };
        let index = inherited.iter().position(serves);
        index.map(|index| inherited.swap_remove(index))
    };
    let found: Vec<_> = addresses.iter().map(|address| (address, find(address))).collect();
    // Before others are bound: 127.0.0.1 and 0.0.0.0 cannot be had at the same time.
    let superseded = forget(inherited);
    let mut listeners = Vec::new();
    for (address, found) in found {
        match found {
            Some(listener) => {
                if let Some(file) = listener.file() {
                    file.admit(access).map_err(|error| BindError::of_unix(file.path(), error.into()))?;
                }
                listeners.push(listener);
            }
            None => listeners.extend(listener::bind(std::slice::from_ref(address), access)?),
        }
    }
    Ok((listeners, superseded))
}

/// Closes sockets that are not served any more, and has the service manager keep them no longer; returns their files.
fn forget(left_over: Vec<Listening>) -> Vec<Arc<SocketFile>> {
    if !left_over.is_empty() {
        service_manager::forget_sockets();
    }
    left_over.iter().filter_map(|listener| listener.file().cloned()).collect()
}

/// Runs the loop until the life cycle has ended. A `SystemExit` or `KeyboardInterrupt` that escapes from a plugin's
/// task stops the loop, but not the server.
fn new_event_loop(py: Python<'_>, kind: EventLoop) -> Result<Bound<'_, PyAny>, StartError> {
    let name = match kind {
        EventLoop::Asyncio => "asyncio",
        EventLoop::Uvloop => "uvloop",
    };
    let module = py.import(name).map_err(|reason| StartError::EventLoop { name, reason })?;
    Ok(module.call_method0("new_event_loop")?)
}

fn turn(event_loop: &Bound<'_, PyAny>, life: &Bound<'_, PyAny>) -> PyResult<()> {
    loop {
        let turned = event_loop.call_method1("run_until_complete", (life,));
        // In a forked child the loop stops at once, with an error that says so and no exit.
        let exit = turned.as_ref().err().filter(|error| error.is_instance_of::<PySystemExit>(event_loop.py()));
        fork::end_child(event_loop.py(), exit);
        if life.call_method0("done")?.is_truthy()? {
            return life.call_method0("result").map(drop);
        }
        if let Err(error) = turned {
            tracing::error!("{error} in a background task would end the process; the server goes on");
        }
    }
}

fn close(event_loop: &Bound<'_, PyAny>) {
    if let Err(error) = event_loop.call_method0("close") {
        tracing::debug!("the event loop does not close: {error}");
    }
}

/// How the supervisor acts on the server, on its own thread.
struct Controls {
    host: Arc<HostHandle>,
    program: Program,
    pidfile: Option<Arc<PidFile>>,
}

impl Controls {
    /// Why the same command could not be started again.
    fn check_program(&self) -> Result<(), String> {
        inherited::check(&self.program.command, &self.program.folder)
            .map_err(|reason| format!("the server could not start again ({reason}); it goes on"))
    }
}

impl Supervised for Controls {
    fn announce_stop(&self) -> bool {
        self.host.announce_stop()
    }

    fn act(&self, request: Request) -> Result<(), String> {
        match request {
            Request::Reload => self.host.hang_up(),
            Request::Stop => self.host.begin_stop(Ending::Stop),
            Request::Restart => {
                self.check_program()?;
                self.host.begin_stop(Ending::Restart);
            }
            Request::Upgrade => self.host.begin_stop(Ending::HandOver),
        }
        Ok(())
    }

    fn timings(&self) -> Timings {
        self.host.timings()
    }

    fn has_turned(&self) -> bool {
        self.host.has_turned()
    }

    fn running_entry(&self) -> Option<u32> {
        running::entry()
    }

    fn note_long_entry(&self, entry: u32) {
        running::note_long(entry);
    }

    fn open_requests(&self) -> String {
        self.host.open_requests()
    }

    fn start_successor(&self) -> Result<Successor, String> {
        if std::process::id() == 1 {
            let reason = "this is process 1, and what runs beside it would end with it; use SIGUSR1 instead";
            return Err(reason.to_owned());
        }
        self.check_program()?;
        let listeners = self.host.begin_upgrade()?;
        let started = self.host.with_control(|control| {
            let copy = control.as_fd().try_clone_to_owned()?;
            let value = inherited::hand_over_control(&copy, control.file().path())?;
            Ok((copy, value))
        });
        let started = started.and_then(|control| {
            let value = control.as_ref().map(|(_, value)| value.clone());
            Successor::start(&self.program, &listeners, value)
        });
        started.map_err(|error| {
            self.host.end_upgrade();
            format!("a new process cannot be started: {error}")
        })
    }

    fn serving(&self) -> impl Fn() -> Vec<String> + Send + 'static {
        let host = Arc::clone(&self.host);
        move || host.serving()
    }

    fn keep_serving(&self) {
        // The new process may have got as far as to write its own id.
        if let Some(file) = self.pidfile.as_ref().filter(|file| !file.is_ours())
            && let Err(error) = file.write()
        {
            tracing::error!("{error}");
        }
        self.host.end_upgrade();
    }

    fn force(&self, request: Request) {
        let code = if request == Request::Restart {
            supervisor::hold_stop();
            let failed = inherited::replace(
                &self.program.command,
                &self.program.folder,
                &self.host.listeners(),
                self.host.take_control(),
            );
            tracing::error!("the server cannot start again: {failed}");
            1
        } else {
            FORCED
        };
        if let Some(file) = &self.pidfile {
            file.remove();
        }
        interpreter::exit_immediately(code);
    }
}
