//! The plugins that serve now.
//!
//! Runs on the Python thread. Promise: the set is replaced as a whole; a request finds either the old instance or the
//! new one, never a gap. Caveat: this is Python's side; the native route table is made from it and replaced right
//! after.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::loaded_plugin::LoadedPlugin;
use crate::host::bridge::locked::Locked;

/// The loaded plugins, in load order.
#[derive(Default)]
pub(crate) struct Registry {
    serving: Locked<Arc<PluginSet>>,
}

/// One immutable set of plugins.
#[derive(Default)]
pub(crate) struct PluginSet {
    plugins: Vec<Arc<LoadedPlugin>>,
    by_id: HashMap<Arc<str>, usize>,
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
}
