//! Where the Python thread is, as it says itself when a signal interrupts it.
//!
//! Requested on a thread that does not attach, taken on the Python thread by the handler of the signal that
//! [`time_limit`](super::time_limit) has set: Python calls it between two instructions, and out of a system call, which
//! it then takes up again (PEP 475). Promise: plain texts cross between the threads. Caveat: while the thread is in C
//! code that looks for no signals, or waits for the interpreter, there is no sample before it comes back.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use pyo3::intern;
use pyo3::prelude::*;

/// Most frames of a sample.
const MAX_FRAMES: usize = 50;

/// A file of a plugin: its name in messages, and the ids of the plugins in it.
pub(crate) type PluginFile = (PathBuf, Vec<Arc<str>>);

/// Finds the plugins of a file, on the Python thread; nothing for a file from elsewhere.
pub(crate) type FindPlugins = Box<dyn Fn(&Path) -> Option<PluginFile> + Send + Sync>;

/// One frame.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// `file:line in function`.
    pub text: String,
    /// The ids of the plugins in the file, if it is that of a plugin.
    pub plugins: Option<Vec<Arc<str>>>,
    /// Whether the event loop waits here.
    pub is_select: bool,
}

/// The frames, innermost first.
pub(crate) type Sample = Vec<Frame>;

static IS_WANTED: AtomicBool = AtomicBool::new(false);
static TAKEN: Mutex<Option<Sample>> = Mutex::new(None);
static CHANGED: Condvar = Condvar::new();
static FIND_PLUGINS: OnceLock<FindPlugins> = OnceLock::new();

fn lock() -> MutexGuard<'static, Option<Sample>> {
    // The value is only replaced under this lock.
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has frames in files of plugins found by `find`; the first call counts.
pub(crate) fn find_plugins_by(find: FindPlugins) {
    // A server starts once in a process.
    let _ = FIND_PLUGINS.set(find);
}

/// Asks for a sample by `signal`, which interrupts the Python thread, and waits for it.
pub(crate) fn request(signal: impl FnOnce(), timeout: Duration) -> Option<Sample> {
    *lock() = None;
    IS_WANTED.store(true, Ordering::Release);
    signal();
    let waited = CHANGED.wait_timeout_while(lock(), timeout, |taken| taken.is_none());
    waited.unwrap_or_else(PoisonError::into_inner).0.take()
}

/// The sample that came after its [`request`] had stopped waiting, if one has.
pub(crate) fn late() -> Option<Sample> {
    lock().take()
}

/// Takes a sample, if one is wanted: the handler of the signal calls this with the frame that it interrupts.
pub(super) fn take(frame: &Bound<'_, PyAny>) {
    if !IS_WANTED.swap(false, Ordering::AcqRel) {
        return;
    }
    let mut frames = Vec::new();
    let mut next = Some(frame.clone());
    while let Some(frame) = next.filter(|_| frames.len() < MAX_FRAMES) {
        match read(&frame) {
            Ok(read) => frames.push(read),
            Err(_) => break,
        }
        next = frame.getattr(intern!(frame.py(), "f_back")).ok().filter(|outer| !outer.is_none());
    }
    *lock() = Some(frames);
    CHANGED.notify_all();
}

fn read(frame: &Bound<'_, PyAny>) -> PyResult<Frame> {
    let py = frame.py();
    let code = frame.getattr(intern!(py, "f_code"))?;
    let file: PathBuf = code.getattr(intern!(py, "co_filename"))?.extract()?;
    let function: String = code.getattr(intern!(py, "co_name"))?.extract()?;
    let line: Option<u32> = frame.getattr(intern!(py, "f_lineno"))?.extract()?;
    let found = FIND_PLUGINS.get().and_then(|find| find(&file));
    let is_select = function == "select" && file.file_name().is_some_and(|name| name == "selectors.py");
    let (file, plugins) = found.map_or((file, None), |(shown, ids)| (shown, Some(ids)));
    let text = format!("{}:{} in {function}", file.display(), line.unwrap_or(0));
    Ok(Frame { text, plugins, is_select })
}
