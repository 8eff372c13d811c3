//! The process that this one is to replace, as this one sees it.
//!
//! Used on the Python thread; a thread of its own waits for the hand-over. Promise: nothing is accepted, and the pid
//! file is not written, before the old process has agreed; if it ends before that, this process does not serve, since
//! nobody knows of it. Caveat: the service manager is told nothing before the hand-over, when this process becomes the
//! service's main process.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::unistd::getppid;

use super::handover::{self, FromNew, ToNew};
use super::inherited;
use super::pidfile::PidFile;
use crate::edge::http::control_socket::ControlSocket;
use crate::edge::http::socket_file::SocketFile;
use crate::edge::observe::service_manager;
use crate::host::lifecycle::predecessor::{Failure, Predecessor};

/// How long the old process may take to decide; it does so at once.
const DECISION: Duration = Duration::from_secs(30);

/// How long this process may go without a report, at least.
const MIN_PATIENCE: Duration = Duration::from_secs(10);

/// Unix sockets of the old process that this one does not serve; their files are removed when it takes over.
#[derive(Default)]
pub(super) struct Superseded {
    /// The control socket, if this process has another.
    pub control: Option<ControlSocket>,
    /// Sockets of clients.
    pub files: Vec<Arc<SocketFile>>,
}

/// The old process.
pub(super) struct OldProcess {
    channel: Arc<UnixStream>,
    pid_file: Mutex<Option<Arc<PidFile>>>,
    /// What the old process listens on and this one does not.
    superseded: Mutex<Superseded>,
    failures: Mutex<Vec<Failure>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Values are only moved in and out under these locks, so a panic elsewhere leaves them whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl OldProcess {
    /// Takes the socket that `value` of the environment variable names; none if it is empty, as it is if this process
    /// replaces no other.
    ///
    /// # Errors
    /// When the value is for another process: its sockets are not there then.
    pub(super) fn from_variable(value: &str) -> io::Result<Option<Arc<Self>>> {
        if value.is_empty() {
            return Ok(None);
        }
        let parent = getppid().to_string();
        let number = value.split_once(':').filter(|(pid, _)| **pid == parent).and_then(|(_, fd)| fd.parse().ok());
        let Some(channel) = number.and_then(inherited::stream) else {
            let reason = format!("{}={value} is of another process than its parent, {parent}", handover::VARIABLE);
            return Err(io::Error::other(reason));
        };
        channel.set_read_timeout(Some(DECISION))?;
        service_manager::be_silent();
        Ok(Some(Arc::new(Self {
            channel: Arc::new(channel),
            pid_file: Mutex::default(),
            superseded: Mutex::default(),
            failures: Mutex::default(),
        })))
    }

    /// Reports that plugins are loaded from now on, each in twice `plugin_timeout`; `pid_file` is written when this
    /// process takes over, and the files of `superseded` sockets are removed then.
    pub(super) fn report_start(
        &self,
        plugin_timeout: Duration,
        pid_file: Option<Arc<PidFile>>,
        superseded: Superseded,
    ) {
        *lock(&self.pid_file) = pid_file;
        *lock(&self.superseded) = superseded;
        self.report(&FromNew::Started { patience: (2 * plugin_timeout).max(MIN_PATIENCE) });
    }

    /// Reports that this process does not take over.
    pub(super) fn report_failure(&self, reasons: Vec<String>) {
        self.report(&FromNew::Failed { reasons });
    }

    /// Reports something; an old process that has ended is noticed where its agreement is awaited.
    fn report(&self, message: &FromNew) {
        if let Err(error) = handover::line(message).and_then(|line| (&*self.channel).write_all(line.as_bytes())) {
            tracing::debug!("no report to the process that serves: {error}");
        }
    }

    /// Whether the old process says `expected` next.
    fn hears(channel: &UnixStream, expected: fn(&ToNew) -> bool) -> bool {
        let mut line = String::new();
        // The old process says nothing twice in a row without an answer, so the buffer holds nothing more.
        let read = BufReader::new(channel).read_line(&mut line);
        read.is_ok_and(|count| count > 0) && handover::parse(&line).is_ok_and(|message| expected(&message))
    }
}

impl Predecessor for OldProcess {
    fn loaded(&self, file: &Path, failures: Vec<Failure>) {
        lock(&self.failures).extend(failures);
        self.report(&FromNew::Loaded { file: file.display().to_string() });
    }

    fn agrees(&self, ids: Vec<String>) -> bool {
        let failures = std::mem::take(&mut *lock(&self.failures));
        let failed_checks = failures.iter().filter(|failure| failure.of_self_check).map(|one| one.text.clone());
        let failed_checks = failed_checks.collect();
        let failures = failures.into_iter().map(|failure| failure.text).collect();
        self.report(&FromNew::Ready { ids, failures, failed_checks });
        if !Self::hears(&self.channel, |message| matches!(message, ToNew::Serve)) {
            return false;
        }
        let pid_file = lock(&self.pid_file).take();
        if let Some(Err(error)) = pid_file.map(|file| file.write()) {
            self.report_failure(vec![error.to_string()]);
            return false;
        }
        let Superseded { control, files } = std::mem::take(&mut *lock(&self.superseded));
        for file in control.iter().map(ControlSocket::file).chain(files.iter().map(Arc::as_ref)) {
            file.own();
        }
        true
    }

    fn serving(&self, handed_over: Box<dyn FnOnce() + Send>) {
        self.report(&FromNew::Serving);
        let channel = Arc::clone(&self.channel);
        let wait = move || {
            // Whatever the old process says or does: this one serves, and nobody else will.
            Self::hears(&channel, |message| matches!(message, ToNew::HandedOver));
            service_manager::speak();
            handed_over();
        };
        if let Err(error) = std::thread::Builder::new().name("plugincore-upgrade".to_owned()).spawn(wait) {
            tracing::error!("the service manager is not told of this process: {error}");
        }
    }
}
