//! A `multipart/form-data` body that has arrived whole, as its parts in the order sent.
//!
//! Caveat: the body limit bounds the bytes; the number of parts is bounded here, since tiny parts cost far more memory
//! than they occupy in the body.

use bytes::Bytes;
use futures_util::{FutureExt, stream};
use http::HeaderMap;

use super::charset::Charset;

/// More parts than this make the body malformed.
const MAX_PARTS: usize = 1000;

/// The parts of a body, in the order sent.
#[derive(Clone, Debug, Default)]
pub struct Multipart(Vec<Part>);

/// One part: a variable or a file.
#[derive(Clone, Debug)]
pub enum Part {
    /// A part without a file name, decoded to text.
    Field {
        /// The variable's name.
        name: String,
        /// Its text.
        value: String,
    },
    /// A part with a file name.
    File(FilePart),
}

/// An uploaded file, as it was sent.
#[derive(Clone, Debug)]
pub struct FilePart {
    /// Name of the form field.
    pub name: String,
    /// File name as the client gave it: not to be trusted as a path.
    pub filename: String,
    /// Content type as the client gave it, if any.
    pub content_type: Option<String>,
    /// The part's own headers.
    pub headers: HeaderMap,
    /// The bytes.
    pub content: Bytes,
}

/// Why a body could not be taken apart; for the debug log.
#[derive(Debug, thiserror::Error)]
pub(super) enum MultipartError {
    #[error(transparent)]
    Malformed(#[from] multer::Error),
    #[error("more than {MAX_PARTS} parts")]
    TooManyParts,
    #[error("field {name:?} is not text in its charset")]
    NotText { name: String },
    #[error("a part is incomplete")]
    Incomplete,
}

impl Multipart {
    /// Takes a whole body apart. `boundary` is the content type's parameter.
    pub(super) fn parse(boundary: &str, body: Bytes, charset: Charset) -> Result<Self, MultipartError> {
        // The only chunk is ready, so the future never waits; a parser that did so anyway would be missing bytes.
        read_parts(boundary, body, charset).now_or_never().unwrap_or(Err(MultipartError::Incomplete))
    }

    /// All parts in the order sent.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// `(name, value)` of the parts that are variables, in the order sent.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|part| match part {
            Part::Field { name, value } => Some((name.as_str(), value.as_str())),
            Part::File(_) => None,
        })
    }

    /// The parts that are files, in the order sent.
    pub fn files(&self) -> impl Iterator<Item = &FilePart> {
        self.0.iter().filter_map(|part| match part {
            Part::Field { .. } => None,
            Part::File(file) => Some(file),
        })
    }
}

async fn read_parts(boundary: &str, body: Bytes, charset: Charset) -> Result<Multipart, MultipartError> {
    let chunks = stream::iter([Ok::<_, std::convert::Infallible>(body)]);
    let mut reader = multer::Multipart::new(chunks, boundary);
    let mut parts = Vec::new();
    while let Some(field) = reader.next_field().await? {
        if parts.len() == MAX_PARTS {
            return Err(MultipartError::TooManyParts);
        }
        // A part without a name cannot be asked for.
        let Some(name) = field.name().map(str::to_owned) else {
            continue;
        };
        parts.push(if let Some(filename) = field.file_name().map(str::to_owned) {
            Part::File(FilePart {
                name,
                filename,
                content_type: field.content_type().map(ToString::to_string),
                headers: field.headers().clone(),
                content: field.bytes().await?,
            })
        } else {
            let own =
                field.content_type().and_then(|mime| mime.get_param(mime::CHARSET)).map(|label| label.to_string());
            let charset = own.map_or(Some(charset), |label| Charset::from_label(&label));
            let bytes = field.bytes().await?;
            match charset.and_then(|charset| charset.decode(&bytes)) {
                Some(text) => Part::Field { name, value: text.into_owned() },
                None => return Err(MultipartError::NotText { name }),
            }
        });
    }
    Ok(Multipart(parts))
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
        assert_eq!(form.fields().collect::<Vec<_>>(), [("a", "1"), ("l", "é")]);
        assert_eq!(form.parts().len(), 3);
        let file = form.files().next().unwrap();
        assert_eq!((file.name.as_str(), file.filename.as_str()), ("f", "x.txt"));
        assert_eq!(file.content_type.as_deref(), Some("text/plain"));
        assert_eq!(file.headers["x-mine"], "y");
        assert_eq!(file.content, "hel\r\nlo");
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
