//! The access log: one line for each request that was answered, by whatever.
//!
//! Used on the I/O threads. Promise: without an access log a request costs a look at an empty option; with one, its line
//! is made on the I/O thread and written by another thread, so that no request waits for an output. Lines that an
//! output does not take are lost and counted. Caveat: a request whose client leaves before the answer has none.

pub(crate) mod entry;
mod line;
mod redaction;

use std::path::Path;
use std::sync::Arc;

use entry::{AccessEntry, Answered};

use super::request_id::RequestId;
use crate::edge::config::diagnostic::ConfigErrors;
use crate::edge::config::settings::access_log::{AccessFormat, AccessLogSettings, Destination};
use crate::edge::observe::line::Level;
use crate::edge::observe::log_file::LogFile;
use crate::edge::observe::output::{Output, Standard, standard};
use crate::edge::observe::repeats::LineKind;

static LOST: LineKind = LineKind::new(Level::Warn, "lines of the access log are lost");

/// The access log as one reading of the ini file has it.
#[derive(Debug)]
pub(crate) struct AccessLog {
    settings: AccessLogSettings,
    output: Arc<Output>,
    /// Keeps the file among those that are reopened.
    _file: Option<Arc<LogFile>>,
}

impl AccessLog {
    /// The log that `settings` ask for, with paths relative to `folder`.
    ///
    /// # Errors
    /// When it cannot be written to.
    pub(crate) fn open(settings: &AccessLogSettings, folder: &Path) -> Result<Arc<Self>, ConfigErrors> {
        let (output, file) = match &settings.destination {
            Destination::StandardOutput => (Arc::clone(standard(Standard::Output)), None),
            Destination::Journal(socket) => {
                let output = Output::messages(socket.clone());
                (output.map_err(|error| settings.error(format!("{}: {error}", socket.display())))?, None)
            }
            Destination::File(path) => {
                let file = LogFile::open_deferred(&folder.join(path));
                let file = file.map_err(|error| settings.error(error.to_string()))?;
                (Arc::clone(file.output()), Some(file))
            }
        };
        Ok(Arc::new(Self { settings: settings.clone(), output, _file: file }))
    }

    /// What a line is.
    pub(super) fn format(&self) -> &AccessFormat {
        &self.settings.format
    }

    /// Writes the line of a request, unless it is one of those that sampling leaves out.
    pub(super) fn write(&self, entry: &AccessEntry, answered: &Answered) {
        let is_notable = answered.status.as_u16() >= 400 || answered.total > self.settings.slow;
        let sample = u128::from(self.settings.sample);
        // A fresh id is as good as random; one that the client has chosen is not.
        if sample > 1 && !is_notable && !RequestId::fresh().bits().is_multiple_of(sample) {
            return;
        }
        let lost = line::with_line(|line| {
            match (&self.settings.destination, &self.settings.format) {
                (Destination::Journal(_), format) => line::push_journal(line, format, entry, answered),
                (_, AccessFormat::Json) => line::push_json(line, entry, answered),
                (_, AccessFormat::Template(pieces)) => line::push_template(line, pieces, entry, answered),
            }
            line.push('\n');
            self.output.defer(line.as_bytes())
        });
        if lost > 0 && LOST.admits_any() {
            tracing::warn!("{lost} lines of the access log were lost because its output did not take them");
        }
    }
}
