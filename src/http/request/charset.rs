//! The charset that a body declares, as text in UTF-8.
//!
//! Labels are those of the WHATWG list, which covers what Python calls them in practice. Caveat: that list reads
//! `iso-8859-1` as Windows-1252; here it is true Latin-1, as in Python.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8};

/// How the bytes of a text are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charset {
    /// UTF-8 and its subset ASCII: bytes pass as they are.
    Utf8,
    /// Each byte is the code point of that number.
    Latin1,
    /// Any other known charset.
    Other(&'static Encoding),
}

impl Charset {
    /// `None` for an unknown label.
    pub(super) fn from_label(label: &str) -> Option<Self> {
        const LATIN1: [&str; 6] = ["iso-8859-1", "iso8859-1", "iso_8859-1", "latin-1", "latin1", "l1"];
        const ASCII: [&str; 2] = ["ascii", "us-ascii"];
        let label = label.trim();
        let is_one_of = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(label));
        if is_one_of(&LATIN1) {
            return Some(Self::Latin1);
        }
        if is_one_of(&ASCII) {
            return Some(Self::Utf8);
        }
        let encoding = Encoding::for_label_no_replacement(label.as_bytes())?;
        Some(if encoding == UTF_8 { Self::Utf8 } else { Self::Other(encoding) })
    }

    /// The text, or `None` when the bytes do not fit the charset. A byte order mark is honoured outside UTF-8.
    pub(super) fn decode(self, bytes: &[u8]) -> Option<Cow<'_, str>> {
        match self {
            Self::Utf8 => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Self::Latin1 => Some(encoding_rs::mem::decode_latin1(bytes)),
            Self::Other(encoding) => {
                let (text, _, had_errors) = encoding.decode(bytes);
                (!had_errors).then_some(text)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(label: &str, bytes: &[u8]) -> Option<String> {
        Charset::from_label(label)?.decode(bytes).map(Cow::into_owned)
    }

    #[test]
    fn latin1_is_true_latin1_and_not_windows_1252() {
        assert_eq!(text("ISO-8859-1", b"\x80\xe9").as_deref(), Some("\u{80}é"));
        assert_eq!(text("windows-1252", b"\x80").as_deref(), Some("€"));
    }

    #[test]
    fn utf16_is_read_with_and_without_a_byte_order_mark() {
        assert_eq!(text("utf-16", b"\xfe\xff\0a").as_deref(), Some("a"));
        assert_eq!(text("utf-16le", b"a\0").as_deref(), Some("a"));
    }

    #[test]
    fn an_unknown_charset_and_unfit_bytes_give_nothing() {
        assert_eq!(text("no-such", b"a"), None);
        assert_eq!(text("utf-8", b"\xff"), None);
        assert_eq!(text("shift_jis", b"\xff"), None);
    }
}
