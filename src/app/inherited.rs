//! Listening sockets that survive a restart in place.
//!
//! Promise: across the re-execution that SIGUSR1 asks for, the sockets stay open, so that clients which connect
//! meanwhile wait instead of being refused. Caveat: they are handed over by number in an environment variable that
//! counts only in the process which wrote it; children see it and must ignore it, as the process id in it tells them.

use std::ffi::OsString;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{SigSet, Signal};
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

/// Holds `<pid>:<fd>,<fd>,…`.
const VARIABLE: &str = "PLUGINCORE_LISTENERS";

/// SIGTERM and SIGINT: held back while nobody listens for them, so that a stop asked for meanwhile comes to its end.
fn stop_signals() -> SigSet {
    SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT])
}

/// Replaces the process by a new image of the same program, started in `folder`. Returns only when that fails.
pub fn replace(command: &[OsString], folder: &Path, listeners: &[TcpListener]) -> io::Error {
    let Some((program, arguments)) = command.split_first() else {
        return io::Error::other("the command that started the server is not known");
    };
    let value = match hand_over(listeners) {
        Ok(value) => value,
        Err(error) => return error,
    };
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).env(VARIABLE, value);
    // SAFETY: there is no fork before `exec`, and what runs here is one system call. It comes last because `Command`
    // itself clears the mask of signals before.
    unsafe { command.pre_exec(|| Ok(stop_signals().thread_block()?)) };
    command.exec()
}

/// Lets signals that were held back while the process was replaced come in. Call it once somebody listens.
///
/// # Errors
/// When the system refuses.
pub fn release_stop() -> io::Result<()> {
    Ok(stop_signals().thread_unblock()?)
}

/// Lets `listeners` survive an `exec` and returns the variable's value for the new image.
///
/// # Errors
/// When a descriptor's flags cannot be changed.
fn hand_over(listeners: &[TcpListener]) -> io::Result<String> {
    let mut numbers = Vec::new();
    for listener in listeners {
        fcntl_setfd(listener, fcntl_getfd(listener)? - FdFlags::CLOEXEC)?;
        numbers.push(listener.as_raw_fd().to_string());
    }
    Ok(format!("{}:{}", std::process::id(), numbers.join(",")))
}

/// Takes over what the process's earlier image left. Call it once, at the start.
pub fn take_over() -> Vec<TcpListener> {
    let value = std::env::var(VARIABLE).unwrap_or_default();
    let Some((pid, numbers)) = value.split_once(':') else { return Vec::new() };
    if pid.parse() != Ok(std::process::id()) {
        return Vec::new();
    }
    let sockets = numbers.split(',').filter_map(|number| number.parse::<RawFd>().ok()).map(|number| {
        // SAFETY: the process id says that the earlier image of this very process wrote the number, and it did so for
        // a socket that it left open for us over the `exec`; no other code of the new image knows the number, and this
        // function is called once, so the descriptor is owned here alone.
        let socket = unsafe { OwnedFd::from_raw_fd(number) };
        TcpListener::from(socket)
    });
    sockets.filter(|listener| fcntl_setfd(listener, FdFlags::CLOEXEC).is_ok()).collect()
}
