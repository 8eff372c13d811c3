//! The process that an upgrade starts, as the process that serves sees it.
//!
//! Runs on the signal thread, so that an upgrade works while a plugin blocks Python; a thread waits for the end of the
//! new process. Promise: the new process accepts no connection before [`Successor::decide`] has found that it serves
//! every plugin that serves here; whatever else happens becomes a list of reasons, and this process serves on. Caveat:
//! until the hand-over the plugins are loaded in both processes.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::handover::{self, FromNew, ToNew};
use super::inherited;
use crate::edge::http::forked::Listening;

/// How long the new process may take until its first report: it starts Python, reads the ini file and binds addresses.
const START: Duration = Duration::from_secs(60);

/// How long it may take from its readiness until it accepts connections.
const OPEN: Duration = Duration::from_secs(10);

/// How long after the end of its reports a process has to end.
const EXIT: Duration = Duration::from_secs(2);

/// What an upgrade starts; the same as at the start of this process.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// The working directory.
    pub folder: PathBuf,
    /// The environment, without what was meant for this process alone.
    pub environment: Vec<(OsString, OsString)>,
}

/// A process that is to replace this one.
pub(crate) struct Successor {
    /// Its id.
    pub pid: u32,
    channel: BufReader<UnixStream>,
    exited: oneshot::Receiver<io::Result<ExitStatus>>,
    /// How it ended, if that is known.
    end: Option<io::Result<ExitStatus>>,
}

impl Successor {
    /// Starts it, with what [`inherited::hand_over_control`] returned; to be called where a runtime is entered.
    ///
    /// # Errors
    /// When the system refuses it.
    pub(super) fn start(program: &Program, listeners: &[Listening], control: Option<OsString>) -> io::Result<Self> {
        let Some((path, arguments)) = program.command.split_first() else {
            return Err(io::Error::other("the command that started the server is not known"));
        };
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let channel = BufReader::new(UnixStream::from_std(ours)?);
        fcntl_setfd(&theirs, fcntl_getfd(&theirs)? - FdFlags::CLOEXEC)?;
        let child = Command::new(path)
            .args(arguments)
            .current_dir(&program.folder)
            .env_clear()
            .envs(program.environment.iter().map(|(name, value)| (name, value)))
            .env("PWD", &program.folder)
            .env(inherited::VARIABLE, inherited::hand_over(listeners)?)
            .envs(control.map(|control| (inherited::CONTROL, control)))
            .env(handover::VARIABLE, format!("{}:{}", std::process::id(), theirs.as_raw_fd()))
            .spawn()?;
        let pid = child.id();
        Ok(Self { pid, channel, exited: wait_elsewhere(child)?, end: None })
    }

    /// Waits until the process is able to serve all that `serving` returns by then, has it accept connections, and
    /// returns when it does.
    ///
    /// # Errors
    /// Why it does not take over; it has not been ended then.
    pub(super) async fn decide(&mut self, serving: impl Fn() -> Vec<String>) -> Result<(), Vec<String>> {
        let (mut patience, mut doing) = (START, "its start".to_owned());
        loop {
            match self.receive(patience, &doing).await? {
                FromNew::Started { patience: wanted } => (patience, doing) = (wanted, "the first plugin".to_owned()),
                FromNew::Loaded { file } => doing = format!("what follows {file}"),
                FromNew::Failed { reasons } => return Err(reasons),
                FromNew::Ready { ids, failures, failed_checks } => {
                    let missing = serving().into_iter().filter(|id| !ids.contains(id));
                    let mut reasons: Vec<_> =
                        missing.map(|id| format!("plugin {id} is missing in the new process")).collect();
                    if !reasons.is_empty() {
                        reasons.extend(failures);
                    } else if !failed_checks.is_empty() {
                        reasons = failed_checks;
                    }
                    if !reasons.is_empty() {
                        return Err(reasons);
                    }
                    self.send(&ToNew::Serve).await.map_err(|error| vec![format!("it cannot be told: {error}")])?;
                    (patience, doing) = (OPEN, "the begin of its service".to_owned());
                }
                FromNew::Serving => return Ok(()),
            }
        }
    }

    /// Tells it that this process drains.
    pub(super) async fn hand_over(&mut self) {
        if let Err(error) = self.send(&ToNew::HandedOver).await {
            tracing::warn!("the new process cannot be told that it is the only one: {error}");
        }
    }

    /// Ends it: by SIGTERM, and after `grace` by SIGKILL.
    pub(super) async fn end(mut self, grace: Duration) {
        if self.has_ended(Duration::ZERO).await {
            return;
        }
        // It may be waiting for an answer. If it does not, it is not told so.
        let _ = self.channel.get_mut().shutdown().await;
        stop(self.pid);
        if !self.has_ended(grace).await {
            tracing::error!("process {} does not end; killing it", self.pid);
            signal(self.pid, Signal::SIGKILL);
            self.has_ended(EXIT).await;
        }
    }

    /// Whether it ends within `time`, or has ended.
    async fn has_ended(&mut self, time: Duration) -> bool {
        if self.end.is_none() {
            let ended = timeout(time, &mut self.exited).await;
            // The thread that waits answers before it ends.
            self.end = ended.ok().map(|end| end.unwrap_or_else(|error| Err(io::Error::other(error))));
        }
        self.end.is_some()
    }

    /// The next message; `doing` is what takes too long if none comes.
    async fn receive(&mut self, patience: Duration, doing: &str) -> Result<FromNew, Vec<String>> {
        let mut line = String::new();
        match timeout(patience, self.channel.read_line(&mut line)).await {
            Err(_) => {
                Err(vec![format!("it has not reported for {} s; it may hang in {doing}", patience.as_secs_f64())])
            }
            Ok(Ok(0) | Err(_)) => Err(vec![self.last_words().await]),
            Ok(Ok(_)) => handover::parse(&line)
                .map_err(|error| vec![format!("it reports what this version does not know: {error}")]),
        }
    }

    /// How a process ended that reports no more.
    async fn last_words(&mut self) -> String {
        self.has_ended(EXIT).await;
        match &self.end {
            Some(Ok(status)) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("it ended with exit code {code} before it was ready"),
                (None, Some(number)) => format!("it was killed by signal {number} before it was ready"),
                (None, None) => "it ended before it was ready".to_owned(),
            },
            _ => "it gave up before it was ready".to_owned(),
        }
    }

    async fn send(&mut self, message: &ToNew) -> io::Result<()> {
        self.channel.get_mut().write_all(handover::line(message)?.as_bytes()).await
    }
}

/// Asks process `pid`, which was started here and has not been waited for, to stop.
pub(super) fn stop(pid: u32) {
    signal(pid, Signal::SIGTERM);
}

/// Has process `pid` reload everything.
pub(super) fn reload(pid: u32) {
    signal(pid, Signal::SIGHUP);
}

fn signal(pid: u32, number: Signal) {
    // It may have ended by itself.
    let _ = i32::try_from(pid).map(|pid| kill(Pid::from_raw(pid), number));
}

/// Waits for the end of `child` on a thread of its own, so that it leaves no zombie.
fn wait_elsewhere(mut child: Child) -> io::Result<oneshot::Receiver<io::Result<ExitStatus>>> {
    let (sender, exited) = oneshot::channel();
    std::thread::Builder::new().name("plugincore-upgrade".to_owned()).spawn(move || {
        // Nobody asks any more once the new process serves.
        let _ = sender.send(child.wait());
    })?;
    Ok(exited)
}
