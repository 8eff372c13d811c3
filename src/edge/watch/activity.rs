//! What the system tells of the watched folders: when something happened last, and which files are being written.
//!
//! Written on the thread that reads the notifications, read on the watcher's. Promise: what concerns no watched file
//! wakes nobody. Caveat: that a file is being written is known only from its first write on, and only on Linux.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind};
use notify::{ErrorKind, Event, EventHandler, EventKind};
use tokio::sync::Notify;

use super::tree::{Identity, is_python, may_be_entered};

/// How long a file counts as being written after its last write, if nobody is seen to close it.
const LONGEST_WRITE: Duration = Duration::from_secs(30);

/// The same for a file that was made and not yet written to: it may be a second name of a file that is complete.
const FIRST_WRITE: Duration = Duration::from_secs(1);

/// Shared between both threads.
#[derive(Clone, Debug, Default)]
pub(super) struct Activity {
    state: Arc<Mutex<State>>,
    wake: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    /// Folders of which every Python file counts.
    folders: HashSet<PathBuf>,
    /// Single files, folders and links that count.
    names: HashSet<PathBuf>,
    /// When something happened, since that was last taken.
    last: Option<Instant>,
    /// Whether folders have come or gone since that was last taken.
    folders_changed: bool,
    /// Folders whose notifications come, by their paths without links.
    watched: BTreeMap<PathBuf, Identity>,
    /// Files that are being written, and until when that is believed.
    writing: HashMap<PathBuf, Instant>,
    /// Why the system will tell no more.
    failure: Option<String>,
}

/// What has happened.
#[derive(Debug, Default)]
pub(super) struct Happened {
    /// The last time that something did.
    pub last: Option<Instant>,
    /// Whether folders have come or gone.
    pub folders_changed: bool,
    /// Why the system will tell no more.
    pub failure: Option<String>,
}

impl Activity {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing can panic half-way through a change of the state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides what counts from now on.
    pub(super) fn interest(&self, folders: HashSet<PathBuf>, names: HashSet<PathBuf>) {
        let mut state = self.lock();
        (state.folders, state.names) = (folders, names);
    }

    /// Has the files of `folder` count, too.
    pub(super) fn enter(&self, folder: &Path) {
        self.lock().folders.insert(folder.to_path_buf());
    }

    /// Whether the notifications of this very folder come already.
    pub(super) fn is_watched(&self, folder: &Path, identity: Identity) -> bool {
        self.lock().watched.get(folder) == Some(&identity)
    }

    /// From now on the notifications of `folder` come.
    pub(super) fn watched(&self, folder: &Path, identity: Identity) {
        self.lock().watched.insert(folder.to_path_buf(), identity);
    }

    /// Takes out the folders whose notifications are not needed any longer.
    pub(super) fn take_unneeded(&self, needed: &HashSet<PathBuf>) -> Vec<PathBuf> {
        let mut state = self.lock();
        let unneeded: Vec<_> = state.watched.keys().filter(|folder| !needed.contains(*folder)).cloned().collect();
        state.watched.retain(|folder, _| needed.contains(folder));
        unneeded
    }

    /// Waits until something has happened.
    pub(super) async fn happened(&self) -> Happened {
        loop {
            let happened = {
                let mut state = self.lock();
                Happened {
                    last: state.last.take(),
                    folders_changed: std::mem::take(&mut state.folders_changed),
                    failure: state.failure.take(),
                }
            };
            if happened.last.is_some() || happened.failure.is_some() {
                return happened;
            }
            self.wake.notified().await;
        }
    }

    /// A file that is being written now.
    pub(super) fn being_written(&self) -> Option<PathBuf> {
        let mut state = self.lock();
        let now = Instant::now();
        state.writing.retain(|_, until| *until > now);
        state.writing.keys().next().cloned()
    }
}

impl State {
    fn is_file(&self, path: &Path) -> bool {
        self.names.contains(path) || (path.file_name().is_some_and(is_python) && self.is_inside(path))
    }

    /// Whether the name can be that of a folder with code, or of a file.
    fn is_entry(&self, path: &Path) -> bool {
        let is_named = path.file_name().is_some_and(|name| is_python(name) || may_be_entered(name));
        self.names.contains(path) || self.folders.contains(path) || (is_named && self.is_inside(path))
    }

    fn is_inside(&self, path: &Path) -> bool {
        path.parent().is_some_and(|folder| self.folders.contains(folder))
    }

    fn note(&mut self, kind: EventKind, path: &Path) {
        let counts = match kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                self.writing.remove(path);
                self.is_file(path)
            }
            EventKind::Modify(ModifyKind::Data(_)) => self.note_write(path, LONGEST_WRITE),
            EventKind::Create(CreateKind::File) => self.note_write(path, FIRST_WRITE),
            EventKind::Modify(ModifyKind::Metadata(_)) => self.is_file(path) || self.folders.contains(path),
            EventKind::Access(_) => false,
            _ => {
                self.writing.remove(path);
                let is_watched = self.watched.contains_key(path);
                if matches!(kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))) {
                    // The system may have ended the watch with it, or go on watching it elsewhere.
                    self.watched.retain(|folder, _| !folder.starts_with(path));
                }
                let counts = is_watched || self.is_entry(path);
                self.folders_changed |= counts;
                counts
            }
        };
        if counts {
            self.last = Some(Instant::now());
        }
    }

    fn note_write(&mut self, path: &Path, longest: Duration) -> bool {
        let counts = self.is_file(path);
        // Only Linux tells when a file is closed; a link is never open, nor is a second name of a file.
        let may_be_open = || path.symlink_metadata().is_ok_and(|metadata| metadata.is_file());
        if counts && cfg!(target_os = "linux") && (longest == LONGEST_WRITE || may_be_open()) {
            self.writing.insert(path.to_path_buf(), Instant::now() + longest);
        }
        counts
    }
}

impl EventHandler for Activity {
    fn handle_event(&mut self, event: notify::Result<Event>) {
        let mut state = self.lock();
        match event {
            Ok(event) if event.need_rescan() => {
                state.writing.clear();
                state.folders_changed = true;
                state.last = Some(Instant::now());
            }
            Ok(event) => {
                for path in &event.paths {
                    state.note(event.kind, path);
                }
            }
            Err(error) if matches!(error.kind, ErrorKind::PathNotFound | ErrorKind::WatchNotFound) => {}
            Err(error) => state.failure = Some(error.to_string()),
        }
        let is_news = state.last.is_some() || state.failure.is_some();
        drop(state);
        if is_news {
            self.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{DataChange, RemoveKind, RenameMode};

    use super::*;

    fn state() -> State {
        State {
            folders: HashSet::from([PathBuf::from("/p"), PathBuf::from("/p/pkg")]),
            names: HashSet::from([PathBuf::from("/etc/s.ini"), PathBuf::from("/srv/p")]),
            ..State::default()
        }
    }

    fn counts(kind: EventKind, path: &str) -> bool {
        let mut state = state();
        state.note(kind, Path::new(path));
        state.last.is_some()
    }

    const WRITE: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    const CLOSE: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));

    #[test]
    fn only_what_can_be_loaded_wakes_the_watcher() {
        for path in ["/p/a.py", "/p/pkg/b.py", "/etc/s.ini"] {
            assert!(counts(WRITE, path) && counts(CLOSE, path), "{path}");
        }
        for path in ["/p/data.db", "/p/.a.py", "/p/a.py~", "/etc/t.ini", "/q/a.py", "/p"] {
            assert!(!counts(WRITE, path), "{path}");
        }
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        for path in ["/p/pkg", "/srv/p", "/p/a.py", "/p/new"] {
            assert!(counts(renamed, path) && counts(EventKind::Remove(RemoveKind::Folder), path), "{path}");
        }
        for path in ["/p/.git", "/p/__pycache__", "/srv/q"] {
            assert!(!counts(renamed, path), "{path}");
        }
    }

    #[test]
    fn a_file_is_being_written_until_it_is_closed_or_replaced() {
        let activity = Activity::default();
        *activity.lock() = state();
        let file = Path::new("/p/a.py");
        activity.lock().note(WRITE, file);
        assert_eq!(activity.being_written().is_some(), cfg!(target_os = "linux"));
        activity.lock().note(CLOSE, file);
        assert_eq!(activity.being_written(), None);
        activity.lock().note(WRITE, file);
        activity.lock().note(EventKind::Modify(ModifyKind::Name(RenameMode::From)), file);
        assert_eq!(activity.being_written(), None);
    }
}
