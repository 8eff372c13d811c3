//! The interpreter as a whole: how its process is prepared for hosting, and how it is left.
//!
//! Runs on the main thread. Promise: after [`prepare`] signals are the host's, the `psutil` stand-in can be imported
//! and what plugins print appears line by line. Caveat: it changes the process, so it is for the server and not for
//! importing the package.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::stdio;
use crate::edge::observe::repeats;
use crate::host::bridge::time_limit;

/// Prepares the interpreter for hosting plugins on the current, main thread.
///
/// # Errors
/// When this is not the main thread, or the standard library is incomplete.
pub(crate) fn prepare(py: Python<'_>) -> PyResult<()> {
    // Without this, Python's own handler would raise KeyboardInterrupt inside whatever plugin runs at that moment.
    let signal = py.import("signal")?;
    signal.call_method1("signal", (signal.getattr("SIGINT")?, signal.getattr("SIG_DFL")?))?;
    py.import("plugincore._psutil")?.call_method0("install")?;
    time_limit::install(py)?;
    stdio::install(py)
}

/// Takes a variable out of the environment, for Python and for every program that is started from here on; empty if it
/// is not there.
///
/// # Errors
/// When `os.environ` is not what it should be.
pub(crate) fn take_variable(py: Python<'_>, name: &str) -> PyResult<String> {
    py.import("os")?.getattr("environ")?.call_method1("pop", (name, ""))?.extract()
}

/// Does what Python does before it finalises: joins threads that are no daemons and the threads of pools, and runs the
/// functions of `atexit`.
pub(crate) fn run_exit_functions(py: Python<'_>) {
    for (module, function) in [("threading", "_shutdown"), ("atexit", "_run_exitfuncs")] {
        if let Err(error) = py.import(module).and_then(|module| module.call_method0(function)) {
            tracing::error!("{module}.{function}: {error}");
        }
    }
}

/// Prepares for the process to be replaced by a new image of the program.
///
/// # Errors
/// When this is not the main thread.
pub(crate) fn prepare_replacement(py: Python<'_>) -> PyResult<()> {
    let sys = py.import("sys")?;
    for stream in ["stdout", "stderr"] {
        // A closed stream has nothing left to flush.
        let _ = sys.getattr(stream).and_then(|stream| stream.call_method0("flush"));
    }
    // Unlike handlers, this outlives the replacement: a signal that comes before the new image listens for it asks for
    // what is under way anyhow, and must not kill it.
    let signal = py.import("signal")?;
    for name in ["SIGUSR1", "SIGUSR2", "SIGHUP"] {
        signal.call_method1("signal", (signal.getattr(name)?, signal.getattr("SIG_IGN")?))?;
    }
    Ok(())
}

/// What plugins find as `args` and `prog_args`: `argparse.Namespace(ini_file, log, level)`.
///
/// # Errors
/// When argparse cannot be imported.
pub(crate) fn program_arguments(py: Python<'_>, ini_file: &str, log: Option<&str>, level: &str) -> PyResult<Py<PyAny>> {
    let options = PyDict::new(py);
    options.set_item("ini_file", ini_file)?;
    options.set_item("log", log)?;
    options.set_item("level", level)?;
    Ok(py.import("argparse")?.getattr("Namespace")?.call((), Some(&options))?.unbind())
}

/// Ends the process now, without waiting for threads, finalisers or buffers; for when waiting is what went wrong. Only
/// the log gets a moment.
pub(crate) fn exit_immediately(code: i32) -> ! {
    repeats::finish();
    // SAFETY: `_exit` touches no memory of the process; it is meant to be called from any thread at any time.
    unsafe { nix::libc::_exit(code) }
}
