//! The `Content-Disposition` of one part of a form: the name of its field and, for a file, the file name.
//!
//! Pure functions. Quoted texts are parsed as browsers write them: `\"` and `\\` are escapes, any other backslash is
//! literal. `filename*` (RFC 8187) takes precedence over `filename`. Caveat: a file name must not be used as a path.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::charset::Charset;

/// The name of a part and of its file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Disposition {
    /// The field's name.
    pub(super) name: Option<String>,
    /// The file's name, possibly empty.
    pub(super) filename: Option<String>,
}

impl Disposition {
    /// Parses the header's value; bytes that are not UTF-8 become U+FFFD. Of repeated parameters the first counts; of a
    /// value with a quote that is not closed, nothing is used.
    pub(super) fn parse(header: &[u8]) -> Self {
        let text = String::from_utf8_lossy(header);
        let mut plain = Self::default();
        let mut extended = Self::default();
        let mut rest = text.split_once(';').map_or("", |(_, parameters)| parameters);
        while !rest.is_empty() {
            let (key, tail) = rest.split_at(rest.find(['=', ';']).unwrap_or(rest.len()));
            let Some((value, after)) = tail.strip_prefix('=').map_or(Some((Cow::Borrowed(""), tail)), split_value)
            else {
                return Self::default();
            };
            let slot = match key.trim().to_ascii_lowercase().as_str() {
                "name" => Some((&mut plain.name, Some(value.into_owned()))),
                "filename" => Some((&mut plain.filename, Some(value.into_owned()))),
                "name*" => Some((&mut extended.name, decode_extended(&value))),
                "filename*" => Some((&mut extended.filename, decode_extended(&value))),
                _ => None,
            };
            if let Some((slot, value)) = slot
                && slot.is_none()
            {
                *slot = value;
            }
            rest = after.strip_prefix(';').unwrap_or(after);
        }
        Self { name: extended.name.or(plain.name), filename: extended.filename.or(plain.filename) }
    }
}

/// A parameter's value, and what follows it from the `;` on; `None` if a quote is not closed.
fn split_value(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let text = text.trim_start();
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, after) = text.split_at(text.find(';').unwrap_or(text.len()));
        return Some((Cow::Borrowed(value.trim_end()), after));
    };
    let mut value = String::with_capacity(quoted.len());
    let mut letters = quoted.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => {
                let after = &quoted[at + 1..];
                return Some((Cow::Owned(value), &after[after.find(';').unwrap_or(after.len())..]));
            }
            '\\' => match letters.next_if(|(_, next)| matches!(next, '"' | '\\')) {
                Some((_, escaped)) => value.push(escaped),
                None => value.push('\\'),
            },
            _ => value.push(letter),
        }
    }
    None
}

/// The text of `charset'language'percent-encoded`; `None` if that is not what it is.
fn decode_extended(value: &str) -> Option<String> {
    let mut pieces = value.splitn(3, '\'');
    let (charset, _language, text) = (pieces.next()?, pieces.next()?, pieces.next()?);
    let charset = if charset.is_empty() { Charset::Utf8 } else { Charset::from_label(charset)? };
    let bytes: Cow<'_, [u8]> = percent_decode_str(text).into();
    charset.decode(&bytes).map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asserts the names in a header.
    fn names(header: &str, name: Option<&str>, filename: Option<&str>) {
        let found = Disposition::parse(header.as_bytes());
        assert_eq!((found.name.as_deref(), found.filename.as_deref()), (name, filename), "{header}");
    }

    #[test]
    fn names_come_quoted_and_bare_in_any_order() {
        names(r#"form-data; name="a b"; filename="x;y.txt""#, Some("a b"), Some("x;y.txt"));
        names("form-data;FileName=x.txt ; NAME = a", Some("a"), Some("x.txt"));
        names(r#"form-data; name="é"; filename="""#, Some("é"), Some(""));
        names("form-data", None, None);
        names("form-data; filename=x; name", Some(""), Some("x"));
    }

    #[test]
    fn quotes_and_backslashes_may_be_escaped() {
        names(r#"form-data; name="a\"b\\c"; filename="C:\dir\x.txt""#, Some(r#"a"b\c"#), Some(r"C:\dir\x.txt"));
        names(r#"form-data; filename=x; name="unclosed"#, None, None);
    }

    #[test]
    fn the_extended_name_is_preferred() {
        names(r#"form-data; name="f"; filename*=UTF-8''na%C3%AFve%20%22.txt"#, Some("f"), Some("naïve \".txt"));
        names("form-data; name=f; filename*=iso-8859-1'en'%A3; filename=x", Some("f"), Some("£"));
        names("form-data; name=f; filename=x; filename*=''%C3%A9", Some("f"), Some("é"));
    }

    #[test]
    fn an_extended_name_that_cannot_be_read_does_not_count() {
        for odd in ["utf-8", "utf-8'x", "klingon''x", "utf-8''%ff"] {
            names(&format!("form-data; name=f; filename=x; filename*={odd}"), Some("f"), Some("x"));
        }
    }
}
