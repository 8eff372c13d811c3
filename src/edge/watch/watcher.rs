//! The watcher's thread: waits for a change, until it is complete, and for the reload that it asks for.
//!
//! Promise: a change is complete when nothing has happened for [`QUIET`], no watched file is open for writing and git
//! is not at work; then all of it is one reload, and there is one reload at a time. Where the system does not tell of
//! changes, everything is read once a second, and a change is complete when two readings are the same. Caveat: a stream
//! of changes without a pause is taken in pieces of [`PATIENCE`].

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{Config, ErrorKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::activity::{Activity, Happened};
use super::anchors::anchors;
use super::checkout::lock_of;
use super::contents::Contents;
use super::filesystem::FileSystems;
use super::list::{Reloads, WatchList};
use super::tree::{Identity, MOST_FOLDERS, Tree, identity_of};
use crate::edge::config::fields::WatchMode;
use crate::edge::control::{ReloadReport, ReloadTarget};

/// How long nothing may have happened for a change to be complete.
const QUIET: Duration = Duration::from_millis(300);

/// How long a change may take that does not pause.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a file that is being written is looked at.
const WRITER_PAUSE: Duration = Duration::from_millis(500);

/// How long a change may wait for that before it is reported.
const DELAY: Duration = Duration::from_secs(2);

/// The pause between two readings of everything, where the system does not tell of changes.
const POLL: Duration = Duration::from_secs(1);

/// The pause is at least this many times as long as the reading took.
const POLL_SHARE: u32 = 20;

/// How many changed files a line of the log names.
const NAMED: usize = 3;

pub(super) struct Watcher<R> {
    list: WatchList,
    reloads: R,
    activity: Activity,
    /// Tells of changes; without it, everything is read again and again.
    system: Option<RecommendedWatcher>,
    file_systems: FileSystems,
    /// What the server was loaded from, or was last asked to load.
    loaded: Contents,
    /// The last reading, where everything is read again and again.
    last: Contents,
    /// When the change that is not complete yet began.
    began: Option<Instant>,
    /// What that change waits for, if that has been reported.
    delay: Option<String>,
    /// Since when git has held its lock.
    locked_since: Option<Instant>,
    /// The reload that is under way.
    reload: Option<Reload>,
    /// Whether the ini file has changed and does not count yet, since that reload has failed.
    ini_waits: bool,
    /// What is wrong at the moment, and has been reported.
    complaints: HashSet<String>,
}

/// A reload that was asked for.
struct Reload {
    report: oneshot::Receiver<ReloadReport>,
    /// Whether it is one of everything, since the ini file has changed.
    is_everything: bool,
    /// The changed files besides, if so.
    others: Vec<PathBuf>,
    /// What the server was loaded from before.
    before: Contents,
}

impl<R: Reloads> Watcher<R> {
    /// Looks at what is to be watched for the first time.
    pub(super) fn new(list: WatchList, reloads: R) -> Self {
        let mut watcher = Self {
            list,
            reloads,
            activity: Activity::default(),
            system: None,
            file_systems: FileSystems::default(),
            loaded: Contents::default(),
            last: Contents::default(),
            began: None,
            delay: None,
            locked_since: None,
            reload: None,
            ini_waits: false,
            complaints: HashSet::new(),
        };
        watcher.begin();
        watcher.loaded = watcher.read();
        watcher
    }

    /// Watches until `lists` is closed.
    pub(super) async fn run(mut self, mut lists: mpsc::UnboundedReceiver<WatchList>) {
        let mut due = self.is_polling().then(|| Instant::now() + POLL);
        loop {
            let at = due.unwrap_or_else(Instant::now);
            tokio::select! {
                list = lists.recv() => {
                    let Some(list) = list else { return };
                    self.adopt(list);
                    due = Some(Instant::now() + QUIET);
                }
                happened = self.activity.happened(), if self.system.is_some() => due = Some(self.note(happened)),
                () = sleep_until(at), if due.is_some() && self.reload.is_none() => due = self.check(),
                report = ended(&mut self.reload), if self.reload.is_some() => {
                    let again = self.take(report).then(|| Instant::now() + POLL);
                    due = due.or(again);
                }
            }
        }
    }

    fn is_polling(&self) -> bool {
        self.system.is_none()
    }

    /// Watches `list` from now on.
    fn adopt(&mut self, list: WatchList) {
        let is_same = list.folder == self.list.folder && list.mode == self.list.mode;
        self.list = list;
        if !is_same {
            self.begin();
        }
        let before = std::mem::take(&mut self.loaded);
        self.loaded = self.read();
        // What changed meanwhile is a change; of what is new, the server has just read it.
        self.loaded.put_all_back(&before);
        self.last = Contents::default();
    }

    /// Has the system tell of changes, if it can.
    fn begin(&mut self) {
        self.activity = Activity::default();
        self.system = None;
        let folder = self.list.folder.on_disk.display();
        if self.list.mode == WatchMode::Poll {
            tracing::info!("Watching {folder} for changes, by reading it once a second");
            return;
        }
        match RecommendedWatcher::new(self.activity.clone(), Config::default()) {
            Ok(system) => {
                tracing::info!("Watching {folder} for changes");
                self.system = Some(system);
            }
            Err(error) => self.poll(&error.to_string()),
        }
    }

    /// Reads everything again and again from now on.
    fn poll(&mut self, reason: &str) {
        self.system = None;
        let folder = self.list.folder.on_disk.display();
        tracing::warn!("the system does not tell of changes in {folder}, so it is read once a second: {reason}");
    }

    /// Something has happened; returns when to look at it.
    fn note(&mut self, happened: Happened) -> Instant {
        let now = Instant::now();
        if let Some(failure) = happened.failure {
            self.poll(&failure);
            return now + POLL;
        }
        if happened.folders_changed {
            // At once, so that what is written into a new folder is heard of.
            self.place();
        }
        let began = *self.began.get_or_insert(now);
        (happened.last.map_or(now, Instant::from_std) + QUIET).min(began + PATIENCE).max(now)
    }

    /// Asks for a reload if a change is complete; returns when to look again.
    fn check(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let contents = self.read();
        let again = self.is_polling().then(|| now + POLL.max(now.elapsed() * POLL_SHARE));
        let changes = contents.changes(&self.loaded);
        let is_stable = !self.is_polling() || contents.changes(&self.last).is_empty();
        self.last = contents.clone();
        if changes.is_empty() {
            (self.loaded, self.began, self.delay) = (contents, None, None);
            return again;
        }
        let began = *self.began.get_or_insert(now);
        if let Some(reason) = self.unfinished() {
            if now > began + DELAY && self.delay.as_ref() != Some(&reason) {
                tracing::warn!("{reason}; changes are loaded when that has ended");
                self.delay = Some(reason);
            }
            return Some(now + WRITER_PAUSE);
        }
        let is_old = now >= began + PATIENCE;
        if !is_stable || (contents.is_recent(&changes, QUIET) && !is_old) {
            return Some(again.unwrap_or(now + QUIET));
        }
        tracing::info!("Changed: {}", listed(&changes));
        let is_ini = |file: &PathBuf| self.list.ini.as_ref().is_some_and(|ini| ini.shown == *file);
        let is_everything = self.ini_waits || changes.iter().any(is_ini);
        let others = changes.iter().filter(|file| is_everything && !is_ini(file)).cloned().collect();
        let target = if is_everything { ReloadTarget::All } else { ReloadTarget::Changed };
        let before = std::mem::replace(&mut self.loaded, contents);
        self.reload = Some(Reload { report: self.reloads.reload(target, &changes), is_everything, others, before });
        (self.began, self.delay) = (None, None);
        again
    }

    /// A reload has ended; how it went has been logged. If it was one of everything and has failed, the plugin files
    /// are loaded at least. Returns whether it has to be asked for again.
    fn take(&mut self, report: Option<ReloadReport>) -> bool {
        let Some(Reload { is_everything, others, before, .. }) = self.reload.take() else { return false };
        if report == Some(ReloadReport::Upgrading) {
            // If the upgrade fails, this process serves on.
            self.loaded = before;
            return true;
        }
        if is_everything {
            self.ini_waits = matches!(report, Some(ReloadReport::Failed { .. }));
        }
        if self.ini_waits && !others.is_empty() {
            let report = self.reloads.reload(ReloadTarget::Changed, &[]);
            self.reload = Some(Reload { report, is_everything: false, others: Vec::new(), before });
        }
        false
    }

    /// Why what is on the disk now is not complete, as far as that can be seen without reading it.
    fn unfinished(&mut self) -> Option<String> {
        if !self.is_polling()
            && let Some(file) = self.activity.being_written()
        {
            return Some(format!("{} is open for writing", file.display()));
        }
        let Some(lock) = lock_of(&self.list.folder.on_disk) else {
            self.locked_since = None;
            return None;
        };
        let since = *self.locked_since.get_or_insert_with(Instant::now);
        (since.elapsed() < PATIENCE).then(|| format!("git works on the files ({})", lock.display()))
    }

    /// Reads the files that are watched now, and tells what is in the way.
    fn read(&mut self) -> Contents {
        let tree = self.place();
        let folder = self.list.folder.clone();
        let found = tree.files.iter().map(|file| folder.join(file));
        let named = self.list.ini.iter().chain(&self.list.parameters).cloned();
        let mut contents = Contents::read(found.chain(named), &self.loaded, self.is_polling());
        let mut complaints = HashSet::new();
        for (way, reason) in &tree.unreadable {
            let place = folder.join(way);
            complaints.insert(format!(
                "{} cannot be read: {reason}; what was loaded from it goes on serving",
                place.shown.display()
            ));
            contents.keep(&self.loaded, |file| file.starts_with(&place.shown));
        }
        if let Some(ini) = self.list.ini.as_ref().filter(|ini| !contents.has(&ini.shown)) {
            complaints.insert(format!("{} is gone; the server goes on with what it said", ini.shown.display()));
            contents.put_back(&self.loaded, &ini.shown);
        }
        if tree.is_too_large {
            complaints.insert(format!(
                "{} has more than {MOST_FOLDERS} folders; changes in the deeper ones are not noticed",
                folder.shown.display()
            ));
        }
        for complaint in complaints.difference(&self.complaints) {
            tracing::warn!("{complaint}");
        }
        self.complaints = complaints;
        contents
    }

    /// Finds the files that are to be watched, and has the system tell of their changes.
    fn place(&mut self) -> Tree {
        let root = self.list.folder.on_disk.clone();
        let mut needed = HashSet::new();
        let mut trouble = None;
        let tree = Tree::read(&root, |folder, identity| {
            self.activity.enter(folder);
            self.watch(folder, identity, &mut trouble);
        });
        needed.extend(tree.folders.keys().cloned());
        let mut ways: Vec<_> = tree.links.iter().map(|link| root.join(link)).collect();
        ways.extend(self.list.ini.iter().chain(&self.list.parameters).map(|place| place.on_disk.clone()));
        ways.push(root);
        let mut entries = HashSet::new();
        for way in ways {
            for (folder, name) in anchors(&way) {
                entries.insert(folder.join(name));
                if needed.insert(folder.clone())
                    && let Ok(identity) = identity_of(&folder)
                {
                    self.watch(&folder, identity, &mut trouble);
                }
            }
        }
        self.activity.interest(tree.folders.keys().cloned().collect(), entries);
        for folder in self.activity.take_unneeded(&needed) {
            if let Some(system) = &mut self.system {
                // It may have ended by itself.
                let _ = system.unwatch(&folder);
            }
        }
        if let Some(reason) = trouble.filter(|_| !self.is_polling()) {
            self.poll(&reason);
        }
        tree
    }

    /// Has the system tell of changes in `folder`, if it does not yet.
    fn watch(&mut self, folder: &Path, identity: Identity, trouble: &mut Option<String>) {
        let Some(system) = self.system.as_mut().filter(|_| trouble.is_none()) else { return };
        if let Some(kind) = self.file_systems.silent(identity.0) {
            *trouble = Some(format!("{} is on a file system of type {kind}", folder.display()));
            return;
        }
        if self.activity.is_watched(folder, identity) {
            return;
        }
        // Another folder of that name may still be watched.
        let _ = system.unwatch(folder);
        match system.watch(folder, RecursiveMode::NonRecursive) {
            Ok(()) => self.activity.watched(folder, identity),
            // A look tells the rest.
            Err(error) if matches!(error.kind, ErrorKind::PathNotFound) => {}
            Err(error) => *trouble = Some(reason(&error, folder)),
        }
    }
}

/// Why the system does not tell of changes in `folder`.
fn reason(error: &notify::Error, folder: &Path) -> String {
    match &error.kind {
        ErrorKind::MaxFilesWatch => {
            "the user's limit of inotify watches is reached (sysctl fs.inotify.max_user_watches)".to_owned()
        }
        ErrorKind::Io(error) => format!("{}: {error}", folder.display()),
        _ => error.to_string(),
    }
}

/// Waits for the end of a reload; `None` if the server does not come to it any more.
async fn ended(reload: &mut Option<Reload>) -> Option<ReloadReport> {
    match reload {
        Some(reload) => (&mut reload.report).await.ok(),
        None => std::future::pending().await,
    }
}

fn listed(files: &[PathBuf]) -> String {
    let named = files.iter().take(NAMED).map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
    match files.len().saturating_sub(NAMED) {
        0 => named,
        1 => format!("{named} and one more file"),
        more => format!("{named} and {more} more files"),
    }
}
