//! The thread that hears signals and requests of the control socket, independent of the I/O threads and of Python.
//!
//! Promise: a stop that was asked for comes to its end even when a plugin blocks the interpreter for ever: the I/O
//! threads drain at once, and after the time limit the process ends. Caveat: a plugin that installs handlers of its own
//! for these signals takes them away from the host.

use std::future::Future;
use std::io::{self, IsTerminal};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal as Number};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::successor::{self, Successor};
use crate::edge::control::process::{ProcessRequest, UpgradeReply};
use crate::edge::observe::service_manager;
use crate::host::lifecycle::handle::Timings;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// SIGINT, SIGTERM: stop.
    Stop,
    /// SIGUSR1: stop and start again, same process id.
    Restart,
    /// SIGHUP: read the ini file and the plugins afresh.
    Reload,
    /// SIGUSR2: have a new process take over, and stop once it serves.
    Upgrade,
}

/// Set by the Python thread when it has taken up a stop, so that it is given the time to finish it.
pub(crate) type Acknowledged = Arc<AtomicBool>;

/// What the supervisor does with the server, on its own thread; nothing of it may wait for Python.
pub(crate) trait Supervised: Send + 'static {
    /// Has the readiness fail while requests are still served; false if there is nothing to serve yet.
    fn announce_stop(&self) -> bool;

    /// Begins what `request` asks for; an upgrade has been decided then, and another process serves.
    ///
    /// # Errors
    /// Why it cannot be done; only for a request that is not a stop.
    fn act(&self, request: Request) -> Result<(), String>;

    /// What the configuration says now.
    fn timings(&self) -> Timings;

    /// Whether the event loop has turned since this was last called.
    fn has_turned(&self) -> bool;

    /// The entry into a plugin's code that is under way; a later one has another number.
    fn running_entry(&self) -> Option<u32>;

    /// Notes that this entry has lasted for [`LONG`].
    fn note_long_entry(&self, entry: u32);

    /// The plugins with open requests and their numbers, for the log; empty if there are none.
    fn open_requests(&self) -> String;

    /// Starts the process that is to replace this one; reloads are refused until [`Self::keep_serving`].
    ///
    /// # Errors
    /// Why there is none.
    fn start_successor(&self) -> Result<Successor, String>;

    /// The ids of the plugins that serve.
    fn serving(&self) -> impl Fn() -> Vec<String> + Send + 'static;

    /// An upgrade has failed.
    fn keep_serving(&self);

    /// Ends the process without waiting for Python, or replaces it for a restart.
    fn force(&self, request: Request);
}

/// How often the service manager's time-out has a report of life.
const WATCHDOG_REPORTS: u32 = 4;

/// Reports to the service manager, if it wants that, that the server is alive: while the event loop turns, or always
/// unless `watchdog_restart` is on.
async fn feed_watchdog(server: &impl Supervised) {
    let Some(timeout) = service_manager::watchdog_timeout() else { return std::future::pending().await };
    let mut ticks = tokio::time::interval(timeout / WATCHDOG_REPORTS);
    loop {
        ticks.tick().await;
        if server.has_turned() || !server.timings().watchdog_restart {
            service_manager::alive();
        }
    }
}

/// What a plugin does after so long a time in its code has nothing to do any more with its having been loaded or
/// called.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// How often it is looked what runs.
const LOOK: Duration = Duration::from_secs(10);

/// Has it noted when the code of a plugin runs for long.
async fn note_long_entries(server: &impl Supervised) {
    let mut seen = None;
    loop {
        tokio::time::sleep(LOOK).await;
        match (server.running_entry(), seen) {
            (Some(entry), Some((known, since))) if entry == known => {
                if Instant::now().duration_since(since) >= LONG {
                    server.note_long_entry(entry);
                }
            }
            (entry, _) => seen = entry.map(|entry| (entry, Instant::now())),
        }
    }
}

/// Signals of the same stop often come twice, to the process and to its group; only a later one is another request.
fn debounce(name: &str) -> Duration {
    Duration::from_millis(if name == "SIGINT" { 250 } else { 1000 })
}

/// Why there is no upgrade any more.
const STOPPING: &str = "the server is stopping";

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
                () = supervise(signals, asked, acknowledged, &server) => {}
                () = feed_watchdog(&server) => {}
                () = note_long_entries(&server) => {}
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
    upgrade: Signal,
    requests: mpsc::UnboundedReceiver<ProcessRequest>,
    /// Who asked for the upgrade that was returned last.
    reply: Option<UpgradeReply>,
}

impl Signals {
    fn new(requests: mpsc::UnboundedReceiver<ProcessRequest>) -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            restart: signal(SignalKind::user_defined1())?,
            upgrade: signal(SignalKind::user_defined2())?,
            requests,
            reply: None,
        })
    }

    /// Tells who asked for the last upgrade why there is none.
    fn answer(&mut self, reason: &str) {
        if let Some(reply) = self.reply.take() {
            // Who asked may have gone.
            let _ = reply.send(Err(vec![reason.to_owned()]));
        }
    }

    async fn next(&mut self) -> (Request, &'static str) {
        tokio::select! {
            _ = self.interrupt.recv() => (Request::Stop, "SIGINT"),
            _ = self.terminate.recv() => (Request::Stop, "SIGTERM"),
            _ = self.hangup.recv() => (Request::Reload, "SIGHUP"),
            _ = self.restart.recv() => (Request::Restart, "SIGUSR1"),
            _ = self.upgrade.recv() => (Request::Upgrade, "SIGUSR2"),
            Some(request) = self.requests.recv() => match request {
                ProcessRequest::Stop => (Request::Stop, "a stop by the control socket"),
                ProcessRequest::Upgrade(reply) => {
                    self.answer("another upgrade was asked for");
                    self.reply = Some(reply);
                    (Request::Upgrade, "an upgrade by the control socket")
                }
            },
        }
    }
}

/// An upgrade that is under way, if there is one.
#[derive(Default)]
struct Upgrade {
    running: Option<Running>,
}

struct Running {
    pid: u32,
    /// Ends with the hand-over, or, if it failed, when the new process is gone.
    decision: Pin<Box<dyn Future<Output = bool> + Send>>,
    /// A reload that was asked for meanwhile; the process that serves in the end does it.
    reload: bool,
}

impl Upgrade {
    /// Begins one, which was asked for by `name`, or says why not.
    fn begin(&mut self, server: &impl Supervised, name: &str, reply: Option<UpgradeReply>) {
        let started = match &self.running {
            Some(Running { pid, .. }) => Err(format!("process {pid} is taking over already")),
            None => server.start_successor(),
        };
        match started {
            Ok(successor) => {
                service_manager::upgrading();
                tracing::info!("upgrade: process {} is loading its plugins", successor.pid);
                let pid = successor.pid;
                let decision = Box::pin(decide(successor, server.serving(), server.timings().grace, reply));
                self.running = Some(Running { pid, decision, reload: false });
            }
            Err(reason) => {
                tracing::error!("{name} has no effect: {reason}");
                // Who asked may have gone.
                let _ = reply.map(|reply| reply.send(Err(vec![reason])));
            }
        }
    }

    /// Whether `request` may be acted on now; one that may not is refused or comes later.
    fn lets_pass(&mut self, request: Request, name: &str) -> bool {
        let Some(running) = &mut self.running else { return true };
        match request {
            Request::Stop => {
                tracing::info!("Received {name}; stopping process {} as well", running.pid);
                successor::stop(running.pid);
                self.running = None;
                return true;
            }
            Request::Reload => {
                tracing::info!("Received {name}; it counts for the process that serves after the upgrade");
                running.reload = true;
            }
            Request::Restart => {
                tracing::error!("{name} has no effect: process {} is taking over already", running.pid);
            }
            Request::Upgrade => return true,
        }
        false
    }

    /// Waits for the end of the one that is under way: whether a new process serves. Safe to drop and call again.
    async fn ended(&mut self, server: &impl Supervised) -> bool {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        let handed_over = running.decision.as_mut().await;
        let Some(Running { pid, reload, .. }) = self.running.take() else { return false };
        if !handed_over {
            server.keep_serving();
        }
        match (reload, handed_over) {
            (true, true) => successor::reload(pid),
            // A reload is never refused.
            (true, false) => drop(server.act(Request::Reload)),
            (false, _) => {}
        }
        handed_over
    }
}

/// Hands over to `successor`, or ends it; whether it serves.
async fn decide(
    mut successor: Successor,
    serving: impl Fn() -> Vec<String>,
    grace: Duration,
    reply: Option<UpgradeReply>,
) -> bool {
    let pid = successor.pid;
    let decided = successor.decide(serving).await;
    match &decided {
        Ok(()) => {
            service_manager::hand_over(pid);
            successor.hand_over().await;
            tracing::info!("upgrade: process {pid} serves; this one ends when its open requests have ended");
        }
        Err(reasons) => {
            tracing::error!("the upgrade failed; this process serves on: {}", reasons.join("; "));
        }
    }
    let handed_over = decided.is_ok();
    // Who asked may have gone.
    let _ = reply.map(|reply| reply.send(decided.map(|()| pid)));
    if !handed_over {
        successor.end(2 * grace + Duration::from_secs(2)).await;
    }
    handed_over
}

async fn supervise(
    mut signals: Signals,
    mut final_requests: mpsc::UnboundedReceiver<oneshot::Sender<Request>>,
    acknowledged: Acknowledged,
    server: &impl Supervised,
) {
    let mut upgrade = Upgrade::default();
    let mut wanted = loop {
        let (request, name) = tokio::select! {
            signal = signals.next() => signal,
            handed_over = upgrade.ended(server) => {
                if handed_over {
                    // The other process serves, so nothing can refuse it.
                    let _ = server.act(Request::Upgrade);
                    break Request::Upgrade;
                }
                continue;
            }
        };
        if !upgrade.lets_pass(request, name) {
            continue;
        }
        if request == Request::Upgrade {
            tracing::info!("Received {name}");
            upgrade.begin(server, name, signals.reply.take());
            continue;
        }
        let delay = server.timings().delay;
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
    let grace = server.timings().grace;
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
            (_, Request::Upgrade) => signals.answer(STOPPING),
            (Request::Restart, Request::Stop) => {
                // A stop is never refused.
                let _ = server.act(request);
                tracing::info!("Received {name}; stopping instead of starting again");
                (wanted, asked) = (request, Instant::now());
            }
            (Request::Upgrade, Request::Stop) => {
                tracing::info!("Received {name}; this process is ending already");
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
            Request::Restart | Request::Upgrade => {
                tracing::error!("{name} has no effect: {STOPPING}");
                signals.answer(STOPPING);
            }
        }
    }
}
