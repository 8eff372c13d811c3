//! The key that a client sends, and whether it grants access to a route.
//!
//! Runs on the I/O threads; a plugin's `_check_auth` also calls it on Python's. The order is pluginserver's:
//! `Authorization: Bearer`, else `X-Custom-Auth`, else the variable `apikey`, of the query before the body. Only the
//! first one that is present and not empty counts. Keys are compared as SHA-256 digests in constant time, so that
//! neither content nor length leaks. Caveat: variables are compared as sent, headers without surrounding white space.

use std::borrow::Cow;
use std::fmt;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::edge::config::settings::Secret;
use crate::edge::http::request::{BodyData, Variables, json_key};

const X_CUSTOM_AUTH: HeaderName = HeaderName::from_static("x-custom-auth");
const APIKEY: &str = "apikey";

/// SHA-256 of a key; computed once for each key the server knows.
#[derive(Clone)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(…)")
    }
}

/// The key that a client shows. Never empty.
#[derive(Clone)]
pub struct Credential<'a>(Cow<'a, [u8]>);

impl<'a> Credential<'a> {
    /// The key of `Authorization: Bearer` (the scheme in any case; other schemes are passed over) or `X-Custom-Auth`;
    /// of repeated headers the first, which is the one that a plugin finds in `request_headers`.
    pub fn from_headers(headers: &'a HeaderMap) -> Option<Self> {
        let bearer = headers.get(AUTHORIZATION).and_then(|value| bearer_token(value.as_bytes()));
        let custom = || headers.get(X_CUSTOM_AUTH).and_then(|value| Self::present(value.as_bytes().trim_ascii()));
        bearer.or_else(custom)
    }

    /// The variable `apikey` of the query; the first of repeated ones.
    pub fn from_query(query: &'a Variables) -> Option<Self> {
        query.get(APIKEY).and_then(|key| Self::present(key.as_bytes()))
    }

    /// The variable `apikey` of the body: the last in a JSON object, the first in a form.
    pub fn from_body(body: &'a BodyData) -> Option<Self> {
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

    /// The same choice from texts that are at hand already: `Authorization`, `X-Custom-Auth`, the variable `apikey`.
    pub fn from_texts(
        authorization: Option<&str>,
        custom: Option<&str>,
        variable: Option<&str>,
    ) -> Option<Credential<'static>> {
        let bearer = authorization.and_then(|value| bearer_token(value.as_bytes()));
        let custom = || custom.and_then(|value| Credential::present(value.trim().as_bytes()));
        let variable = || variable.and_then(|key| Credential::present(key.as_bytes()));
        bearer.or_else(custom).or_else(variable).map(Credential::into_owned)
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
    /// Those that send the key.
    Key(KeyDigest),
    /// None: authentication is on, but there is no key that could match.
    Closed,
}

/// What the head of a request says about access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The request may pass.
    Granted,
    /// It may not, whatever the body holds.
    Refused,
    /// The head shows no key: the body decides, by [`AuthPolicy::admits_body`].
    BodyDecides,
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

    /// Decides by headers and query, as soon as the head is there.
    pub fn admits_head(&self, headers: &HeaderMap, query: &Variables) -> Access {
        let granted = match self {
            Self::Open => true,
            Self::Closed => false,
            Self::Key(_) => match Credential::from_headers(headers).or_else(|| Credential::from_query(query)) {
                Some(shown) => self.admits(&shown),
                None => return Access::BodyDecides,
            },
        };
        if granted { Access::Granted } else { Access::Refused }
    }

    /// Decides by the body, when the head shows no key.
    pub fn admits_body(&self, body: &BodyData) -> bool {
        match self {
            Self::Open => true,
            Self::Closed => false,
            Self::Key(_) => Credential::from_body(body).is_some_and(|shown| self.admits(&shown)),
        }
    }

    /// Whether `shown` opens the route.
    pub fn admits(&self, shown: &Credential<'_>) -> bool {
        match self {
            Self::Open => true,
            Self::Key(expected) => expected.0.ct_eq(&KeyDigest::of(&shown.0).0).into(),
            Self::Closed => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::edge::http::request::classify;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        lines.iter().map(line).collect()
    }

    fn access(lines: &[(&'static str, &str)], query: &str) -> Access {
        AuthPolicy::key(&Secret::new("sésame")).admits_head(&headers(lines), &Variables::from_query(query))
    }

    fn body_opens(content_type: &'static str, body: &'static str) -> bool {
        let header = HeaderValue::from_static(content_type);
        let body = classify(Some(&header), Bytes::from_static(body.as_bytes())).unwrap();
        AuthPolicy::key(&Secret::new("sésame")).admits_body(&body)
    }

    #[test]
    fn each_of_the_three_ways_of_the_head_opens() {
        assert_eq!(access(&[("authorization", "Bearer sésame")], ""), Access::Granted);
        assert_eq!(access(&[("x-custom-auth", " sésame ")], ""), Access::Granted);
        assert_eq!(access(&[], "apikey=s%C3%A9same"), Access::Granted);
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
        let shown = Credential::from_texts(Some("Bearer k"), None, None).unwrap();
        assert!(AuthPolicy::key(&Secret::new(" k\r\n")).admits(&shown));
        assert!(matches!(AuthPolicy::key(&Secret::new(" \n")), AuthPolicy::Closed));
    }

    #[test]
    fn only_the_first_way_present_counts() {
        assert_eq!(access(&[("authorization", "Bearer no"), ("x-custom-auth", "sésame")], ""), Access::Refused);
        assert_eq!(access(&[("x-custom-auth", "no")], "apikey=s%C3%A9same"), Access::Refused);
        assert_eq!(access(&[("x-custom-auth", "sésame")], "apikey=no"), Access::Granted);
        assert_eq!(access(&[], "apikey=no&apikey=s%C3%A9same"), Access::Refused);
    }

    #[test]
    fn an_empty_way_is_skipped() {
        assert_eq!(access(&[("authorization", "Bearer  "), ("x-custom-auth", "sésame")], ""), Access::Granted);
        assert_eq!(access(&[("x-custom-auth", " ")], "apikey=s%C3%A9same"), Access::Granted);
        assert_eq!(access(&[("authorization", "Bearer")], "apikey="), Access::BodyDecides);
    }

    #[test]
    fn the_scheme_may_be_in_any_case_and_other_schemes_are_passed_over() {
        assert_eq!(access(&[("authorization", "bEARER sésame")], ""), Access::Granted);
        assert_eq!(
            access(&[("authorization", "Basic c8Opc2FtZQ=="), ("x-custom-auth", "sésame")], ""),
            Access::Granted
        );
        assert_eq!(access(&[("authorization", "Bearersésame")], ""), Access::BodyDecides);
    }

    #[test]
    fn open_admits_all_and_closed_none() {
        let (none, wrong) = (HeaderMap::new(), headers(&[("x-custom-auth", "no")]));
        let query = Variables::default();
        assert_eq!(AuthPolicy::Open.admits_head(&none, &query), Access::Granted);
        assert_eq!(AuthPolicy::Open.admits_head(&wrong, &query), Access::Granted);
        assert_eq!(AuthPolicy::Closed.admits_head(&none, &query), Access::Refused);
        assert!(!AuthPolicy::Closed.admits_body(&BodyData::None));
    }

    #[test]
    fn an_empty_key_admits_no_client() {
        let policy = AuthPolicy::key(&Secret::new(""));
        assert!(matches!(policy, AuthPolicy::Closed));
        assert_eq!(policy.admits_head(&headers(&[("x-custom-auth", "")]), &Variables::default()), Access::Refused);
    }

    #[test]
    fn nothing_of_a_key_shows_in_debug_output() {
        let headers = headers(&[("x-custom-auth", "sésame")]);
        let shown = Credential::from_headers(&headers).unwrap();
        let policy = AuthPolicy::key(&Secret::new("sésame"));
        assert_eq!(format!("{shown:?} {policy:?}"), "Credential(…) Key(KeyDigest(…))");
    }
}
