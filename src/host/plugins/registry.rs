//! The plugins that serve now.
//!
//! Runs on the Python thread. Promise: the set is replaced as a whole; a request finds either the old instance or the
//! new one, never a gap. Caveat: this is Python's side; the native route table is made from it and replaced right
//! after.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pyo3::prelude::*;

use super::loaded_plugin::LoadedPlugin;
use super::module::FileModule;
use crate::edge::policy::admission::Entrance;
use crate::edge::routing::ById;
use crate::host::bridge::locked::Locked;

/// The loaded plugins, in load order.
#[derive(Default)]
pub(crate) struct Registry {
    serving: Locked<Arc<PluginSet>>,
    /// Ids of plugins that are disabled.
    withheld: Locked<Arc<HashSet<Arc<str>>>>,
    modules: Locked<Modules>,
}

/// The modules of plugin files.
#[derive(Default)]
struct Modules {
    /// Of those that are loaded, whether they have plugins or only serve those that import them.
    loaded: HashMap<PathBuf, Arc<FileModule>>,
    /// Of those that could not be loaded the last time.
    failed: HashMap<PathBuf, Arc<FileModule>>,
    /// Of those before the ones that are loaded; what they were run from is kept.
    previous: HashMap<PathBuf, Arc<FileModule>>,
}

/// One immutable set of plugins.
#[derive(Default)]
pub(crate) struct PluginSet {
    plugins: Vec<Arc<LoadedPlugin>>,
    by_id: ById<usize>,
    /// Plugins that serve no more, but answer the requests that were admitted to them.
    leaving: Vec<Arc<LoadedPlugin>>,
}

impl PluginSet {
    /// The plugins in load order.
    pub(crate) fn plugins(&self) -> &[Arc<LoadedPlugin>] {
        &self.plugins
    }

    /// The plugin with this id.
    pub(crate) fn get(&self, id: &str) -> Option<&Arc<LoadedPlugin>> {
        self.by_id.get(id).map(|index| &self.plugins[*index])
    }

    /// The plugin for a request to `id` that was admitted at `entrance`: the instance that it leads to, or the one that
    /// serves if that has ended.
    pub(crate) fn at(&self, id: &str, entrance: &Arc<Entrance>) -> Option<&Arc<LoadedPlugin>> {
        let is_behind =
            |plugin: &&Arc<LoadedPlugin>| plugin.entrance.get().is_some_and(|one| Arc::ptr_eq(one, entrance));
        let serving = self.get(id);
        serving.filter(is_behind).or_else(|| self.leaving.iter().find(is_behind)).or(serving)
    }

    /// The plugins of one file.
    pub(crate) fn of_file(&self, file: &Path) -> Vec<Arc<LoadedPlugin>> {
        self.plugins.iter().filter(|plugin| plugin.file == file).cloned().collect()
    }
}

/// What becomes of a set when newly loaded plugins come into service.
pub(crate) struct Swap {
    /// The plugins that serve then, in order.
    pub serving: Vec<Arc<LoadedPlugin>>,
    /// Those that serve no more; they are to be terminated.
    pub retired: Vec<Arc<LoadedPlugin>>,
}

impl PluginSet {
    /// Puts the plugins of each of `files` in the place of the earlier ones of that file; those of new files come last.
    ///
    /// Retired are the earlier plugins of these files, plugins of other files whose id one of these has taken, and
    /// those of other files that do not `stay`.
    pub(crate) fn swap(
        &self,
        mut files: Vec<(PathBuf, Vec<Arc<LoadedPlugin>>)>,
        stays: impl Fn(&LoadedPlugin) -> bool,
    ) -> Swap {
        let ids: HashSet<_> =
            files.iter().flat_map(|(_, plugins)| plugins).map(|plugin| Arc::clone(&plugin.id)).collect();
        let mut swap = Swap { serving: Vec::new(), retired: Vec::new() };
        for old in &self.plugins {
            match files.iter_mut().find(|(file, _)| *file == old.file) {
                Some((_, new)) => swap.serving.append(new),
                None if stays(old) && !ids.contains(&old.id) => {
                    swap.serving.push(Arc::clone(old));
                    continue;
                }
                None => {}
            }
            swap.retired.push(Arc::clone(old));
        }
        swap.serving.extend(files.into_iter().flat_map(|(_, plugins)| plugins));
        swap
    }
}

impl Registry {
    /// The plugins that serve now.
    pub(crate) fn serving(&self) -> Arc<PluginSet> {
        self.serving.with(|serving| Arc::clone(serving))
    }

    /// Has `plugins` serve from now on; their ids differ. Those that are `leaving` go on answering what was admitted to
    /// them.
    pub(crate) fn publish(&self, plugins: Vec<Arc<LoadedPlugin>>, leaving: Vec<Arc<LoadedPlugin>>) {
        let by_id = plugins.iter().enumerate().map(|(index, plugin)| (Arc::clone(&plugin.id), index)).collect();
        drop(self.serving.replace(Arc::new(PluginSet { plugins, by_id, leaving })));
    }

    /// What was admitted to plugins that have left is for those that serve.
    pub(crate) fn forget_leaving(&self) {
        self.publish(self.serving().plugins.clone(), Vec::new());
    }

    /// Has these ids be those of disabled plugins.
    pub(crate) fn withhold(&self, ids: HashSet<Arc<str>>) {
        drop(self.withheld.replace(Arc::new(ids)));
    }

    /// Whether the plugin is disabled.
    pub(crate) fn is_withheld(&self, id: &str) -> bool {
        self.withheld.with(|ids| ids.contains(id))
    }

    /// Has these modules be those of their files, whose plugins serve already, and leaves the other files theirs if
    /// they `stay`; `None` for a file that has failed. Returns the modules that serve no more.
    pub(crate) fn replace_modules(
        &self,
        py: Python<'_>,
        loaded: Vec<(PathBuf, Option<Arc<FileModule>>)>,
        stays: impl Fn(&Path) -> bool + Sync,
    ) -> Vec<(PathBuf, Arc<FileModule>)> {
        let serving = self.serving();
        for (file, module) in &loaded {
            let module = module.as_ref().filter(|_| !serving.of_file(file).is_empty());
            if let Some(Err(error)) = module.map(|module| module.serve(py)) {
                tracing::error!("{}: other plugins do not find its module: {error}", file.display());
            }
        }
        self.modules.with(|modules| {
            let is_known = |file: &Path| stays(file) || loaded.iter().any(|(known, _)| known == file);
            modules.failed.retain(|file, _| is_known(file));
            modules.previous.retain(|file, _| is_known(file));
            let mut retired: Vec<_> = modules.loaded.extract_if(|file, _| !is_known(file)).collect();
            for (file, module) in loaded {
                let before = match module {
                    Some(module) => {
                        modules.failed.remove(&file);
                        modules.loaded.insert(file.clone(), module)
                    }
                    None => modules.loaded.remove(&file),
                };
                if let Some(before) = before {
                    modules.previous.insert(file.clone(), Arc::clone(&before));
                    retired.push((file, before));
                }
            }
            retired
        })
    }

    /// Notes the modules of files that could not be loaded.
    pub(crate) fn note_failed(&self, failed: Vec<(PathBuf, Arc<FileModule>)>) {
        self.modules.with(|modules| modules.failed.extend(failed));
    }

    /// Whether nothing of what `file` and its plugins are made of has changed since it was loaded or, if failures
    /// count, since it could not be loaded. `parameters` is the digest of what they are loaded with now.
    ///
    /// # Errors
    /// When a finder of modules raises.
    pub(crate) fn is_current(
        &self,
        py: Python<'_>,
        file: &Path,
        parameters: &[u8; 32],
        failures_count: bool,
    ) -> PyResult<bool> {
        let (loaded, failed) =
            self.modules.with(|modules| (modules.loaded.get(file).cloned(), modules.failed.get(file).cloned()));
        let known = if failures_count { failed.or(loaded) } else { loaded.filter(|_| failed.is_none()) };
        known.map_or(Ok(false), |module| module.has_changed(py, parameters).map(|changed| !changed))
    }

    /// The module of a file that is loaded.
    pub(crate) fn module(&self, file: &Path) -> Option<Arc<FileModule>> {
        self.modules.with(|modules| modules.loaded.get(file).cloned())
    }

    /// The module of a file before the one that is loaded.
    pub(crate) fn previous(&self, file: &Path) -> Option<Arc<FileModule>> {
        self.modules.with(|modules| modules.previous.get(file).cloned())
    }

    /// Lets go of modules that serve no more.
    pub(crate) fn release(&self, py: Python<'_>, retired: &[(PathBuf, Arc<FileModule>)]) {
        let mut released: Vec<&FileModule> = Vec::new();
        for (file, module) in retired {
            if released.iter().any(|one| one.is_of_the_load_of(module)) {
                continue;
            }
            let is_last =
                self.modules.with(|modules| modules.loaded.values().all(|one| !one.is_of_the_load_of(module)));
            if is_last {
                released.push(module);
            }
            if let Err(error) = module.release(py, is_last) {
                tracing::error!("{}: its modules stay: {error}", file.display());
            }
        }
    }
}
