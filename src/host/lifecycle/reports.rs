//! Has Python report exceptions that no code catches, and keeps its `logging` working for all plugins.
//!
//! Runs on the Python thread. The hooks themselves are in Python, in `plugincore._reports` and
//! `plugincore._shared_logging`. Promise: a report names the plugin by its id and the file as the configuration does.
//! Caveat: the hooks belong to the process, so only the server sets them, and they do nothing once the host is gone.

use std::path::PathBuf;
use std::sync::{Arc, Weak};

use pyo3::prelude::*;
use pyo3::types::PyString;

use super::host::Host;
use crate::edge::observe::metrics::incidents::{self, Incident};
use crate::host::bridge::stack_sample::{self, FindPlugins};

/// What the hooks ask the server.
#[pyclass(frozen, module = "plugincore._core", name = "plugin_files")]
struct PluginFiles {
    host: Weak<Host>,
}

#[pymethods]
impl PluginFiles {
    /// The name of a file in messages and the ids of the plugins in it; None for a file from elsewhere.
    fn find(&self, file: PathBuf) -> Option<(PathBuf, String)> {
        let host = self.host.upgrade()?;
        let shown = host.generation().environment.shown(&file)?;
        let plugins: Vec<_> = host.registry.serving().of_file(&shown).iter().map(|one| one.id.to_string()).collect();
        Some((shown, plugins.join(", ")))
    }

    /// Writes a warning of the server's.
    fn report(&self, text: &Bound<'_, PyString>) {
        // A message may hold lone surrogates.
        tracing::warn!("{}", text.to_string_lossy());
    }

    /// Writes a record of an exception that no code caught, and counts it for the first of the `plugins`.
    fn report_exception(&self, text: &Bound<'_, PyString>, traceback: &Bound<'_, PyString>, plugins: &str) {
        let plugin = first_of(plugins);
        incidents::count(Incident::Exception, plugin);
        let (text, traceback) = (text.to_string_lossy(), traceback.to_string_lossy());
        if plugin.is_empty() {
            tracing::error!(record.exception = &*traceback, "{text}");
        } else {
            tracing::error!(record.plugin = plugin, record.exception = &*traceback, "{text}");
        }
    }

    /// Counts a warning of Python for the first of the `plugins`.
    fn count_warning(&self, plugins: &str) {
        incidents::count(Incident::Warning, first_of(plugins));
    }
}

/// The first of the ids of plugins in one file.
fn first_of(plugins: &str) -> &str {
    plugins.split(", ").next().unwrap_or_default()
}

/// What names the plugins in the watchdog's samples.
fn find_plugins(host: &Arc<Host>) -> FindPlugins {
    let host = Arc::downgrade(host);
    Box::new(move |file| {
        let host = host.upgrade()?;
        let shown = host.generation().environment.shown(file)?;
        let ids = host.registry.serving().of_file(&shown).iter().map(|plugin| Arc::clone(&plugin.id)).collect();
        Some((shown, ids))
    })
}

/// Sets the hooks.
///
/// # Errors
/// When something in the standard library is missing.
pub(crate) fn install(event_loop: &Bound<'_, PyAny>, host: &Arc<Host>) -> PyResult<()> {
    let py = event_loop.py();
    let files = Bound::new(py, PluginFiles { host: Arc::downgrade(host) })?;
    stack_sample::find_plugins_by(find_plugins(host));
    py.import("plugincore._reports")?.call_method1("install", (&files, event_loop))?;
    py.import("plugincore._shared_logging")?.call_method1("install", (files,)).map(drop)
}
