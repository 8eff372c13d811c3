//! What differs between two readings of the ini file, and what follows from it.
//!
//! Pure functions. Promise: of values, which may be secret, nothing is kept but a digest. Caveat: what is compared is
//! what the file says, with references resolved; files that it names are not looked into.

use sha2::{Digest, Sha256};

use super::resolved::ResolvedConfig;
use super::schema::{CERTIFICATE_KEYS, HOST_SECTIONS, PLUGIN_KEYS, is_of_certificate, plugin_of_section};

/// All keys of a reading, in the order of the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Digests(Vec<Line>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    section: String,
    key: String,
    value: [u8; 32],
}

/// What a change of a key has for a consequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// A reload applies it.
    Live,
    /// It needs a restart or an upgrade.
    Restart,
    /// A reload loads the plugin file of this stem anew.
    File(String),
    /// A reload loads all plugins anew.
    AllFiles,
}

/// A key that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Its section.
    pub section: String,
    /// The key.
    pub key: String,
    /// What follows.
    pub effect: Effect,
}

impl Digests {
    /// Those of a reading.
    pub(crate) fn of(config: &ResolvedConfig) -> Self {
        let mut lines = Vec::new();
        for section in &config.sections {
            let known = host_keys(&section.name);
            for item in &section.items {
                // What `[DEFAULT]` holds is in every section, and counts where it is used.
                if item.inherited && !known.is_none_or(|(_, keys)| keys.contains(&&*item.key)) {
                    continue;
                }
                let name = known.map_or(section.name.as_str(), |(name, _)| name);
                let value = Sha256::digest(format!("{:?}", (&item.value, &item.text))).into();
                lines.push(Line { section: name.to_owned(), key: item.key.clone(), value });
            }
        }
        Self(lines)
    }

    fn get(&self, section: &str, key: &str) -> Option<&[u8; 32]> {
        self.0.iter().find(|line| line.section == section && line.key == key).map(|line| &line.value)
    }

    /// What differs in `after`; `restart` has the options that need a restart, such as `[server] io_threads`.
    pub(crate) fn changes(&self, after: &Self, restart: &[&str]) -> Vec<Change> {
        let changed = after.0.iter().filter(|line| self.get(&line.section, &line.key) != Some(&line.value));
        let gone = self.0.iter().filter(|line| after.get(&line.section, &line.key).is_none());
        let change = |Line { section, key, .. }: &Line| Change {
            section: section.clone(),
            key: key.clone(),
            effect: effect(section, key, restart),
        };
        changed.chain(gone).map(change).collect()
    }
}

/// The host's name of a section, and the keys in it, if it is one of the host's.
fn host_keys(section: &str) -> Option<(&str, &'static [&'static str])> {
    let for_plugin = plugin_of_section(section).map(|_| (section, PLUGIN_KEYS));
    let for_certificate = || is_of_certificate(section).then_some((section, CERTIFICATE_KEYS));
    for_plugin
        .or_else(for_certificate)
        .or_else(|| HOST_SECTIONS.iter().copied().find(|(name, _)| name.eq_ignore_ascii_case(section)))
}

fn effect(section: &str, key: &str, restart: &[&str]) -> Effect {
    if restart.contains(&&*format!("[{section}] {key}")) {
        return Effect::Restart;
    }
    match (section, key) {
        ("plugin_parms", stem) => Effect::File(stem.to_owned()),
        ("compat", "legacy_status") | ("paths", "plugins") => Effect::AllFiles,
        _ if host_keys(section).is_some() => Effect::Live,
        // Every plugin may go by it.
        _ => Effect::AllFiles,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(lines: &[(&str, &str, u8)]) -> Digests {
        let line = |&(section, key, value): &(&str, &str, u8)| Line {
            section: section.to_owned(),
            key: key.to_owned(),
            value: [value; 32],
        };
        Digests(lines.iter().map(line).collect())
    }

    #[test]
    fn each_key_that_is_new_changed_or_gone_is_named_once_with_its_effect() {
        let before = digests(&[("auth", "apikey", 1), ("server", "io_threads", 1), ("shop", "url", 1)]);
        let after = digests(&[
            ("auth", "apikey", 1),
            ("server", "io_threads", 2),
            ("plugin_parms", "greet", 1),
            ("plugin greet", "body_size", 1),
        ]);
        let changes = before.changes(&after, &["[server] io_threads"]);
        let shown: Vec<_> = changes.into_iter().map(|one| (one.section, one.key, one.effect)).collect();
        let expected = [
            ("server", "io_threads", Effect::Restart),
            ("plugin_parms", "greet", Effect::File("greet".to_owned())),
            ("plugin greet", "body_size", Effect::Live),
            ("shop", "url", Effect::AllFiles),
        ];
        assert_eq!(expected.map(|(section, key, effect)| (section.to_owned(), key.to_owned(), effect)), *shown);
    }

    #[test]
    fn a_reading_does_not_differ_from_itself() {
        let reading = digests(&[("network", "port", 1), ("cors", "enabled", 2)]);
        assert_eq!(Vec::<Change>::new(), reading.changes(&reading, &[]));
    }
}
