//! The path of a request, percent-decoded once and without segments that lead out of a folder.
//!
//! Pure functions. Plugins join the rest of the path to folders of theirs, so any path that could lead out of such a
//! folder is refused here for all of them. Caveat: a backslash is an ordinary character; a plugin that serves files on
//! Windows must handle it itself.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::percent_decode_str;

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    /// It contains a NUL, plain or escaped.
    #[error("the path contains a NUL character")]
    Nul,
    /// It contains a `..` segment, plain or escaped.
    #[error("the path contains a '..' segment; send the resolved path instead")]
    DotDot,
}

/// A decoded path: UTF-8, without NUL and without `..` segments. Made by [`decode_path`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DecodedPath<'a>(Cow<'a, str>);

impl DecodedPath<'_> {
    /// The path if it is not the same as it was sent.
    pub(crate) fn into_changed(self) -> Option<String> {
        match self.0 {
            Cow::Owned(changed) => Some(changed),
            Cow::Borrowed(_) => None,
        }
    }

    /// The whole path, with its leading slash if it was sent with one.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DecodedPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Decodes the path of a request target (without its query) once: `%2F` becomes a slash, `%252F` becomes `%2F`, a `%`
/// that begins no escape stays, and so do escapes that are not UTF-8. `//`, `;` and a trailing slash are kept.
///
/// # Errors
/// A [`PathError`] for a NUL, or a `..` segment, plain or escaped.
pub(crate) fn decode_path(raw: &str) -> Result<DecodedPath<'_>, PathError> {
    // Looked for by hand, here and below: to prepare a search takes longer than to search a path.
    let path = if raw.bytes().any(|byte| byte == b'%') {
        percent_decode_str(raw).decode_utf8().unwrap_or_else(|_| Cow::Owned(decode_what_is_text(raw)))
    } else {
        Cow::Borrowed(raw)
    };
    if path.bytes().any(|byte| byte == 0) {
        return Err(PathError::Nul);
    }
    let has_dots = path.as_bytes().windows(2).any(|pair| pair == b"..");
    if has_dots && path.split('/').any(|segment| segment == "..") {
        return Err(PathError::DotDot);
    }
    Ok(DecodedPath(path))
}

/// Decodes the escapes in `raw` that are UTF-8, run by run, and leaves the others as they are.
fn decode_what_is_text(raw: &str) -> String {
    let mut decoded = String::with_capacity(raw.len());
    let mut rest = raw;
    while !rest.is_empty() {
        let (run, behind) = rest.split_at(escapes(rest));
        let bytes: Vec<u8> = percent_decode_str(run).collect();
        let mut at = 0;
        for chunk in bytes.utf8_chunks() {
            decoded.push_str(chunk.valid());
            at += chunk.valid().len();
            let behind_invalid = at + chunk.invalid().len();
            decoded.push_str(&run[3 * at..3 * behind_invalid]);
            at = behind_invalid;
        }
        let plain = behind.char_indices().skip(1).find(|(_, letter)| *letter == '%').map_or(behind.len(), |(at, _)| at);
        decoded.push_str(&behind[..plain]);
        rest = &behind[plain..];
    }
    decoded
}

/// The length of the run of escapes, such as `%41%ff`, with which `text` begins.
fn escapes(text: &str) -> usize {
    let escape = |piece: &&[u8]| piece.len() == 3 && piece[0] == b'%' && piece[1..].iter().all(u8::is_ascii_hexdigit);
    3 * text.as_bytes().chunks(3).take_while(escape).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(raw: &str) -> String {
        decode_path(raw).unwrap().as_str().to_owned()
    }

    fn is_refused(raw: &str) -> bool {
        decode_path(raw) == Err(PathError::DotDot)
    }

    #[test]
    fn escapes_are_decoded_exactly_once() {
        assert_eq!(decoded("/a%20b/%2Fc/%252F/%C3%A9"), "/a b//c/%2F/é");
    }

    #[test]
    fn an_invalid_escape_stays_as_it_is() {
        assert_eq!(decoded("/a%zz/%4/%"), "/a%zz/%4/%");
    }

    #[test]
    fn double_slashes_semicolons_plus_and_a_trailing_slash_are_kept() {
        assert_eq!(decoded("/a//b;v=1/c+d/"), "/a//b;v=1/c+d/");
    }

    #[test]
    fn dot_dot_segments_are_refused_however_they_are_written() {
        for raw in ["/docs/../x", "/docs/%2e%2e/x", "/docs/.%2E", "/docs/a%2f..%2fb", "/..", ".."] {
            assert!(is_refused(raw), "{raw}");
        }
    }

    #[test]
    fn dots_inside_a_name_are_no_dot_dot_segment() {
        assert_eq!(decoded("/a..b/...;/..c/%252e%252e"), "/a..b/...;/..c/%2e%2e");
    }

    #[test]
    fn escapes_that_are_not_utf8_stay_as_they_are() {
        assert_eq!(decoded("/%ff"), "/%ff");
        assert_eq!(decoded("/%41%FF%42/%43%"), "/A%FFB/C%");
        assert_eq!(decoded("/%C3%A4%C3/%C3é%zz%fe%E2%82%41"), "/ä%C3/%C3é%zz%fe%E2%82A");
    }

    #[test]
    fn dot_dot_segments_beside_what_is_not_utf8_are_refused() {
        assert!(is_refused("/%ff/%2e%2e/x"));
        assert!(is_refused("/%2e%2e/%ff"));
        assert!(is_refused("/x/%ff%2f%2e%2e%2fx"));
    }

    #[test]
    fn a_nul_is_refused() {
        assert_eq!(decode_path("/a%00b"), Err(PathError::Nul));
        assert_eq!(decode_path("/%ff/a%00b"), Err(PathError::Nul));
    }

    proptest! {
        #[test]
        fn a_decoded_path_never_has_a_dot_dot_segment(raw in "[./%2eEfF5cC\\\\a0]{0,24}") {
            if let Ok(path) = decode_path(&raw) {
                prop_assert!(path.as_str().split('/').all(|segment| segment != ".."));
                prop_assert!(!path.as_str().contains('\0'));
            }
        }
    }
}
