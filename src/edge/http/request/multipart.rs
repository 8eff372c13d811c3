//! Splits a complete `multipart/form-data` body into its parts, in the order sent.
//!
//! Pure functions. The number of parts is limited here, since small parts need far more memory than they take up in
//! the body, whose bytes the body limit bounds.

use std::borrow::Cow;

use bytes::Bytes;
use futures_util::{FutureExt, stream};
use http::HeaderMap;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};

use super::charset::Charset;
use super::content_type::ContentType;
use super::disposition::Disposition;

/// More parts than this make the body malformed.
const MAX_PARTS: usize = 1000;

/// The parts of a body, in the order sent.
#[derive(Clone, Debug, Default)]
pub struct Multipart(Vec<Part>);

/// One part: a variable or a file.
#[derive(Clone, Debug)]
pub struct Part {
    /// Name of the form field.
    pub name: String,
    /// File name as the client gave it: not to be trusted as a path. Empty where a file was not chosen, `None` for a
    /// part that is no file.
    pub filename: Option<String>,
    /// The part's own headers.
    pub headers: HeaderMap,
    /// The bytes.
    pub content: Bytes,
    /// How they are to be read as text; `None` if the part declares a charset that is not known.
    charset: Option<Charset>,
}

impl Part {
    /// Content type as the client gave it, if any.
    pub fn content_type(&self) -> Option<&str> {
        content_type(&self.headers).map(|ContentType(declared)| declared)
    }

    /// Whether it is declared to be text, as a part without a content type is.
    pub fn is_text(&self) -> bool {
        content_type(&self.headers).is_none_or(ContentType::is_text)
    }

    /// The content as text, if it is any.
    pub fn text(&self) -> Option<Cow<'_, str>> {
        self.charset.and_then(|charset| charset.decode(&self.content))
    }
}

/// Why a body could not be taken apart; for the log, so nothing of the body is in it.
#[derive(Debug, thiserror::Error)]
pub(super) enum MultipartError {
    #[error("it has no closing boundary")]
    Incomplete,
    #[error("a part's headers are malformed")]
    BadHeaders,
    #[error("it does not keep to its boundary")]
    Malformed,
    #[error("it has more than {MAX_PARTS} parts")]
    TooManyParts,
}

impl From<multer::Error> for MultipartError {
    fn from(error: multer::Error) -> Self {
        match error {
            multer::Error::IncompleteFieldData { .. }
            | multer::Error::IncompleteHeaders
            | multer::Error::IncompleteStream => Self::Incomplete,
            multer::Error::ReadHeaderFailed(_)
            | multer::Error::DecodeHeaderName { .. }
            | multer::Error::DecodeHeaderValue { .. } => Self::BadHeaders,
            _ => Self::Malformed,
        }
    }
}

impl Multipart {
    /// Splits a whole body. `boundary` is the content type's parameter, `charset` that of texts which declare none.
    pub(super) fn parse(boundary: &str, body: Bytes, charset: Charset) -> Result<Self, MultipartError> {
        // The only chunk is ready, so the future never waits; a parser that did so anyway would be missing bytes.
        read_parts(boundary, body, charset).now_or_never().unwrap_or(Err(MultipartError::Incomplete))
    }

    /// All parts in the order sent.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// `(name, value)` of the parts that are variables, in the order sent: they have no file name and are text.
    pub fn fields(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        self.0
            .iter()
            .filter(|part| part.filename.is_none())
            .filter_map(|part| part.text().map(|text| (part.name.as_str(), text)))
    }
}

async fn read_parts(boundary: &str, body: Bytes, mut charset: Charset) -> Result<Multipart, MultipartError> {
    let chunks = stream::iter([Ok::<_, std::convert::Infallible>(body)]);
    let mut reader = multer::Multipart::new(chunks, boundary);
    let mut parts = Vec::new();
    let mut is_first = true;
    while let Some(field) = reader.next_field().await? {
        if parts.len() == MAX_PARTS {
            return Err(MultipartError::TooManyParts);
        }
        let headers = field.headers().clone();
        let content = field.bytes().await?;
        let disposition = headers.get(CONTENT_DISPOSITION).map(|header| Disposition::parse(header.as_bytes()));
        let Disposition { name, filename } = disposition.unwrap_or_default();
        // A part without a name cannot be looked up.
        let Some(name) = name else { continue };
        // Forms may begin with a field that names the charset of the others (RFC 7578, 4.6).
        if std::mem::take(&mut is_first) && name == "_charset_" && filename.is_none() {
            charset = std::str::from_utf8(&content).ok().and_then(Charset::from_label).unwrap_or(charset);
            continue;
        }
        let declared = content_type(&headers).and_then(ContentType::charset);
        let charset = declared.map_or(Some(charset), Charset::from_label);
        parts.push(Part { name, filename, headers, content, charset });
    }
    Ok(Multipart(parts))
}

fn content_type(headers: &HeaderMap) -> Option<ContentType<'_>> {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(ContentType)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n\
        --b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x.txt\"\r\nContent-Type: text/plain\r\n\
        X-Mine: y\r\n\r\nhel\r\nlo\r\n\
        --b\r\nContent-Disposition: form-data; name=\"l\"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\u{e9}\r\n\
        --b--\r\n";

    fn parse(body: &str) -> Result<Multipart, MultipartError> {
        Multipart::parse("b", Bytes::copy_from_slice(body.as_bytes()), Charset::Utf8)
    }

    #[test]
    fn fields_and_files_come_in_the_order_sent() {
        let form = parse(BODY).unwrap();
        assert_eq!(fields(&form), [("a", "1"), ("l", "é")].map(owned));
        assert_eq!(form.parts().len(), 3);
        let file = &form.parts()[1];
        assert_eq!((file.name.as_str(), file.filename.as_deref()), ("f", Some("x.txt")));
        assert_eq!(file.content_type(), Some("text/plain"));
        assert_eq!(file.headers["x-mine"], "y");
        assert_eq!(file.content, "hel\r\nlo");
    }

    fn fields(form: &Multipart) -> Vec<(String, String)> {
        form.fields().map(|(name, value)| (name.to_owned(), value.into_owned())).collect()
    }

    fn owned((name, value): (&str, &str)) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn bytes_do_not_keep_the_other_parts_from_being_read() {
        let mut body = b"--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n\xff\0\r\n".to_vec();
        body.extend_from_slice(b"--b\r\nContent-Disposition: form-data; name=\"k\"\r\n");
        body.extend_from_slice(b"Content-Type: text/plain; charset=klingon\r\n\r\nq\r\n");
        body.extend_from_slice(BODY.as_bytes());
        let form = Multipart::parse("b", Bytes::from(body), Charset::Utf8).unwrap();
        assert_eq!(fields(&form), [("a", "1"), ("l", "é")].map(owned));
        assert_eq!(form.parts()[0].content, b"\xff\0"[..]);
        assert_eq!(form.parts().len(), 5);
    }

    #[test]
    fn a_first_field_may_name_the_charset_of_the_others() {
        let part = |name: &str, value: &[u8]| {
            let head = format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
            [head.as_bytes(), value, b"\r\n"].concat()
        };
        let body = [part("_charset_", b"latin_1"), part("a", b"\xe9"), part("_charset_", b"x")].concat();
        let form = Multipart::parse("b", Bytes::from([&body, &b"--b--\r\n"[..]].concat()), Charset::Utf8).unwrap();
        assert_eq!(fields(&form), [("a", "é"), ("_charset_", "x")].map(owned));
    }

    #[test]
    fn a_body_cut_short_is_an_error() {
        for end in [10, 60, BODY.len() / 2, BODY.len() - 8] {
            assert!(parse(&BODY[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn too_many_parts_are_an_error() {
        let part = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n";
        assert!(parse(&format!("{}--b--\r\n", part.repeat(MAX_PARTS))).is_ok());
        let error = parse(&format!("{}--b--\r\n", part.repeat(MAX_PARTS + 1))).unwrap_err();
        assert!(matches!(error, MultipartError::TooManyParts));
    }
}
