//! The named keys of section `[keys]`: which of them a client has sent, and what that key opens.
//!
//! Made on the Python thread at each reading of the ini file, read on the I/O threads. Promise: a key is looked up by
//! its digest, so the time does not depend on how many keys there are; where a digest is in the table depends on a
//! random number of the process, and digests are compared in constant time. Caveat: whether a key has expired is found
//! out by the system's clock at each request.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};

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
    /// `/-/openapi.json` and `/-/docs`.
    Description,
}

/// A key of the ini file, without the key itself.
#[derive(Debug)]
pub(crate) struct NamedKey {
    /// Its name.
    pub name: Arc<str>,
    scopes: Vec<KeyScope>,
    expires: Option<Expiry>,
    last_used: Arc<AtomicI64>,
}

/// Seconds of the system's clock, as of the last [`note_time`]; to ask the clock itself for each key takes longer.
static NOW: AtomicI64 = AtomicI64::new(0);

/// When each key was used last, which a reload keeps.
static LAST_USED: LazyLock<Mutex<HashMap<KeyDigest, Arc<AtomicI64>>>> = LazyLock::new(Mutex::default);

/// Has keys that are used from now on count as used at this time; to be called every few seconds.
pub(crate) fn note_time() {
    NOW.store(Timestamp::now().as_second(), Ordering::Relaxed);
}

/// When the key of this digest was used last.
fn last_used(digest: &KeyDigest) -> Arc<AtomicI64> {
    let mut all = LAST_USED.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(all.entry(*digest).or_default())
}

impl NamedKey {
    /// Notes that it has admitted a request.
    pub(crate) fn note_use(&self) {
        let now = NOW.load(Ordering::Relaxed);
        // Threads that all write the same would wait for each other.
        if self.last_used.load(Ordering::Relaxed) != now {
            self.last_used.store(now, Ordering::Relaxed);
        }
    }

    fn to_json(&self) -> Value {
        let last_used = self.last_used.load(Ordering::Relaxed);
        json!({
            "name": &*self.name,
            "scopes": self.scopes.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "expires": self.expires.as_ref().map(ToString::to_string),
            "expired": self.has_expired(),
            "last_used": Timestamp::from_second(last_used).ok().filter(|_| last_used > 0).map(|time| time.to_string()),
        })
    }

    /// Whether its scopes name `realm`.
    pub(crate) fn is_for(&self, realm: Resource<'_>) -> bool {
        self.scopes.iter().any(|scope| match (scope, realm) {
            (_, Resource::Description)
            | (KeyScope::AllPlugins, Resource::Plugin(_))
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
            let digest = KeyDigest::of(apikey.expose().as_bytes());
            let key = NamedKey { name, scopes, expires: None, last_used: last_used(&digest) };
            by_digest.insert(digest, Arc::new(key));
        }
        by_digest.extend(named.iter().map(|key| {
            let KeySettings { name, digest, scopes, expires } = key.clone();
            let last_used = last_used(&digest);
            (digest, Arc::new(NamedKey { name: Arc::from(name), scopes, expires, last_used }))
        }));
        Self { by_digest, sources }
    }

    /// The key of this digest.
    pub(crate) fn get(&self, digest: &KeyDigest) -> Option<&Arc<NamedKey>> {
        self.by_digest.get(digest)
    }

    /// What is shown of all of them, by name; never a key or its digest.
    pub(crate) fn to_json(&self) -> Value {
        let mut keys: Vec<_> = self.by_digest.values().collect();
        keys.sort_by(|one, other| one.name.cmp(&other.name));
        json!({ "keys": keys.iter().map(|key| key.to_json()).collect::<Vec<_>>() })
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
