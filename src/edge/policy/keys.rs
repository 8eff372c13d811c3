//! The named keys of section `[keys]`: which of them a client has sent, and what that key opens.
//!
//! Made on the Python thread at each reading of the ini file, read on the I/O threads. Promise: a key is looked up by
//! its digest, so the time does not depend on how many keys there are; where a digest is in the table depends on a
//! random number of the process, and digests are compared in constant time. Caveat: whether a key has expired is found
//! out by the system's clock at each request.

use std::collections::HashMap;
use std::sync::Arc;

use crate::edge::config::keys::{DEFAULT_KEY, Expiry, KeyDigest, KeyScope, KeySettings, KeySources};
use crate::edge::config::settings::{Secret, Settings};

/// What a key is required for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource<'a> {
    /// The plugin of this id.
    Plugin(&'a str),
    /// `/plugins`, `/reload/…` and `/-/api/…`.
    Control,
    /// `/-/metrics`.
    Metrics,
}

/// A key of the ini file, without the key itself.
#[derive(Debug)]
pub(crate) struct NamedKey {
    /// Its name.
    pub name: Arc<str>,
    scopes: Vec<KeyScope>,
    expires: Option<Expiry>,
}

impl NamedKey {
    /// Whether its scopes name `realm`.
    pub(crate) fn is_for(&self, realm: Resource<'_>) -> bool {
        self.scopes.iter().any(|scope| match (scope, realm) {
            (KeyScope::AllPlugins, Resource::Plugin(_))
            | (KeyScope::Control, Resource::Control | Resource::Metrics)
            | (KeyScope::Metrics, Resource::Metrics) => true,
            (KeyScope::Plugin(named), Resource::Plugin(id)) => named == id,
            _ => false,
        })
    }

    /// Whether its time is over.
    pub(crate) fn has_expired(&self) -> bool {
        self.expires.as_ref().is_some_and(Expiry::is_over)
    }
}

/// All named keys of one reading of the ini file, and where clients may send keys.
#[derive(Debug, Default)]
pub struct Keys {
    by_digest: HashMap<KeyDigest, Arc<NamedKey>>,
    /// The parts of a request that may hold a key.
    pub(crate) sources: KeySources,
}

impl Keys {
    /// Those that `settings` have.
    pub(crate) fn of(settings: &Settings) -> Self {
        Self::new(&settings.keys, settings.apikey.as_ref(), settings.key_sources)
    }

    /// The keys of `[keys]`, and that of `[auth] apikey`, which is for the server's own endpoints and for every plugin
    /// that asks for a named key.
    pub(crate) fn new(named: &[KeySettings], apikey: Option<&Secret>, sources: KeySources) -> Self {
        let mut by_digest = HashMap::new();
        if let Some(apikey) = apikey {
            let (name, scopes) = (Arc::from(DEFAULT_KEY), vec![KeyScope::AllPlugins, KeyScope::Control]);
            let key = NamedKey { name, scopes, expires: None };
            by_digest.insert(KeyDigest::of(apikey.expose().as_bytes()), Arc::new(key));
        }
        by_digest.extend(named.iter().map(|key| {
            let KeySettings { name, digest, scopes, expires } = key.clone();
            (digest, Arc::new(NamedKey { name: Arc::from(name), scopes, expires }))
        }));
        Self { by_digest, sources }
    }

    /// The key of this digest.
    pub(crate) fn get(&self, digest: &KeyDigest) -> Option<&Arc<NamedKey>> {
        self.by_digest.get(digest)
    }

    /// Whether there is no key at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_digest.is_empty()
    }

    /// How many there are.
    pub(crate) fn number(&self) -> usize {
        self.by_digest.len()
    }

    /// Whether there is a key for `realm`, be it an expired one.
    pub(crate) fn has_key_for(&self, realm: Resource<'_>) -> bool {
        self.by_digest.values().any(|key| key.is_for(realm))
    }

    /// Whether a client could be let in to `realm`.
    pub(crate) fn has_usable_key_for(&self, realm: Resource<'_>) -> bool {
        self.by_digest.values().any(|key| key.is_for(realm) && !key.has_expired())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::config::keys::key_line;

    fn keys(lines: &[(&str, &str)], apikey: Option<&str>) -> Keys {
        let lines: Vec<_> =
            lines.iter().map(|(name, text)| key_line(name, text, |_| Ok(String::new())).unwrap()).collect();
        Keys::new(&lines, apikey.map(Secret::new).as_ref(), KeySources::default())
    }

    #[test]
    fn a_key_is_for_what_its_scopes_name() {
        let keys = keys(&[("all", "key=a&scopes=*"), ("some", "key=s&scopes=greet,control,metrics")], None);
        let opens = |key: &[u8], realm| keys.get(&KeyDigest::of(key)).is_some_and(|key| key.is_for(realm));
        assert!(opens(b"a", Resource::Plugin("greet")) && opens(b"a", Resource::Plugin("clock")));
        assert!(!opens(b"a", Resource::Control));
        assert!(opens(b"s", Resource::Plugin("greet")) && !opens(b"s", Resource::Plugin("clock")));
        assert!(opens(b"s", Resource::Control) && !opens(b"other", Resource::Control));
    }

    #[test]
    fn the_servers_key_is_named_and_for_everything() {
        let keys = keys(&[], Some("k"));
        let default = keys.get(&KeyDigest::of(b"k")).unwrap();
        assert_eq!("default", &*default.name);
        assert!(default.is_for(Resource::Control) && default.is_for(Resource::Plugin("any")) && !default.has_expired());
    }

    #[test]
    fn a_key_that_has_expired_is_there_but_cannot_be_used() {
        let keys = keys(&[("old", "key=o&scopes=control&expires=2001-01-01")], None);
        assert!(keys.has_key_for(Resource::Control) && !keys.has_usable_key_for(Resource::Control));
        assert!(!keys.has_key_for(Resource::Plugin("greet")));
    }
}
