//! The `Content-Type` header, read as leniently as by Python's `email` package, which aiohttp uses.
//!
//! Runs on the Python thread. Caveat: of the parameters only `charset` is used.

/// The content type of a request without a usable header.
pub(crate) const DEFAULT: &str = "application/octet-stream";

/// What a `Content-Type` header says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MediaType {
    /// `type/subtype` in lower case; [`DEFAULT`] when the header has no such pair.
    pub essence: String,
    /// The `charset` parameter as it was spelled, unless empty.
    pub charset: Option<String>,
}

impl MediaType {
    /// Reads a header's value; `None` stands for a missing header.
    pub(crate) fn parse(header: Option<&str>) -> Self {
        let mut pieces = header.unwrap_or_default().split(';');
        let essence = pieces.next().unwrap_or_default().trim().to_ascii_lowercase();
        let is_pair = essence
            .split_once('/')
            .is_some_and(|(kind, sub)| !kind.is_empty() && !sub.is_empty() && !sub.contains('/'));
        let charset = pieces.find_map(|piece| {
            let (name, value) = piece.split_once('=')?;
            let value = value.trim().trim_matches('"').trim();
            (name.trim().eq_ignore_ascii_case("charset") && !value.is_empty()).then(|| value.to_owned())
        });
        Self { essence: if is_pair { essence } else { DEFAULT.to_owned() }, charset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asserts how a header is read.
    fn reads(header: &str, essence: &str, charset: Option<&str>) {
        let expected = MediaType { essence: essence.to_owned(), charset: charset.map(str::to_owned) };
        assert_eq!(MediaType::parse(Some(header)), expected, "{header}");
    }

    #[test]
    fn the_type_is_put_in_lower_case_and_the_charset_unquoted() {
        reads("TEXT/Html ; charset=latin-1", "text/html", Some("latin-1"));
        reads("text/plain; x=y; Charset=\"UTF-8\"", "text/plain", Some("UTF-8"));
    }

    #[test]
    fn what_is_no_type_counts_as_bytes() {
        reads("", DEFAULT, None);
        reads("foo", DEFAULT, None);
        reads("a/b/c", DEFAULT, None);
        assert_eq!(MediaType::parse(None).essence, DEFAULT);
    }

    #[test]
    fn a_charset_without_a_value_is_none() {
        reads("text/plain;charset", "text/plain", None);
        reads("text/plain;charset=", "text/plain", None);
    }
}
