//! Listening sockets that the process was started with: those of its earlier image, which survive a restart in place,
//! those of the process that it replaces, and those of the service manager (socket activation).
//!
//! Runs on the Python thread, at the start and at the end. Promise: across the re-execution that SIGUSR1 asks for, and
//! the new process that SIGUSR2 asks for, the sockets stay open, so that clients which connect meanwhile wait instead
//! of being refused. Caveat: they are handed over by number in an environment variable, which counts only in the
//! process that wrote it or a child of it, and has to be taken out of the environment before any plugin runs.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::unistd::{execve, getppid};
use rustix::fs::{Access, access};
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use socket2::{SockRef, Socket, Type};

use crate::edge::http::control_socket::ControlSocket;
use crate::edge::http::forked::Listening;
use crate::edge::http::listener;
use crate::edge::observe::{repeats, service_manager, spans};

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
    control: Option<ControlSocket>,
) -> io::Result<Infallible> {
    let arguments = command.iter().map(|part| CString::new(part.as_bytes())).collect::<Result<Vec<_>, _>>()?;
    let Some(program) = arguments.first() else {
        return Err(io::Error::other("the command that started the server is not known"));
    };
    let listeners = (OsString::from(VARIABLE), OsString::from(hand_over(listeners)?));
    // The folder by the name it was started in, which leads through the same links.
    let folder_name = (OsString::from("PWD"), folder.as_os_str().to_owned());
    let socket = control
        .as_ref()
        .map(|socket| hand_over_control(socket, socket.file().path()))
        .transpose()?
        .map(|value| (OsString::from(CONTROL), value));
    let environment = std::env::vars_os().filter(|(name, _)| [VARIABLE, CONTROL, "PWD"].iter().all(|own| name != own));
    let environment = environment.chain([listeners, folder_name]).chain(socket);
    let environment = environment.map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()));
    std::env::set_current_dir(folder)?;
    spans::finish();
    repeats::finish();
    if let Some(control) = &control {
        control.file().keep();
    }
    // Not by way of `std::process::Command`, which lets all signals in before.
    Ok(execve(program, &arguments, &environment.collect::<Result<Vec<_>, _>>()?)?)
}

/// Lets `listeners` survive an `exec` and returns the variable's value for the new image, or for a child. Unix sockets
/// that clients do not find any more are left out.
///
/// # Errors
/// When a descriptor's flags cannot be changed.
pub(super) fn hand_over(listeners: &[Listening]) -> io::Result<String> {
    let mut numbers = Vec::new();
    for listener in listeners.iter().filter(|listener| listener.file().is_none_or(|file| file.is_in_place())) {
        let socket = listener.as_fd();
        fcntl_setfd(socket, fcntl_getfd(socket)? - FdFlags::CLOEXEC)?;
        numbers.push(format!("{}{}", if listener.is_given() { "s" } else { "" }, socket.as_raw_fd()));
    }
    Ok(format!("{}:{}", std::process::id(), numbers.join(",")))
}

/// The same for the control socket at `path`.
pub(super) fn hand_over_control(control: &impl AsFd, path: &Path) -> io::Result<OsString> {
    let control = control.as_fd();
    fcntl_setfd(control, fcntl_getfd(control)? - FdFlags::CLOEXEC)?;
    let mut value = OsString::from(format!("{}:{}:", std::process::id(), control.as_raw_fd()));
    value.push(path);
    Ok(value)
}

/// Who set the variables: this process, or its parent if this `is_child`, which replaces it.
fn giver(is_child: bool) -> u32 {
    if is_child { getppid().as_raw().unsigned_abs() } else { std::process::id() }
}

/// Takes over the control socket of the process's earlier image, or of its parent if this `is_child`, by the `value`
/// that its variable had. Call it once, at the start.
pub(crate) fn take_over_control(value: &str, is_child: bool) -> Option<ControlSocket> {
    let (pid, rest) = value.split_once(':')?;
    let (number, path) = rest.split_once(':')?;
    if pid.parse() != Ok(giver(is_child)) {
        return None;
    }
    let socket = ControlSocket::adopt(listening_socket(number.parse().ok()?)?.into(), Path::new(path))?;
    if is_child {
        // Until this process serves, the file is that of its parent.
        socket.file().keep();
    }
    Some(socket)
}

/// Takes over what the process's earlier image left, or its parent if this `is_child`, by the `value` that the variable
/// had. Call it once, at the start.
pub(crate) fn take_over(value: &str, is_child: bool) -> Vec<Listening> {
    let Some((pid, numbers)) = value.split_once(':') else { return Vec::new() };
    if pid.parse() != Ok(giver(is_child)) {
        return Vec::new();
    }
    let parse = |number: &str| match number.strip_prefix('s') {
        Some(number) => Some((number.parse().ok()?, true)),
        None => Some((number.parse().ok()?, false)),
    };
    let numbers: BTreeMap<RawFd, bool> = numbers.split(',').filter_map(parse).collect();
    let sockets = numbers.into_iter().filter_map(|(number, is_given)| {
        let socket = Socket::from(listening_socket(number)?);
        if is_given { Listening::given(socket).ok() } else { Listening::inherited(socket) }
    });
    sockets
        // Until this process serves, the files are those of its parent.
        .inspect(|listening| {
            if let Some(file) = listening.file().filter(|_| is_child) {
                file.keep();
            }
        })
        .collect()
}

/// The variables of socket activation. They are to be taken out of the environment, since they are for one process.
pub(crate) const ACTIVATION: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// The first descriptor that a service manager passes.
const FIRST_GIVEN: RawFd = 3;

/// The TCP and Unix sockets that the service manager passed, by the values of [`ACTIVATION`]: its own, and those that a
/// process before this one left with it. Call it once, at the start, before anything else opens descriptors.
pub(crate) fn given(pid: &str, count: &str, names: &str) -> Vec<Listening> {
    let count = count.parse().unwrap_or(0);
    if pid.parse() != Ok(std::process::id()) {
        return Vec::new();
    }
    let mut sockets = Vec::new();
    let mut names = names.split(':');
    for number in FIRST_GIVEN..FIRST_GIVEN.saturating_add(count) {
        let is_ours = names.next() == Some(service_manager::STORED);
        let socket = listening_socket(number).map(Socket::from);
        let socket = socket.filter(|socket| socket.r#type().is_ok_and(|kind| kind == Type::STREAM));
        let listening = |socket: Socket| {
            listener::prepare(&socket)?;
            if is_ours { Ok(Listening::inherited(socket)) } else { Listening::given(socket).map(Some) }
        };
        match socket.map(listening) {
            // A Unix socket whose file is gone is made anew.
            Some(Ok(listening)) => sockets.extend(listening),
            Some(Err::<_, io::Error>(error)) => {
                tracing::warn!("descriptor {number} of the service manager cannot be used: {error}");
            }
            None => {
                tracing::warn!(
                    "descriptor {number} of the service manager is no listening TCP or Unix socket; ignored"
                );
            }
        }
    }
    sockets
}

/// The listening socket of that number, if it is one.
fn listening_socket(number: RawFd) -> Option<OwnedFd> {
    take(number, |socket| socket.is_listener().unwrap_or(false))
}

/// The connected socket of that number, if it is one. Call it once, at the start.
pub(super) fn stream(number: RawFd) -> Option<UnixStream> {
    take(number, |socket| socket.peer_addr().is_ok_and(|peer| peer.is_unix())).map(UnixStream::from)
}

/// The descriptor of that number, if there is a socket there that `is_meant`.
fn take(number: RawFd, is_meant: impl Fn(&SockRef<'_>) -> bool) -> Option<OwnedFd> {
    if number <= 2 {
        return None;
    }
    // SAFETY: the number is not negative, and the descriptor is only asked what it is, which the system answers with an
    // error if there is none. It is not closed meanwhile, since the process has no other thread that knows it yet.
    let socket = unsafe { BorrowedFd::borrow_raw(number) };
    if !is_meant(&SockRef::from(&socket)) {
        return None;
    }
    fcntl_setfd(socket, FdFlags::CLOEXEC).ok()?;
    // SAFETY: it is an open socket, and the process id says that the earlier image of this very process, its parent, or
    // the service manager that started it, left it open for us over the `exec`; no other code of the new image knows
    // the number, each is taken once, and the variable is gone afterwards, so the descriptor is owned here alone.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}
