//! What a person sees of a start: how far the loading is, then a few lines on a terminal; in the log the same facts.
//!
//! Runs on the Python thread. Promise: nothing of it is written below the level INFO; to what is no terminal go lines of
//! the log alone. Caveat: the line of the progress has no end; the next line of the log takes its place.

use std::io::{IsTerminal, Write};

use anstream::adapter::strip_str;
use anstream::{AutoStream, ColorChoice};
use pyo3::prelude::*;

use crate::edge::control::status::{PluginState, PluginStatus};
use crate::edge::observe::line::Level;
use crate::edge::observe::subscriber;

/// How many files there must be for their loading to have a progress.
const MANY: usize = 20;

/// The version of Python, such as `3.11.7`.
pub(super) fn python() -> &'static str {
    Python::version_str().split(' ').next().unwrap_or_default()
}

/// The versions of the server and of its Python.
fn versions() -> String {
    format!("plugincore {}, Python {}", env!("CARGO_PKG_VERSION"), python())
}

/// Logs what is starting.
pub(super) fn begin() {
    tracing::info!("{}", versions());
}

/// Whether lines of the level INFO are written, and to a terminal.
fn is_seen() -> bool {
    subscriber::server().is_some_and(|log| log.sink.is_terminal() && log.sink.admits(Level::Info))
}

/// How far the loading of many files is, on a terminal.
pub(super) struct Progress {
    total: usize,
    is_shown: bool,
}

impl Progress {
    /// For so many files.
    pub(super) fn new(total: usize) -> Self {
        Self { total, is_shown: total >= MANY && is_seen() && std::io::stdout().is_terminal() }
    }

    /// So many of them have been loaded.
    pub(super) fn show(&self, done: usize) {
        if self.is_shown {
            let mut output = std::io::stdout();
            // What cannot be written is not missed.
            let _ = write!(output, "\r\x1b[Kloading: {done} of {}\r", self.total).and_then(|()| output.flush());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(std::io::stdout(), "\r\x1b[K").and_then(|()| std::io::stdout().flush());
        }
    }
}

/// What serves when a server has started.
pub(super) struct Summary {
    /// Where a browser finds it.
    pub page: Option<String>,
    /// How many keys there are, that of `[auth]` among them.
    pub keys: usize,
    /// Plugins that serve, and files that could not be loaded, each with its place.
    pub plugins: String,
}

impl Summary {
    /// The plugins in words.
    pub(super) fn of(statuses: &[PluginStatus]) -> String {
        let count = |state| statuses.iter().filter(|status| status.state == state).count();
        let serving = match count(PluginState::Serving) {
            1 => "1 plugin".to_owned(),
            number => format!("{number} plugins"),
        };
        let failed = statuses.iter().filter(|status| status.state == PluginState::Failed).map(|status| {
            let line = status.last_error.as_ref().and_then(|error| error.line);
            line.map_or_else(|| status.file.clone(), |line| format!("{}:{line}", status.file))
        });
        let failed: Vec<_> = failed.collect();
        let mut words = vec![serving];
        for (state, word) in [(PluginState::Disabled, "disabled"), (PluginState::Parked, "parked")] {
            let number = count(state);
            words.extend((number > 0).then(|| format!("{number} {word}")));
        }
        words.extend((!failed.is_empty()).then(|| format!("{} failed: {}", failed.len(), failed.join(" "))));
        words.join(", ")
    }

    fn keys(&self) -> String {
        if self.keys == 0 { "none".to_owned() } else { self.keys.to_string() }
    }

    /// Logs it, and shows it on a terminal.
    pub(super) fn show(&self) {
        let page = self.page.as_deref().map_or_else(String::new, |page| format!("; {page}"));
        tracing::info!("Started: {}; keys: {}{page}", self.plugins, self.keys());
        if !is_seen() {
            return;
        }
        let page = self.page.as_deref().unwrap_or("no address that a browser reaches");
        let [versions, plugins, keys] = [versions(), self.plugins.clone(), self.keys()];
        let text = format!("\n  \x1b[1m{versions}\x1b[0m\n  {page}\n  {plugins}\n  keys: {keys}\n\n");
        let mut output = std::io::stdout();
        let has_colours = AutoStream::choice(&output) != ColorChoice::Never;
        let text = if has_colours { text } else { strip_str(&text).to_string() };
        // In one piece, since the log's writer has lines for the same terminal.
        let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    }
}
