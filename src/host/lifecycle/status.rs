//! What the server tells of its plugins: the one place that makes their statuses.
//!
//! Runs on the Python thread. Promise: after each step of the life cycle that changes what a plugin is doing, the list
//! that the I/O threads show is made anew from the registry and from what is recorded here, and replaced as a whole.
//! Caveat: a failure belongs to a file; it is shown with every plugin of that file.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use pyo3::prelude::*;

use super::backend::PythonBackend;
use super::crash_guard;
use super::generation::DraftFile;
use crate::edge::control::events::Event;
use crate::edge::control::kept::Withheld;
use crate::edge::control::stalls::Stalls;
use crate::edge::control::status::{Gauge, LastError, PluginState, PluginStatus, Version, read};
use crate::edge::gateway::state::{ServerState, Snapshot};
use crate::host::plugins::discover::stem;
use crate::host::plugins::loaded_plugin::LoadedPlugin;
use crate::host::plugins::registry::Registry;

/// Keeps the list up to date.
pub(super) struct StatusRecord {
    state: Arc<ServerState<PythonBackend>>,
    registry: Arc<Registry>,
    record: Mutex<Record>,
}

/// What has happened to plugins and cannot be seen from those that serve.
#[derive(Default)]
struct Record {
    /// What was loaded last, by id; kept for ids that are gone, so that no number comes twice.
    versions: HashMap<Arc<str>, Version>,
    /// What files were when they were loaded.
    contents: HashMap<PathBuf, Content>,
    /// Why the last attempt to load a file failed.
    failures: BTreeMap<PathBuf, LastError>,
    /// Plugins that serve no more and have not ended yet.
    retired: Vec<Retired>,
    /// Files that are not loaded on purpose, in order.
    withheld: Vec<WithheldFile>,
}

/// A file that is not loaded on purpose.
#[derive(Clone, Debug)]
pub(super) struct WithheldFile {
    /// The file.
    pub file: PathBuf,
    /// Why.
    pub why: Withheld,
    /// The ids that its plugins had, or its name.
    pub ids: Vec<Arc<str>>,
}

/// What a file was loaded from.
struct Content {
    /// The hash of it.
    hash: String,
    /// Whether it is what the file was before.
    is_previous: bool,
}

/// A plugin that serves no more, as long as it has not ended.
struct Retired {
    status: PluginStatus,
    calls: Gauge,
}

impl StatusRecord {
    /// For the list in `state`, of the plugins in `registry`.
    pub(super) fn new(state: &Arc<ServerState<PythonBackend>>, registry: &Arc<Registry>) -> Self {
        Self { state: Arc::clone(state), registry: Arc::clone(registry), record: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        // Values are only replaced or read under the lock, so a panic elsewhere leaves them whole.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file whose plugins failed to load, by the name that it has in the list.
    pub(super) fn failed_file(&self, id: &str) -> Option<PathBuf> {
        self.lock().failures.keys().find(|file| stem(file) == id).cloned()
    }

    /// The file that is not loaded on purpose and has, or had, a plugin of this id.
    pub(super) fn withheld_file(&self, id: &str) -> Option<WithheldFile> {
        self.lock().withheld.iter().find(|one| one.ids.iter().any(|known| &**known == id)).cloned()
    }

    /// All ids of files that are not loaded on purpose.
    pub(super) fn withheld_ids(&self) -> Vec<Arc<str>> {
        self.lock().withheld.iter().flat_map(|one| one.ids.iter().cloned()).collect()
    }

    /// All files that are not loaded on purpose.
    pub(super) fn all_withheld(&self) -> Vec<WithheldFile> {
        self.lock().withheld.clone()
    }

    /// Notes all files that are not loaded on purpose.
    pub(super) fn set_withheld(&self, files: Vec<WithheldFile>) {
        let mut record = self.lock();
        for one in &files {
            record.failures.remove(&one.file);
        }
        record.withheld = files;
    }

    /// Notes further ones.
    pub(super) fn add_withheld(&self, files: impl Iterator<Item = WithheldFile>) {
        for one in files {
            let mut record = self.lock();
            record.failures.remove(&one.file);
            record.withheld.retain(|known| known.file != one.file);
            record.withheld.push(one);
        }
    }

    /// Notes that `files` are loaded again.
    pub(super) fn remove_withheld<'a>(&self, files: impl Iterator<Item = &'a Path>) {
        for file in files {
            self.lock().withheld.retain(|known| known.file != file);
        }
    }

    /// Notes what came of `files`, and that of all others only those are left that `stay`.
    pub(super) fn note_files(&self, py: Python<'_>, files: &[DraftFile], stays: impl Fn(&Path) -> bool) {
        for error in files.iter().flat_map(|one| &one.loaded.failures).map(|failure| failure.last_error(py)) {
            let LastError { file, line, message, .. } = &error;
            self.state.events.publish(Event::PluginFailed { file, line: *line, reason: message });
        }
        let errors: Vec<_> = files
            .iter()
            .map(|one| (one.file.clone(), one.loaded.failures.first().map(|failure| failure.last_error(py))))
            .collect();
        let mut record = self.lock();
        record.failures.retain(|file, _| stays(file) || errors.iter().any(|(known, _)| known == file));
        for (file, error) in errors {
            match error {
                Some(error) => record.failures.insert(file, error),
                None => record.failures.remove(&file),
            };
        }
        drop(record);
        self.publish_statuses();
    }

    /// Notes that the plugins `loaded` have come into service and that `retired` serve no more.
    pub(super) fn note_swap(&self, py: Python<'_>, loaded: &[Arc<LoadedPlugin>], retired: &[Arc<LoadedPlugin>]) {
        let loaded_at = Timestamp::now();
        let contents: Vec<_> = loaded.iter().filter_map(|plugin| self.content(py, &plugin.file)).collect();
        let snapshot = self.state.snapshot.load();
        let mut record = self.lock();
        for old in retired {
            let status = status_of(old, &record, &snapshot, &self.state.stalls);
            record.retired.push(Retired { status, calls: old.in_flight.gauge() });
        }
        for plugin in loaded {
            let generation = record.versions.get(&plugin.id).map_or(1, |version| version.generation + 1);
            record.versions.insert(Arc::clone(&plugin.id), Version { generation, loaded_at });
            let again = retired.iter().any(|old| old.id == plugin.id);
            let event = Event::PluginLoaded { id: &plugin.id, file: &plugin.file, generation, again };
            self.state.events.publish(event);
        }
        record.contents.extend(contents);
        drop(record);
        for old in retired.iter().filter(|old| self.registry.serving().get(&old.id).is_none()) {
            self.state.events.publish(Event::PluginGone { id: &old.id, file: &old.file });
        }
        self.publish_statuses();
    }

    fn content(&self, py: Python<'_>, file: &Path) -> Option<(PathBuf, Content)> {
        let module = self.registry.module(file)?;
        let content = module
            .content_hash(py)
            .and_then(|hash| module.is_restored(py).map(|is_previous| Content { hash, is_previous }))
            .inspect_err(|error| tracing::error!("{}: it has no content hash: {error}", file.display()));
        Some((file.to_path_buf(), content.ok()?))
    }

    /// Notes that plugins which served no more have been terminated. Requests that did not end with them are shown as
    /// long as they last.
    pub(super) fn note_end(&self, ended: &[Arc<LoadedPlugin>]) {
        let ended: Vec<_> = ended.iter().map(|plugin| plugin.in_flight.gauge()).collect();
        let mut record = self.lock();
        for old in &mut record.retired {
            old.status.terminated |= ended.iter().any(|gauge| Arc::ptr_eq(gauge, &old.calls));
        }
        record.retired.retain(|old| !(old.status.terminated && read(&old.calls) == 0));
        drop(record);
        self.publish_statuses();
    }

    /// Makes the list anew.
    pub(super) fn publish_statuses(&self) {
        let snapshot = self.state.snapshot.load();
        let serving = self.registry.serving();
        let record = self.lock();
        let mut statuses: Vec<_> =
            serving.plugins().iter().map(|plugin| status_of(plugin, &record, &snapshot, &self.state.stalls)).collect();
        let ids: HashSet<_> = statuses.iter().map(|status| Arc::clone(&status.id)).collect();
        let mut leaving: BTreeMap<Arc<str>, PluginStatus> = BTreeMap::new();
        for old in record.retired.iter().filter(|old| !ids.contains(&old.status.id)) {
            let status = leaving.entry(Arc::clone(&old.status.id)).or_insert_with(|| old.status.clone());
            status.state = PluginState::Draining;
            status.terminated &= old.status.terminated;
            status.draining = record.draining(&status.id);
        }
        statuses.extend(leaving.into_values());
        let shown: HashSet<_> = statuses.iter().map(|status| Arc::clone(&status.id)).collect();
        for one in &record.withheld {
            let ids = one.ids.iter().filter(|id| !shown.contains(*id));
            statuses.extend(ids.map(|id| withheld_status(one, id, &record, &snapshot)));
        }
        let withheld = record.withheld.iter().map(|one| &one.file);
        let files: HashSet<_> = serving.plugins().iter().map(|plugin| &plugin.file).chain(withheld).collect();
        let failed = record.failures.iter().filter(|(file, _)| !files.contains(file));
        statuses.extend(failed.map(|(file, error)| failed_status(file, error)));
        drop(record);
        self.state.statuses.store(Arc::new(statuses));
    }
}

impl Record {
    /// The numbers of requests in earlier versions of the plugin with this id.
    fn draining(&self, id: &str) -> Vec<Gauge> {
        self.retired.iter().filter(|old| &*old.status.id == id).map(|old| Arc::clone(&old.calls)).collect()
    }
}

/// A plugin that serves.
fn status_of(plugin: &LoadedPlugin, record: &Record, snapshot: &Snapshot, stalls: &Stalls) -> PluginStatus {
    PluginStatus {
        id: Arc::clone(&plugin.id),
        file: plugin.file.display().to_string(),
        state: PluginState::Serving,
        version: record.versions.get(&plugin.id).copied(),
        content_hash: record.contents.get(&plugin.file).map(|content| content.hash.clone()),
        is_previous: record.contents.get(&plugin.file).is_some_and(|content| content.is_previous),
        last_error: record.failures.get(&plugin.file).cloned(),
        draining: record.draining(&plugin.id),
        terminated: false,
        methods: Some(plugin.methods),
        limit: snapshot.table.get(&plugin.id).map(|endpoint| Arc::clone(&endpoint.entrance.limit)),
        entrance: plugin.entrance.get().map(Arc::clone),
        tasks: vec![plugin.scope.owner.get().count(), plugin.part.owner.get().count()],
        stalls: Some(stalls.of(&plugin.id)),
    }
}

/// A file that could not be loaded.
fn failed_status(file: &Path, error: &LastError) -> PluginStatus {
    PluginStatus {
        id: Arc::from(stem(file)),
        file: file.display().to_string(),
        state: PluginState::Failed,
        version: None,
        content_hash: None,
        is_previous: false,
        last_error: Some(error.clone()),
        draining: Vec::new(),
        terminated: false,
        methods: None,
        limit: None,
        entrance: None,
        tasks: Vec::new(),
        stalls: None,
    }
}

/// Why a file is parked, if it is.
fn parked(one: &WithheldFile) -> Option<LastError> {
    let file = one.file.display().to_string();
    let error = LastError { message: crash_guard::reason(), file, line: None, traceback: None };
    (one.why == Withheld::Parked).then_some(error)
}

/// A plugin of a file that is not loaded on purpose.
fn withheld_status(one: &WithheldFile, id: &Arc<str>, record: &Record, snapshot: &Snapshot) -> PluginStatus {
    PluginStatus {
        id: Arc::clone(id),
        file: one.file.display().to_string(),
        state: match one.why {
            Withheld::Disabled => PluginState::Disabled,
            Withheld::Parked => PluginState::Parked,
        },
        version: record.versions.get(id).copied(),
        content_hash: None,
        is_previous: false,
        last_error: record.failures.get(&one.file).cloned().or_else(|| parked(one)),
        draining: Vec::new(),
        terminated: false,
        methods: None,
        limit: snapshot.table.get(id).map(|endpoint| Arc::clone(&endpoint.entrance.limit)),
        entrance: None,
        tasks: Vec::new(),
        stalls: None,
    }
}
