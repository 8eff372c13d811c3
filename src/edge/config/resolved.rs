//! The resolved configuration: the sections and keys of the file with typed values and their source locations.
//!
//! Plain data, made and read on the Python thread. Caveat: some items may have no value because it could not be
//! resolved; their errors are in [`ResolvedConfig::errors`], so that they are reported together with those of
//! [`Settings`](super::settings::Settings). Check the errors before using the values.

use super::diagnostic::{Diagnostic, SourceLocation};
use super::fields::word_of_switch;
use super::schema::{HOST_SECTIONS, SWITCHES, is_of_host};
use super::value::Value;
use sha2::{Digest, Sha256};
use std::fmt;
use std::path::PathBuf;

/// A whole configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResolvedConfig {
    /// The file as it was named.
    pub path: PathBuf,
    /// Where relative paths in it begin; empty for the working directory.
    pub base: PathBuf,
    /// Sections in file order.
    pub sections: Vec<Section>,
    /// What could not be resolved or converted.
    pub errors: Vec<Diagnostic>,
    /// What is doubtful about it.
    pub warnings: Vec<Diagnostic>,
}

/// A section with typed values.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    /// Name as written.
    pub name: String,
    /// Where its header is.
    pub location: SourceLocation,
    /// Items in `configparser`'s order: inherited ones first.
    pub items: Vec<Item>,
}

/// One typed value.
#[derive(Clone)]
pub(crate) struct Item {
    /// Key in lower case.
    pub key: String,
    /// The value; `None` when it could not be made, which is reported in [`ResolvedConfig::errors`].
    pub value: Option<Value>,
    /// The resolved text without its type prefix.
    pub text: String,
    /// Where the text came from.
    pub location: SourceLocation,
    /// Whether it stands in `[DEFAULT]` and not in the section itself.
    pub inherited: bool,
    /// Environment variables that it refers to and that gave nothing, each as half a sentence.
    pub missing: Vec<String>,
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item").field("key", &self.key).field("location", &self.location).finish_non_exhaustive()
    }
}

impl Item {
    /// Why the text, or a part of it, is missing although an environment variable was to give it.
    pub(crate) fn missing_reason(&self) -> Option<String> {
        match &self.location {
            SourceLocation::Variable(_) if self.text.trim().is_empty() => {
                Some("the variable is set, but empty".to_owned())
            }
            _ => (!self.missing.is_empty()).then(|| self.missing.join(", ")),
        }
    }
}

impl Section {
    /// The item of this key.
    pub(crate) fn item(&self, key: &str) -> Option<&Item> {
        self.items.iter().find(|item| item.key == key)
    }

    /// The item of this key, to be changed.
    pub(crate) fn item_mut(&mut self, key: &str) -> Option<&mut Item> {
        self.items.iter_mut().find(|item| item.key == key)
    }
}

/// Position of the section that plays the host's `[name]`: the exact name, else the first that differs in case only.
pub(crate) fn host_section<'a>(names: impl Iterator<Item = &'a str> + Clone, name: &str) -> Option<usize> {
    names.clone().position(|n| n == name).or_else(|| names.clone().position(|n| n.eq_ignore_ascii_case(name)))
}

impl ResolvedConfig {
    /// The section that the server uses as `[name]`; its name may differ in case.
    pub(crate) fn host_section(&self, name: &str) -> Option<&Section> {
        self.host_position(name).map(|at| &self.sections[at])
    }

    /// The same, to be changed.
    pub(crate) fn host_section_mut(&mut self, name: &str) -> Option<&mut Section> {
        self.host_position(name).map(|at| &mut self.sections[at])
    }

    /// A digest of the sections that are not the host's, which every plugin may go by.
    pub(crate) fn digest_of_plugin_sections(&self) -> [u8; 32] {
        let of_host: Vec<_> = HOST_SECTIONS.iter().filter_map(|(name, _)| self.host_position(name)).collect();
        let mut digest = Sha256::new();
        let is_of_plugins =
            |(position, section): &(usize, &Section)| !of_host.contains(position) && !is_of_host(&section.name);
        for (_, section) in self.sections.iter().enumerate().filter(is_of_plugins) {
            for Item { key, value, text, .. } in &section.items {
                digest.update(format!("{:?}", (&section.name, key, value, text)));
            }
        }
        digest.finalize().into()
    }

    fn host_position(&self, name: &str) -> Option<usize> {
        host_section(self.sections.iter().map(|section| section.name.as_str()), name)
    }

    /// Has plugins find the host's switches as the host reads them, where a `bool:` makes a value of them.
    pub(crate) fn resolve_switches(&mut self) {
        for (section, key) in SWITCHES {
            if let Some(item) = self.host_section_mut(section).and_then(|section| section.item_mut(key))
                && let (Some(Value::Bool(_)), Some(on)) = (&item.value, word_of_switch(&item.text))
            {
                item.value = Some(Value::Bool(on));
            }
        }
    }
}
