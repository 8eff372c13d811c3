//! The key that a client sends, and whether it grants access to a route.
//!
//! Runs on the I/O threads; a plugin's `_check_auth` also calls it on Python's. The order is pluginserver's:
//! `Authorization: Bearer`, else `X-Custom-Auth`, else the variable `apikey`, of the query before the body. Only the
//! first one that is present and not empty counts, of those that `[auth] key_sources` names. Keys are compared as
//! SHA-256 digests in constant time, so that neither content nor length leaks. Caveat: variables are compared as sent,
//! headers without surrounding white space.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};

use super::keys::{Keys, NamedKey, Resource};
use crate::edge::config::keys::{KeyDigest, KeySources};
use crate::edge::config::settings::Secret;
use crate::edge::http::request::{BodyData, Variables, json_key};

const X_CUSTOM_AUTH: HeaderName = HeaderName::from_static("x-custom-auth");
const APIKEY: &str = "apikey";

/// The key that a client shows. Never empty.
#[derive(Clone)]
pub(crate) struct Credential<'a>(Cow<'a, [u8]>);

impl<'a> Credential<'a> {
    /// The key in a head, in the parts of it that are among `sources`: the headers before the query.
    pub(crate) fn from_head(sources: KeySources, headers: &'a HeaderMap, query: &'a Variables) -> Option<Self> {
        let header = if sources.header { Self::from_headers(headers) } else { None };
        header.or_else(|| if sources.query { Self::from_query(query) } else { None })
    }

    /// The key of `Authorization: Bearer` (the scheme in any case; other schemes are passed over) or `X-Custom-Auth`;
    /// of repeated headers the first, which is the one that a plugin finds in `request_headers`.
    pub(crate) fn from_headers(headers: &'a HeaderMap) -> Option<Self> {
        let bearer = headers.get(AUTHORIZATION).and_then(|value| bearer_token(value.as_bytes()));
        let custom = || headers.get(X_CUSTOM_AUTH).and_then(|value| Self::present(value.as_bytes().trim_ascii()));
        bearer.or_else(custom)
    }

    /// The variable `apikey` of the query; the first of repeated ones.
    pub(crate) fn from_query(query: &'a Variables) -> Option<Self> {
        query.get(APIKEY).and_then(|key| Self::present(key.as_bytes()))
    }

    /// The variable `apikey` of the body: the last in a JSON object, the first in a form.
    pub(crate) fn from_body(body: &'a BodyData) -> Option<Self> {
        match body {
            BodyData::None => None,
            BodyData::Json(text) => {
                json_key(text, APIKEY).and_then(|key| Credential::present(key.as_bytes()).map(Credential::into_owned))
            }
            BodyData::Form(form) => Self::from_query(form),
            BodyData::Multipart(form) => {
                let (_, key) = form.fields().find(|(name, _)| *name == APIKEY)?;
                Credential::present(key.as_bytes()).map(Credential::into_owned)
            }
        }
    }

    /// The same choice from texts that are at hand already: `Authorization`, `X-Custom-Auth`, the variable `apikey`,
    /// which may come from the query or the body.
    pub(crate) fn from_texts(
        sources: KeySources,
        authorization: Option<&str>,
        custom: Option<&str>,
        variable: Option<&str>,
    ) -> Option<Credential<'static>> {
        let bearer = authorization.and_then(|value| bearer_token(value.as_bytes()));
        let custom = || custom.and_then(|value| Credential::present(value.trim().as_bytes()));
        let header = if sources.header { bearer.or_else(custom) } else { None };
        let variable = variable.filter(|_| sources.query || sources.body);
        header.or_else(|| variable.and_then(|key| Credential::present(key.as_bytes()))).map(Credential::into_owned)
    }

    /// The key that a person has written into a form.
    pub(crate) fn of_login(key: &'a str) -> Option<Self> {
        Self::present(key.trim().as_bytes())
    }

    /// Its digest.
    pub(crate) fn digest(&self) -> KeyDigest {
        KeyDigest::of(&self.0)
    }

    fn present(key: &'a [u8]) -> Option<Self> {
        (!key.is_empty()).then_some(Self(Cow::Borrowed(key)))
    }

    fn into_owned(self) -> Credential<'static> {
        Credential(Cow::Owned(self.0.into_owned()))
    }
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(…)")
    }
}

fn bearer_token(value: &[u8]) -> Option<Credential<'_>> {
    let end = value.iter().position(|&byte| byte == b' ')?;
    let (scheme, token) = value.split_at(end);
    if scheme.eq_ignore_ascii_case(b"bearer") { Credential::present(token.trim_ascii()) } else { None }
}

/// Which clients may use a route.
#[derive(Clone, Debug, Default)]
pub enum AuthPolicy {
    /// All.
    #[default]
    Open,
    /// Those that the plugin itself admits, on the Python thread.
    ByPlugin,
    /// Those that send this key.
    Key(KeyDigest),
    /// Those that send a named key whose scopes include the route.
    Named,
    /// None: authentication is on, but there is no key that could match.
    Closed,
}

/// What the head of a request decides about access.
#[derive(Clone, Debug)]
pub(crate) enum Access {
    /// The request may pass, with the key that admitted it if one is required.
    Granted(Option<AcceptedKey>),
    /// It may pass as far as the plugin, which decides.
    PluginDecides,
    /// It may not, whatever the body holds.
    Refused(Refusal),
    /// The head has no key: the body decides, by [`AuthPolicy::admits_body`].
    BodyDecides,
}

/// A key that has admitted a request.
#[derive(Clone, Debug)]
pub(crate) struct AcceptedKey {
    /// Stands for it where requests are counted.
    pub number: u64,
    /// The name, if it is one of the named keys.
    pub name: Option<Arc<str>>,
    /// Whether the route asks for a named key.
    pub by_name: bool,
}

/// Why a request has not been admitted.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    /// It has no key.
    NoKey,
    /// No client is admitted, whatever it sends.
    NotAdmissible,
    /// It has a key that is not known, or not for this route.
    WrongKey,
    /// It has a named key that does not count any more.
    Expired(Arc<NamedKey>),
    /// It has a named key whose scopes do not include the route.
    OutOfScope(Arc<NamedKey>),
}

impl Refusal {
    /// Whether the client may have been guessing keys.
    pub(crate) fn is_guess(&self) -> bool {
        matches!(self, Self::WrongKey | Self::Expired(_))
    }
}

impl AuthPolicy {
    /// Admits clients that send `key`, or none if it is empty. White space around a key is not part of it, since no
    /// header can contain it.
    pub fn key(key: &Secret) -> Self {
        match key.expose().trim() {
            "" => Self::Closed,
            key => Self::Key(KeyDigest::of(key.as_bytes())),
        }
    }

    /// Decides about `resource` by headers and query, as soon as the head is there.
    pub(crate) fn admits_head(
        &self,
        keys: &Keys,
        resource: Resource<'_>,
        headers: &HeaderMap,
        query: &Variables,
    ) -> Access {
        match self {
            Self::Open => Access::Granted(None),
            Self::ByPlugin => Access::PluginDecides,
            Self::Closed => Access::Refused(Refusal::NotAdmissible),
            Self::Key(_) | Self::Named => match Credential::from_head(keys.sources, headers, query) {
                Some(shown) => match self.admits(keys, resource, &shown) {
                    Ok(key) => Access::Granted(key),
                    Err(refusal) => Access::Refused(refusal),
                },
                None if keys.sources.body => Access::BodyDecides,
                None => Access::Refused(Refusal::NoKey),
            },
        }
    }

    /// Decides by the body, when the head has no key.
    pub(crate) fn admits_body(
        &self,
        keys: &Keys,
        resource: Resource<'_>,
        body: &BodyData,
    ) -> Result<Option<AcceptedKey>, Refusal> {
        match self {
            Self::Open | Self::ByPlugin => Ok(None),
            Self::Closed => Err(Refusal::NotAdmissible),
            Self::Key(_) | Self::Named => match Credential::from_body(body).filter(|_| keys.sources.body) {
                Some(shown) => self.admits(keys, resource, &shown),
                None => Err(Refusal::NoKey),
            },
        }
    }

    /// Decides by the key that was sent.
    pub(crate) fn admits(
        &self,
        keys: &Keys,
        resource: Resource<'_>,
        shown: &Credential<'_>,
    ) -> Result<Option<AcceptedKey>, Refusal> {
        let digest = KeyDigest::of(&shown.0);
        match self {
            Self::Open | Self::ByPlugin => return Ok(None),
            Self::Closed => return Err(Refusal::NotAdmissible),
            Self::Key(expected) if *expected != digest => return Err(Refusal::WrongKey),
            Self::Key(_) | Self::Named => {}
        }
        let key = keys.get(&digest);
        if matches!(self, Self::Named) {
            match key {
                None => return Err(Refusal::WrongKey),
                Some(key) if key.has_expired() => return Err(Refusal::Expired(Arc::clone(key))),
                Some(key) if !key.is_for(resource) => return Err(Refusal::OutOfScope(Arc::clone(key))),
                Some(_) => {}
            }
        }
        if let Some(key) = key {
            key.note_use();
        }
        let (name, by_name) = (key.map(|key| Arc::clone(&key.name)), matches!(self, Self::Named));
        Ok(Some(AcceptedKey { number: digest.number(), name, by_name }))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::edge::config::keys::key_line;
    use crate::edge::http::request::classify;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        lines.iter().map(line).collect()
    }

    /// What is decided about a request, in short.
    #[derive(Debug, PartialEq)]
    enum Outcome {
        Granted,
        Refused,
        BodyDecides,
    }

    fn outcome(policy: &AuthPolicy, keys: &Keys, headers: &HeaderMap, query: &str) -> Outcome {
        match policy.admits_head(keys, Resource::Plugin("greet"), headers, &Variables::from_query(query)) {
            Access::Granted(_) | Access::PluginDecides => Outcome::Granted,
            Access::Refused(_) => Outcome::Refused,
            Access::BodyDecides => Outcome::BodyDecides,
        }
    }

    fn access(lines: &[(&'static str, &str)], query: &str) -> Outcome {
        outcome(&AuthPolicy::key(&Secret::new("sésame")), &Keys::default(), &headers(lines), query)
    }

    fn body_opens(content_type: &'static str, body: &'static str) -> bool {
        let header = HeaderValue::from_static(content_type);
        let body = classify(Some(&header), Bytes::from_static(body.as_bytes())).unwrap();
        let policy = AuthPolicy::key(&Secret::new("sésame"));
        policy.admits_body(&Keys::default(), Resource::Control, &body).is_ok()
    }

    /// Sends a key to a plugin that asks for a named one.
    fn send(key: &str) -> Result<Option<AcceptedKey>, Refusal> {
        let lines = [("fresh", "key=fresh&scopes=greet"), ("old", "key=old&scopes=*&expires=2001-01-01")];
        let lines = [&lines[..], &[("other", "key=other&scopes=clock,control")]].concat();
        let lines = lines.iter().map(|(name, text)| key_line(name, text, |_| Ok(String::new())).unwrap());
        let keys = Keys::new(&lines.collect::<Vec<_>>(), Some(&Secret::new("server")), KeySources::default());
        let shown = Credential::present(key.as_bytes()).unwrap();
        AuthPolicy::Named.admits(&keys, Resource::Plugin("greet"), &shown)
    }

    #[test]
    fn each_of_the_three_ways_of_the_head_opens() {
        assert_eq!(access(&[("authorization", "Bearer sésame")], ""), Outcome::Granted);
        assert_eq!(access(&[("x-custom-auth", " sésame ")], ""), Outcome::Granted);
        assert_eq!(access(&[], "apikey=s%C3%A9same"), Outcome::Granted);
    }

    #[test]
    fn each_kind_of_body_opens() {
        assert!(body_opens("application/json", r#"{"apikey": "sésame"}"#));
        assert!(body_opens("application/x-www-form-urlencoded", "apikey=s%C3%A9same"));
        let part = "--b\r\nContent-Disposition: form-data; name=\"apikey\"\r\n\r\nsésame\r\n--b--\r\n";
        assert!(body_opens("multipart/form-data; boundary=b", part));
        assert!(!body_opens("application/json", r#"{"apikey": "other"}"#));
        assert!(!body_opens("application/json", "{}"));
    }

    #[test]
    fn white_space_around_a_key_does_not_belong_to_it() {
        let shown = Credential::from_texts(KeySources::default(), Some("Bearer k"), None, None).unwrap();
        let policy = AuthPolicy::key(&Secret::new(" k\r\n"));
        assert!(policy.admits(&Keys::default(), Resource::Control, &shown).is_ok());
        assert!(matches!(AuthPolicy::key(&Secret::new(" \n")), AuthPolicy::Closed));
    }

    #[test]
    fn only_the_first_way_present_counts() {
        assert_eq!(access(&[("authorization", "Bearer no"), ("x-custom-auth", "sésame")], ""), Outcome::Refused);
        assert_eq!(access(&[("x-custom-auth", "no")], "apikey=s%C3%A9same"), Outcome::Refused);
        assert_eq!(access(&[("x-custom-auth", "sésame")], "apikey=no"), Outcome::Granted);
        assert_eq!(access(&[], "apikey=no&apikey=s%C3%A9same"), Outcome::Refused);
    }

    #[test]
    fn an_empty_way_is_skipped() {
        assert_eq!(access(&[("authorization", "Bearer  "), ("x-custom-auth", "sésame")], ""), Outcome::Granted);
        assert_eq!(access(&[("x-custom-auth", " ")], "apikey=s%C3%A9same"), Outcome::Granted);
        assert_eq!(access(&[("authorization", "Bearer")], "apikey="), Outcome::BodyDecides);
    }

    #[test]
    fn the_scheme_may_be_in_any_case_and_other_schemes_are_passed_over() {
        assert_eq!(access(&[("authorization", "bEARER sésame")], ""), Outcome::Granted);
        assert_eq!(
            access(&[("authorization", "Basic c8Opc2FtZQ=="), ("x-custom-auth", "sésame")], ""),
            Outcome::Granted
        );
        assert_eq!(access(&[("authorization", "Bearersésame")], ""), Outcome::BodyDecides);
    }

    #[test]
    fn open_admits_all_and_closed_none() {
        let (none, wrong) = (HeaderMap::new(), headers(&[("x-custom-auth", "no")]));
        let keys = Keys::default();
        assert_eq!(outcome(&AuthPolicy::Open, &keys, &none, ""), Outcome::Granted);
        assert_eq!(outcome(&AuthPolicy::Open, &keys, &wrong, ""), Outcome::Granted);
        assert_eq!(outcome(&AuthPolicy::Closed, &keys, &none, ""), Outcome::Refused);
        assert!(AuthPolicy::Closed.admits_body(&keys, Resource::Control, &BodyData::None).is_err());
    }

    #[test]
    fn an_empty_key_admits_no_client() {
        let policy = AuthPolicy::key(&Secret::new(""));
        assert!(matches!(policy, AuthPolicy::Closed));
        assert_eq!(outcome(&policy, &Keys::default(), &headers(&[("x-custom-auth", "")]), ""), Outcome::Refused);
    }

    #[test]
    fn of_the_named_keys_those_count_that_are_for_the_plugin_and_have_not_expired() {
        let name = |key| send(key).ok().flatten().and_then(|key| key.name);
        assert_eq!(Some("fresh"), name("fresh").as_deref());
        assert_eq!(Some("default"), name("server").as_deref());
        assert!(matches!(send("old"), Err(Refusal::Expired(key)) if &*key.name == "old"));
        assert!(matches!(send("other"), Err(Refusal::OutOfScope(key)) if &*key.name == "other"));
        assert!(matches!(send("unknown"), Err(Refusal::WrongKey)));
    }

    #[test]
    fn a_key_is_not_looked_for_where_keys_are_not_allowed() {
        let policy = AuthPolicy::key(&Secret::new("k"));
        let sent = headers(&[("x-custom-auth", "k")]);
        for (sources, header, query, nothing) in [
            (KeySources { header: false, ..KeySources::default() }, Outcome::BodyDecides, Outcome::Granted, true),
            (KeySources { query: false, ..KeySources::default() }, Outcome::Granted, Outcome::BodyDecides, true),
            (KeySources { body: false, ..KeySources::default() }, Outcome::Granted, Outcome::Granted, false),
        ] {
            let keys = Keys::new(&[], None, sources);
            assert_eq!(header, outcome(&policy, &keys, &sent, ""));
            assert_eq!(query, outcome(&policy, &keys, &HeaderMap::new(), "apikey=k"));
            assert_eq!(nothing, outcome(&policy, &keys, &HeaderMap::new(), "") == Outcome::BodyDecides);
            let body = classify(None, Bytes::from_static(br#"{"apikey": "k"}"#)).unwrap();
            assert_eq!(sources.body, policy.admits_body(&keys, Resource::Control, &body).is_ok());
            let variable = Credential::from_texts(sources, None, None, Some("k"));
            assert_eq!(sources.query || sources.body, variable.is_some());
            assert_eq!(sources.header, Credential::from_texts(sources, Some("Bearer k"), Some("k"), None).is_some());
        }
    }

    #[test]
    fn nothing_of_a_key_shows_in_debug_output() {
        let headers = headers(&[("x-custom-auth", "sésame")]);
        let shown = Credential::from_headers(&headers).unwrap();
        let policy = AuthPolicy::key(&Secret::new("sésame"));
        assert_eq!(format!("{shown:?} {policy:?}"), "Credential(…) Key(KeyDigest(…))");
    }
}
