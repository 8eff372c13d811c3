//! Reports the server's state to the service manager: systemd's protocol of `Type=notify`, by `NOTIFY_SOCKET`.
//!
//! Runs on any thread. Promise: without the variable nothing is sent, and a report that cannot be sent changes nothing
//! else. A service manager that does not read holds up nothing but the reports that may wait, for [`REPORT_TIMEOUT`] at
//! most. Caveat: each report opens the socket anew, which is for events and not for requests.

use std::ffi::OsStr;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{env, io, process};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::time::{ClockId, clock_gettime};

/// How long a report waits for room in the socket, if it may.
const REPORT_TIMEOUT: Duration = Duration::from_secs(1);

/// The name of the listening sockets that are left with the service manager, which passes them to the next process if
/// this one ends.
pub(crate) const STORED: &str = "plugincore";

/// Most sockets that are left with it; the system passes no more at a time.
const MAX_STORED: usize = 253;

/// Set while another process is the service's main process, whose reports alone count.
static IS_SILENT: AtomicBool = AtomicBool::new(false);

/// Reports nothing until [`speak`]: another process is the service's main process.
pub(crate) fn be_silent() {
    IS_SILENT.store(true, Ordering::Release);
}

/// Reports from now on.
pub(crate) fn speak() {
    IS_SILENT.store(false, Ordering::Release);
}

/// The server accepts requests, or does so again after a reload; `status` is what `systemctl status` shows. `sockets`
/// are left with the service manager, if it is able to keep them.
pub(crate) fn ready(status: &str, sockets: &[BorrowedFd<'_>]) {
    let mut text = format!("READY=1\nSTATUS={status}");
    let sockets = &sockets[..sockets.len().min(MAX_STORED)];
    if !sockets.is_empty() {
        text = format!("{text}\nFDSTORE=1\nFDNAME={STORED}");
    }
    report_with(&text, REPORT_TIMEOUT, sockets);
}

/// The sockets that were left with the service manager are not served any more; those that are come with [`ready`].
pub(crate) fn forget_sockets() {
    report(&format!("FDSTOREREMOVE=1\nFDNAME={STORED}"), REPORT_TIMEOUT);
}

/// A new process is being started that is to replace this one; [`ready`] or [`hand_over`] ends it. Does not wait.
pub(crate) fn upgrading() {
    report("STATUS=Upgrading", Duration::ZERO);
}

/// Process `pid` serves and is the service's main process from now on; this one reports no more.
pub(crate) fn hand_over(pid: u32) {
    report(&format!("MAINPID={pid}\nREADY=1\nSTATUS=Process {pid} takes over"), REPORT_TIMEOUT);
    be_silent();
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
    report_with(text, timeout, &[]);
}

fn report_with(text: &str, timeout: Duration, sockets: &[BorrowedFd<'_>]) {
    if !IS_SILENT.load(Ordering::Acquire)
        && let Some(name) = env::var_os("NOTIFY_SOCKET")
        && let Err(error) = send(&name, text, timeout, sockets)
    {
        tracing::debug!("the service manager gets no report: {error}");
    }
}

fn send(name: &OsStr, text: &str, timeout: Duration, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
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
    let message = SendAncillaryMessage::ScmRights(sockets);
    let mut space = vec![MaybeUninit::uninit(); message.size()];
    let mut attached = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() {
        attached.push(message);
    }
    sendmsg(&socket, &[IoSlice::new(text.as_bytes())], &mut attached, SendFlags::empty())?;
    Ok(())
}
