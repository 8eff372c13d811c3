//! The server's own endpoints: `/plugins`, `/reload/…`, `/-/healthy`, `/-/ready`, and those below `/-/api/`.
//!
//! Runs on the I/O threads, so that `/plugins` and the health endpoints answer while a plugin blocks Python; only a
//! reload needs the Python thread, and its caller awaits the report. The caller decides whether a client may use an
//! endpoint.

pub(crate) mod api;
pub(crate) mod docs;
mod embedded;
pub(crate) mod events;
pub(crate) mod history;
pub(crate) mod kept;
pub(crate) mod metrics;
pub(crate) mod page;
pub(crate) mod process;
pub(crate) mod stalls;
pub(crate) mod status;

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::edge::http::rescue::{ControlError, ErrorFormat, unwritable};
use crate::edge::http::response::{Body, json_text, to_json};
use crate::edge::observe::line::Level;
use crate::edge::observe::recent::{self, RecentLine};
use crate::edge::observe::subscriber;
use kept::Withheld;
use status::PluginStatus;

/// What is to be reloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReloadTarget {
    /// The ini file and every plugin file.
    All,
    /// The ini file's parameters and the file of this plugin.
    One(String),
    /// The same, or a file of that name which could not be loaded before.
    OneOrFailed(String),
    /// What the file of this plugin, and the modules that it imports, were before the last change.
    Previous(String),
    /// The plugin files that differ from what was loaded.
    Changed,
}

impl ReloadTarget {
    /// The target of `/reload/<name>`.
    pub(crate) fn named(name: String) -> Self {
        if name == "all" { Self::All } else { Self::One(name) }
    }
}

/// What a reload of everything would change: section, key and effect of each change, or why there can be none.
pub(crate) type DifferenceReport = Result<Vec<(String, String, String)>, Vec<String>>;

/// How a reload went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReloadReport {
    /// The plugin's new instance serves.
    One {
        /// Its id.
        plugin: String,
        /// Other classes of its file that did not load, and served nothing before either, each with line and reason.
        failed: Vec<String>,
    },
    /// All that served before was replaced, and new files were added.
    All {
        /// Ids that serve now, in load order.
        loaded: Vec<String>,
        /// Files that did not load, and served nothing before either, each with line and reason.
        failed: Vec<String>,
    },
    /// The plugins of a file have been disabled and terminated.
    Disabled {
        /// The id that was named.
        plugin: String,
        /// All ids of the file.
        plugins: Vec<String>,
    },
    /// The plugins of a file serve again.
    Enabled {
        /// The id that was named.
        plugin: String,
        /// All ids of the file.
        plugins: Vec<String>,
        /// Other classes of the file that did not load, each with line and reason.
        failed: Vec<String>,
    },
    /// The plugin is disabled or parked, so it is not reloaded.
    Withheld {
        /// Its id.
        plugin: String,
        /// Why that is so.
        why: Withheld,
    },
    /// Nothing is known that the plugin was before.
    NoPrevious {
        /// Its id.
        plugin: String,
    },
    /// There is no such plugin.
    Unknown {
        /// The requested id.
        plugin: String,
    },
    /// Something went wrong; nothing has changed.
    Failed {
        /// What was to be reloaded.
        target: ReloadTarget,
        /// Why not, each with file and line.
        reasons: Vec<String>,
        /// Ids that serve now, in load order.
        loaded: Vec<String>,
    },
    /// The server is stopping.
    Stopping,
    /// A new process is about to take over, which has loaded the plugins as they were.
    Upgrading,
}

impl ReloadReport {
    /// Whether what was asked for is done.
    pub(crate) fn is_success(&self) -> bool {
        matches!(self, Self::One { .. } | Self::All { .. } | Self::Disabled { .. } | Self::Enabled { .. })
    }
}

/// The answer to `/plugins`.
pub(crate) fn plugins<'a>(ids: impl Iterator<Item = &'a str>, format: &ErrorFormat) -> Response<Body> {
    success(&json!({ "loaded_plugins": ids.collect::<Vec<_>>() }), format)
}

/// The answer to `/-/api/plugins`.
pub(crate) fn statuses(plugins: &[PluginStatus], format: &ErrorFormat) -> Response<Body> {
    let plugins: Vec<_> = plugins.iter().filter(|plugin| !plugin.is_gone()).map(PluginStatus::to_json).collect();
    success(&json!({ "plugins": plugins }), format)
}

/// The answer to `/-/api/routes`.
pub(crate) fn routes(routes: Vec<Value>, format: &ErrorFormat) -> Response<Body> {
    success(&json!({ "routes": routes }), format)
}

/// The server as a whole, for `/-/api/status`.
#[derive(Clone, Debug)]
pub(crate) struct ServerStatus {
    /// Whether `/-/ready` succeeds.
    pub is_ready: bool,
    /// Whether it was started without plugins.
    pub is_safe_mode: bool,
    /// When it was started.
    pub started_at: Timestamp,
    /// Requests inside plugins.
    pub in_flight: usize,
    /// Where it listens.
    pub listening: Arc<Vec<String>>,
    /// The version of Python, if there is one.
    pub python: Option<String>,
}

/// The answer to `/-/api/status`.
pub(crate) fn status(server: ServerStatus, plugins: &[PluginStatus], format: &ErrorFormat) -> Response<Body> {
    let mut numbers = Map::new();
    for plugin in plugins.iter().filter(|plugin| !plugin.is_gone()) {
        let number = numbers.entry(plugin.state.name()).or_insert(json!(0));
        *number = json!(number.as_u64().unwrap_or(0) + 1);
    }
    let ServerStatus { is_ready, is_safe_mode, started_at, in_flight, listening, python } = server;
    let body = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "python": python,
        "pid": std::process::id(),
        "state": if is_ready { "ready" } else { "draining" },
        "safe_mode": is_safe_mode,
        "started_at": format!("{started_at:.3}"),
        "plugins": numbers,
        "in_flight": in_flight,
        "listening": *listening,
        "log_level": subscriber::level().map(Level::name),
    });
    success(&body, format)
}

/// The answer to `/-/api/session`, `/-/api/login` and `/-/api/logout`: whether a key is required, and the one of the
/// session.
pub(crate) fn session(required: bool, key: Option<&str>, format: &ErrorFormat) -> Response<Body> {
    success(&json!({ "required": required, "key": key }), format)
}

/// The answer to `/-/api/history`, `/-/api/keys` and `/-/api/config`.
pub(crate) fn shown(value: &Value, format: &ErrorFormat) -> Response<Body> {
    success(value, format)
}

/// The answer to `/-/api/log`: the lines behind the one with the number `after`.
pub(crate) fn log(after: u64, format: &ErrorFormat) -> Response<Body> {
    let line = |RecentLine { number, time, level, name, text }| json!({ "number": number, "time": format!("{time:.3}"), "level": level.name(), "name": name, "text": text });
    let lines: Vec<_> = recent::lines(after).into_iter().map(line).collect();
    success(&json!({ "lines": lines }), format)
}

/// The answer to `/-/api/stop`.
pub(crate) fn stopping(format: &ErrorFormat) -> Response<Body> {
    success(&json!({ "status": "stopping" }), format)
}

/// The answer to `/-/api/diff`.
pub(crate) fn difference(report: DifferenceReport, format: &ErrorFormat) -> Response<Body> {
    let change = |(section, key, effect)| json!({ "section": section, "key": key, "effect": effect });
    match report {
        Ok(changes) => {
            let changes: Vec<Value> = changes.into_iter().map(change).collect();
            success(&json!({ "changes": changes }), format)
        }
        Err(reasons) => ControlError::InvalidFile { reasons: &reasons }.respond(format),
    }
}

/// The answer to `/-/api/upgrade`: the id of the process that serves, or the reasons why this one serves on.
pub(crate) fn upgraded(outcome: Result<u32, Vec<String>>, format: &ErrorFormat) -> Response<Body> {
    match outcome {
        Ok(pid) => success(&json!({ "status": format!("process {pid} serves"), "pid": pid }), format),
        Err(reasons) => ControlError::UpgradeFailed { reasons: &reasons }.respond(format),
    }
}

/// The answer to `/-/api/log-level`.
pub(crate) fn log_level(level: Level, format: &ErrorFormat) -> Response<Body> {
    success(&json!({ "log_level": level.name() }), format)
}

/// The answer to `/-/api/drain`.
pub(crate) fn draining(format: &ErrorFormat) -> Response<Body> {
    success(&json!({ "status": "draining" }), format)
}

fn success(body: &Value, format: &ErrorFormat) -> Response<Body> {
    to_json(body).map_or_else(|error| unwritable(&error, format), |text| json_text(StatusCode::OK, text))
}

/// The answer to `/-/healthy`: the process is there and its I/O threads serve.
pub(crate) fn healthy() -> Response<Body> {
    json_text(StatusCode::OK, Bytes::from_static(br#"{"status": "healthy"}"#))
}

/// The answer to `/-/ready`: plugins are loaded and the server is not about to stop.
pub(crate) fn ready(is_ready: bool, format: &ErrorFormat) -> Response<Body> {
    if is_ready {
        json_text(StatusCode::OK, Bytes::from_static(br#"{"status": "ready"}"#))
    } else {
        ControlError::NotReady.respond(format)
    }
}

/// The answer to a reload that succeeded, with the files that failed besides.
fn reloaded(mut body: Value, failed: &[String], format: &ErrorFormat) -> Response<Body> {
    if !failed.is_empty() {
        body["failed"] = json!(failed);
    }
    success(&body, format)
}

/// The answer to `/reload/…`.
pub(crate) fn reload(report: &ReloadReport, format: &ErrorFormat) -> Response<Body> {
    let error = match report {
        ReloadReport::One { plugin, failed } => {
            return reloaded(json!({ "reloaded": plugin, "success": true }), failed, format);
        }
        ReloadReport::All { loaded, failed } => {
            return reloaded(json!({ "status": "All plugins reloaded", "loaded_plugins": loaded }), failed, format);
        }
        ReloadReport::Disabled { plugin, plugins } => {
            return success(&json!({ "id": plugin, "state": "disabled", "plugins": plugins }), format);
        }
        ReloadReport::Enabled { plugin, plugins, failed } => {
            return reloaded(json!({ "id": plugin, "state": "serving", "plugins": plugins }), failed, format);
        }
        ReloadReport::NoPrevious { plugin } => ControlError::NoPrevious(plugin),
        ReloadReport::Withheld { plugin, why: Withheld::Disabled } => ControlError::Disabled(plugin),
        ReloadReport::Withheld { plugin, why: Withheld::Parked } => ControlError::Parked(plugin),
        ReloadReport::Unknown { plugin } => ControlError::UnknownPlugin(plugin),
        ReloadReport::Failed { target, reasons, loaded } => {
            let plugin = match target {
                ReloadTarget::All | ReloadTarget::Changed => None,
                ReloadTarget::One(plugin) | ReloadTarget::OneOrFailed(plugin) | ReloadTarget::Previous(plugin) => {
                    Some(plugin.as_str())
                }
            };
            ControlError::ReloadFailed { plugin, reasons, loaded_plugins: loaded }
        }
        ReloadReport::Stopping => ControlError::ReloadInterrupted,
        ReloadReport::Upgrading => ControlError::UpgradeUnderWay,
    };
    error.respond(format)
}
