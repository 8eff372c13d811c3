//! The requests of other threads to the server on the Python thread, and the state that it shares with them.
//!
//! Runs on any thread. Promise: nothing here waits for the Python thread, so a stop begins at once even while a plugin
//! blocks it: the I/O threads drain, and what needs Python is put into the mailbox. Caveat: its locks are held for
//! moments; none of them is held while something else is awaited.

use std::io;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use pyo3::prelude::*;

use super::backend::PythonBackend;
use super::mailbox::{Command, CommandSender};
use crate::edge::config::settings::ServerSettings;
use crate::edge::config::socket_address::SocketAddress;
use crate::edge::control::events::Event;
use crate::edge::gateway::state::ServerState;
use crate::edge::gateway::threads::{IoThreads, Shares};
use crate::edge::http::control_socket::ControlSocket;
use crate::edge::http::drain::DrainKind;
use crate::edge::http::forked::Listening;
use crate::edge::http::socket_file::SocketFile;
use crate::edge::observe::service_manager;
use crate::host::bridge::locked::Locked;
use crate::host::bridge::running;

/// The server as signals and the supervisor see it.
pub(crate) struct HostHandle {
    pub(super) state: Arc<ServerState<PythonBackend>>,
    pub(super) commands: CommandSender,
    /// Emptied by a stop, so that new connections are refused at once; kept for a restart. After a hand-over the other
    /// process has them.
    listeners: Mutex<Vec<Listening>>,
    /// Closed by a stop; kept for a restart.
    control: Mutex<Option<ControlSocket>>,
    io: Mutex<Option<IoThreads>>,
    /// What the signal thread goes by.
    timings: ArcSwap<Timings>,
    /// The load or reload that is under way.
    pub(super) current_operation: Locked<Option<Operation>>,
    acknowledged: Arc<AtomicBool>,
    /// Set by the Python thread when it has come to what it was last asked.
    pulse: Arc<AtomicBool>,
    has_served: AtomicBool,
    stopping: AtomicBool,
    /// Whether the stop is for good.
    is_final: AtomicBool,
    restart: AtomicBool,
}

/// What the configuration says about stops and a server that is stuck.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timings {
    /// `[server] watchdog_restart`.
    pub watchdog_restart: bool,
    /// `[server] drain_delay`: how long requests are still served after readiness has begun to fail.
    pub delay: Duration,
    /// `[server] shutdown_timeout`.
    pub grace: Duration,
}

impl Timings {
    /// What `settings` say.
    pub(super) fn new(settings: &ServerSettings) -> Self {
        Self {
            watchdog_restart: settings.watchdog_restart,
            delay: settings.drain_delay,
            grace: settings.shutdown_timeout,
        }
    }
}

/// A listening socket that is not served yet.
pub(super) struct NewListener {
    listener: Listening,
    shares: Option<Shares>,
}

/// What follows a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Nothing.
    Stop,
    /// The same process starts again.
    Restart,
    /// Another process serves already.
    HandOver,
}

/// A load or reload that is under way.
pub(super) struct Operation {
    /// Its asyncio task.
    pub task: Py<PyAny>,
    /// What ends it before its time.
    pub interruption: Interruption,
}

/// Which stop a load or reload does not outlast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interruption {
    /// Any, a restart included: nothing is served yet.
    AnyStop,
    /// A stop for good: before a restart, or when another process has taken over, a reload is finished and answered.
    FinalStop,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Values are only replaced or read under these locks, so a panic elsewhere leaves them whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HostHandle {
    /// For a server that has not started its I/O threads yet.
    pub(super) fn new(
        state: Arc<ServerState<PythonBackend>>,
        commands: CommandSender,
        listeners: Vec<Listening>,
        control: Option<ControlSocket>,
        timings: Timings,
    ) -> Arc<Self> {
        Arc::new(Self {
            state,
            commands,
            listeners: Mutex::new(listeners),
            control: Mutex::new(control),
            io: Mutex::new(None),
            timings: ArcSwap::from_pointee(timings),
            current_operation: Locked::new(None),
            acknowledged: Arc::default(),
            pulse: Arc::new(AtomicBool::new(true)),
            has_served: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            is_final: AtomicBool::new(false),
            restart: AtomicBool::new(false),
        })
    }

    /// Set when the Python thread has begun a stop.
    pub(crate) fn acknowledged(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.acknowledged)
    }

    /// Reloads everything and reopens the log files, once the Python thread comes to it.
    pub(crate) fn hang_up(&self) {
        self.commands.send(Command::Sighup);
    }

    /// Has the readiness fail while requests are still served; false if the server does not serve yet.
    pub(crate) fn announce_stop(&self) -> bool {
        let is_open = self.is_open();
        if is_open {
            self.state.set_ready(false);
            self.state.events.publish(Event::Draining);
        }
        is_open
    }

    /// Whether the event loop has turned since this was last called.
    pub(crate) fn has_turned(&self) -> bool {
        let turned = self.pulse.swap(false, Ordering::AcqRel);
        if turned {
            let pulse = Arc::clone(&self.pulse);
            self.commands.call(move |_| pulse.store(true, Ordering::Release));
        }
        turned
    }

    /// The plugins with open requests and their numbers: `slow (2 requests), other (1 request)`.
    pub(crate) fn open_requests(&self) -> String {
        let snapshot = self.state.snapshot.load();
        let open = snapshot.table.endpoints().filter_map(|endpoint| match endpoint.entrance.limit.taken() {
            0 => None,
            1 => Some(format!("{} (1 request)", endpoint.id())),
            many => Some(format!("{} ({many} requests)", endpoint.id())),
        });
        open.collect::<Vec<_>>().join(", ")
    }

    /// The ids of the plugins that serve.
    pub(crate) fn serving(&self) -> Vec<String> {
        let snapshot = self.state.snapshot.load();
        let serving = snapshot.table.endpoints().filter(|endpoint| endpoint.check_enabled().is_ok());
        serving.map(|endpoint| endpoint.id().to_string()).collect()
    }

    /// Refuses reloads from now on, since a new process loads the plugins; returns the sockets for it.
    ///
    /// # Errors
    /// Why there can be no new process now.
    pub(crate) fn begin_upgrade(&self) -> Result<Vec<Listening>, String> {
        if !self.is_open() {
            return Err("the server does not serve yet".to_owned());
        }
        self.state.set_upgrading(true);
        Ok(self.listeners())
    }

    /// What an upgrade does with the control socket, while nothing else takes it.
    ///
    /// # Errors
    /// What `hand_over` returns.
    pub(crate) fn with_control<T>(
        &self,
        hand_over: impl FnOnce(&ControlSocket) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        lock(&self.control).as_ref().map(hand_over).transpose()
    }

    /// The process that was to be replaced has agreed: the files of its Unix sockets are those of this one.
    pub(super) fn own_files(&self) {
        if let Some(control) = &*lock(&self.control) {
            control.file().own();
        }
        lock(&self.listeners).iter().filter_map(Listening::file).for_each(|file| file.own());
    }

    /// An upgrade has failed; this process serves on.
    pub(crate) fn end_upgrade(&self) {
        self.state.set_upgrading(false);
        self.commands.send(Command::ReportReady);
    }

    /// Whether a new process is about to take over.
    pub(super) fn is_upgrading(&self) -> bool {
        self.state.is_upgrading()
    }

    /// Starts to drain at once and stops when the Python thread comes to it; keeps the sockets if the process is to be
    /// replaced.
    pub(crate) fn begin_stop(self: &Arc<Self>, ending: Ending) {
        // What ends the process from now on is no crash.
        running::forget();
        self.is_final.store(ending == Ending::Stop, Ordering::Release);
        self.restart.store(ending == Ending::Restart, Ordering::Release);
        self.stopping.store(true, Ordering::Release);
        if ending != Ending::Restart {
            let listeners = std::mem::take(&mut *lock(&self.listeners));
            let control = self.take_control();
            if ending == Ending::HandOver {
                let files = listeners.iter().filter_map(Listening::file).map(Arc::as_ref);
                files.chain(control.iter().map(ControlSocket::file)).for_each(SocketFile::keep);
            }
        }
        self.begin_drain(match ending {
            Ending::Stop => DrainKind::STOP,
            Ending::Restart => DrainKind::RESTART,
            Ending::HandOver => DrainKind::HAND_OVER,
        });
        let host = Arc::clone(self);
        self.commands.call(move |py| host.interrupt(py));
        match ending {
            Ending::Stop => service_manager::stopping(),
            Ending::Restart => service_manager::restarting(),
            Ending::HandOver => {}
        }
    }

    /// What the configuration says now about stops.
    pub(crate) fn timings(&self) -> Timings {
        **self.timings.load()
    }

    /// Goes by `timings` from now on.
    pub(super) fn set_timings(&self, timings: Timings) {
        self.timings.store(Arc::new(timings));
    }

    /// Whether the sockets are those of the service manager.
    pub(super) fn has_given_sockets(&self) -> bool {
        lock(&self.listeners).iter().any(Listening::is_given)
    }

    /// Prepares a further socket for [`Self::replace_listeners`].
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub(super) fn prepare_listener(&self, listener: Listening) -> io::Result<NewListener> {
        let shares = lock(&self.io).as_ref().map(|threads| threads.share(&listener)).transpose()?;
        Ok(NewListener { listener, shares })
    }

    /// Accepts from `new` sockets as well, and no more from those of `gone` addresses. A server that stops keeps what
    /// it has.
    pub(super) fn replace_listeners(&self, gone: &[SocketAddress], new: Vec<NewListener>) {
        let (mut listeners, threads) = (lock(&self.listeners), lock(&self.io));
        let Some(threads) = threads.as_ref().filter(|_| !self.is_stopping()) else { return };
        listeners.retain(|listener| !gone.contains(listener.address()));
        for address in gone {
            threads.close(address);
        }
        for NewListener { listener, shares } in new {
            if let Some(shares) = shares {
                threads.open(shares);
            }
            listeners.push(listener);
        }
    }

    /// The sockets that an image of this process which takes over needs.
    pub(crate) fn listeners(&self) -> Vec<Listening> {
        lock(&self.listeners).iter().filter_map(|listener| listener.try_clone().ok()).collect()
    }

    /// The control socket, if it is still open: for an image of this process which takes over, or to be closed.
    pub(crate) fn take_control(&self) -> Option<ControlSocket> {
        lock(&self.control).take()
    }

    /// What the I/O threads accept control connections from.
    pub(super) fn control(&self) -> Option<UnixListener> {
        lock(&self.control).as_ref().and_then(|socket| socket.share().ok())
    }

    /// Whether a stop or restart has been asked for.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Whether a stop has been asked for that an operation of this kind does not outlast.
    pub(super) fn is_interrupted(&self, interruption: Interruption) -> bool {
        self.is_stopping() && (interruption == Interruption::AnyStop || self.is_final.load(Ordering::Acquire))
    }

    /// Whether the process is to be replaced when it has stopped.
    pub(super) fn is_restart(&self) -> bool {
        self.restart.load(Ordering::Acquire)
    }

    /// Whether the server has begun to accept connections.
    pub(super) fn has_served(&self) -> bool {
        self.has_served.load(Ordering::Acquire)
    }

    /// From now on the server accepts connections, by `threads`.
    pub(super) fn set_open(&self, threads: IoThreads) {
        self.has_served.store(true, Ordering::Release);
        *lock(&self.io) = Some(threads);
        self.state.set_ready(true);
    }

    /// Whether the I/O threads have been started.
    pub(super) fn is_open(&self) -> bool {
        lock(&self.io).is_some()
    }

    /// Stops accepting, natively, so that it happens even while a plugin blocks Python.
    pub(super) fn begin_drain(&self, kind: DrainKind) {
        self.state.set_ready(false);
        self.state.events.close(!self.is_final.load(Ordering::Acquire));
        if let Some(threads) = &*lock(&self.io) {
            threads.drain(kind);
        }
    }

    /// Ends the I/O threads, if there are any; false if one is still there after `timeout`.
    pub(super) fn join(&self, timeout: Duration) -> bool {
        let threads = lock(&self.io).take();
        threads.is_none_or(|threads| threads.join(timeout))
    }

    /// Cancels the load or reload that is under way, unless it outlasts the stop, and has the Python thread stop; on
    /// that thread.
    fn interrupt(&self, py: Python<'_>) {
        self.acknowledged.store(true, Ordering::Release);
        let stops = |interruption| self.is_interrupted(interruption);
        let interrupted = self.current_operation.with(|current| current.take_if(|one| stops(one.interruption)));
        if let Some(Operation { task, .. }) = interrupted
            && let Err(error) = task.bind(py).call_method0("cancel")
        {
            tracing::error!("a load cannot be cancelled: {error}");
        }
        self.commands.post(py, Command::Stop);
    }
}
