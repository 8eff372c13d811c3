//! What the server tells of its plugins: plain data, made on the Python thread whenever something changes.
//!
//! Read on the I/O threads, so the list can be had while a plugin blocks Python. Promise: a list is replaced as a
//! whole; the numbers in it (counters, tasks, requests that drain) are those of the moment in which it is read. Caveat:
//! errors are shown with their tracebacks, so only those who may control the server may see the list.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::stalls::PluginStalls;
use crate::edge::http::request::MethodSet;
use crate::edge::policy::admission::{Entrance, Limit};

/// A number that another thread keeps up to date; the highest bit is not part of it.
pub(crate) type Gauge = Arc<AtomicUsize>;

/// The number that `gauge` shows.
pub(crate) fn read(gauge: &Gauge) -> usize {
    gauge.load(Ordering::Relaxed) & (usize::MAX >> 1)
}

/// All plugins of one moment, in load order.
pub(crate) type Statuses = ArcSwap<Vec<PluginStatus>>;

/// What a plugin is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PluginState {
    /// It answers requests.
    Serving,
    /// It has been removed, and the requests inside it have not ended yet.
    Draining,
    /// Its file could not be loaded.
    Failed,
    /// Its file is not loaded, because somebody wants that.
    Disabled,
    /// Its file is not loaded, because it has ended the process too often.
    Parked,
}

impl PluginState {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [Self::Serving, Self::Draining, Self::Failed, Self::Disabled, Self::Parked];

    /// The word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Failed => "failed",
            Self::Disabled => "disabled",
            Self::Parked => "parked",
        }
    }
}

/// Why a plugin could not be loaded the last time that it was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastError {
    /// What went wrong.
    pub message: String,
    /// The file, as the log names it.
    pub file: String,
    /// The line in it.
    pub line: Option<usize>,
    /// Where Python was, if it raised an exception.
    pub traceback: Option<String>,
}

/// One loaded version of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    /// Its number, counted from 1 for each id.
    pub generation: u64,
    /// When it came into service.
    pub loaded_at: Timestamp,
}

/// One plugin.
#[derive(Clone, Debug)]
pub(crate) struct PluginStatus {
    /// The id, or the name of the file without its ending if no id is known.
    pub id: Arc<str>,
    /// The plugin file, as the log names it.
    pub file: String,
    /// What it is doing.
    pub state: PluginState,
    /// What was loaded last; nothing if it never was.
    pub version: Option<Version>,
    /// The hash of what it was loaded from, if that is known.
    pub content_hash: Option<String>,
    /// Whether it went back to what it was before.
    pub is_previous: bool,
    /// Why the last attempt to load it failed; nothing if it did not.
    pub last_error: Option<LastError>,
    /// Requests in versions that have been replaced.
    pub draining: Vec<Gauge>,
    /// Whether it has been terminated; it is then shown as long as requests are left inside it.
    pub terminated: bool,
    /// The methods that it answers.
    pub methods: Option<MethodSet>,
    /// Its counted requests; nothing for one that never served.
    pub limit: Option<Arc<Limit>>,
    /// Where requests are admitted to it; nothing for one that does not serve.
    pub entrance: Option<Arc<Entrance>>,
    /// Its background tasks.
    pub tasks: Vec<Gauge>,
    /// How it has held up the Python thread; nothing for one that never served.
    pub stalls: Option<Arc<PluginStalls>>,
}

fn sum(gauges: &[Gauge]) -> usize {
    gauges.iter().map(read).sum()
}

impl PluginStatus {
    /// Whether there is nothing left of it.
    pub(crate) fn is_gone(&self) -> bool {
        self.terminated && sum(&self.draining) == 0
    }

    /// What it is doing at this moment.
    pub(crate) fn current_state(&self) -> PluginState {
        if self.parked_for().is_some() { PluginState::Parked } else { self.state }
    }

    /// For how long it is left alone because it keeps failing.
    fn parked_for(&self) -> Option<Duration> {
        self.entrance.as_ref()?.parking.left()
    }

    /// How many background tasks of it have not ended.
    pub(crate) fn tasks(&self) -> usize {
        sum(&self.tasks)
    }

    /// What is shown of it, at this moment.
    pub(crate) fn to_json(&self) -> Value {
        let error = self.last_error.as_ref().map(|error| {
            let LastError { message, file, line, traceback } = error;
            json!({ "message": message, "file": file, "line": line, "traceback": traceback })
        });
        let limit = self.limit.as_deref();
        let parked_for = self.parked_for();
        let routes = if self.state == PluginState::Failed { Vec::new() } else { vec![format!("/{}", self.id)] };
        json!({
            "id": &*self.id,
            "file": self.file,
            "state": self.current_state().name(),
            "parked_for": parked_for.map(|left| left.as_secs_f64().ceil()),
            "generation": self.version.map_or(0, |version| version.generation),
            "content_hash": self.content_hash,
            "previous": self.is_previous,
            "loaded_at": self.version.map(|version| format!("{:.3}", version.loaded_at)),
            "last_error": error,
            "draining": sum(&self.draining),
            "routes": routes,
            "methods": self.methods.map_or_else(Vec::new, MethodSet::names),
            "counters": {
                "requests": limit.map_or(0, Limit::admitted),
                "errors": limit.map_or(0, Limit::failed),
                "refused": limit.map_or(0, Limit::refused),
                "in_flight": limit.map_or(0, Limit::taken),
            },
            "tasks": self.tasks(),
            "stalls": self.stalls.as_deref().unwrap_or(&PluginStalls::default()).to_json(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_shows_the_numbers_of_the_moment() {
        let (calls, tasks) = (Gauge::default(), Gauge::default());
        let status = PluginStatus {
            id: Arc::from("a/b"),
            file: "plugins/a.py".to_owned(),
            state: PluginState::Serving,
            version: Some(Version { generation: 2, loaded_at: "2025-05-06T07:08:09.5Z".parse().unwrap() }),
            content_hash: None,
            is_previous: false,
            last_error: None,
            draining: vec![Arc::clone(&calls), Arc::clone(&calls)],
            terminated: true,
            methods: Some(MethodSet::READ_ONLY),
            limit: Some(Limit::new(1)),
            entrance: None,
            tasks: vec![Arc::clone(&tasks)],
            stalls: None,
        };
        assert!(status.is_gone());
        calls.store(2, Ordering::Relaxed);
        assert!(!status.is_gone());
        tasks.store(3, Ordering::Relaxed);
        let shown = status.to_json();
        assert_eq!((json!(4), json!(3)), (shown["draining"].clone(), shown["tasks"].clone()));
        assert_eq!(json!("2025-05-06T07:08:09.500Z"), shown["loaded_at"]);
        assert_eq!(
            (json!(["/a/b"]), json!(["GET", "HEAD", "OPTIONS"])),
            (shown["routes"].clone(), shown["methods"].clone())
        );
    }
}
