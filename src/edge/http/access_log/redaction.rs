//! Leaves keys out of queries.
//!
//! Pure functions. Promise: the value of each variable whose name, decoded, is one by which keys, tokens and passwords
//! are sent becomes `***`; everything else stays as it was sent. Caveat: a secret in a path, or under a name that says
//! nothing of it, is written.

use std::borrow::Cow;

/// What stands for a value.
const REDACTED: &str = "***";

/// Names, in lower case, whose values are left out.
const NAMES: [&str; 6] = ["key", "auth", "sig", "pwd", "pass", "code"];

/// Parts of names, in lower case, for which the same holds.
const PARTS: [&str; 8] = ["apikey", "api_key", "api-key", "token", "secret", "passw", "signature", "credential"];

fn is_secret(name: &str) -> bool {
    let decoded = form_urlencoded::parse(name.as_bytes()).next().map_or(Cow::Borrowed(""), |(name, _)| name);
    let name = decoded.to_lowercase();
    NAMES.contains(&&*name) || PARTS.iter().any(|part| name.contains(part))
}

/// A query without its keys.
pub(super) fn query(query: &str) -> Cow<'_, str> {
    let is_kept = |pair: &str| pair.split_once('=').is_none_or(|(name, _)| !is_secret(name));
    if query.split('&').all(is_kept) {
        return Cow::Borrowed(query);
    }
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if is_secret(name) => Cow::Owned(format!("{name}={REDACTED}")),
        _ => Cow::Borrowed(pair),
    });
    Cow::Owned(pairs.collect::<Vec<_>>().join("&"))
}

/// An address without the keys in its query.
pub(super) fn url(url: &str) -> Cow<'_, str> {
    match url.split_once('?') {
        None => Cow::Borrowed(url),
        Some((path, rest)) => match query(rest) {
            Cow::Borrowed(_) => Cow::Borrowed(url),
            Cow::Owned(redacted) => Cow::Owned(format!("{path}?{redacted}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_left_out_however_their_names_are_written() {
        for (given, expected) in [
            ("a=1&apikey=k&b=2", "a=1&apikey=***&b=2"),
            ("%61pikey=k", "%61pikey=***"),
            ("APIKEY=k=l", "APIKEY=***"),
            ("access_token=t&key=k&password=p", "access_token=***&key=***&password=***"),
            ("apikey=", "apikey=***"),
        ] {
            assert_eq!(expected, query(given));
        }
        for kept in ["", "a", "apikey", "monkey=1&keyword=2", "a=apikey", "&&"] {
            assert!(matches!(query(kept), Cow::Borrowed(text) if text == kept), "{kept}");
        }
    }

    #[test]
    fn addresses_keep_their_paths() {
        assert_eq!("http://a/token?x=1", url("http://a/token?x=1"));
        assert_eq!("http://a/?token=***", url("http://a/?token=t#f"));
    }
}
