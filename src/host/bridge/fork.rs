//! Processes that plugins fork: `os.fork`, and `multiprocessing` and process pools that start their children so.
//!
//! Runs on the Python thread, and in the children. A child has one thread and a copy of everything, and nothing of the
//! server may go on in it: signals get their default effects, the listening sockets are closed, the event loop is left
//! at the end of its turn, and plugin code that returns to the server ends the child. Promise: [`prepare`] arranges
//! this for every fork that Python knows of. Caveat: the fork of a C library is not noticed.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use pyo3::exceptions::PySystemExit;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict};

use crate::edge::http::forked;

/// Set in a forked child.
static IS_CHILD: AtomicBool = AtomicBool::new(false);

/// The signals that the server takes for itself.
const TAKEN: [Signal; 5] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2];

thread_local! {
    /// What the thread that forks had blocked before.
    static MASK: Cell<Option<SigSet>> = const { Cell::new(None) };
}

/// Has Python report forks; what runs on `event_loop` is the server's.
///
/// # Errors
/// When Python's standard library is incomplete.
pub(crate) fn prepare(event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = event_loop.py();
    let event_loop = event_loop.clone().unbind();
    let hooks = PyDict::new(py);
    hooks.set_item("before", PyCFunction::new_closure(py, None, None, |_, _| hold_signals())?)?;
    let in_parent = |_: &Bound<'_, _>, _: Option<&Bound<'_, PyDict>>| {
        forked::note_child();
        release_signals();
    };
    hooks.set_item("after_in_parent", PyCFunction::new_closure(py, None, None, in_parent)?)?;
    let in_child = PyCFunction::new_closure(py, None, None, move |arguments, _| {
        let ready = become_child(event_loop.bind(arguments.py()));
        release_signals();
        ready
    })?;
    hooks.set_item("after_in_child", in_child)?;
    py.import("os")?.call_method("register_at_fork", (), Some(&hooks)).map(drop)
}

/// Until the child has its own handlers, a signal to it would only be noted where the parent's threads look.
fn hold_signals() {
    let held = SigSet::from_iter(TAKEN).thread_swap_mask(SigmaskHow::SIG_BLOCK);
    MASK.set(held.ok());
}

fn release_signals() {
    if let Some(mask) = MASK.take() {
        // It was this thread's mask before, so the system takes it again.
        let _ = mask.thread_set_mask();
    }
}

fn become_child(event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
    IS_CHILD.store(true, Ordering::Relaxed);
    give_up_listening()?;
    let signal = event_loop.py().import("signal")?;
    let default = signal.getattr("SIG_DFL")?;
    for number in TAKEN {
        let number = number as i32;
        // What a plugin has set for itself is inherited, as in any program.
        if signal.call_method1("getsignal", (number,))?.eq(&default)? {
            signal.call_method1("signal", (number, &default))?;
        }
    }
    // The loop's descriptors are shared with the parent, whose events it would take.
    event_loop.call_method0("stop").map(drop)
}

/// Puts `/dev/null` in the place of each listening socket, so that the port is free when the server has ended.
fn give_up_listening() -> io::Result<()> {
    let nothing = File::open("/dev/null")?;
    for number in forked::listening().iter() {
        // SAFETY: the number is that of a socket which is open while it is in the list, and in this process nothing
        // uses it any more, since its threads are the parent's; what owns it here still owns an open descriptor
        // afterwards.
        let mut socket = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(*number) });
        rustix::io::dup2(&nothing, &mut socket)?;
    }
    Ok(())
}

/// Whether this process is a forked child.
pub(crate) fn is_child() -> bool {
    IS_CHILD.load(Ordering::Relaxed)
}

/// Ends the process if it is a forked child whose plugin code has come back to the server, with the exit code that the
/// `error` which ended that code stands for, or 0.
pub(crate) fn end_child(py: Python<'_>, error: Option<&PyErr>) {
    if is_child() {
        let code = match error {
            Some(error) => exit_code(py, error),
            None => 0,
        };
        leave(py, code);
    }
}

fn exit_code(py: Python<'_>, error: &PyErr) -> i32 {
    if error.is_instance_of::<PySystemExit>(py)
        && let Ok(code) = error.value(py).getattr("code")
    {
        if code.is_none() {
            return 0;
        }
        if let Ok(code) = code.extract() {
            return code;
        }
    }
    error.print(py);
    1
}

fn leave(py: Python<'_>, code: i32) -> ! {
    for stream in ["stdout", "stderr"] {
        // A stream that a plugin closed has nothing left to flush.
        let _ = py.import("sys").and_then(|sys| sys.getattr(stream)).and_then(|stream| stream.call_method0("flush"));
    }
    // Without what the parent has registered for its own end.
    let _ = py.import("os").and_then(|os| os.call_method1("_exit", (code,)));
    std::process::exit(code)
}
