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
use crate::edge::routing::ById;
use crate::host::bridge::locked::Locked;

/// The loaded plugins, in load order.
#[derive(Default)]
pub(crate) struct Registry {
    serving: Locked<Arc<PluginSet>>,
    /// The modules of the files that are loaded, whether they have plugins or only serve those that import them.
    modules: Locked<HashMap<PathBuf, FileModule>>,
}

/// One immutable set of plugins.
#[derive(Default)]
pub(crate) struct PluginSet {
    plugins: Vec<Arc<LoadedPlugin>>,
    by_id: ById<usize>,
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

    /// Has `plugins` serve from now on; their ids differ.
    pub(crate) fn publish(&self, plugins: Vec<Arc<LoadedPlugin>>) {
        let by_id = plugins.iter().enumerate().map(|(index, plugin)| (Arc::clone(&plugin.id), index)).collect();
        drop(self.serving.replace(Arc::new(PluginSet { plugins, by_id })));
    }

    /// Has these modules be those of their files; files that are not among them keep theirs if they `stay`. Returns
    /// the modules that serve no more.
    pub(crate) fn replace_modules(
        &self,
        py: Python<'_>,
        loaded: Vec<(PathBuf, Option<FileModule>)>,
        stays: impl Fn(&Path) -> bool + Sync,
    ) -> Vec<(PathBuf, FileModule)> {
        for (file, module) in &loaded {
            if let Some(Err(error)) = module.as_ref().map(|module| module.serve(py)) {
                tracing::error!("{}: other plugins do not find its module: {error}", file.display());
            }
        }
        self.modules.with(|modules| {
            let mut retired: Vec<_> = modules.extract_if(|file, _| !stays(file)).collect();
            for (file, module) in loaded {
                let before = match module {
                    Some(module) => modules.insert(file.clone(), module),
                    None => modules.remove(&file),
                };
                retired.extend(before.map(|before| (file, before)));
            }
            retired
        })
    }

    /// Lets go of modules that serve no more.
    pub(crate) fn release(&self, py: Python<'_>, retired: &[(PathBuf, FileModule)]) {
        for (file, module) in retired {
            let is_last = self.modules.with(|modules| modules.values().all(|one| !one.is_of_the_load_of(module)));
            if let Err(error) = module.release(py, is_last) {
                tracing::error!("{}: its modules stay: {error}", file.display());
            }
        }
    }
}
