//! The plugins that serve now.
//!
//! Promise: the set is swapped whole; a request finds either the old instance or the new one, never none in between.
//! Caveat: this is the Python side; the native route table is made from it and swapped right after.

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
    residents: Vec<Arc<LoadedPlugin>>,
    by_id: HashMap<Arc<str>, usize>,
}

impl PluginSet {
    /// The plugins in load order.
    pub(crate) fn residents(&self) -> &[Arc<LoadedPlugin>] {
        &self.residents
    }

    /// The plugin with this id.
    pub(crate) fn get(&self, id: &str) -> Option<&Arc<LoadedPlugin>> {
        self.by_id.get(id).map(|index| &self.residents[*index])
    }

    /// The plugins of one file.
    pub(crate) fn of_file(&self, file: &Path) -> Vec<Arc<LoadedPlugin>> {
        self.residents.iter().filter(|resident| resident.file == file).cloned().collect()
    }
}

impl Registry {
    /// The plugins that serve now.
    pub(crate) fn serving(&self) -> Arc<PluginSet> {
        self.serving.with(|serving| Arc::clone(serving))
    }

    /// Has `residents` serve from now on; their ids differ.
    pub(crate) fn publish(&self, residents: Vec<Arc<LoadedPlugin>>) {
        let by_id = residents.iter().enumerate().map(|(index, resident)| (Arc::clone(&resident.id), index)).collect();
        drop(self.serving.replace(Arc::new(PluginSet { residents, by_id })));
    }
}
