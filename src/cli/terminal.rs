//! What a person reads of a command.
//!
//! Runs on the main thread. Promise: a closed output is no error of a command; colours and progress are for terminals,
//! and `NO_COLOR` switches colours off. Caveat: nothing here escapes control characters; that is for what makes the
//! texts.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::builder::styling::{AnsiColor, Style};

use crate::edge::config::diagnostic::Severity;

/// Code of a wrong command line or configuration.
pub(super) const USAGE: u8 = 2;
/// Code of a start that failed, or of a command that found problems.
pub(super) const FAILED: u8 = 1;

/// Writes to standard output.
pub(super) fn print(text: &str) {
    // A closed output has no reader.
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

/// Writes to standard error, and returns `code`.
pub(super) fn report(problem: &str, code: u8) -> u8 {
    // Without standard error there is no reader.
    let _ = writeln!(std::io::stderr(), "{problem}");
    code
}

/// Writes a problem to standard error. An error begins with its place, as those of a start do, and as editors look for
/// it; others begin with the word for their severity. On a terminal, that has a colour.
pub(super) fn report_problem(severity: Severity, problem: &str) {
    let color = match severity {
        Severity::Error => AnsiColor::Red,
        Severity::Warning => AnsiColor::Yellow,
        Severity::Note => AnsiColor::Cyan,
    };
    let style = Style::new().bold().fg_color(Some(color.into()));
    // Without standard error there is no reader.
    let _ = if severity == Severity::Error {
        let (place, rest) = problem.split_at(problem.find(": ").unwrap_or(0));
        writeln!(anstream::stderr(), "{style}{place}{style:#}{rest}")
    } else {
        writeln!(anstream::stderr(), "{style}{severity}{style:#}: {problem}")
    };
}

/// A number of seconds of the command line.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let is_possible = |time: &Duration| !time.is_zero() && *time <= Duration::from_secs(24 * 3600);
    seconds.filter(is_possible).ok_or_else(|| "write a number of seconds above 0, of at most a day".to_owned())
}

/// How far a long work is, in one line of the terminal that is written again and again.
pub(super) struct Progress {
    what: &'static str,
    total: usize,
    is_shown: bool,
}

impl Progress {
    /// For `total` steps of `what`.
    pub(super) fn new(what: &'static str, total: usize) -> Self {
        Self { what, total, is_shown: std::io::stderr().is_terminal() && total > 1 }
    }

    /// So many of the steps are done.
    pub(super) fn show(&self, done: usize) {
        if self.is_shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K{} {done} of {}", self.what, self.total);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
