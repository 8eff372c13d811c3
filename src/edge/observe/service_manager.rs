//! Reports the server's state to the service manager: systemd's protocol of `Type=notify`, by `NOTIFY_SOCKET`.
//!
//! Runs on any thread. Promise: without the variable nothing is sent, and a report that cannot be sent changes nothing
//! else. A service manager that does not read holds up nothing but [`ready`] and [`reloading`], for [`REPORT_TIMEOUT`]
//! at most. Caveat: each report opens the socket anew, which is for events and not for requests.

use std::ffi::OsStr;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;
use std::{env, io, process};

use rustix::time::{ClockId, clock_gettime};

/// How long a report waits for room in the socket, if it may.
const REPORT_TIMEOUT: Duration = Duration::from_secs(1);

/// The server accepts requests, or does so again after a reload; `status` is what `systemctl status` shows.
pub(crate) fn ready(status: &str) {
    report(&format!("READY=1\nSTATUS={status}"), REPORT_TIMEOUT);
}

/// A reload has begun; [`ready`] ends it.
pub(crate) fn reloading() {
    report(&reloading_now("Reloading"), REPORT_TIMEOUT);
}

/// A restart within the process has begun, which is a reload to the service manager; does not wait.
pub(crate) fn restarting() {
    report(&reloading_now("Restarting"), Duration::ZERO);
}

/// The server has begun to stop; does not wait.
pub(crate) fn stopping() {
    report("STOPPING=1\nSTATUS=Stopping", Duration::ZERO);
}

/// The server is alive; does not wait.
pub(crate) fn alive() {
    report("WATCHDOG=1", Duration::ZERO);
}

/// How long the service manager waits for [`alive`] before it restarts the server, if it does.
pub(crate) fn watchdog_timeout() -> Option<Duration> {
    let number = |name| env::var(name).ok()?.parse::<u64>().ok();
    let is_ours = env::var_os("WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(process::id().into());
    number("WATCHDOG_USEC").filter(|micros| is_ours && *micros > 0).map(Duration::from_micros)
}

fn reloading_now(status: &str) -> String {
    let now = clock_gettime(ClockId::Monotonic);
    format!("RELOADING=1\nMONOTONIC_USEC={}\nSTATUS={status}", now.tv_sec * 1_000_000 + now.tv_nsec / 1000)
}

fn report(text: &str, timeout: Duration) {
    if let Some(name) = env::var_os("NOTIFY_SOCKET")
        && let Err(error) = send(&name, text, timeout)
    {
        tracing::debug!("the service manager gets no report: {error}");
    }
}

fn send(name: &OsStr, text: &str, timeout: Duration) -> io::Result<()> {
    let address = match name.as_bytes().split_first() {
        #[cfg(target_os = "linux")]
        Some((b'@', abstract_name)) => SocketAddr::from_abstract_name(abstract_name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    if timeout.is_zero() {
        socket.set_nonblocking(true)?;
    } else {
        socket.set_write_timeout(Some(timeout))?;
    }
    socket.connect_addr(&address)?;
    socket.send(text.as_bytes()).map(drop)
}
