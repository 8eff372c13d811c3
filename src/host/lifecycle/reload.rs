//! How plugins come in, take over from one another, and go.
//!
//! Promise: a new instance is built and initialised before it takes over, the old one is drained and terminated after;
//! whatever fails leaves what was serving in place and says why. Caveat: each file is a step of its own; a reload of all
//! can replace some files and keep others.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use pyo3::prelude::*;

use super::environment::environment;
use super::host::{Host, lock};
use crate::edge::config::diagnostic::log_warnings;
use crate::edge::config::relative_paths::absolute;
use crate::edge::config::settings::Settings;
use crate::edge::control::{ReloadReport, ReloadTarget};
use crate::edge::gateway::state::Snapshot;
use crate::edge::gateway::static_mount::StaticMount;
use crate::edge::http::tls;
use crate::edge::policy::admission::Limit;
use crate::edge::routing::{Endpoint, RouteError, RouteTable};
use crate::host::plugins::discover::{discover, stem};
use crate::host::plugins::environment::Environment;
use crate::host::plugins::load::{LoadedFile, load_file};
use crate::host::plugins::loaded_plugin::LoadedPlugin;
use crate::host::plugins::module;
use crate::host::plugins::terminate::{drain, terminate};
use crate::host::python::baseplugin::BasePlugin;
use crate::host::python::config;

/// What came of one file.
struct Brought {
    /// What went wrong, each with file and reason; logged already.
    problems: Vec<String>,
    /// False if the earlier generation goes on serving.
    taken_over: bool,
}

impl Host {
    /// The first load: each file for itself, in sorted order.
    pub(super) async fn load_all(self: Arc<Self>) {
        let environment = self.environment();
        let folder = absolute(&environment.locate(&environment.folder));
        tracing::info!("Loading plugins from {}", folder.display());
        if let Err(error) = Python::attach(|py| module::add_to_path(py, &environment.locate(&environment.folder))) {
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
        for file in files {
            self.bring_in(&environment, &file).await;
            if self.is_stopping() {
                return;
            }
        }
    }

    /// Reads the ini file and loads what `target` names.
    pub(super) async fn reload(self: Arc<Self>, target: ReloadTarget) -> ReloadReport {
        let serving = self.registry.serving();
        let file = match &target {
            ReloadTarget::All => None,
            ReloadTarget::One(id) => match serving.get(id) {
                Some(resident) => Some(resident.file.clone()),
                None => return ReloadReport::Unknown { plugin: id.clone() },
            },
        };
        if let Err(reasons) = Python::attach(|py| self.read_again(py, file.is_none())) {
            return self.refused(target, reasons);
        }
        let mut reasons = Vec::new();
        let environment = self.environment();
        let helpers = Python::attach(|py| module::forget_helpers(py, &environment.locate(&environment.folder)))
            .unwrap_or_default();
        let files = match &file {
            Some(file) => vec![file.clone()],
            None => match discover(&environment.base, &environment.folder) {
                Ok(files) => files,
                Err(error) => {
                    return self.refused(target, vec![format!("{}: {error}", environment.folder.display())]);
                }
            },
        };
        if file.is_none() {
            warn_of_strays(&environment, &files);
        }
        let mut failed = Vec::new();
        for file in &files {
            let brought = self.bring_in(&environment, file).await;
            if self.is_stopping() {
                return ReloadReport::Stopping;
            }
            if brought.taken_over { &mut failed } else { &mut reasons }.extend(brought.problems);
        }
        if file.is_none() {
            self.let_go(&files).await;
        }
        if !reasons.is_empty() {
            if let Err(error) = Python::attach(|py| module::restore_helpers(py, helpers)) {
                tracing::error!("helper modules cannot be restored: {error}");
            }
            reasons.extend(failed);
            return self.failed(target, reasons);
        }
        match target {
            ReloadTarget::All => ReloadReport::All { loaded: self.loaded(), failed },
            ReloadTarget::One(plugin) => ReloadReport::One { plugin, failed },
        }
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
        self.registry.serving().residents().iter().map(|resident| resident.id.to_string()).collect()
    }

    /// Reads the ini file again and applies what can change while serving.
    fn read_again(&self, py: Python<'_>, everything: bool) -> Result<(), Vec<String>> {
        let told = |error: &dyn std::fmt::Display| vec![error.to_string()];
        let (reading, warnings) = config::load(py, &self.launch.folder, self.launch.ini.as_deref(), &self.launch.level);
        log_warnings(&warnings);
        let reading = reading.map_err(|errors| errors.0.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let certificate = match &reading.settings.tls {
            Some(files) if everything => Some(tls::load(&self.launch.folder, files).map_err(|error| told(&error))?),
            _ => None,
        };
        let environment = environment(py, &self.launch, &reading.settings, reading.config);
        let environment = environment.map_err(|error| told(&error))?;
        // From here on nothing is refused any more.
        config::proclaim(environment.config.bind(py)).map_err(|error| told(&error))?;
        drop(self.environment.replace(Arc::new(environment)));
        if everything {
            self.shared.tls.store(certificate);
        }
        let before = std::mem::replace(&mut *lock(&self.settings), reading.settings);
        self.change_keys(py, &before);
        for option in lock(&self.settings).needing_restart(&before) {
            tracing::warn!("{option} has changed; the new value counts after a restart");
        }
        *lock(&self.documents) = StaticMount::new(&lock(&self.settings), &self.launch);
        self.publish(self.registry.serving().residents().to_vec());
        Ok(())
    }

    /// Has the plugins that ask for the server's key ask for the new one at once: those that are loaded anew later, and
    /// those that cannot be.
    fn change_keys(&self, py: Python<'_>, before: &Settings) {
        let now = lock(&self.settings).apikey.clone();
        for resident in self.registry.serving().residents() {
            let instance = resident.instance.bind(py);
            let changed = BasePlugin::change_server_key(instance, before.apikey.as_ref(), now.as_ref());
            if let Err(error) = changed {
                tracing::error!("plugin {} does not take the server's new key: {error}", resident.id);
            }
        }
    }

    /// Loads one file and, unless something that serves would be lost, has it take over from its earlier generation.
    async fn bring_in(&self, environment: &Arc<Environment>, file: &Path) -> Brought {
        let mut old = self.registry.serving().of_file(file);
        let mut loaded = load_file(environment, file).await;
        self.refuse_taken_ids(environment, &mut loaded, file).await;
        let taken_over = loaded.may_replace(&old);
        if let Some(last) = loaded.failures.last_mut().filter(|_| !taken_over) {
            last.add("the earlier version goes on serving");
        }
        // A stop interrupts a load, and that is no failure.
        if !self.is_stopping() {
            Python::attach(|py| loaded.failures.iter().for_each(|failure| tracing::error!("{}", failure.record(py))));
        }
        let problems: Vec<String> = loaded.failures.iter().map(ToString::to_string).collect();
        if !taken_over {
            loaded.give_up(environment.farewell).await;
            return Brought { problems, taken_over };
        }
        old.extend(self.replace(file, loaded.residents.clone()));
        for resident in &loaded.residents {
            tracing::info!("Loaded plugin {} from {}", resident.id, file.display());
            if let Some(documents) = &*lock(&self.documents) {
                documents.warn_shadowed(&resident.id, file);
            }
        }
        self.end(&old).await;
        Brought { problems, taken_over }
    }

    /// An id belongs to the file that had it first, for as long as that file is there.
    async fn refuse_taken_ids(&self, environment: &Environment, loaded: &mut LoadedFile, file: &Path) {
        let serving = self.registry.serving();
        let belongs_to_another = |id: &str| {
            serving.get(id).is_some_and(|one| one.file != file && self.launch.folder.join(&one.file).exists())
        };
        // Of this file alone: each file of many is looked at when it comes, and must not cost a look at all others.
        let mut table = RouteTable::default();
        let objection = |resident: &LoadedPlugin| {
            let endpoint = self.endpoint(resident);
            let free = endpoint.and_then(|endpoint| {
                if belongs_to_another(endpoint.id()) {
                    return Err(RouteError::Taken(endpoint.id().to_string()));
                }
                table.insert(endpoint)
            });
            free.err()
        };
        loaded.refuse(environment.farewell, objection).await;
    }

    fn endpoint(&self, resident: &LoadedPlugin) -> Result<Arc<Endpoint>, RouteError> {
        // The same as before for an instance that serves already: a change of one plugin is not to make all anew.
        if let Some(endpoint) = self.shared.snapshot.load().table.get(&resident.id)
            && Arc::ptr_eq(&endpoint.auth, &resident.policy)
        {
            return Ok(Arc::clone(endpoint));
        }
        let most = lock(&self.settings).server.max_in_flight_per_plugin;
        let mut limits = lock(&self.limits);
        let limit = limits.entry(Arc::clone(&resident.id)).or_insert_with(|| Limit::new(most));
        let (limit, policy) = (Arc::clone(limit), Arc::clone(&resident.policy));
        Endpoint::new(&resident.id, limit, resident.methods, policy).map(Arc::new)
    }

    /// Puts `new` where the plugins of `file` are, or at the end. Returns the plugins of other, deleted files whose ids
    /// they take over.
    fn replace(&self, file: &Path, new: Vec<Arc<LoadedPlugin>>) -> Vec<Arc<LoadedPlugin>> {
        let serving = self.registry.serving();
        let mut residents: Vec<_> = serving.residents().to_vec();
        let place = residents.iter().position(|resident| resident.file == file).unwrap_or(residents.len());
        residents.retain(|resident| resident.file != file);
        residents.splice(place..place, new.iter().cloned());
        let heir = |resident: &LoadedPlugin| new.iter().any(|new| new.id == resident.id && new.file != resident.file);
        let superseded = residents.iter().filter(|resident| heir(resident)).cloned().collect();
        residents.retain(|resident| !heir(resident));
        self.publish(residents);
        superseded
    }

    /// Swaps the registry and then the native table, so that whatever the table names is there.
    fn publish(&self, residents: Vec<Arc<LoadedPlugin>>) {
        let mut table = RouteTable::default();
        for resident in &residents {
            if let Err(error) = self.endpoint(resident).and_then(|endpoint| table.insert(endpoint)) {
                tracing::error!("{}: {error}", resident.file.display());
            }
        }
        self.registry.publish(residents);
        let live = Snapshot::new(&lock(&self.settings), table, lock(&self.documents).as_ref());
        self.shared.snapshot.store(Arc::new(live));
    }

    /// Ends the plugins whose files are gone.
    async fn let_go(&self, files: &[PathBuf]) {
        let serving = self.registry.serving();
        let gone: Vec<_> = serving.residents().iter().filter(|one| !files.contains(&one.file)).cloned().collect();
        for resident in &gone {
            tracing::info!("{} is gone, and plugin {} with it", resident.file.display(), resident.id);
            self.replace(&resident.file, Vec::new());
        }
        self.end(&gone).await;
    }

    /// Ends plugins that serve no more, once the requests inside them have ended.
    async fn end(&self, residents: &[Arc<LoadedPlugin>]) {
        let deadline = Instant::now() + self.timeout;
        if let Err(error) = drain(residents, deadline).await {
            tracing::warn!("not waiting for requests any longer: {error}");
        }
        terminate(residents, deadline).await;
    }
}

/// Warns of lines of `[plugin_parms]` that belong to none of the `files`.
fn warn_of_strays(environment: &Environment, files: &[PathBuf]) {
    log_warnings(&environment.strays(&files.iter().map(|file| stem(file)).collect::<Vec<_>>()));
}
