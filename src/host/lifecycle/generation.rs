//! The state that the server serves with, as one value: the start makes the first, each reload of everything another.
//!
//! Runs on the Python thread. Promise: a [`Generation`] is never changed. A [`Draft`] is the next one in the making:
//! its plugins are loaded beside those that serve, and until it is put into service [`Draft::discard`] takes all of it
//! back, Python's modules included. Caveat: what plugin code does elsewhere while it is loaded (a file that it writes,
//! a module of others that it changes) is not taken back.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use pyo3::prelude::*;

use super::environment::environment;
use crate::edge::config::diagnostic::log_warnings;
use crate::edge::config::difference::Digests;
use crate::edge::config::launch::LaunchOptions;
use crate::edge::config::settings::{Secret, Settings};
use crate::edge::gateway::static_mount::StaticMount;
use crate::edge::http::observed::Observers;
use crate::edge::http::tls::Tls;
use crate::edge::policy::keys::Keys;
use crate::edge::routing::RouteError;
use crate::host::plugins::discover::stem;
use crate::host::plugins::environment::Environment;
use crate::host::plugins::failure::LoadFailure;
use crate::host::plugins::load::{LoadedFile, load_file};
use crate::host::plugins::loaded_plugin::{Entry, LoadedPlugin};
use crate::host::plugins::module::{self, FileModule};
use crate::host::plugins::registry::PluginSet;
use crate::host::plugins::state::hand_on;
use crate::host::plugins::terminate::left;
use crate::host::python::baseplugin::BasePlugin;
use crate::host::python::config;

/// One reading of the ini file and what it names; the plugins loaded with it are in the registry.
pub(super) struct Generation {
    /// What the ini file and the command line say.
    pub settings: Settings,
    /// The same, to tell later what has changed.
    pub digests: Digests,
    /// What plugins are loaded with.
    pub environment: Arc<Environment>,
    /// What TLS is spoken with, if it is on.
    pub tls: Option<Arc<Tls>>,
    /// What observes requests, if anything does.
    pub observers: Option<Arc<Observers>>,
    /// The folder of static files, if one is served.
    pub static_mount: Option<StaticMount>,
}

/// What a reload may change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ReloadScope {
    /// All that the ini file says, and all plugins.
    Everything,
    /// The plugins of some files, with the parameters that the ini file has for them now.
    Plugins,
    /// The same, but an ini file that cannot be used is no obstacle: the one that counts stays.
    ChangedPlugins,
}

/// A generation that is being made.
pub(super) struct Draft {
    /// The one that serves.
    serving: Arc<Generation>,
    /// The next one; without it the one that serves stays, and some of its plugins are replaced.
    next: Option<Arc<Generation>>,
    /// What plugins are loaded with.
    environment: Arc<Environment>,
    /// The server's key that plugins read in `environment`.
    key: Option<Secret>,
    files: Vec<DraftFile>,
    kept: Kept,
}

/// What becomes of the files that a draft does not load.
pub(super) enum Kept {
    /// They stay as they are.
    All,
    /// These stay as they are, and the plugins of all others end.
    Only(HashSet<PathBuf>),
}

impl Kept {
    /// Whether `file` stays as it is.
    pub(super) fn contains(&self, file: &Path) -> bool {
        match self {
            Self::All => true,
            Self::Only(files) => files.contains(file),
        }
    }
}

/// What is wrong with a plugin that has lost the handler that it serves with.
fn lost_handler(plugin: &LoadedPlugin, serving: &PluginSet) -> Option<String> {
    let Entry::Missing(hint) = &plugin.entry else { return None };
    let served = serving.get(&plugin.id).is_some_and(|old| !matches!(old.entry, Entry::Missing(_)));
    served.then(|| format!("plugin {} has no request_handler any more; {hint}", plugin.id))
}

/// What follows from a failure in a plugin that serves.
const SERVES_ON: &str = "the earlier version goes on serving";

/// What came of one file.
pub(super) struct DraftFile {
    /// The file, as messages name it.
    pub file: PathBuf,
    /// Its plugins, and what went wrong.
    pub loaded: LoadedFile,
    /// False if plugins that serve would be lost with it.
    pub may_replace: bool,
}

impl Draft {
    /// For the first load, whose plugins come into service file by file.
    pub(super) fn first(serving: Arc<Generation>) -> Self {
        let environment = Arc::clone(&serving.environment);
        let key = serving.settings.apikey.clone();
        Self { serving, next: None, environment, key, files: Vec::new(), kept: Kept::All }
    }

    /// Reads the ini file again and, for everything, the certificate. What was `restored` is loaded from the sources
    /// that it was run from, instead of from the files.
    ///
    /// # Errors
    /// Why the reload cannot begin, each with file and line; nothing has changed then.
    pub(super) fn begin(
        py: Python<'_>,
        launch: &LaunchOptions,
        serving: Arc<Generation>,
        scope: ReloadScope,
        restored: Option<&FileModule>,
    ) -> Result<Self, Vec<String>> {
        let reason = |error: &dyn std::fmt::Display| vec![error.to_string()];
        let (reading, warnings) =
            config::load(py, &launch.folder, launch.ini.as_deref(), &launch.level, &launch.replaced);
        let reading = match reading {
            Ok(reading) => {
                log_warnings(&warnings);
                reading
            }
            Err(_) if scope == ReloadScope::ChangedPlugins => {
                let environment = Arc::new(serving.environment.anew(py).map_err(|error| reason(&error))?);
                return Ok(Self { environment, kept: Kept::Only(HashSet::new()), ..Self::first(serving) });
            }
            Err(errors) => {
                log_warnings(&warnings);
                return Err(errors.0.iter().map(ToString::to_string).collect());
            }
        };
        let mut environment = environment(py, launch, &reading).map_err(|error| reason(&error))?;
        if let Some(restored) = restored {
            environment.modules = restored.restored(py).map_err(|error| reason(&error))?;
        }
        let environment = Arc::new(environment);
        let settings = reading.settings;
        let key = settings.apikey.clone();
        let next = match scope {
            ReloadScope::Plugins | ReloadScope::ChangedPlugins => None,
            ReloadScope::Everything => {
                let tls = settings.tls.as_ref().map(|tls| Tls::load(&launch.folder, tls)).transpose();
                let next = Generation {
                    tls: tls.map_err(|error| reason(&error))?,
                    observers: Observers::open(&settings, &launch.folder).map_err(|error| reason(&error))?,
                    static_mount: StaticMount::new(&settings, launch),
                    environment: Arc::clone(&environment),
                    settings,
                    digests: reading.digests,
                };
                Some(Arc::new(next))
            }
        };
        let kept = if scope == ReloadScope::Plugins { Kept::All } else { Kept::Only(HashSet::new()) };
        let draft = Self { serving, next, environment, key, files: Vec::new(), kept };
        // Plugins look at it while they are imported.
        let [before, now] = draft.folders();
        let prepared = module::replace_in_path(py, Some(&before), &now)
            .and_then(|()| config::proclaim(draft.environment.config.bind(py)));
        if let Err(error) = prepared {
            draft.restore_modules(py);
            return Err(reason(&error));
        }
        Ok(draft)
    }

    /// What plugins are loaded with.
    pub(super) fn environment(&self) -> &Arc<Environment> {
        &self.environment
    }

    /// The generation that serves once this has been put into service.
    pub(super) fn generation(&self) -> &Arc<Generation> {
        self.next.as_ref().unwrap_or(&self.serving)
    }

    /// The files so far.
    pub(super) fn files(&self) -> &[DraftFile] {
        &self.files
    }

    /// Whether no plugin has come of it.
    pub(super) fn is_empty(&self) -> bool {
        self.files.iter().all(|file| file.loaded.plugins.is_empty())
    }

    /// What becomes of the files that it does not load.
    pub(super) fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Leaves these files as they are, rather than ending their plugins.
    pub(super) fn keep(&mut self, files: Vec<PathBuf>) {
        if let Kept::Only(kept) = &mut self.kept {
            kept.extend(files);
        }
    }

    /// Says which files will be loaded, so that none of them finds an earlier module of another one.
    pub(super) fn expect(&self, files: &[PathBuf]) {
        let on_disk = files.iter().map(|file| self.environment.locate(file));
        if let Err(error) = Python::attach(|py| self.environment.modules.expect(py, on_disk)) {
            tracing::error!("plugins may import earlier modules of each other: {error}");
        }
    }

    /// The modules of files that could not be loaded.
    pub(super) fn failed_modules(&self) -> Vec<(PathBuf, Arc<FileModule>)> {
        let failed = self.files.iter().filter(|one| !one.loaded.failures.is_empty());
        failed.filter_map(|one| Some((one.file.clone(), Arc::clone(one.loaded.origin.as_ref()?)))).collect()
    }

    /// Loads a file, beside what serves.
    pub(super) async fn load(&mut self, file: PathBuf) {
        let mut loaded = load_file(&self.environment, &file).await;
        // A new key of the server comes with a generation; a plugin that is replaced alone goes by the one that counts.
        let (read, counts) = (self.key.as_ref(), self.generation().settings.apikey.as_ref());
        let keys = Keys::of(&self.generation().settings);
        let refusal = |plugin: &LoadedPlugin| {
            Python::attach(|py| match BasePlugin::change_server_key(plugin.instance.bind(py), read, counts) {
                Ok(()) => plugin.lacks_key(py, &plugin.settings(), &keys),
                Err(error) => Some(error.to_string()),
            })
        };
        loaded.refuse(self.environment.terminate_timeout, refusal).await;
        self.files.push(DraftFile { file, loaded, may_replace: true });
    }

    /// Decides between plugins that have the same id, and which files cannot take the place of their earlier
    /// generation.
    ///
    /// An id belongs to the file that has it in service, as long as that file still asks for it or, if it stays in
    /// service without being a part of the draft, `exists`; else to the first file of the draft that asks for it.
    pub(super) async fn settle(
        &mut self,
        serving: &PluginSet,
        exists: impl Fn(&Path) -> bool,
        objection: impl Fn(&LoadedPlugin) -> Option<String>,
    ) {
        let mut owners: HashMap<Arc<str>, PathBuf> = HashMap::new();
        for DraftFile { file, loaded, .. } in &self.files {
            for plugin in &loaded.plugins {
                let holder = serving.get(&plugin.id).map(|holder| holder.file.as_path());
                let keeps = |holder: &Path| match self.files.iter().find(|one| one.file == holder) {
                    Some(again) => again.loaded.plugins.iter().any(|one| one.id == plugin.id),
                    None => self.kept.contains(holder) && exists(holder),
                };
                let owner = holder.filter(|holder| keeps(holder)).unwrap_or(file);
                owners.entry(Arc::clone(&plugin.id)).or_insert_with(|| owner.to_path_buf());
            }
        }
        for DraftFile { file, loaded, .. } in &mut self.files {
            let mut own: Vec<Arc<str>> = Vec::new();
            let refusal = |plugin: &LoadedPlugin| {
                let mine = owners.get(&plugin.id).is_none_or(|owner| owner == file) && !own.contains(&plugin.id);
                own.push(Arc::clone(&plugin.id));
                if mine { objection(plugin) } else { Some(RouteError::Taken(plugin.id.to_string()).to_string()) }
            };
            loaded.refuse(self.environment.terminate_timeout, refusal).await;
        }
        let ids: HashSet<_> =
            self.files.iter().flat_map(|file| &file.loaded.plugins).map(|plugin| Arc::clone(&plugin.id)).collect();
        for DraftFile { file, loaded, may_replace } in &mut self.files {
            // By name, since the folder of the plugins may be another one.
            let old = serving.plugins().iter().filter(|old| stem(&old.file) == stem(file));
            let lost: Vec<_> = old.filter(|old| !ids.contains(&old.id)).map(|old| old.id.to_string()).collect();
            // A file that is being written, or was emptied by mistake, looks like this.
            let emptied = loaded.plugins.is_empty() && loaded.failures.is_empty() && !lost.is_empty();
            if emptied {
                let ids = lost.join(", ");
                loaded.object(format!(
                    "no class in it derives from BasePlugin any more; delete the file to remove {ids}"
                ));
            }
            let silent: Vec<_> = loaded.plugins.iter().filter_map(|plugin| lost_handler(plugin, serving)).collect();
            *may_replace = silent.is_empty() && (loaded.failures.is_empty() || lost.is_empty());
            for reason in silent {
                loaded.object(reason);
            }
            if let Some(last) = loaded.failures.last_mut().filter(|_| !*may_replace) {
                last.add(SERVES_ON);
            }
        }
    }

    /// Hands the state of the plugins that serve on to those that replace them. Returns why that cannot be done, each
    /// with file and line; it has been logged, and is among the failures of its file.
    pub(super) fn hand_on_state(&mut self, py: Python<'_>, serving: &PluginSet) -> Vec<String> {
        let mut reasons = Vec::new();
        for DraftFile { loaded, .. } in &mut self.files {
            let failures = loaded.plugins.iter().filter_map(|new| {
                let error = hand_on(py, serving.get(&new.id)?, new, self.environment.timeout).err()?;
                let mut failure = LoadFailure::of_error(py, &self.environment, &new.file, None, &error);
                failure.add(SERVES_ON);
                tracing::error!("{}", failure.record(py));
                Some(failure)
            });
            let failures: Vec<_> = failures.collect();
            reasons.extend(failures.iter().map(ToString::to_string));
            loaded.failures.extend(failures);
        }
        reasons
    }

    /// Takes everything back; what serves finds the modules and the configuration as they were.
    pub(super) async fn discard(mut self) {
        let deadline = Instant::now() + self.environment.terminate_timeout;
        while let Some(DraftFile { loaded, .. }) = self.files.pop() {
            loaded.give_up(left(deadline)).await;
        }
        Python::attach(|py| {
            self.restore_modules(py);
            self.restore_configuration(py);
        });
    }

    /// Hands out the plugins, to be put into service, and what becomes of the other files.
    pub(super) fn finish(self, py: Python<'_>) -> (Vec<DraftFile>, Kept) {
        if self.next.is_none() {
            self.restore_configuration(py);
        }
        (self.files, self.kept)
    }

    /// The folders of the plugins that serve and of those that are being loaded; as a rule they are the same.
    fn folders(&self) -> [PathBuf; 2] {
        let next = self.generation().environment.as_ref();
        [self.serving.environment.as_ref(), next].map(|environment| environment.locate(&environment.folder))
    }

    /// Lets go of the modules that were loaded, and has all code import from the folder that serves.
    fn restore_modules(&self, py: Python<'_>) {
        let [before, now] = self.folders();
        let restored =
            module::replace_in_path(py, Some(&now), &before).and_then(|()| self.environment.modules.clear(py));
        if let Err(error) = restored {
            tracing::error!("the modules of the reload stay: {error}");
        }
    }

    /// Makes `masterConfig` the configuration that the server goes by.
    fn restore_configuration(&self, py: Python<'_>) {
        if let Err(error) = config::proclaim(self.serving.environment.config.bind(py)) {
            tracing::error!("masterConfig cannot be restored: {error}");
        }
    }
}
