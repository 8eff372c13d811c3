//! Plugins that are taken out of service, and back into it.
//!
//! Runs on the Python thread. Promise: a plugin that is disabled has been terminated when that is reported; one that
//! cannot be loaded when it is enabled stays disabled. Like a reload, both concern all plugins of a file. Caveat: that
//! a file is disabled is decided and kept before the Python thread comes to it, by the I/O thread that was asked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use pyo3::prelude::*;

use super::crash_guard;
use super::host::Host;
use super::status::WithheldFile;
use crate::edge::control::kept::{self, Withheld};
use crate::edge::control::{ReloadReport, ReloadTarget};
use crate::edge::http::request::MethodSet;
use crate::edge::policy::admission::{Entrance, Limit};
use crate::edge::policy::credential::AuthPolicy;
use crate::edge::routing::{Endpoint, RouteError};
use crate::host::plugins::discover::stem;
use crate::host::plugins::loaded_plugin::LoadedPlugin;

impl Host {
    /// Splits `files` into those that are to be loaded and those that are not, which the list shows from now on.
    pub(super) fn withhold(&self, files: Vec<PathBuf>) -> Vec<PathBuf> {
        let mut withheld = Vec::new();
        let load = files.into_iter().filter(|file| match self.withheld(file) {
            Some(file) => {
                withheld.push(file);
                false
            }
            None => true,
        });
        let load = load.collect();
        self.record.set_withheld(withheld);
        load
    }

    /// The same at the start, with a line in the log for each file that is not loaded.
    pub(super) fn withhold_at_start(&self, files: Vec<PathBuf>) -> Vec<PathBuf> {
        let load = self.withhold(files);
        // So that their endpoints are known, and shown, before anything is loaded.
        self.publish(&[], &[]);
        self.record.publish_statuses();
        if self.handle.state.kept.is_safe_mode() {
            tracing::warn!("Safe mode: all plugins are disabled; `plugincore ctl enable ID` loads one");
        }
        for WithheldFile { file, why, ids } in self.record.all_withheld() {
            match why {
                Withheld::Disabled => {
                    tracing::info!("{} is disabled; `plugincore ctl enable {}` loads it", file.display(), ids[0]);
                }
                Withheld::Parked => tracing::error!("{} is not loaded: {}", file.display(), crash_guard::reason()),
            }
        }
        load
    }

    /// What stands for a plugin that is disabled. Its counters go on where they were.
    pub(super) fn withheld_endpoint(&self, id: &Arc<str>) -> Result<Endpoint, RouteError> {
        let (snapshot, generation) = (self.handle.state.snapshot.load(), self.generation());
        let settings = Arc::clone(&generation.settings.plugins.general);
        let earlier = snapshot.table.get(id);
        let limit =
            earlier.map_or_else(|| Limit::new(settings.in_flight), |earlier| Arc::clone(&earlier.entrance.limit));
        let auth = Arc::new(ArcSwap::from_pointee(AuthPolicy::Closed));
        Endpoint::new(id, Entrance::new(limit), MethodSet::ALL, auth, settings)
    }

    /// A file that is not to be loaded, with the ids under which it is known.
    fn withheld(&self, file: &Path) -> Option<WithheldFile> {
        let key = kept::key(file);
        let on_disk = self.generation().environment.locate(file);
        self.handle.state.kept.forget_crashes_if_changed(&key, || crash_guard::content(&on_disk));
        let why = self.handle.state.kept.withheld(&key)?;
        let mut ids: Vec<Arc<str>> = self.handle.state.kept.ids(&key).into_iter().map(Arc::from).collect();
        if ids.is_empty() {
            ids.push(Arc::from(stem(file)));
        }
        Some(WithheldFile { file: file.to_path_buf(), why, ids })
    }

    /// Ends the plugins of the file of plugin `id`, which has just been disabled.
    pub(super) async fn disable(self: Arc<Self>, id: String) -> ReloadReport {
        let serving = self.registry.serving();
        let is_out = |plugin: &LoadedPlugin| self.handle.state.kept.withheld(&kept::key(&plugin.file)).is_some();
        let (retired, stay): (Vec<_>, Vec<_>) = serving.plugins().iter().cloned().partition(|plugin| is_out(plugin));
        let mut files: Vec<_> = retired.iter().map(|plugin| plugin.file.clone()).collect();
        files.extend(self.record.failed_file(&id));
        self.record.add_withheld(files.iter().filter_map(|file| self.withheld(file)));
        let modules = Python::attach(|py| {
            self.publish(&stay, &retired);
            self.record.note_swap(py, &[], &retired);
            self.registry.replace_modules(py, Vec::new(), |file| !files.iter().any(|out| out == file))
        });
        for plugin in &retired {
            tracing::info!("Plugin {} of {} is disabled", plugin.id, plugin.file.display());
        }
        self.end(&retired).await;
        self.release(retired, &modules);
        let ids = self.record.withheld_file(&id).map_or_else(Vec::new, |file| file.ids);
        ReloadReport::Disabled { plugin: id, plugins: ids.iter().map(ToString::to_string).collect() }
    }

    /// Loads the file of plugin `id`, and has it loaded after restarts again.
    pub(super) async fn enable(self: Arc<Self>, id: String) -> ReloadReport {
        let Some(WithheldFile { file, .. }) = self.record.withheld_file(&id) else {
            return match self.registry.serving().get(&id) {
                Some(plugin) => self.enabled(id, &plugin.file, Vec::new()),
                None => self.reload(ReloadTarget::OneOrFailed(id)).await,
            };
        };
        let (key, kept) = (kept::key(&file), Arc::clone(&self.handle.state.kept));
        let earlier = kept.enable(&key);
        match Arc::clone(&self).reload(ReloadTarget::OneOrFailed(id)).await {
            ReloadReport::One { plugin, failed } => {
                kept.keep();
                self.enabled(plugin, &file, failed)
            }
            report => {
                kept.take_back(&key, earlier);
                report
            }
        }
    }

    fn enabled(&self, plugin: String, file: &Path, failed: Vec<String>) -> ReloadReport {
        let plugins = self.registry.serving().of_file(file).iter().map(|plugin| plugin.id.to_string()).collect();
        ReloadReport::Enabled { plugin, plugins, failed }
    }

    /// Why the plugin `id` cannot be reloaded, if it is not in service on purpose.
    pub(super) fn refuses_reload(&self, id: &str) -> Option<ReloadReport> {
        let WithheldFile { why, .. } = self.record.withheld_file(id)?;
        Some(ReloadReport::Withheld { plugin: id.to_owned(), why })
    }
}
