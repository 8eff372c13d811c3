//! What is kept of plugins over restarts: which of them are disabled, and which have ended the process.
//!
//! Used on the I/O threads and on the Python thread, under a lock that is held for moments; the file is written by
//! whoever changes something. Promise: the file is replaced as a whole, so that it is never half written; one that
//! cannot be read or written is a warning and never the end of service. Caveat: what is kept belongs to a plugin file,
//! by its name in the plugins' folder: a file that is not loaded cannot be asked for its ids.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Why a file is not loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Withheld {
    /// Somebody has disabled it, or the server runs in safe mode.
    Disabled,
    /// It has ended the process too often.
    Parked,
}

/// After so many ends of the process in a row a file is not loaded any more.
pub(crate) const MOST_CRASHES: u32 = 3;

/// The document in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Document {
    /// Disabled files with the ids that their plugins had.
    disabled: BTreeMap<String, Vec<String>>,
    /// Files whose code was running when the process ended.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    crashes: BTreeMap<String, Crashes>,
}

/// How a file has ended the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Crashes {
    /// How often in a row.
    count: u32,
    /// A digest of what was in the file.
    content: String,
    /// The ids that its plugins had.
    ids: Vec<String>,
}

#[derive(Debug, Default)]
struct Kept {
    document: Document,
    /// What the file holds.
    written: Document,
    /// In safe mode: the files that are loaded nevertheless.
    allowed: BTreeSet<String>,
}

/// What is kept of plugins.
#[derive(Debug, Default)]
pub(crate) struct KeptState {
    /// Where it is kept; nothing is if there is no such place.
    file: Option<PathBuf>,
    /// Whether no file is loaded that is not allowed one by one.
    is_safe_mode: bool,
    kept: Mutex<Kept>,
}

/// What an [`KeptState::enable`] has changed, to take it back.
pub(crate) struct Earlier {
    disabled: Option<Vec<String>>,
    crashes: Option<Crashes>,
    allowed: bool,
}

/// The name of a plugin file within the folder of the plugins: `greet.py`, or `shop/__init__.py` for a package.
pub(crate) fn key(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default();
    let package = file.parent().and_then(Path::file_name).filter(|_| name == "__init__.py");
    let name = package.map_or_else(|| PathBuf::from(name), |package| Path::new(package).join(name));
    name.to_string_lossy().into_owned()
}

impl KeptState {
    /// What `file` holds. In safe mode everything counts as disabled besides, without being kept as that.
    pub(crate) fn open(file: Option<PathBuf>, is_safe_mode: bool) -> Self {
        let document = file.as_deref().map(read).unwrap_or_default();
        let kept = Kept { written: document.clone(), document, allowed: BTreeSet::new() };
        Self { file, is_safe_mode, kept: Mutex::new(kept) }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Values are only replaced or read under the lock, so a panic elsewhere leaves them whole.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing is loaded that is not allowed one by one.
    pub(crate) fn is_safe_mode(&self) -> bool {
        self.is_safe_mode
    }

    /// Why the file `key` is not to be loaded; `None` if it is.
    pub(crate) fn withheld(&self, key: &str) -> Option<Withheld> {
        let kept = self.lock();
        let is_out = kept.document.disabled.contains_key(key) || (self.is_safe_mode && !kept.allowed.contains(key));
        if is_out {
            return Some(Withheld::Disabled);
        }
        let crashes = kept.document.crashes.get(key).map_or(0, |crashes| crashes.count);
        (crashes >= MOST_CRASHES).then_some(Withheld::Parked)
    }

    /// Notes that the process ended in the code of a file with this content; returns how often in a row it has. Waits
    /// for the disk.
    pub(crate) fn note_crash(&self, key: &str, ids: Vec<String>, content: &str) -> u32 {
        let mut kept = self.lock();
        let crashes = kept.document.crashes.entry(key.to_owned()).or_default();
        let count = if crashes.content == content { crashes.count + 1 } else { 1 };
        *crashes = Crashes { count, content: content.to_owned(), ids };
        self.save(&mut kept);
        count
    }

    /// Forgets the crashes of files that are still loaded. Waits for the disk.
    pub(crate) fn forget_lone_crashes(&self) {
        let mut kept = self.lock();
        kept.document.crashes.retain(|_, crashes| crashes.count >= MOST_CRASHES);
        self.save(&mut kept);
    }

    /// Forgets all crashes, as long as the server runs.
    pub(crate) fn forget_crashes(&self) {
        self.lock().document.crashes.clear();
    }

    /// Forgets the crashes of a file whose content is another by now; `content` is asked for it if there are any. Waits
    /// for the disk.
    pub(crate) fn forget_crashes_if_changed(&self, key: &str, content: impl FnOnce() -> String) {
        let Some(known) = self.lock().document.crashes.get(key).map(|crashes| crashes.content.clone()) else { return };
        if known != content() {
            let mut kept = self.lock();
            kept.document.crashes.remove(key);
            self.save(&mut kept);
        }
    }

    /// The ids that the plugins of a file had when it was disabled, as far as that is known.
    pub(crate) fn ids(&self, key: &str) -> Vec<String> {
        let kept = self.lock();
        let crashed = kept.document.crashes.get(key).map(|crashes| &crashes.ids);
        kept.document.disabled.get(key).or(crashed).cloned().unwrap_or_default()
    }

    /// Disables a file whose plugins have these ids, now and after each restart. Waits for the disk.
    pub(crate) fn disable(&self, key: &str, ids: Vec<String>) {
        let mut kept = self.lock();
        kept.allowed.remove(key);
        kept.document.disabled.insert(key.to_owned(), ids);
        self.save(&mut kept);
    }

    /// Lets a file be loaded again; [`Self::keep`] or [`Self::take_back`] decides whether that stays.
    pub(crate) fn enable(&self, key: &str) -> Earlier {
        let mut kept = self.lock();
        let disabled = kept.document.disabled.remove(key);
        let crashes = kept.document.crashes.remove(key);
        Earlier { disabled, crashes, allowed: !kept.allowed.insert(key.to_owned()) }
    }

    /// Keeps all changes. Waits for the disk.
    pub(crate) fn keep(&self) {
        self.save(&mut self.lock());
    }

    /// Takes an [`Self::enable`] back.
    pub(crate) fn take_back(&self, key: &str, earlier: Earlier) {
        let mut kept = self.lock();
        if let Some(ids) = earlier.disabled {
            kept.document.disabled.insert(key.to_owned(), ids);
        }
        if let Some(crashes) = earlier.crashes {
            kept.document.crashes.insert(key.to_owned(), crashes);
        }
        if !earlier.allowed {
            kept.allowed.remove(key);
        }
    }

    fn save(&self, kept: &mut Kept) {
        let Some(file) = self.file.as_deref().filter(|_| kept.document != kept.written) else { return };
        match write(file, &kept.document) {
            Ok(()) => kept.written = kept.document.clone(),
            Err(error) => tracing::warn!(
                "{}: which plugins are disabled cannot be kept for the next start: {error}; \
                 set [server] state_dir to a folder that is writable",
                file.display()
            ),
        }
    }
}

fn read(file: &Path) -> Document {
    let text = match fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Document::default(),
        Err(error) => {
            tracing::warn!("{}: cannot be read: {error}; all plugins count as enabled", file.display());
            return Document::default();
        }
    };
    // Not straight into the document, which a list would do for, too.
    let document = serde_json::from_slice::<Map<String, Value>>(&text)
        .and_then(|document| serde_json::from_value(Value::Object(document)));
    document.unwrap_or_else(|error| {
        tracing::warn!(
            "{}: is not what the server has written: {error}; all plugins count as enabled, and the next change \
             replaces the file",
            file.display()
        );
        Document::default()
    })
}

/// Replaces the file; its folder is made if it is not there.
fn write(file: &Path, document: &Document) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(document)?;
    if let Some(folder) = file.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let beside = file.with_extension(format!("{}.new", std::process::id()));
    let written = File::create(&beside).and_then(|mut new| {
        new.write_all(&text)?;
        new.sync_all()
    });
    written.and_then(|()| fs::rename(&beside, file)).inspect_err(|_| {
        // It may not even be there.
        let _ = fs::remove_file(&beside);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::observe::log_file::tests::Folder;

    fn open(file: &Path) -> KeptState {
        KeptState::open(Some(file.to_path_buf()), false)
    }

    #[test]
    fn what_is_disabled_stays_disabled_until_it_is_enabled_and_kept() {
        let folder = Folder::new();
        let file = folder.file("state/x.json");
        let state = open(&file);
        assert_eq!(None, state.withheld("a.py"));
        assert!(!file.exists());
        state.disable("a.py", vec!["a".into(), "b".into()]);
        let again = open(&file);
        assert_eq!(
            (Some(Withheld::Disabled), vec!["a".to_owned(), "b".to_owned()]),
            (again.withheld("a.py"), again.ids("a.py"))
        );
        let earlier = again.enable("a.py");
        assert_eq!((None, Some(Withheld::Disabled)), (again.withheld("a.py"), open(&file).withheld("a.py")));
        again.take_back("a.py", earlier);
        assert_eq!(Some(Withheld::Disabled), again.withheld("a.py"));
        again.enable("a.py");
        again.keep();
        assert_eq!(None, open(&file).withheld("a.py"));
    }

    #[test]
    fn a_file_that_is_broken_or_of_a_later_version_disables_nothing_and_can_be_replaced() {
        let folder = Folder::new();
        let file = folder.file("x.json");
        for text in ["", "{", "[]", r#"{"disabled": 5}"#, r#"{"later": {}}"#, "\u{0}"] {
            fs::write(&file, text).unwrap();
            let state = open(&file);
            assert_eq!(None, state.withheld("a.py"), "{text}");
            state.disable("a.py", Vec::new());
            assert_eq!(Some(Withheld::Disabled), open(&file).withheld("a.py"), "{text}");
        }
    }

    #[test]
    fn in_safe_mode_everything_is_disabled_and_nothing_is_written() {
        let folder = Folder::new();
        let file = folder.file("x.json");
        let state = KeptState::open(Some(file.clone()), true);
        assert_eq!(Some(Withheld::Disabled), state.withheld("a.py"));
        state.enable("a.py");
        state.keep();
        assert_eq!((None, Some(Withheld::Disabled)), (state.withheld("a.py"), state.withheld("b.py")));
        assert!(!file.exists());
    }

    #[test]
    fn a_place_that_cannot_be_written_is_no_error() {
        let folder = Folder::new();
        fs::write(folder.file("x"), "").unwrap();
        let state = open(&folder.file("x/state.json"));
        state.disable("a.py", Vec::new());
        assert_eq!(Some(Withheld::Disabled), state.withheld("a.py"));
    }

    #[test]
    fn the_key_is_the_name_in_the_folder() {
        assert_eq!("greet.py", key(Path::new("plugins/greet.py")));
        assert_eq!("shop/__init__.py", key(Path::new("/srv/plugins/shop/__init__.py")));
    }
}
