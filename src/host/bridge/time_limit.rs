//! Ends plugin code that blocks Python for longer than it may while it is loaded or ended.
//!
//! Limits are set and dropped on the Python thread; a native thread looks at the clock. Promise: code that is over its
//! limit gets a `TimeoutError` at the line where it is, also out of a sleep or another system call, and again each
//! second if it goes on; no other code ever gets it. Caveat: C code that looks for no signals cannot be ended, and
//! limits hold only where [`install`] has been called, in a server.

use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::pthread::{Pthread, pthread_kill, pthread_self};
use nix::sys::signal::{SigSet, Signal};
use pyo3::exceptions::PyTimeoutError;
use pyo3::prelude::*;

use super::stack_sample;

/// The signal that gets code out of a system call. If somebody takes the handler away, it is ignored.
const SIGNAL: Signal = Signal::SIGURG;

/// How long code that has been interrupted may go on before it is interrupted again.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Clock {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The thread that runs plugin code, if limits hold.
    thread: Option<Pthread>,
    running: Option<Running>,
}

/// Code that has a limit.
struct Running {
    what: String,
    limit: Duration,
    /// When it is interrupted.
    until: Instant,
    /// Whether it has been interrupted, and has not noticed yet.
    is_over: bool,
}

static CLOCK: LazyLock<Clock> = LazyLock::new(Clock::default);

fn lock() -> MutexGuard<'static, State> {
    // Values are only replaced under this lock.
    CLOCK.state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has limits hold on the current thread, which is the main one.
///
/// # Errors
/// When this is not the main thread, or no thread can be started.
pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    let handler = wrap_pyfunction!(on_signal, py)?;
    py.import("signal")?.call_method1("signal", (SIGNAL as i32, handler))?;
    std::thread::Builder::new().name("plugincore-limit".to_owned()).spawn(|| {
        // Signals are for the thread that acts on them.
        let _ = SigSet::all().thread_block();
        look_on();
    })?;
    lock().thread = Some(pthread_self());
    Ok(())
}

/// Has no limit hold any more: what blocks a stop is left behind by it.
pub(crate) fn lift() {
    lock().thread = None;
}

/// Has Python call [`on_signal`] on its thread, soon.
pub(super) fn interrupt() {
    if let Some(thread) = lock().thread
        && let Err(error) = pthread_kill(thread, SIGNAL)
    {
        tracing::debug!("Python cannot be interrupted: {error}");
    }
}

/// A limit for the plugin code that runs until it is dropped.
pub(crate) struct TimeLimit {
    outer: Option<Running>,
}

impl TimeLimit {
    /// `what` is to end within `limit`.
    pub(crate) fn begin(what: impl Into<String>, limit: Duration) -> Self {
        Self::until(what, limit, Instant::now() + limit)
    }

    /// The same for a step of something that has begun earlier and has until `until` in all.
    pub(crate) fn until(what: impl Into<String>, limit: Duration, until: Instant) -> Self {
        let mut state = lock();
        if state.thread.is_none() {
            return Self { outer: state.running.take() };
        }
        let running = Running { what: what.into(), limit, until, is_over: false };
        let outer = state.running.replace(running);
        CLOCK.changed.notify_one();
        Self { outer }
    }
}

impl Drop for TimeLimit {
    fn drop(&mut self) {
        lock().running = self.outer.take();
    }
}

/// What Python calls, on the main thread, when the signal has come.
#[pyfunction]
#[pyo3(name = "time_limit", signature = (_number, frame))]
fn on_signal(_number: i32, frame: &Bound<'_, PyAny>) -> PyResult<()> {
    stack_sample::take(frame);
    let mut state = lock();
    let Some(running) = state.running.as_mut().filter(|running| running.is_over) else { return Ok(()) };
    running.is_over = false;
    let seconds = running.limit.as_secs_f64();
    Err(PyTimeoutError::new_err(format!("{} blocks Python for more than {seconds} s", running.what)))
}

/// The thread: sleeps for as long as nothing runs, or until the time of what runs is over.
fn look_on() {
    let mut state = lock();
    loop {
        let Some(running) = &mut state.running else {
            state = CLOCK.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let left = running.until.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            state = CLOCK.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            continue;
        }
        (running.is_over, running.until) = (true, Instant::now() + AGAIN);
        if let Some(thread) = state.thread
            && let Err(error) = pthread_kill(thread, SIGNAL)
        {
            tracing::debug!("what blocks Python cannot be interrupted: {error}");
        }
    }
}
