//! The thread that hears signals and requests of the control socket, independent of the I/O threads and of Python.
//!
//! Promise: a stop that was asked for comes to its end even when a plugin blocks the interpreter for ever: the I/O
//! threads drain at once, and after the time limit the process ends. Caveat: a plugin that installs handlers of its own
//! for these signals takes them away from the host.

use std::io::{self, IsTerminal};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal as Number};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::edge::control::process::ProcessRequest;
use crate::edge::observe::service_manager;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// SIGINT, SIGTERM: stop.
    Stop,
    /// SIGUSR1: stop and start again, same process id.
    Restart,
    /// SIGHUP: read the ini file and the plugins afresh.
    Reload,
}

/// Set by the Python thread when it has taken up a stop, so that it is given the time to finish it.
pub(crate) type Acknowledged = Arc<AtomicBool>;

/// What the supervisor does with the server, on its own thread; nothing of it may wait for Python.
pub(crate) trait Supervised: Send + 'static {
    /// Has the readiness fail while requests are still served; false if there is nothing to serve yet.
    fn announce_stop(&self) -> bool;

    /// Begins what `request` asks for.
    ///
    /// # Errors
    /// Why it cannot be done; only for a request that is not a stop.
    fn act(&self, request: Request) -> Result<(), String>;

    /// Whether the event loop has turned since this was last called.
    fn has_turned(&self) -> bool;

    /// The plugins with open requests and their numbers, for the log; empty if there are none.
    fn open_requests(&self) -> String;

    /// Ends the process without waiting for Python, or replaces it for a restart.
    fn force(&self, request: Request);
}

/// What the configuration says about stops and a server that is stuck.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SupervisorSettings {
    /// `[server] watchdog_restart`.
    pub watchdog_restart: bool,
    /// `[server] drain_delay`: how long requests are still served after readiness has begun to fail.
    pub delay: Duration,
    /// `[server] shutdown_timeout`.
    pub grace: Duration,
}

/// How often the service manager's time-out has a report of life.
const WATCHDOG_REPORTS: u32 = 4;

/// Reports to the service manager, if it wants that, that the server is alive: while the event loop turns, or always
/// unless `restart_when_stuck`.
async fn feed_watchdog(server: &impl Supervised, restart_when_stuck: bool) {
    let Some(timeout) = service_manager::watchdog_timeout() else { return std::future::pending().await };
    let mut ticks = tokio::time::interval(timeout / WATCHDOG_REPORTS);
    loop {
        ticks.tick().await;
        if server.has_turned() || !restart_when_stuck {
            service_manager::alive();
        }
    }
}

/// Signals of the same stop often come twice, to the process and to its group; only a later one is another request.
fn debounce(name: &str) -> Duration {
    Duration::from_millis(if name == "SIGINT" { 250 } else { 1000 })
}

/// The longest time from the delivery of a signal to its arrival here.
const SIGNAL_GRACE: Duration = Duration::from_millis(5);

/// The thread that hears signals.
pub(crate) struct Supervisor {
    questions: mpsc::UnboundedSender<oneshot::Sender<Request>>,
}

impl Supervisor {
    /// What is wanted in the end: `Restart`, or `Stop` if that was asked for later. A SIGINT or SIGTERM that comes from
    /// here on is held back for the next image of the process. Blocks for a moment.
    pub(crate) fn final_request(&self) -> Request {
        hold_stop();
        let (reply, answer) = oneshot::channel();
        // Without the thread there is no other request.
        let _ = self.questions.send(reply);
        answer.blocking_recv().unwrap_or(Request::Restart)
    }
}

fn stop_signals() -> SigSet {
    SigSet::from_iter([Number::SIGINT, Number::SIGTERM])
}

/// Has SIGINT and SIGTERM wait, as far as this thread is concerned; an `exec` does not change that.
pub(crate) fn hold_stop() {
    if let Err(error) = stop_signals().thread_block() {
        tracing::warn!("SIGINT and SIGTERM cannot be held back: {error}");
    }
}

/// Starts the thread, which passes each request to `server`.
///
/// A stop that Python does not take up within its time, or does not finish within twice that, is forced; so is one that
/// another SIGINT or SIGTERM follows. While `drain_delay` passes, such a signal ends the delay instead.
///
/// # Errors
/// When the signals cannot be watched.
pub(crate) fn start(
    settings: SupervisorSettings,
    acknowledged: Acknowledged,
    requests: mpsc::UnboundedReceiver<ProcessRequest>,
    server: impl Supervised,
) -> io::Result<Supervisor> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = {
        let _entered = runtime.enter();
        Signals::new(requests)?
    };
    // An earlier image of the process may have held them back until the next one listens, which is now.
    stop_signals().thread_unblock()?;
    let (questions, asked) = mpsc::unbounded_channel();
    let supervise = move || {
        runtime.block_on(async {
            tokio::select! {
                () = supervise(signals, asked, settings, acknowledged, &server) => {}
                () = feed_watchdog(&server, settings.watchdog_restart) => {}
            }
        });
    };
    std::thread::Builder::new().name("plugincore-signals".to_owned()).spawn(supervise)?;
    Ok(Supervisor { questions })
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    restart: Signal,
    requests: mpsc::UnboundedReceiver<ProcessRequest>,
}

impl Signals {
    fn new(requests: mpsc::UnboundedReceiver<ProcessRequest>) -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            restart: signal(SignalKind::user_defined1())?,
            requests,
        })
    }

    async fn next(&mut self) -> (Request, &'static str) {
        tokio::select! {
            _ = self.interrupt.recv() => (Request::Stop, "SIGINT"),
            _ = self.terminate.recv() => (Request::Stop, "SIGTERM"),
            _ = self.hangup.recv() => (Request::Reload, "SIGHUP"),
            _ = self.restart.recv() => (Request::Restart, "SIGUSR1"),
            Some(ProcessRequest::Stop) = self.requests.recv() => (Request::Stop, "a stop by the control socket"),
        }
    }
}

async fn supervise(
    mut signals: Signals,
    mut final_requests: mpsc::UnboundedReceiver<oneshot::Sender<Request>>,
    SupervisorSettings { delay, grace, .. }: SupervisorSettings,
    acknowledged: Acknowledged,
    server: &impl Supervised,
) {
    let mut wanted = loop {
        let (request, name) = signals.next().await;
        if request == Request::Stop && !delay.is_zero() && server.announce_stop() {
            tracing::info!("Received {name}; serving for {} s more, then stopping", delay.as_secs_f64());
            pass_delay(&mut signals, delay, server).await;
        }
        // Before it is logged: the stop begins even if the line cannot be written.
        let taken_up = server.act(request);
        tracing::info!("Received {name}");
        match taken_up {
            Ok(()) if request == Request::Reload => {}
            Ok(()) => break request,
            Err(reason) => tracing::error!("{name} has no effect: {reason}"),
        }
    };
    let open = server.open_requests();
    if !open.is_empty() {
        let hint = if io::stdin().is_terminal() { "; Ctrl-C again ends at once" } else { "" };
        tracing::info!("waiting for {open} (up to {} s){hint}", grace.as_secs_f64());
    }
    let mut limit = pin!(async {
        tokio::time::sleep(grace).await;
        if acknowledged.load(Ordering::Acquire) {
            tokio::time::sleep(grace + Duration::from_secs(1)).await;
        }
    });
    let mut asked = Instant::now();
    loop {
        let (request, name) = tokio::select! {
            () = &mut limit => {
                let open = server.open_requests();
                let open = if open.is_empty() { String::new() } else { format!("; open requests: {open}") };
                tracing::error!("a plugin kept the server from ending in time; ending without it{open}");
                break;
            }
            Some(reply) = final_requests.recv() => {
                hold_stop();
                while let Ok((request, name)) = timeout(SIGNAL_GRACE, signals.next()).await {
                    if request == Request::Stop {
                        tracing::info!("Received {name}; stopping instead of starting again");
                        wanted = request;
                    }
                }
                // The receiver is gone only with the process.
                let _ = reply.send(wanted);
                continue;
            }
            signal = signals.next() => signal,
        };
        match (wanted, request) {
            (Request::Restart, Request::Stop) => {
                // A stop is never refused.
                let _ = server.act(request);
                tracing::info!("Received {name}; stopping instead of starting again");
                (wanted, asked) = (request, Instant::now());
            }
            (_, Request::Stop) if asked.elapsed() > debounce(name) => {
                tracing::error!("Received {name} again; ending at once");
                break;
            }
            _ => {}
        }
    }
    server.force(wanted);
}

/// Lets `delay` pass, in which reloads are still done; another stop ends it.
async fn pass_delay(signals: &mut Signals, delay: Duration, server: &impl Supervised) {
    let began = Instant::now();
    while let Ok((request, name)) = timeout(delay.saturating_sub(began.elapsed()), signals.next()).await {
        match request {
            Request::Reload => {
                tracing::info!("Received {name}");
                // A reload is never refused.
                let _ = server.act(request);
            }
            Request::Stop if began.elapsed() > debounce(name) => {
                tracing::info!("Received {name} again; stopping now");
                return;
            }
            Request::Stop => {}
            Request::Restart => tracing::error!("{name} has no effect: the server is stopping"),
        }
    }
}
