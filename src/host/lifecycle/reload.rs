//! How plugins come into service, are replaced, and are removed.
//!
//! Runs on the Python thread. Promise: a reload loads everything aside, as a [`Draft`], and puts it into service in one
//! step; if a plugin that serves would be lost by it, the draft is discarded and nothing has changed. What was replaced
//! is drained and terminated afterwards. Caveat: the first load puts each file into service by itself, since there is
//! nothing yet that could be lost.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use pyo3::prelude::*;

use super::generation::{Draft, DraftFile, Generation, ReloadScope};
use super::handle::Interruption;
use super::host::Host;
use super::listeners::Changes;
use super::predecessor::Failure;
use super::startup::{self, Progress};
use crate::edge::config::diagnostic::log_warnings;
use crate::edge::config::relative_paths::absolute;
use crate::edge::config::settings::plugins::PluginSections;
use crate::edge::control::status::read;
use crate::edge::control::{ReloadReport, ReloadTarget};
use crate::edge::gateway::state::Snapshot;
use crate::edge::observe::line;
use crate::edge::policy::admission::{Entrance, Limit};
use crate::edge::policy::keys::Keys;
use crate::edge::routing::{Endpoint, RouteError, RouteTable};
use crate::host::plugins::discover::{discover, stem};
use crate::host::plugins::environment::Environment;
use crate::host::plugins::loaded_plugin::LoadedPlugin;
use crate::host::plugins::module::{self, FileModule};
use crate::host::plugins::parameters;
use crate::host::plugins::registry::Swap;
use crate::host::plugins::terminate::{close, drain, let_in, log_threads, terminate};
use crate::host::python::baseplugin::BasePlugin;

/// Plugins that serve no more, and the modules of files that do not.
type Retired = (Vec<Arc<LoadedPlugin>>, Vec<(PathBuf, Arc<FileModule>)>);

impl Host {
    /// The first load: each file for itself, in sorted order.
    pub(super) async fn load_all(self: Arc<Self>) {
        let environment = Arc::clone(&self.generation().environment);
        let folder = absolute(&environment.locate(&environment.folder));
        startup::begin();
        tracing::info!("Loading plugins from {}", folder.display());
        let folder_of_modules = environment.locate(&environment.folder);
        if let Err(error) = Python::attach(|py| module::replace_in_path(py, None, &folder_of_modules)) {
            tracing::warn!("modules beside the plugins cannot be imported: {error}");
        }
        let files = match discover(&environment.base, &environment.folder) {
            Ok(files) => files,
            Err(error) => {
                tracing::warn!("[paths] plugins: {}: {error}; serving no plugins", folder.display());
                return;
            }
        };
        if files.is_empty() {
            tracing::warn!("[paths] plugins: {} holds no *.py file; serving no plugins", folder.display());
        }
        warn_of_strays(&environment, &files);
        let stems: Vec<_> = files.iter().map(|file| stem(file)).collect();
        let files = self.withhold_at_start(files);
        Draft::first(self.generation()).expect(&files);
        let progress = Progress::new(files.len());
        for (done, file) in files.into_iter().enumerate() {
            progress.show(done);
            let mut draft = Draft::first(self.generation());
            let running = self.crash_guard.loading(&folder_of_modules, &file);
            draft.load(file).await;
            drop(running);
            self.settle(&mut draft).await;
            self.log_failures(&draft, Interruption::AnyStop);
            self.tell_predecessor(&draft);
            Python::attach(|py| self.put_into_service(py, draft, Changes::default()));
            if self.is_stopping() {
                return;
            }
        }
        self.warn_of_stray_sections(&environment, &stems);
    }

    /// Warns of sections for plugins that fit none of those that serve or are disabled, nor one of the files called
    /// `stems`.
    fn warn_of_stray_sections(&self, environment: &Environment, stems: &[String]) {
        let (serving, withheld) = (self.registry.serving(), self.record.withheld_ids());
        let ids = serving.plugins().iter().map(|plugin| &plugin.id).chain(&withheld);
        let names: Vec<_> = stems.iter().map(String::as_str).chain(ids.map(|id| &**id)).collect();
        log_warnings(&environment.plugins.strays(&names));
    }

    /// Reads the ini file and loads what `target` names; puts all of it into service, or changes nothing.
    pub(super) async fn reload(self: Arc<Self>, target: ReloadTarget) -> ReloadReport {
        let mut restored = None;
        let (scope, file) = match &target {
            ReloadTarget::All => (ReloadScope::Everything, None),
            ReloadTarget::Changed => (ReloadScope::ChangedPlugins, None),
            ReloadTarget::One(id) => match self.registry.serving().get(id) {
                Some(plugin) => (ReloadScope::Plugins, Some(plugin.file.clone())),
                None => return ReloadReport::Unknown { plugin: id.clone() },
            },
            ReloadTarget::Previous(id) => {
                let Some(plugin) = self.registry.serving().get(id).cloned() else {
                    return ReloadReport::Unknown { plugin: id.clone() };
                };
                restored = self.registry.previous(&plugin.file);
                if restored.is_none() {
                    return ReloadReport::NoPrevious { plugin: id.clone() };
                }
                (ReloadScope::Plugins, Some(plugin.file.clone()))
            }
            ReloadTarget::OneOrFailed(id) => {
                let file = self.registry.serving().get(id).map(|plugin| plugin.file.clone());
                let file = file.or_else(|| self.record.failed_file(id));
                match file.or_else(|| self.record.withheld_file(id).map(|one| one.file)) {
                    Some(file) => (ReloadScope::Plugins, Some(file)),
                    None => return ReloadReport::Unknown { plugin: id.clone() },
                }
            }
        };
        let begun = Python::attach(|py| Draft::begin(py, &self.launch, self.generation(), scope, restored.as_deref()));
        let mut draft = match begun {
            Ok(draft) => draft,
            Err(reasons) => return self.refused(target, reasons),
        };
        let environment = Arc::clone(draft.environment());
        let found = match file {
            Some(file) => Ok(vec![file]),
            None => discover(&environment.base, &environment.folder)
                .inspect(|files| warn_of_strays(&environment, files))
                .map(|files| self.withhold(files))
                .map_err(|error| vec![format!("{}: {error}", environment.folder.display())]),
        };
        let files = match found {
            Ok(files) => files,
            Err(reasons) => {
                draft.discard().await;
                return self.refused(target, reasons);
            }
        };
        let stems: Vec<_> = files.iter().map(|file| stem(file)).collect();
        let is_named = scope == ReloadScope::Plugins;
        let may_stay = |file: &PathBuf| Python::attach(|py| self.may_stay(py, &draft, file, &target));
        let (current, files): (Vec<_>, _) = files.into_iter().partition(|file| !is_named && may_stay(file));
        draft.keep(current);
        draft.expect(&files);
        let folder = environment.locate(&environment.folder);
        for file in files {
            let running = self.crash_guard.loading(&folder, &file);
            draft.load(file).await;
            drop(running);
            if self.is_interrupted() {
                draft.discard().await;
                return ReloadReport::Stopping;
            }
        }
        self.settle(&mut draft).await;
        self.log_failures(&draft, Interruption::FinalStop);
        let (ready, refused): (Vec<_>, Vec<_>) = draft.files().iter().partition(|file| file.may_replace);
        let [failed, mut reasons] = [ready, refused].map(|files| problems(&files));
        let is_fruitless = matches!(target, ReloadTarget::OneOrFailed(_)) && draft.is_empty();
        if self.is_interrupted() || !reasons.is_empty() || is_fruitless {
            reasons.extend(failed);
            Python::attach(|py| self.record.note_files(py, draft.files(), |_| true));
            self.registry.note_failed(draft.failed_modules());
            draft.discard().await;
            return if self.is_interrupted() { ReloadReport::Stopping } else { self.failed(target, reasons) };
        }
        let committed = Python::attach(|py| self.commit(py, draft));
        match committed {
            Ok((retired, modules)) => {
                if scope == ReloadScope::Everything {
                    self.warn_of_stray_sections(&environment, &stems);
                }
                self.end(&retired).await;
                self.release(retired, &modules);
            }
            Err(refused) => {
                let (draft, reasons) = *refused;
                Python::attach(|py| self.record.note_files(py, draft.files(), |_| true));
                draft.discard().await;
                return self.failed(target, reasons);
            }
        }
        match target {
            ReloadTarget::All | ReloadTarget::Changed => ReloadReport::All { loaded: self.loaded(), failed },
            ReloadTarget::One(plugin) | ReloadTarget::OneOrFailed(plugin) | ReloadTarget::Previous(plugin) => {
                ReloadReport::One { plugin, failed }
            }
        }
    }

    /// Whether a file and all that its plugins are made of are as they were when it was loaded. A file that could not
    /// be loaded is tried again when somebody asks for a reload, but not because another file has changed.
    pub(super) fn is_current(
        &self,
        py: Python<'_>,
        environment: &Environment,
        file: &Path,
        target: &ReloadTarget,
    ) -> bool {
        let failures_count = *target == ReloadTarget::Changed;
        let current = parameters::digest(py, environment, &stem(file))
            .and_then(|parameters| self.registry.is_current(py, file, &parameters, failures_count));
        current.unwrap_or_else(|error| {
            tracing::debug!("{}: loaded anew: {error}", file.display());
            false
        })
    }

    /// Whether a file is left as it is. One whose plugins ask for a named key that there will not be is loaded anew,
    /// which fails with the reason.
    fn may_stay(&self, py: Python<'_>, draft: &Draft, file: &Path, target: &ReloadTarget) -> bool {
        let (serving, environment) = (self.registry.serving(), draft.environment());
        let keys = Keys::of(&draft.generation().settings);
        let lacks_key = |plugin: &&Arc<LoadedPlugin>| {
            plugin.file == file
                && plugin.lacks_key(py, environment.plugins.of(&plugin.id, &stem(file)), &keys).is_some()
        };
        self.is_current(py, environment, file, target) && !serving.plugins().iter().any(|plugin| lacks_key(&plugin))
    }

    /// Whether a stop has been asked for that does not wait for a reload.
    fn is_interrupted(&self) -> bool {
        self.handle.is_interrupted(Interruption::FinalStop)
    }

    /// A reload that does not begin.
    fn refused(&self, target: ReloadTarget, reasons: Vec<String>) -> ReloadReport {
        for reason in &reasons {
            tracing::error!("reload: {reason}");
        }
        self.failed(target, reasons)
    }

    fn failed(&self, target: ReloadTarget, reasons: Vec<String>) -> ReloadReport {
        ReloadReport::Failed { target, reasons, loaded: self.loaded() }
    }

    fn loaded(&self) -> Vec<String> {
        self.registry.serving().plugins().iter().map(|plugin| plugin.id.to_string()).collect()
    }

    async fn settle(&self, draft: &mut Draft) {
        let exists = |file: &std::path::Path| self.launch.folder.join(file).exists();
        let objection = |plugin: &LoadedPlugin| self.endpoint(plugin).err().map(|error| error.to_string());
        draft.settle(&self.registry.serving(), exists, objection).await;
    }

    /// Logs what went wrong, unless a stop has interrupted the load, which is no failure.
    fn log_failures(&self, draft: &Draft, interruption: Interruption) {
        if !self.handle.is_interrupted(interruption) {
            let failures = draft.files().iter().flat_map(|file| &file.loaded.failures);
            Python::attach(|py| failures.for_each(|failure| tracing::error!("{}", failure.record(py))));
        }
    }

    /// Reports to the process that is to be replaced, if one is, what has been loaded.
    fn tell_predecessor(&self, draft: &Draft) {
        let Some(predecessor) = &self.predecessor else { return };
        for DraftFile { file, loaded, .. } in draft.files() {
            let failures = loaded.failures.iter();
            let failures = failures.map(|one| Failure { text: one.to_string(), of_self_check: one.of_self_check });
            predecessor.loaded(file, failures.collect());
        }
    }

    fn endpoint(&self, plugin: &LoadedPlugin) -> Result<Arc<Endpoint>, RouteError> {
        // The same as before for an instance that serves already: a change of one plugin is not to make all anew.
        let snapshot = self.handle.state.snapshot.load();
        let earlier = snapshot.table.get(&plugin.id);
        let settings = plugin.settings();
        if let Some(endpoint) = earlier.filter(|endpoint| Arc::ptr_eq(&endpoint.auth, &plugin.policy)) {
            let is_same = *endpoint.settings == *settings;
            return Ok(if is_same { Arc::clone(endpoint) } else { Arc::new(endpoint.with_settings(settings)) });
        }
        let entrance = plugin.entrance.get_or_init(|| {
            // Requests in the old instance count until they end.
            let limit = earlier.map(|earlier| Arc::clone(&earlier.entrance.limit));
            Entrance::new(limit.unwrap_or_else(|| Limit::new(settings.in_flight)))
        });
        let (entrance, policy) = (Arc::clone(entrance), Arc::clone(&plugin.policy));
        let parameters = plugin.typed.as_ref().map(|typed| Arc::clone(&typed.parameters));
        let endpoint = Endpoint::new(&plugin.id, entrance, plugin.methods, policy, settings)?;
        Ok(Arc::new(endpoint.described(parameters, Arc::clone(&plugin.description))))
    }

    /// Puts the draft into service, or gives it back with the reasons why not, which have been logged. In one step:
    /// between the export of a plugin's state and its service no request may change it.
    fn commit(&self, py: Python<'_>, mut draft: Draft) -> Result<Retired, Box<(Draft, Vec<String>)>> {
        let listeners = match self.bind_new(&draft) {
            Ok(listeners) => listeners,
            Err(reason) => {
                tracing::error!("reload: {reason}");
                return Err(Box::new((draft, vec![reason])));
            }
        };
        let reasons = draft.hand_on_state(py, &self.registry.serving());
        if reasons.is_empty() {
            Ok(self.put_into_service(py, draft, listeners))
        } else {
            Err(Box::new((draft, reasons)))
        }
    }

    /// The one step in which a draft begins to serve. Returns the plugins that serve no more, and their modules.
    fn put_into_service(&self, py: Python<'_>, draft: Draft, listeners: Changes) -> Retired {
        let generation = Arc::clone(draft.generation());
        let before = self.replace_generation(Arc::clone(&generation));
        let is_new = !Arc::ptr_eq(&before, &generation);
        if is_new {
            for option in generation.settings.needing_restart(&before.settings) {
                tracing::warn!("{option} has changed; the new value counts after a restart");
            }
        }
        self.record.remove_withheld(draft.files().iter().map(|one| one.file.as_path()));
        self.record.note_files(py, draft.files(), |file| draft.kept().contains(file));
        let unloadable = draft.failed_modules();
        let (mut files, mut modules) = (Vec::new(), Vec::new());
        if draft.files().is_empty()
            && let Err(error) = draft.environment().modules.clear(py)
        {
            tracing::error!("an empty set of modules stays: {error}");
        }
        let (draft_files, kept) = draft.finish(py);
        for DraftFile { file, loaded, .. } in draft_files {
            let is_loaded = loaded.failures.is_empty() || !loaded.plugins.is_empty();
            modules.push((file.clone(), loaded.origin.filter(|_| is_loaded)));
            files.push((file, loaded.plugins));
        }
        let loaded: Vec<_> = files.iter().flat_map(|(_, plugins)| plugins).cloned().collect();
        let Swap { serving, retired } = self.registry.serving().swap(files, |plugin| kept.contains(&plugin.file));
        if is_new {
            self.change_listeners(listeners);
            self.change_limits(&generation.settings);
            change_settings(&serving, &generation.settings.plugins);
            change_server_key(py, &serving, &before, &generation);
        }
        self.crash_guard.note_loaded(&loaded);
        self.publish(&serving, &retired);
        let modules = self.registry.replace_modules(py, modules, |file| kept.contains(file));
        self.registry.note_failed(unloadable);
        self.record.note_swap(py, &loaded, &retired);
        for plugin in loaded {
            tracing::info!("Loaded plugin {} from {}", plugin.id, plugin.file.display());
            if let Some(mount) = &generation.static_mount {
                mount.warn_shadowed(&plugin.id, &plugin.file);
            }
        }
        for old in retired.iter().filter(|old| !serving.iter().any(|plugin| plugin.id == old.id)) {
            tracing::info!("Plugin {} of {} is gone", old.id, old.file.display());
        }
        (retired, modules)
    }

    /// Swaps the registry and then the native snapshot, so that whatever its table names is there. What was admitted to
    /// the plugins that are `leaving` is still theirs.
    pub(super) fn publish(&self, plugins: &[Arc<LoadedPlugin>], leaving: &[Arc<LoadedPlugin>]) {
        let mut table = RouteTable::default();
        for plugin in plugins {
            let inserted = self.endpoint(plugin).and_then(|endpoint| {
                endpoint.entrance.limit.set_max(endpoint.settings.in_flight);
                endpoint.entrance.parking.configure(&plugin.id, endpoint.settings.park_after);
                table.insert(endpoint)
            });
            if let Err(error) = inserted {
                tracing::error!("{}: {error}", plugin.file.display());
            }
        }
        let withheld = self.record.withheld_ids();
        for id in &withheld {
            match self.withheld_endpoint(id) {
                Ok(endpoint) => table.insert_disabled(Arc::new(endpoint)),
                Err(error) => tracing::debug!("{error}"),
            }
        }
        self.registry.publish(plugins.to_vec(), leaving.to_vec());
        self.registry.withhold(withheld.into_iter().collect());
        let generation = self.generation();
        let (static_mount, tls) = (generation.static_mount.as_ref(), generation.tls.clone());
        let observers = generation.observers.clone();
        line::set_json(generation.settings.log_as_json);
        let snapshot = Snapshot::new(&generation.settings, table, static_mount, tls, observers);
        self.handle.state.snapshot.store(Arc::new(snapshot));
    }

    /// Ends plugins that serve no more, once the requests inside them have ended.
    pub(super) async fn end(&self, plugins: &[Arc<LoadedPlugin>]) {
        let deadline = Instant::now() + self.generation().settings.server.shutdown_timeout;
        let drained = match let_in(plugins, deadline).await {
            Ok(()) => drain(plugins, deadline).await,
            Err(error) => Err(error),
        };
        if let Err(error) = drained {
            tracing::warn!("not waiting for requests any longer: {error}");
        }
        self.registry.forget_leaving();
        terminate(plugins, deadline).await;
        let serving = self.registry.serving();
        // A request that did not end in time needs its timers and may need tasks.
        let is_over = |old: &LoadedPlugin| {
            let is_shared = serving.plugins().iter().any(|new| Arc::ptr_eq(&new.scope, &old.scope));
            !is_shared && read(&old.in_flight.gauge()) == 0
        };
        Python::attach(|py| plugins.iter().filter(|old| is_over(old)).for_each(|old| close(py, &old.scope)));
        self.record.note_end(plugins);
    }

    /// Lets go of the modules of plugins that have ended, so that nothing of them is left but what others hold.
    pub(super) fn release(&self, plugins: Vec<Arc<LoadedPlugin>>, modules: &[(PathBuf, Arc<FileModule>)]) {
        Python::attach(|py| {
            self.registry.release(py, modules);
            let left: Vec<_> = plugins.iter().map(|old| (Arc::clone(&old.id), Arc::clone(&old.scope))).collect();
            drop(plugins);
            // Classes refer to themselves, so they are gone only when the collector has found them.
            if let Err(error) = py.import("gc").and_then(|gc| gc.call_method0("collect")) {
                tracing::warn!("old code stays in memory: {error}");
            }
            log_threads(py, &left);
            module::log_outdated_packages(py);
        });
    }
}

/// Has plugins that stay in service go by the server's new key, if they go by the server's.
fn change_server_key(py: Python<'_>, plugins: &[Arc<LoadedPlugin>], before: &Generation, now: &Generation) {
    let [before, now] = [before, now].map(|generation| generation.settings.apikey.as_ref());
    for plugin in plugins {
        if let Err(error) = BasePlugin::change_server_key(plugin.instance.bind(py), before, now) {
            tracing::error!("plugin {}: it keeps the earlier key of the server: {error}", plugin.id);
        }
    }
}

/// Has all plugins go by these sections, those that stay in service among them.
fn change_settings(plugins: &[Arc<LoadedPlugin>], sections: &PluginSections) {
    for plugin in plugins {
        plugin.go_by(Arc::clone(sections.of(&plugin.id, &stem(&plugin.file))));
    }
}

/// What went wrong with `files`, each with file and reason.
fn problems(files: &[&DraftFile]) -> Vec<String> {
    files.iter().flat_map(|file| &file.loaded.failures).map(ToString::to_string).collect()
}

/// Warns of lines of `[plugin_parms]` that belong to none of the `files`.
fn warn_of_strays(environment: &Environment, files: &[PathBuf]) {
    log_warnings(&environment.strays(&files.iter().map(|file| stem(file)).collect::<Vec<_>>()));
}
