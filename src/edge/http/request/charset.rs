//! Decodes bodies by the charset that they declare.
//!
//! Pure functions. Labels are those of the WHATWG list and the names and aliases that Python has for the same
//! charsets, in any case and with any separators, as in Python. Caveat: the list reads `iso-8859-1` as Windows-1252;
//! here it is true Latin-1, as in Python. Charsets that only Python has (`cp437`, `utf-7`, `utf-32`) are unknown.

use std::borrow::Cow;

use encoding_rs::{
    BIG5, EUC_JP, EUC_KR, Encoding, GB18030, GBK, ISO_2022_JP, ISO_8859_2, ISO_8859_3, ISO_8859_4, ISO_8859_5,
    ISO_8859_6, ISO_8859_7, ISO_8859_8, ISO_8859_10, ISO_8859_13, ISO_8859_14, ISO_8859_15, ISO_8859_16, MACINTOSH,
    SHIFT_JIS, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_874, WINDOWS_1250, WINDOWS_1251, WINDOWS_1252, WINDOWS_1253,
    WINDOWS_1254, WINDOWS_1255, WINDOWS_1256, WINDOWS_1257, WINDOWS_1258, X_MAC_CYRILLIC,
};

/// How the bytes of a text are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Charset {
    /// UTF-8 and its subset ASCII: bytes pass as they are.
    Utf8,
    /// Each byte is the code point of that number.
    Latin1,
    /// Any other known charset.
    Other(&'static Encoding),
}

/// Python's names for Latin-1, without separators.
const LATIN1: &str = "latin1 iso88591 latin l1 8859 iso8859 cp819 ibm819 csisolatin1 isoir100 iso885911987";
/// The same for ASCII.
const ASCII: &str = "ascii usascii 646 us cp367 ibm367 csascii iso646us isoir6 ansix34 ansix341968 ansix341986 \
                     iso646irv1991";
/// The same for UTF-8.
const UTF8: &str = "utf8 u8 utf cp65001 utf8ucs2 utf8ucs4";
/// Python's names that the WHATWG list lacks, without separators.
static PYTHON_NAMES: [(&str, &Encoding); 35] = [
    // Of these a byte order mark is no part of the text.
    ("utf8sig", UTF_8),
    ("utf16 u16 utf16le unicodelittleunmarked", UTF_16LE),
    ("utf16be unicodebigunmarked", UTF_16BE),
    ("big5tw big5hkscs hkscs cp950 950 ms950 xmactradchinese", BIG5),
    ("1250", WINDOWS_1250),
    ("1251", WINDOWS_1251),
    ("1252", WINDOWS_1252),
    ("1253", WINDOWS_1253),
    ("1254", WINDOWS_1254),
    ("1255", WINDOWS_1255),
    ("1256", WINDOWS_1256),
    ("1257", WINDOWS_1257),
    ("1258", WINDOWS_1258),
    ("cp874 isoir166 tis620 tis6200 tis62025290 tis62025291 iso8859112001 thai", WINDOWS_874),
    ("cp932 932 mskanji shiftjis xmacjapanese", SHIFT_JIS),
    ("cp949 949 ms949 uhc euckr ksc56011987 ksx1001 xmackorean", EUC_KR),
    ("eucjp ujis", EUC_JP),
    ("gb180302000", GB18030),
    ("euccn eucgb2312cn gb23121980 gb231280 xmacsimpchinese cp936 936 ms936", GBK),
    ("iso2022jp", ISO_2022_JP),
    ("macroman", MACINTOSH),
    ("maccyrillic", X_MAC_CYRILLIC),
    ("iso885921987", ISO_8859_2),
    ("iso885931988", ISO_8859_3),
    ("iso885941988", ISO_8859_4),
    ("iso885951988", ISO_8859_5),
    ("iso885961987", ISO_8859_6),
    ("iso885971987", ISO_8859_7),
    ("iso885981988", ISO_8859_8),
    ("iso885991989", WINDOWS_1254),
    ("iso8859101992", ISO_8859_10),
    ("l7 latin7", ISO_8859_13),
    ("iso8859141998 isoceltic isoir199 l8 latin8", ISO_8859_14),
    ("latin9", ISO_8859_15),
    ("iso885916 iso8859162001 isoir226 l10 latin10", ISO_8859_16),
];

impl Charset {
    /// `None` for an unknown label.
    pub(crate) fn from_label(label: &str) -> Option<Self> {
        let label = label.trim();
        let plain: String =
            label.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect();
        let is_one_of = |names: &str| names.split(' ').any(|name| name == plain);
        if is_one_of(UTF8) || is_one_of(ASCII) {
            return Some(Self::Utf8);
        }
        if is_one_of(LATIN1) {
            return Some(Self::Latin1);
        }
        let web = |label: &str| Encoding::for_label_no_replacement(label.as_bytes());
        let encoding = web(label)
            .or_else(|| PYTHON_NAMES.iter().find(|(names, _)| is_one_of(names)).map(|(_, encoding)| *encoding))
            .or_else(|| web(&label.replace(['_', ' '], "-")))
            .or_else(|| web(&plain))?;
        Some(if encoding == UTF_8 && plain != "utf8sig" { Self::Utf8 } else { Self::Other(encoding) })
    }

    /// The text, or `None` when the bytes do not fit the charset. A byte order mark is honoured outside UTF-8.
    pub(crate) fn decode(self, bytes: &[u8]) -> Option<Cow<'_, str>> {
        match self {
            Self::Utf8 => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Self::Latin1 => Some(encoding_rs::mem::decode_latin1(bytes)),
            Self::Other(encoding) => {
                let (text, _, had_errors) = encoding.decode(bytes);
                (!had_errors).then_some(text)
            }
        }
    }

    /// The text; U+FFFD stands for what does not fit the charset.
    pub(super) fn decode_lossy(self, bytes: &[u8]) -> Cow<'_, str> {
        match self {
            Self::Utf8 => String::from_utf8_lossy(bytes),
            Self::Latin1 => encoding_rs::mem::decode_latin1(bytes),
            Self::Other(encoding) => encoding.decode(bytes).0,
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
        for label in ["ISO-8859-1", "latin_1", "Latin 1", "iso8859-1", "cp819", "iso-ir-100"] {
            assert_eq!(text(label, b"\x80\xe9").as_deref(), Some("\u{80}é"), "{label}");
        }
        assert_eq!(text("windows-1252", b"\x80").as_deref(), Some("€"));
    }

    #[test]
    fn utf16_is_read_with_and_without_a_byte_order_mark() {
        assert_eq!(text("utf-16", b"\xfe\xff\0a").as_deref(), Some("a"));
        assert_eq!(text("utf-16le", b"a\0").as_deref(), Some("a"));
        assert_eq!(text("UTF_16_BE", b"\0a").as_deref(), Some("a"));
        assert_eq!(text("u16", b"a\0").as_deref(), Some("a"));
    }

    #[test]
    fn the_names_of_python_and_of_the_web_mean_the_same() {
        for (label, bytes, expected) in [
            ("utf8", &b"\xc3\xa9"[..], "é"),
            ("utf_8_sig", b"\xef\xbb\xbf\xc3\xa9", "é"),
            ("cp1252", b"\x80", "€"),
            ("windows_1252", b"\x80", "€"),
            ("1251", b"\xff", "я"),
            ("iso8859-15", b"\xa4", "€"),
            ("iso8859_15", b"\xa4", "€"),
            ("latin9", b"\xa4", "€"),
            ("x-sjis", b"\x83n", "ハ"),
            ("shift_jis", b"\x83n", "ハ"),
            ("cp932", b"\x83n", "ハ"),
            ("euc_jp", b"\xa5\xcf", "ハ"),
            ("mac_roman", b"\xdb", "€"),
            ("koi8_r", b"\xd1", "я"),
            ("gb2312", b"\xb0\xa1", "啊"),
        ] {
            assert_eq!(text(label, bytes).as_deref(), Some(expected), "{label}");
        }
    }

    #[test]
    fn an_unknown_charset_and_unfit_bytes_give_nothing() {
        assert_eq!(text("no-such", b"a"), None);
        assert_eq!(text("", b"a"), None);
        assert_eq!(text("utf-8", b"\xff"), None);
        assert_eq!(text("shift_jis", b"\xff"), None);
        assert_eq!(Charset::Other(SHIFT_JIS).decode_lossy(b"a\xff"), "a\u{fffd}");
    }
}
