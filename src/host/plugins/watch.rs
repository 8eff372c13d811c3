//! Names the plugin that holds up a start or a reload while it does.
//!
//! Runs on a native thread of its own, since the plugin may block Python. Promise: a step of a plugin that takes longer
//! than [`SLOW`] is logged, and again each time that it has taken twice as long. Caveat: the thread never attaches to
//! Python, so it knows the file and the step, but not the line.

use std::path::{Path, PathBuf};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::SigSet;

/// How long a step may take before it is reported.
const SLOW: Duration = Duration::from_secs(3);

/// What runs now, and the thread that looks on.
#[derive(Default)]
struct Watch {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    step: Option<Running>,
    /// Whether the thread has been started.
    has_thread: bool,
}

struct Running {
    what: String,
    file: PathBuf,
    since: Instant,
    /// How long it will have taken when it is reported next.
    next: Duration,
}

static WATCH: LazyLock<Watch> = LazyLock::new(Watch::default);

/// A step of a plugin's life; dropped when it has ended.
pub(crate) struct Step(());

impl Step {
    /// `what` (import, `__init__`, …) of the plugin in `file` begins.
    pub(crate) fn begin(file: &Path, what: impl Into<String>) -> Self {
        let mut state = lock();
        if !state.has_thread {
            let thread = std::thread::Builder::new().name("plugincore-watch".to_owned());
            let watch = || {
                // Signals are for the thread that acts on them; one that came here during a restart would be lost.
                let _ = SigSet::all().thread_block();
                look_on();
            };
            match thread.spawn(watch) {
                Ok(_) => state.has_thread = true,
                Err(error) => tracing::debug!("slow plugins are not reported: {error}"),
            }
        }
        let (what, file) = (what.into(), file.to_path_buf());
        state.step = Some(Running { what, file, since: Instant::now(), next: SLOW });
        WATCH.changed.notify_one();
        Self(())
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        lock().step = None;
    }
}

fn lock() -> MutexGuard<'static, State> {
    // Values are only replaced under this lock.
    WATCH.state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread: sleeps for as long as nothing runs, or until what runs has taken too long.
fn look_on() {
    let mut state = lock();
    loop {
        let Some(running) = &mut state.step else {
            state = WATCH.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let taken = running.since.elapsed();
        if let Some(left) = running.next.checked_sub(taken).filter(|left| !left.is_zero()) {
            state = WATCH.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            continue;
        }
        running.next = taken * 2;
        let text = format!("{}: still in {} ({} s) ...", running.file.display(), running.what, taken.as_secs());
        drop(state);
        tracing::warn!("{text}");
        state = lock();
    }
}
