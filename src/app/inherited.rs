//! Listening sockets that survive a restart in place.
//!
//! Promise: across the re-execution that SIGUSR1 asks for, the sockets stay open, so that clients which connect
//! meanwhile wait instead of being refused. Caveat: they are handed over by number in an environment variable that
//! counts only in the process which wrote it; children see it and must ignore it, as the process id in it tells them.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::unistd::execve;
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

use crate::observe::sink;

/// Holds `<pid>:<fd>,<fd>,…`.
const VARIABLE: &str = "PLUGINCORE_LISTENERS";

/// Replaces the process by a new image of the same program, started in `folder`; `command` begins with its path. Returns
/// only when that fails. Signals that this thread holds back stay held back.
pub fn replace(command: &[OsString], folder: &Path, listeners: &[TcpListener]) -> io::Error {
    let Err(error) = try_replace(command, folder, listeners);
    error
}

fn try_replace(command: &[OsString], folder: &Path, listeners: &[TcpListener]) -> io::Result<Infallible> {
    let arguments = command.iter().map(|part| CString::new(part.as_bytes())).collect::<Result<Vec<_>, _>>()?;
    let Some(program) = arguments.first() else {
        return Err(io::Error::other("the command that started the server is not known"));
    };
    let listeners = (OsString::from(VARIABLE), OsString::from(hand_over(listeners)?));
    let environment = std::env::vars_os().filter(|(name, _)| name != VARIABLE).chain([listeners]);
    let environment = environment.map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()));
    std::env::set_current_dir(folder)?;
    sink::finish();
    // Not by way of `std::process::Command`, which lets all signals in before.
    Ok(execve(program, &arguments, &environment.collect::<Result<Vec<_>, _>>()?)?)
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
