//! The order of it all: settings → log → sockets → signals → plugins → serving → stop.
//!
//! Promise: sockets are bound before plugins load and accept when plugins are ready; whatever fails before that is
//! reported and ends with the documented code; at the end everything that was started has been stopped. Caveat: runs on
//! the main thread, once a process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::PySystemExit;
use pyo3::prelude::*;
use tokio::sync::mpsc;

use super::inherited;
use super::pidfile::{self, PidFile, PidFileError};
use super::supervisor::{self, Request, Supervised, SupervisorSettings};
use crate::edge::config::diagnostic::{self, ConfigErrors};
use crate::edge::config::fields::EventLoop;
use crate::edge::config::launch::LaunchOptions;
use crate::edge::config::places::Places;
use crate::edge::config::settings::Settings;
use crate::edge::http::control_socket::{ControlSocket, ControlSocketError};
use crate::edge::http::forked::Listening;
use crate::edge::http::listener::{self, BindError};
use crate::edge::http::tls::{self, TlsError};
use crate::edge::observe::line::Level;
use crate::edge::observe::log_file::LogFileError;
use crate::edge::observe::subscriber;
use crate::host::bridge::coroutine::{coroutine, host_task};
use crate::host::bridge::fork;
use crate::host::lifecycle::handle::HostHandle;
use crate::host::lifecycle::host::{Host, Options};
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
    /// Python refused something that every start needs.
    #[error("the server cannot start: {0}")]
    Python(#[from] PyErr),
}

/// Serves until a stop is asked for.
///
/// # Errors
/// When the server cannot start; nothing is left running then.
pub(crate) fn run(py: Python<'_>, launch: LaunchOptions) -> Result<(), StartError> {
    let level = Level::parse(&launch.level);
    subscriber::install(&launch.name, level, launch.log.as_deref())?;
    subscriber::report_panics();
    // First of all, so that no child and no later image of the process can see the variables.
    let mut inherited = inherited::take_over(&interpreter::take_variable(py, inherited::VARIABLE)?);
    let control = inherited::take_over_control(&interpreter::take_variable(py, inherited::CONTROL)?);
    let [pid, count, _] = inherited::ACTIVATION.map(|name| interpreter::take_variable(py, name));
    inherited.extend(inherited::given(&pid?, &count?));
    let reading = read(py, &launch)?;
    config::proclaim(reading.config.bind(py))?;
    let settings = &reading.settings;
    let certificate = settings.tls.as_ref().map(|files| tls::load(&launch.folder, files)).transpose()?;
    let listeners = bind(&settings.listen, inherited)?;
    let addresses = listeners.iter().map(|listener| listener.local_addr()).collect::<Result<Vec<_>, _>>()?;
    let control = control_socket(&launch, settings, control)?;
    let pidfile = settings.paths.pidfile.as_deref().map(PidFile::write).transpose()?;
    interpreter::prepare(py)?;
    logjam::install_logging_bridge(py)?;

    let event_loop = new_event_loop(py, settings.server.event_loop)?;
    py.import("asyncio")?.call_method1("set_event_loop", (&event_loop,))?;
    install_task_factory(&event_loop)?;
    fork::prepare(&event_loop)?;
    let (process, requests) = mpsc::unbounded_channel();
    let options = Options { launch: launch.clone(), addresses, certificate, listeners, control, process };
    let supervisor_settings = SupervisorSettings {
        watchdog_restart: settings.server.watchdog_restart,
        delay: settings.server.drain_delay,
        grace: settings.server.shutdown_timeout,
    };
    let host = Host::new(&event_loop, reading, options)?;
    let pidfile_path = pidfile.as_ref().map(PidFile::path);
    let controls = Controls { host: host.handle(), launch: launch.clone(), pidfile: pidfile_path };
    let supervisor = supervisor::start(supervisor_settings, host.handle().acknowledged(), requests, controls)?;

    reports::install(&event_loop, &host)?;
    host.attach(py)?;
    let life = host_task(&event_loop, coroutine(py, Arc::clone(&host).live())?)?;
    let result = turn(&event_loop, &life);
    let restart = host.finish(py, JOIN);
    let control = host.handle().take_control();
    close(&event_loop);
    drop(pidfile);
    result?;
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
    let (reading, warnings) = config::load(py, &launch.folder, launch.ini.as_deref(), &launch.level);
    diagnostic::log_warnings(&warnings);
    reading
}

/// The control socket: that of an earlier image of this process if it is still in its place, else a new one. There is
/// none if another server has it, or if the server has chosen the place by itself and cannot use it.
///
/// # Errors
/// When the place that the ini file names cannot be used.
fn control_socket(
    launch: &LaunchOptions,
    settings: &Settings,
    inherited: Option<ControlSocket>,
) -> Result<Option<ControlSocket>, ControlSocketError> {
    let pidfile = settings.paths.pidfile.as_deref();
    let places = Places {
        setting: &settings.server.control_socket,
        pidfile,
        ini: launch.ini.as_deref(),
        folder: &launch.folder,
    };
    let Some((path, is_chosen)) = places.control_socket() else { return Ok(None) };
    if let Some(inherited) = inherited.filter(|socket| socket.path() == path) {
        return Ok(Some(inherited));
    }
    match ControlSocket::open(&path) {
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
    }
}

/// The listening sockets: those of the service manager if there are any, else those of an earlier image of this process
/// and new ones for the rest.
fn bind(addresses: &[SocketAddr], mut inherited: Vec<Listening>) -> Result<Vec<Listening>, BindError> {
    if inherited.iter().any(Listening::is_given) {
        inherited.retain(Listening::is_given);
        tracing::info!("serving the sockets of the service manager instead of [network] bindto and port");
        return Ok(inherited);
    }
    let mut listeners = Vec::new();
    for address in addresses {
        // Port 0 asks for any port, such as the one that clients know already.
        let serves =
            |local: SocketAddr| local.ip() == address.ip() && (address.port() == 0 || local.port() == address.port());
        match inherited.iter().position(|listener| listener.local_addr().is_ok_and(serves)) {
            Some(index) => listeners.push(inherited.swap_remove(index)),
            None => listeners.extend(listener::bind(&[*address])?),
        }
    }
    Ok(listeners)
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
    launch: LaunchOptions,
    pidfile: Option<PathBuf>,
}

impl Supervised for Controls {
    fn announce_stop(&self) -> bool {
        self.host.announce_stop()
    }

    fn act(&self, request: Request) -> Result<(), String> {
        match request {
            Request::Reload => self.host.hang_up(),
            Request::Stop => self.host.begin_stop(false),
            Request::Restart => {
                inherited::check(&self.launch.command, &self.launch.folder)
                    .map_err(|reason| format!("the server could not start again ({reason}); it goes on"))?;
                self.host.begin_stop(true);
            }
        }
        Ok(())
    }

    fn has_turned(&self) -> bool {
        self.host.has_turned()
    }

    fn open_requests(&self) -> String {
        self.host.open_requests()
    }

    fn force(&self, request: Request) {
        let code = if request == Request::Restart {
            supervisor::hold_stop();
            let failed = inherited::replace(
                &self.launch.command,
                &self.launch.folder,
                &self.host.listeners(),
                self.host.take_control(),
            );
            tracing::error!("the server cannot start again: {failed}");
            1
        } else {
            FORCED
        };
        if let Some(pidfile) = &self.pidfile {
            pidfile::remove(pidfile);
        }
        interpreter::exit_immediately(code);
    }
}
