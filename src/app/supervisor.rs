//! The thread that hears signals, independent of the I/O threads and of Python.
//!
//! Promise: a stop that was asked for comes to its end even when a plugin blocks the interpreter for ever: the I/O
//! threads drain at once, and after the time limit the process ends. Caveat: a plugin that installs handlers of its own
//! for these signals takes them away from the host.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// SIGINT, SIGTERM: stop.
    Stop,
    /// SIGUSR1: stop and start again, same process id.
    Restart,
    /// SIGHUP: read the ini file and the plugins afresh.
    Reload,
}

/// Set by the Python thread when it has taken up a stop, so that it is given the time to finish it.
pub type Acknowledged = Arc<AtomicBool>;

/// Signals of the same stop often come twice, to the process and to its group; only a later one means impatience.
const SAME_STOP: Duration = Duration::from_secs(1);

/// Starts the thread; `act` is called on it for each request.
///
/// A stop that Python does not take up within `patience`, or does not finish within twice that, is left to `give_up`;
/// so is another SIGINT or SIGTERM more than a second after the first.
///
/// # Errors
/// When the signals cannot be watched.
pub fn start(
    patience: Duration,
    acknowledged: Acknowledged,
    act: impl Fn(Request) + Send + 'static,
    give_up: impl Fn(Request) + Send + 'static,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = {
        let _entered = runtime.enter();
        Signals::new()?
    };
    let supervise = move || runtime.block_on(supervise(signals, patience, acknowledged, act, give_up));
    std::thread::Builder::new().name("plugincore-signals".to_owned()).spawn(supervise).map(drop)
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    restart: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            restart: signal(SignalKind::user_defined1())?,
        })
    }

    async fn next(&mut self) -> (Request, &'static str) {
        tokio::select! {
            _ = self.interrupt.recv() => (Request::Stop, "SIGINT"),
            _ = self.terminate.recv() => (Request::Stop, "SIGTERM"),
            _ = self.hangup.recv() => (Request::Reload, "SIGHUP"),
            _ = self.restart.recv() => (Request::Restart, "SIGUSR1"),
        }
    }
}

async fn supervise(
    mut signals: Signals,
    patience: Duration,
    acknowledged: Acknowledged,
    act: impl Fn(Request),
    give_up: impl Fn(Request),
) {
    let mut wanted = loop {
        let (request, name) = signals.next().await;
        tracing::info!("Received {name}");
        act(request);
        if request != Request::Reload {
            break request;
        }
    };
    let mut limit = pin!(async {
        tokio::time::sleep(patience).await;
        if acknowledged.load(Ordering::Acquire) {
            tokio::time::sleep(patience + Duration::from_secs(1)).await;
        }
    });
    let mut asked = Instant::now();
    loop {
        let (request, name) = tokio::select! {
            () = &mut limit => {
                tracing::error!("a plugin kept the server from ending in time; ending without it");
                break;
            }
            signal = signals.next() => signal,
        };
        match (wanted, request) {
            (Request::Restart, Request::Stop) => {
                tracing::info!("Received {name}; stopping instead of starting again");
                act(request);
                (wanted, asked) = (request, Instant::now());
            }
            (_, Request::Stop) if asked.elapsed() > SAME_STOP => {
                tracing::error!("Received {name} again; ending at once");
                break;
            }
            _ => {}
        }
    }
    give_up(wanted);
}
