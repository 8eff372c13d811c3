//! Imports plugin files, each in a forked process of its own, to find what is wrong with them.
//!
//! Runs on the main thread of a process that does not serve. Promise: whatever a file does (it hangs, it ends the
//! process, it crashes), the others are tried, all of them end within the time limit, and nothing that they print is
//! seen. Caveat: a file is only imported; what its `__init__` and `initialize` would do is not known, and what it does
//! outside of the process is done.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, setpgid};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use crate::edge::config::diagnostic::{Diagnostic, SourceLocation};
use crate::edge::config::launch::LaunchOptions;
use crate::host::bridge::coroutine::{coroutine, host_task};
use crate::host::bridge::fork;
use crate::host::lifecycle::environment::environment;
use crate::host::plugins::load::try_import;
use crate::host::plugins::module;
use crate::host::plugins::task_scope::install_task_factory;
use crate::host::python::config::{self, LoadedConfig};
use crate::host::python::interpreter;

/// How long a process may take to end once its time is over.
const GRACE: Duration = Duration::from_secs(2);

/// What came of one file.
#[derive(Debug)]
pub(crate) struct Tried {
    /// The file, as it was named.
    pub file: PathBuf,
    /// Its plugin classes.
    pub classes: Vec<String>,
    /// What is wrong with it.
    pub problems: Vec<Diagnostic>,
}

/// What all files are imported with.
pub(crate) struct Trial<'a> {
    /// The command line.
    pub launch: &'a LaunchOptions,
    /// The ini file.
    pub reading: &'a LoadedConfig,
    /// How long an import may take.
    pub timeout: Duration,
}

/// What a process reports.
#[derive(Serialize, Deserialize)]
struct Report {
    classes: Vec<String>,
    problems: Vec<Sent>,
}

/// A problem as it is sent.
#[derive(Serialize, Deserialize)]
struct Sent {
    file: PathBuf,
    line: usize,
    variable: Option<String>,
    section: Option<String>,
    key: Option<String>,
    message: String,
}

impl From<Diagnostic> for Sent {
    fn from(problem: Diagnostic) -> Self {
        let line = problem.location.line().unwrap_or_default();
        let (file, variable) = match problem.location {
            SourceLocation::File { path, .. } => (path, None),
            SourceLocation::Variable(name) => (PathBuf::new(), Some(name)),
            SourceLocation::Option(name) => (PathBuf::from(name), None),
        };
        let Diagnostic { section, key, message, .. } = problem;
        Self { file, line, variable, section, key, message }
    }
}

impl From<Sent> for Diagnostic {
    fn from(sent: Sent) -> Self {
        let Sent { file, line, variable, section, key, message } = sent;
        let location = variable.map_or_else(|| SourceLocation::at(&file, line), SourceLocation::Variable);
        Self { section, key, ..Self::error(location, message) }
    }
}

/// A process that imports a file.
struct Running {
    file: PathBuf,
    pid: Pid,
    /// Where its report comes.
    pipe: File,
    received: Vec<u8>,
    /// Where Python writes its stack if the process hangs or crashes.
    trace: Py<PyAny>,
    deadline: Instant,
    /// Whether it has closed the pipe, which the system does for a process that ends.
    has_closed: bool,
    /// Whether it has been waited for.
    is_over: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_over {
            self.end();
        }
    }
}

impl Trial<'_> {
    /// Imports `files`, several at a time; `progress` gets the number of those that are done.
    ///
    /// # Errors
    /// When the system refuses a process, and when the user interrupts it.
    pub(crate) fn run(
        &self,
        py: Python<'_>,
        files: &[PathBuf],
        mut progress: impl FnMut(usize),
    ) -> PyResult<Vec<Tried>> {
        let at_once = std::thread::available_parallelism().map_or(1, NonZero::get);
        let mut waiting = files.iter();
        let mut running: Vec<Running> = Vec::new();
        let mut done = Vec::new();
        loop {
            while running.len() < at_once
                && let Some(file) = waiting.next()
            {
                running.push(self.start(py, file)?);
            }
            if running.is_empty() {
                break;
            }
            await_one(&mut running)?;
            py.check_signals()?;
            while let Some(at) = running.iter().position(Running::is_done) {
                done.push(self.result(py, running.swap_remove(at)));
                progress(done.len());
            }
        }
        done.sort_by(|one, other| one.file.cmp(&other.file));
        Ok(done)
    }

    fn start(&self, py: Python<'_>, file: &Path) -> PyResult<Running> {
        let (receiver, sender) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(std::io::Error::from)?;
        let trace = py.import("tempfile")?.call_method0("TemporaryFile")?;
        let pid: i32 = py.import("os")?.call_method0("fork")?.extract()?;
        if pid == 0 {
            self.child(py, file, sender, &trace);
        }
        let pid = Pid::from_raw(pid);
        // The process does so, too: whichever comes first. It may have ended already.
        let _ = setpgid(pid, pid);
        Ok(Running {
            file: file.to_path_buf(),
            pid,
            pipe: File::from(receiver),
            received: Vec::new(),
            trace: trace.unbind(),
            deadline: Instant::now() + self.timeout + GRACE,
            has_closed: false,
            is_over: false,
        })
    }

    /// The life of the process.
    fn child(&self, py: Python<'_>, file: &Path, sender: OwnedFd, trace: &Bound<'_, PyAny>) -> ! {
        let report = self.import(py, file, trace).unwrap_or_else(|error| {
            let problem = Diagnostic::error(SourceLocation::file(file), format!("could not be imported: {error}"));
            Report { classes: Vec::new(), problems: vec![problem.into()] }
        });
        let text = serde_json::to_vec(&report).unwrap_or_default();
        // A parent that is gone needs no report.
        let _ = File::from(sender).write_all(&[text, b"\n".to_vec()].concat());
        interpreter::exit_immediately(0)
    }

    fn import(&self, py: Python<'_>, file: &Path, trace: &Bound<'_, PyAny>) -> PyResult<Report> {
        let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
        let nothing = File::options().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdin(&nothing).map_err(std::io::Error::from)?;
        rustix::stdio::dup2_stdout(&nothing).map_err(std::io::Error::from)?;
        rustix::stdio::dup2_stderr(&nothing).map_err(std::io::Error::from)?;
        let faulthandler = py.import("faulthandler")?;
        faulthandler.call_method1("enable", (trace,))?;
        let options = PyDict::new(py);
        options.set_item("exit", true)?;
        options.set_item("file", trace)?;
        faulthandler.call_method("dump_traceback_later", (self.timeout.as_secs_f64(),), Some(&options))?;

        // As in the server, where plugins are imported while the loop runs.
        let event_loop = py.import("asyncio")?.call_method0("new_event_loop")?;
        py.import("asyncio")?.call_method1("set_event_loop", (&event_loop,))?;
        install_task_factory(&event_loop)?;
        fork::prepare(&event_loop)?;
        interpreter::prepare(py)?;
        config::proclaim(self.reading.config.bind(py))?;
        let environment = environment(py, self.launch, self.reading)?;
        module::replace_in_path(py, None, &environment.locate(&environment.folder))?;
        let (sender, result) = std::sync::mpsc::channel();
        let path = file.to_path_buf();
        let work = coroutine(py, async move {
            let tried = Python::attach(|py| try_import(py, &environment, &path));
            // The receiver waits for the end of this.
            let _ = sender.send(tried);
            Ok(())
        })?;
        event_loop.call_method1("run_until_complete", (host_task(&event_loop, work)?,))?;
        let (classes, failures) = result.recv().unwrap_or_default();
        let problems = failures.iter().map(|failure| failure.diagnostic().into()).collect();
        Ok(Report { classes, problems })
    }

    /// What came of a process that is done, or whose time is over.
    fn result(&self, py: Python<'_>, mut running: Running) -> Tried {
        let report = running.report();
        let status = running.end();
        let file = std::mem::take(&mut running.file);
        if let Some(Report { classes, problems }) = report {
            return Tried { file, classes, problems: problems.into_iter().map(Diagnostic::from).collect() };
        }
        let (line, is_timeout) = self.trace(py, &running.trace, &file);
        let location = SourceLocation::at(&file, line.unwrap_or_default());
        let limit = self.timeout.as_secs_f64();
        let problem = match status {
            _ if is_timeout => Diagnostic::error(location, format!("its import does not end within {limit} s"))
                .remedy("do what takes long in initialize, or pass a longer --timeout"),
            WaitStatus::Exited(_, code) => {
                Diagnostic::error(location, format!("its import ends the process with code {code}"))
                    .remedy("raise an exception instead of os._exit: the server would end with it")
            }
            WaitStatus::Signaled(_, signal, _) => {
                Diagnostic::error(location, format!("its import crashes the process ({signal})"))
                    .remedy("the server would end with it; see what C code the file imports")
            }
            _ => Diagnostic::error(
                location,
                format!("its import does not end within {limit} s, and cannot be interrupted"),
            )
            .remedy("do what takes long in initialize, or pass a longer --timeout"),
        };
        Tried { file, classes: Vec::new(), problems: vec![problem] }
    }

    /// The line of `file` in which Python was when the process hung or crashed, if that is known, and whether it hung.
    fn trace(&self, py: Python<'_>, trace: &Py<PyAny>, file: &Path) -> (Option<usize>, bool) {
        let trace = trace.bind(py);
        let read = trace.call_method1("seek", (0,)).and_then(|_| trace.call_method0("read"));
        let bytes: Vec<u8> = read.and_then(|bytes| bytes.extract()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let path = self.launch.folder.join(file);
        let path = std::path::absolute(&path).unwrap_or(path);
        let begin = format!("File \"{}\", line ", path.display());
        let digits = text.split_once(&begin).map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit));
        (digits.and_then(|digits| digits.collect::<String>().parse().ok()), text.starts_with("Timeout"))
    }
}

impl Running {
    /// Whether nothing more is to be waited for.
    fn is_done(&self) -> bool {
        self.has_closed || self.received.ends_with(b"\n") || self.deadline <= Instant::now()
    }

    /// What it has reported, if it has.
    fn report(&self) -> Option<Report> {
        self.received.ends_with(b"\n").then(|| serde_json::from_slice(&self.received).ok()).flatten()
    }

    /// Takes what has come; at the end of that there is nothing more to wait for.
    fn receive(&mut self) {
        let mut buffer = [0; 16 * 1024];
        match self.pipe.read(&mut buffer) {
            Ok(count @ 1..) => self.received.extend_from_slice(&buffer[..count]),
            _ => self.has_closed = true,
        }
    }

    /// Has the process and those that it has started end; returns how it ended by itself, if it did.
    fn end(&mut self) -> WaitStatus {
        self.is_over = true;
        let mut status = waitpid(self.pid, Some(WaitPidFlag::WNOHANG)).unwrap_or(WaitStatus::StillAlive);
        while status == WaitStatus::StillAlive && self.has_closed && Instant::now() < self.deadline {
            // It is about to end, unless it has closed the pipe itself. There is no event for this that every system
            // lets one await with a time limit.
            std::thread::sleep(Duration::from_millis(1));
            status = waitpid(self.pid, Some(WaitPidFlag::WNOHANG)).unwrap_or(WaitStatus::StillAlive);
        }
        // What it has started may be left; the group is gone if nothing is.
        let _ = killpg(self.pid, Signal::SIGKILL);
        if status == WaitStatus::StillAlive {
            let _ = waitpid(self.pid, None);
        }
        status
    }
}

/// Waits until one of the processes has reported something or has ended, or until its time is over.
fn await_one(running: &mut [Running]) -> std::io::Result<()> {
    let first = running.iter().map(|one| one.deadline).min().unwrap_or_else(Instant::now);
    let left = first.saturating_duration_since(Instant::now());
    let limit = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
    let ready: Vec<bool> = {
        let mut descriptors: Vec<_> = running.iter().map(|one| PollFd::new(&one.pipe, PollFlags::IN)).collect();
        match poll(&mut descriptors, Some(&limit)) {
            Ok(_) => descriptors.iter().map(|one| !one.revents().is_empty()).collect(),
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    };
    for (one, _) in running.iter_mut().zip(ready).filter(|(_, is_ready)| *is_ready) {
        one.receive();
    }
    Ok(())
}
