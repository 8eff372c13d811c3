//! Listening sockets that the process was started with: those of its earlier image, which survive a restart in place,
//! and those of the service manager (socket activation).
//!
//! Promise: across the re-execution that SIGUSR1 asks for, the sockets stay open, so that clients which connect
//! meanwhile wait instead of being refused. Caveat: they are handed over by number in an environment variable, which
//! counts only in the process that wrote it and has to be taken out of the environment before any plugin runs.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::unistd::execve;
use rustix::fs::{Access, access};
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use socket2::{SockRef, Socket};

use crate::edge::http::control_socket::ControlSocket;
use crate::edge::http::forked::Listening;
use crate::edge::http::listener;
use crate::edge::observe::sink;

/// Name of the environment variable; it holds `<pid>:<fd>,<fd>,…`, with an `s` before the number of a socket of the
/// service manager.
pub(crate) const VARIABLE: &str = "PLUGINCORE_LISTENERS";

/// Name of the variable for the control socket; it holds `<pid>:<fd>:<path>`.
pub(crate) const CONTROL: &str = "PLUGINCORE_CONTROL";

/// Says why [`replace`] could not work, as far as that can be seen before anything is given up for it.
///
/// # Errors
/// What is missing.
pub(crate) fn check(command: &[OsString], folder: &Path) -> Result<(), String> {
    let program = command.first().map(Path::new);
    for path in [Some(folder), program].into_iter().flatten() {
        access(path, Access::EXEC_OK).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// Replaces the process by a new image of the same program, started in `folder`; `command` begins with its path.
/// Returns only when that fails. Signals that this thread holds back stay held back.
pub(crate) fn replace(
    command: &[OsString],
    folder: &Path,
    listeners: &[Listening],
    control: Option<ControlSocket>,
) -> io::Error {
    let Err(error) = try_replace(command, folder, listeners, control);
    error
}

fn try_replace(
    command: &[OsString],
    folder: &Path,
    listeners: &[Listening],
    mut control: Option<ControlSocket>,
) -> io::Result<Infallible> {
    let arguments = command.iter().map(|part| CString::new(part.as_bytes())).collect::<Result<Vec<_>, _>>()?;
    let Some(program) = arguments.first() else {
        return Err(io::Error::other("the command that started the server is not known"));
    };
    let listeners = (OsString::from(VARIABLE), OsString::from(hand_over(listeners)?));
    // The folder by the name it was started in, which leads through the same links.
    let folder_name = (OsString::from("PWD"), folder.as_os_str().to_owned());
    let socket = control.as_ref().map(hand_over_control).transpose()?.map(|value| (OsString::from(CONTROL), value));
    let environment = std::env::vars_os().filter(|(name, _)| [VARIABLE, CONTROL, "PWD"].iter().all(|own| name != own));
    let environment = environment.chain([listeners, folder_name]).chain(socket);
    let environment = environment.map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()));
    std::env::set_current_dir(folder)?;
    sink::finish();
    if let Some(control) = &mut control {
        control.keep();
    }
    // Not by way of `std::process::Command`, which lets all signals in before.
    Ok(execve(program, &arguments, &environment.collect::<Result<Vec<_>, _>>()?)?)
}

/// Lets `listeners` survive an `exec` and returns the variable's value for the new image.
///
/// # Errors
/// When a descriptor's flags cannot be changed.
fn hand_over(listeners: &[Listening]) -> io::Result<String> {
    let mut numbers = Vec::new();
    for listener in listeners {
        fcntl_setfd(&**listener, fcntl_getfd(&**listener)? - FdFlags::CLOEXEC)?;
        numbers.push(format!("{}{}", if listener.is_given() { "s" } else { "" }, listener.as_raw_fd()));
    }
    Ok(format!("{}:{}", std::process::id(), numbers.join(",")))
}

/// The same for the control socket.
fn hand_over_control(control: &ControlSocket) -> io::Result<OsString> {
    fcntl_setfd(control.as_fd(), fcntl_getfd(control.as_fd())? - FdFlags::CLOEXEC)?;
    let mut value = OsString::from(format!("{}:{}:", std::process::id(), control.as_fd().as_raw_fd()));
    value.push(control.path());
    Ok(value)
}

/// Takes over the control socket of the process's earlier image, by the `value` that its variable had. Call it once, at
/// the start.
pub(crate) fn take_over_control(value: &str) -> Option<ControlSocket> {
    let (pid, rest) = value.split_once(':')?;
    let (number, path) = rest.split_once(':')?;
    if pid.parse() != Ok(std::process::id()) {
        return None;
    }
    ControlSocket::adopt(listening_socket(number.parse().ok()?)?.into(), Path::new(path))
}

/// Takes over what the process's earlier image left, by the `value` that the variable had. Call it once, at the start.
pub(crate) fn take_over(value: &str) -> Vec<Listening> {
    let Some((pid, numbers)) = value.split_once(':') else { return Vec::new() };
    if pid.parse() != Ok(std::process::id()) {
        return Vec::new();
    }
    let parse = |number: &str| match number.strip_prefix('s') {
        Some(number) => Some((number.parse().ok()?, true)),
        None => Some((number.parse().ok()?, false)),
    };
    let numbers: BTreeMap<RawFd, bool> = numbers.split(',').filter_map(parse).collect();
    let sockets = numbers
        .into_iter()
        .filter_map(|(number, is_given)| Some((TcpListener::from(listening_socket(number)?), is_given)));
    sockets.map(|(socket, is_given)| if is_given { Listening::given(socket) } else { socket.into() }).collect()
}

/// The variables of socket activation. They are to be taken out of the environment, since they are for one process.
pub(crate) const ACTIVATION: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// The first descriptor that a service manager passes.
const FIRST_GIVEN: RawFd = 3;

/// The TCP sockets that the service manager passed, by the values of the first two of [`ACTIVATION`]. Call it once, at
/// the start, before anything else opens descriptors.
pub(crate) fn given(pid: &str, count: &str) -> Vec<Listening> {
    let count = count.parse().unwrap_or(0);
    if pid.parse() != Ok(std::process::id()) {
        return Vec::new();
    }
    let mut sockets = Vec::new();
    for number in FIRST_GIVEN..FIRST_GIVEN.saturating_add(count) {
        let prepared = listening_socket(number).map(TcpListener::from);
        let prepared = prepared.filter(|socket| socket.local_addr().is_ok()).map(Socket::from);
        match prepared.map(|socket| listener::prepare(&socket).map(|()| socket)) {
            Some(Ok(socket)) => sockets.push(Listening::given(socket.into())),
            Some(Err(error)) => tracing::warn!("descriptor {number} of the service manager cannot be used: {error}"),
            None => tracing::warn!("descriptor {number} of the service manager is no listening TCP socket; ignored"),
        }
    }
    sockets
}

/// The listening socket of that number, if it is one.
fn listening_socket(number: RawFd) -> Option<OwnedFd> {
    if number <= 2 {
        return None;
    }
    // SAFETY: the number is not negative, and the descriptor is only asked what it is, which the system answers with an
    // error if there is none. It is not closed meanwhile, since the process has no other thread that knows it yet.
    let socket = unsafe { BorrowedFd::borrow_raw(number) };
    if !SockRef::from(&socket).is_listener().ok()? {
        return None;
    }
    fcntl_setfd(socket, FdFlags::CLOEXEC).ok()?;
    // SAFETY: it is an open listening socket, and the process id says that the earlier image of this very process, or
    // the service manager that started it, left it open for us over the `exec`; no other code of the new image knows
    // the number, each is taken once, and the variable is gone afterwards, so the descriptor is owned here alone.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}
