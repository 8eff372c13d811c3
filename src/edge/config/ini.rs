//! The ini file as `configparser` read it: texts as written, with nothing resolved or converted.
//!
//! Plain data, made on the Python thread. Texts may be secret, so `Debug` omits them.

use super::diagnostic::SourceLocation;
use std::fmt;
use std::path::{Path, PathBuf};

/// A whole file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ini {
    /// The file as it was named.
    pub path: PathBuf,
    /// What `[DEFAULT]` holds; every section's entries contain it already.
    pub defaults: Vec<Entry>,
    /// Sections in file order.
    pub sections: Vec<Section>,
}

/// `[name]` and what stands below it.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    /// Name as written.
    pub name: String,
    /// Line of the header; 0 when the file does not have it.
    pub line: usize,
    /// Entries with those inherited from `[DEFAULT]` first, as `configparser` orders them; keys are unique.
    pub entries: Vec<Entry>,
}

/// `key = text`.
#[derive(Clone)]
pub(crate) struct Entry {
    /// Key in lower case.
    pub key: String,
    /// Text without surrounding white space; continuation lines are joined by line feeds.
    pub text: String,
    /// Line of the key; 0 when the file does not have it.
    pub line: usize,
    /// Whether it stands in `[DEFAULT]` and not in the section itself.
    pub inherited: bool,
    /// The environment variable or option that replaced the text, if one did; such a text is not searched for `${…}`.
    pub replaced_by: Option<SourceLocation>,
}

impl Entry {
    /// An entry of the file at `line`.
    pub(crate) fn new(key: impl Into<String>, text: impl Into<String>, line: usize) -> Self {
        Self { key: key.into(), text: text.into(), line, inherited: false, replaced_by: None }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("key", &self.key).field("line", &self.line).finish_non_exhaustive()
    }
}

impl Ini {
    /// What stands for the file when there is none: `[paths] plugins` is the folder `plugins` in `folder`.
    pub(crate) fn for_folder(folder: &Path) -> Self {
        let plugins = folder.join("plugins").display().to_string().replace('$', "$$");
        let entries = vec![Entry::new("plugins", plugins, 0)];
        let sections = vec![Section { name: "paths".into(), line: 0, entries }];
        Self { path: "built-in defaults".into(), defaults: Vec::new(), sections }
    }

    /// Where an entry's text came from.
    pub(crate) fn location(&self, entry: &Entry) -> SourceLocation {
        entry.replaced_by.clone().unwrap_or_else(|| SourceLocation::at(&self.path, entry.line))
    }
}
