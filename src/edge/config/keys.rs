//! A line of section `[keys]`: `name = hash=sha256:<hex>&scopes=greet,clock&expires=2027-06-30`.
//!
//! Pure functions, on the Python thread and on the command line; files are read by the caller. Promise: of a key
//! nothing is kept but its digest, and no message repeats a part of a line that may belong to a key. Caveat: the parts
//! are escaped like a query string, so `&`, `+` and `%` in a key are written `%26`, `%2B` and `%25`.

use std::fmt::{self, Write};
use std::hash::{Hash, Hasher};

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::fields::{InvalidValue, ParseResult};
use super::schema::{KEY_TOLERANCE, nearest};

/// The name of the key in `[auth] apikey`.
pub(crate) const DEFAULT_KEY: &str = "default";

/// SHA-256 of a key; computed once for each key the server has. Compared in constant time.
#[derive(Clone, Copy, Eq)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// The digest of a key.
    pub fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// A number that stands for the key where its requests are counted.
    pub(crate) fn number(&self) -> u64 {
        self.0.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// `sha256:` and 64 hexadecimal digits in any case.
    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("sha256:").filter(|digits| digits.len() == 64)?;
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            let [high, low] = [pair[0], pair[1]].map(|digit| char::from(digit).to_digit(16));
            *byte = u8::try_from(high? << 4 | low?).ok()?;
        }
        Some(Self(digest))
    }

    /// As it stands in the ini file.
    pub(crate) fn written(&self) -> String {
        self.0.iter().fold("sha256:".to_owned(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a String does not fail");
            text
        })
    }
}

impl PartialEq for KeyDigest {
    fn eq(&self, other: &Self) -> bool {
        // By words, which takes an eighth of the time that bytes take, and as much for every digest.
        let [own, others] =
            [self, other].map(|digest| digest.0.as_chunks::<8>().0.iter().copied().map(u64::from_ne_bytes));
        own.zip(others).fold(0, |difference, (own, other)| difference | (own ^ other)).ct_eq(&0).into()
    }
}

impl Hash for KeyDigest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(…)")
    }
}

/// Something that a key opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyScope {
    /// `*`: every plugin that asks for a named key.
    AllPlugins,
    /// The plugin of this id; written with a slash before it if the id is one of the other words.
    Plugin(String),
    /// `control`: `/plugins`, `/reload/…` and `/-/api/…`.
    Control,
    /// `metrics`: figures about the server.
    Metrics,
}

impl KeyScope {
    fn parse(word: &str) -> Self {
        match word {
            "*" => Self::AllPlugins,
            "control" => Self::Control,
            "metrics" => Self::Metrics,
            id => Self::Plugin(id.trim_start_matches('/').to_owned()),
        }
    }

    /// The scopes in a list with commas.
    pub(crate) fn parse_all(text: &str) -> Vec<Self> {
        text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(Self::parse).collect()
    }
}

impl fmt::Display for KeyScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllPlugins => f.write_str("*"),
            Self::Control => f.write_str("control"),
            Self::Metrics => f.write_str("metrics"),
            Self::Plugin(id) if matches!(Self::parse(id), Self::Plugin(_)) => f.write_str(id),
            Self::Plugin(id) => write!(f, "/{id}"),
        }
    }
}

/// When a key ceases to count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expiry {
    end: Timestamp,
    written: String,
}

impl Expiry {
    /// A day, at whose end in UTC the key ceases to count, or a time, in UTC unless it has an offset of its own.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        const DATE: usize = "2027-06-30".len();
        let end = if text.len() == DATE {
            let next_day = text.parse::<Date>().ok()?.checked_add(1.day()).ok()?;
            next_day.to_zoned(TimeZone::UTC).ok()?.timestamp()
        } else {
            let without_zone = || Some(text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp());
            text.parse().ok().or_else(without_zone)?
        };
        Some(Self { end, written: text.to_owned() })
    }

    /// Whether that was before now.
    pub(crate) fn is_over(&self) -> bool {
        self.end <= Timestamp::now()
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// A key that clients may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeySettings {
    /// Its name, for plugins and the log.
    pub name: String,
    /// The key itself is not kept.
    pub digest: KeyDigest,
    /// What it opens.
    pub scopes: Vec<KeyScope>,
    /// Until when.
    pub expires: Option<Expiry>,
}

/// The parts of a request in which clients may send a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeySources {
    /// `Authorization: Bearer` and `X-Custom-Auth`.
    pub header: bool,
    /// The variable `apikey` of the query.
    pub query: bool,
    /// The variable `apikey` of the body.
    pub body: bool,
}

impl Default for KeySources {
    fn default() -> Self {
        Self { header: true, query: true, body: true }
    }
}

impl KeySources {
    /// Those that `words` name.
    pub(crate) fn named(words: &[String]) -> ParseResult<Self> {
        let mut sources = Self { header: false, query: false, body: false };
        for word in words {
            match word.to_lowercase().as_str() {
                "header" => sources.header = true,
                "query" => sources.query = true,
                "body" => sources.body = true,
                _ => return Err(wrong_sources()),
            }
        }
        if words.is_empty() { Err(wrong_sources()) } else { Ok(sources) }
    }
}

fn wrong_sources() -> InvalidValue {
    InvalidValue::new("must be one or more of header, query and body", "leave it out for all three")
}

/// The names of the parts of a line.
const PARTS: [&str; 5] = ["hash", "key", "file", "scopes", "expires"];

/// Reads the line of the key `name`. `read` returns the content of a file, or what is wrong with it.
///
/// # Errors
/// What is wrong with the line, and how to write it.
pub(crate) fn key_line(name: &str, text: &str, read: impl Fn(&str) -> ParseResult<String>) -> ParseResult<KeySettings> {
    let mut parts: [Option<String>; PARTS.len()] = Default::default();
    for part in text.split('&').filter(|part| !part.trim().is_empty()) {
        let (written, value) = part.split_once('=').ok_or_else(|| {
            let remedy = "write name=hash=sha256:…&scopes=…; inside a key write %26 for &, %2B for + and %25 for %";
            InvalidValue::new("has a part without a value", remedy)
        })?;
        let written = written.trim();
        let place = PARTS.iter().position(|known| *known == written).ok_or_else(|| unknown_part(written))?;
        if parts[place].replace(unescaped(value)).is_some() {
            return Err(InvalidValue::new(format!("names {} twice", PARTS[place]), "leave one of them"));
        }
    }
    let [hash, key, file, scopes, expires] = parts;
    let digest = match (hash, key, file) {
        (Some(hash), None, None) => KeyDigest::parse(&hash).ok_or_else(|| {
            InvalidValue::new("hash must be sha256: and 64 hexadecimal digits", "`plugincore key hash` prints it")
        })?,
        (None, Some(key), None) => digest_of(&key, "key is empty")?,
        (None, None, Some(file)) => digest_of(&read(&file)?, "the file is empty")?,
        (None, None, None) => {
            let remedy = "add hash=sha256:…, which `plugincore key new` prints, or key=… or file=…";
            return Err(InvalidValue::new("names no key", remedy));
        }
        _ => return Err(InvalidValue::new("names more than one of hash, key and file", "leave one of them")),
    };
    let scopes = KeyScope::parse_all(&scopes.unwrap_or_default());
    if scopes.is_empty() {
        let remedy = "add scopes=* for all plugins, or their ids: scopes=greet,clock";
        return Err(InvalidValue::new("has no scopes, so that it would open nothing", remedy));
    }
    let expires = expires.map(|text| {
        Expiry::parse(&text).ok_or_else(|| {
            let remedy = "write expires=2027-06-30 or expires=2027-06-30T12:00:00Z";
            InvalidValue::new("expires must be a date or a time", remedy)
        })
    });
    Ok(KeySettings { name: name.to_owned(), digest, scopes, expires: expires.transpose()? })
}

/// The name of a part is not shown: it may be a piece of a key with an unescaped `&`.
fn unknown_part(written: &str) -> InvalidValue {
    let remedy = match nearest(written, PARTS, KEY_TOLERANCE) {
        Some(near) => format!("is {near} meant?"),
        None => format!("known are {}; inside a key write %26 for &", PARTS.join(", ")),
    };
    InvalidValue::new("has a part that is not known", remedy)
}

fn digest_of(key: &str, empty: &str) -> ParseResult<KeyDigest> {
    match key.trim() {
        "" => Err(InvalidValue::new(empty, "`plugincore key new` prints a new key")),
        key => Ok(KeyDigest::of(key.as_bytes())),
    }
}

/// A value of a query string.
fn unescaped(value: &str) -> String {
    let spaced = value.trim().replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "sha256:2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683";

    fn parse(text: &str) -> ParseResult<KeySettings> {
        key_line("name", text, |file| match file {
            "/key" => Ok(" key\n".to_owned()),
            "/empty" => Ok("\n".to_owned()),
            _ => Err(InvalidValue::new("cannot be read", "name another")),
        })
    }

    #[test]
    fn hash_key_and_file_are_three_ways_to_the_same_key() {
        let hash = parse(&format!("hash={HASH}&scopes=*")).unwrap();
        assert_eq!(hash, parse("key=key&scopes=*").unwrap());
        assert_eq!(hash, parse("file=/key&scopes=*").unwrap());
        assert_eq!(HASH, hash.digest.written());
    }

    #[test]
    fn a_key_is_written_like_a_value_of_a_query() {
        let digest = |text: &str| parse(&format!("scopes=*&key={text}")).unwrap().digest;
        assert_eq!(KeyDigest::of(b"a&b+c%d=e f"), digest("a%26b%2Bc%25d=e+f"));
        assert_eq!(KeyDigest::of("sésame".as_bytes()), digest("+s%C3%A9same%0A"));
    }

    #[test]
    fn scopes_are_words_with_commas_between() {
        let scopes = parse("key=k&scopes=*, greet,a/b,control,/control,metrics,").unwrap().scopes;
        let plugin = |id: &str| KeyScope::Plugin(id.to_owned());
        let expected = [
            KeyScope::AllPlugins,
            plugin("greet"),
            plugin("a/b"),
            KeyScope::Control,
            plugin("control"),
            KeyScope::Metrics,
        ];
        assert_eq!(expected, *scopes);
        let shown: Vec<_> = scopes.iter().map(ToString::to_string).collect();
        assert_eq!("*,greet,a/b,control,/control,metrics", shown.join(","));
    }

    #[test]
    fn a_day_counts_to_its_end_and_a_time_is_in_utc_or_has_an_offset() {
        let end = |text: &str| Expiry::parse(text).map(|expiry| expiry.end.to_string());
        for (text, expected) in [
            ("2027-06-30", "2027-07-01T00:00:00Z"),
            ("2027-12-31", "2028-01-01T00:00:00Z"),
            ("2027-06-30T12:00:00Z", "2027-06-30T12:00:00Z"),
            ("2027-06-30T12:00:00", "2027-06-30T12:00:00Z"),
            ("2027-06-30 12:00", "2027-06-30T12:00:00Z"),
            ("2027-06-30T12:00:00+02:00", "2027-06-30T10:00:00Z"),
        ] {
            assert_eq!(Some(expected), end(text).as_deref(), "{text}");
        }
        for text in ["", "tomorrow", "2027-02-30", "30.06.2027", "2027-06", "2027-06-30T25:00"] {
            assert_eq!(None, end(text), "{text}");
        }
        assert!(Expiry::parse("2001-01-01").is_some_and(|expiry| expiry.is_over()));
        assert!(!Expiry::parse("2901-01-01").is_some_and(|expiry| expiry.is_over()));
    }

    #[test]
    fn what_is_wrong_is_described_without_a_piece_of_the_key() {
        for (text, message) in [
            ("", "names no key"),
            ("scopes=*", "names no key"),
            ("s3cret", "part without a value"),
            ("key=ab&s3cret&scopes=*", "part without a value"),
            ("key=ab&s3cret=&scopes=*", "not known"),
            ("key=s3cret&scope=*", "not known"),
            ("key=s3cret&key=s3cret&scopes=*", "names key twice"),
            ("key=s3cret&file=/key&scopes=*", "more than one"),
            ("key=+&scopes=*", "key is empty"),
            ("file=/empty&scopes=*", "the file is empty"),
            ("file=/none&scopes=*", "cannot be read"),
            ("hash=s3cret&scopes=*", "hash must be"),
            ("hash=sha256:s3cret&scopes=*", "hash must be"),
            ("key=s3cret", "has no scopes"),
            ("key=s3cret&scopes=,", "has no scopes"),
            ("key=s3cret&scopes=*&expires=soon", "expires must be"),
        ] {
            let InvalidValue { message: found, remedy } = parse(text).unwrap_err();
            assert!(found.contains(message), "{text}: {found}");
            assert!(!found.contains("s3cret") && !remedy.contains("s3cret") && !remedy.is_empty(), "{found} {remedy}");
        }
        assert_eq!("is scopes meant?", parse("key=k&scope=*").unwrap_err().remedy);
    }

    #[test]
    fn sources_are_one_or_more_of_three_words() {
        let named = |words: &[&str]| KeySources::named(&words.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(Ok(KeySources { header: true, query: false, body: true }), named(&["Header", "body"]));
        assert_eq!(Ok(KeySources::default()), named(&["header", "query", "body"]));
        assert!(named(&[]).is_err() && named(&["cookie"]).is_err());
    }

    #[test]
    fn nothing_of_a_key_shows_in_debug_output() {
        assert_eq!("KeyDigest(…)", format!("{:?}", KeyDigest::of(b"k")));
    }
}
