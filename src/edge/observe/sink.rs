//! The destinations of log lines: standard output and, if one is named, a file.
//!
//! Used on all threads. Lines of all threads are written whole and in one order, and neither a failure nor a blocked
//! output affects the thread that logs. Caveat: lines that an output loses are reported only there, later.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::line::{Level, Record};
use super::log_file::{LogFile, LogFileError, finish_all};
use super::output::{self, Standard};
use super::recent;

/// Held while a line is put into the outputs, so that file and standard output show lines in the same order.
static ORDER: Mutex<()> = Mutex::new(());

/// Whether the process tests plugins, so that a person reads what it writes.
static IN_TESTS: AtomicBool = AtomicBool::new(false);

/// Has sinks that are made from now on write for the person who runs tests.
pub(crate) fn write_for_tests() {
    IN_TESTS.store(true, Ordering::Relaxed);
}

/// Longest wait at the end of the process for outputs that do not take their lines.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// Waits until all lines are written, for the end of the process or its replacement; not for long.
pub(crate) fn finish() {
    let deadline = Instant::now() + FINISH_TIMEOUT;
    finish_all(deadline);
    for which in [Standard::Output, Standard::Error] {
        output::standard(which).finish(deadline);
    }
}

/// What standard output gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StandardOutput {
    /// Dated lines, for a person; also with colours.
    Terminal { is_colored: bool },
    /// The same without colours, in the output of tests.
    Tests,
    /// Lines with a priority, for a journal; also with `stdio` off, as pluginserver does it.
    Piped,
    /// Nothing: a terminal with `stdio` off.
    Silent,
}

/// A threshold and the outputs of the lines that reach it.
#[derive(Debug)]
pub(crate) struct Sink {
    threshold: AtomicU8,
    file: Option<Arc<LogFile>>,
    stdio: bool,
    standard_output: StandardOutput,
}

impl Sink {
    /// A sink for records of `level` and above. `file` also gets every line; `stdio` off keeps them from a terminal,
    /// but not from a pipe, as in pluginserver. Whether standard output is a terminal is found out now, once.
    ///
    /// # Errors
    /// [`LogFileError`] when `file` cannot be opened for appending.
    pub(crate) fn open(level: Level, file: Option<&Path>, stdio: bool) -> Result<Self, LogFileError> {
        Ok(Self { file: file.map(LogFile::open).transpose()?, ..Self::without_file(level, stdio) })
    }

    /// A sink that writes to standard output only.
    #[must_use]
    pub(crate) fn without_file(level: Level, stdio: bool) -> Self {
        let standard_output = match (std::io::stdout().is_terminal(), stdio) {
            (true, true) => StandardOutput::Terminal { is_colored: has_colors() },
            (true, false) => StandardOutput::Silent,
            (false, _) if IN_TESTS.load(Ordering::Relaxed) => StandardOutput::Tests,
            (false, _) => StandardOutput::Piped,
        };
        Self { threshold: AtomicU8::new(level.severity()), file: None, stdio, standard_output }
    }

    /// Whether a record of this level is written.
    #[must_use]
    pub(crate) fn admits(&self, level: Level) -> bool {
        level.severity() >= self.threshold()
    }

    /// Writes one record as one line, if its level reaches the threshold. Never fails; see the module's caveat.
    pub(crate) fn write(&self, level: Level, name: &str, text: &str) {
        self.write_record(&Record::new(level, name, text));
    }

    /// Writes a record with all that belongs to it.
    pub(crate) fn write_record(&self, record: &Record<'_>) {
        let level = record.level;
        if !self.admits(level) {
            return;
        }
        recent::note(level, record.name, &record.text());
        let now = Timestamp::now();
        let dated = if self.file.is_some() { record.dated(now) } else { String::new() };
        let shown = match self.standard_output {
            StandardOutput::Terminal { is_colored } => record.for_a_person(now, is_colored),
            StandardOutput::Tests => record.for_a_person(now, false),
            StandardOutput::Piped => record.prioritised(now),
            StandardOutput::Silent => String::new(),
        };
        let (file, shown_by) = (self.file.as_ref().map(|file| file.output()), output::standard(Standard::Output));
        if output::in_forked_child() {
            if let Some(file) = file {
                file.write_directly(dated.as_bytes());
            }
            return shown_by.write_directly(shown.as_bytes());
        }
        let is_grave = level.severity() >= Level::Warn.severity();
        if is_grave {
            file.inspect(|file| file.wait_for_room(dated.len()));
            shown_by.wait_for_room(shown.len());
        }
        let order = output::lock(&ORDER);
        let turns =
            (file.map(|file| file.put(dated.into_bytes(), is_grave)), shown_by.put(shown.into_bytes(), is_grave));
        drop(order);
        drop(turns);
    }

    /// Waits for a moment until the lines written so far are out; see [`output::Output::flush`].
    pub(crate) fn flush(&self) {
        if let Some(file) = &self.file {
            file.output().flush();
        }
        output::standard(Standard::Output).flush();
    }

    /// The lowest [`Level::severity`] that is written.
    #[must_use]
    pub(crate) fn threshold(&self) -> u8 {
        self.threshold.load(Ordering::Relaxed)
    }

    /// Changes the threshold, for the records that follow.
    pub(crate) fn set_threshold(&self, severity: u8) {
        self.threshold.store(severity, Ordering::Relaxed);
    }

    /// The absolute path of the file, if there is one.
    #[must_use]
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_ref().map(|file| file.path())
    }

    /// Whether the sink was opened with `stdio`.
    #[must_use]
    pub(crate) fn stdio(&self) -> bool {
        self.stdio
    }

    /// Whether lines are shown on a terminal.
    #[must_use]
    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self.standard_output, StandardOutput::Terminal { .. })
    }
}

/// Whether a terminal gets colours: not if `NO_COLOR` or `TERM` say that it does not.
fn has_colors() -> bool {
    let is_off = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !is_off && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::observe::log_file::tests::Folder;

    #[test]
    fn records_below_the_threshold_are_not_written() {
        let folder = Folder::new();
        let sink = Sink::open(Level::Warn, Some(&folder.file("a.log")), true).unwrap();
        sink.write(Level::Info, "n", "too low");
        sink.write(Level::Warn, "n", "first");
        sink.set_threshold(Level::Info.severity());
        sink.write(Level::Info, "n", "second");
        let text = std::fs::read_to_string(folder.file("a.log")).unwrap();
        let ends: Vec<_> = text.lines().map(|line| &line[23..]).collect();
        assert_eq!([" - n - WARN - first", " - n - INFO - second"].as_slice(), ends);
    }
}
