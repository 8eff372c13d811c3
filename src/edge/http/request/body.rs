//! Determines what kind of data a body is, and its variables if it is a form.
//!
//! Pure functions. A JSON object is recognised whatever the content type, since `curl -d` declares every body a form.
//! A body that is neither a JSON object nor a form is no data, as in pluginserver; a form that cannot be parsed is an
//! error, which the caller logs before it goes on without the form. Caveat: except in forms, [`BodyData::Json`] only
//! promises that the body begins like an object; the code that builds objects from it must treat an invalid one as
//! [`BodyData::None`].

use bytes::Bytes;
use http::HeaderValue;

use super::charset::Charset;
use super::content_type::ContentType;
use super::json::{begins_like_object, is_json_object};
use super::multipart::{Multipart, MultipartError};
use super::query::Variables;

/// The data of a body.
#[derive(Clone, Debug, Default)]
pub enum BodyData {
    /// Nothing that becomes variables; the raw bytes are still the plugin's to read.
    #[default]
    None,
    /// A JSON object in UTF-8.
    Json(Bytes),
    /// The variables of an urlencoded form.
    Form(Variables),
    /// The parts of a multipart form.
    Multipart(Multipart),
}

/// Why a body that is declared a form cannot be read as one; holds nothing of the body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnreadableForm {
    /// It declares a charset that is not known.
    #[error("it declares an unknown charset")]
    UnknownCharset,
    /// A multipart form without the parameter that separates its parts.
    #[error("its content type has no boundary")]
    NoBoundary,
    /// A multipart form that cannot be split into its parts; the text is the reason.
    #[error("{0}")]
    Malformed(String),
}

impl From<MultipartError> for UnreadableForm {
    fn from(error: MultipartError) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// Decides what a complete body is. `content_type` is the header as it was sent.
///
/// # Errors
///
/// If it is declared a form and cannot be read as one.
pub(crate) fn classify(content_type: Option<&HeaderValue>, body: Bytes) -> Result<BodyData, UnreadableForm> {
    if body.is_empty() {
        return Ok(BodyData::None);
    }
    let content_type = ContentType(content_type.and_then(|value| value.to_str().ok()).unwrap_or_default());
    // UTF-8 when nothing is declared.
    let charset = content_type.charset().map_or(Some(Charset::Utf8), Charset::from_label);
    if content_type.is("multipart/form-data") && !is_json_object(&body) {
        let boundary = content_type.param("boundary").ok_or(UnreadableForm::NoBoundary)?;
        // The parts say themselves what they are; the charset of the whole is at most a hint.
        let parts = Multipart::parse(boundary, body, charset.unwrap_or(Charset::Utf8))?;
        return Ok(BodyData::Multipart(parts));
    }
    let is_form = content_type.is("application/x-www-form-urlencoded");
    match charset {
        Some(charset) if is_form => Ok(form(&body, charset)),
        Some(charset) => {
            Ok(to_utf8(body, charset).filter(|text| begins_like_object(text)).map_or(BodyData::None, BodyData::Json))
        }
        None if is_form => Err(UnreadableForm::UnknownCharset),
        None => {
            tracing::debug!("a request body declares an unknown charset; it is not read");
            Ok(BodyData::None)
        }
    }
}

/// Whether a body of that `content_type` claims to be JSON.
pub(crate) fn declares_json(content_type: Option<&HeaderValue>) -> bool {
    content_type.and_then(|value| value.to_str().ok()).is_some_and(|value| ContentType(value).is_json())
}

/// Bytes that do not fit the charset become U+FFFD, so that they cost nothing but themselves.
fn form(body: &Bytes, charset: Charset) -> BodyData {
    if let Some(text) = to_utf8(body.clone(), charset)
        && is_json_object(&text)
    {
        return BodyData::Json(text);
    }
    // The end of a file sent as it is: `curl -d @file` strips it, others do not.
    let form = body.trim_ascii_end();
    BodyData::Form(match charset {
        Charset::Utf8 => Variables::from_form(form),
        other => Variables::from_form_in(other, form),
    })
}

/// UTF-8 passes unchecked: only an object that is then built needs the check, and building includes it.
fn to_utf8(body: Bytes, charset: Charset) -> Option<Bytes> {
    match charset {
        Charset::Utf8 => Some(body),
        other => other.decode(&body).map(|text| Bytes::from(text.into_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &str = "application/x-www-form-urlencoded";

    fn kind(content_type: &'static str, body: &'static [u8]) -> BodyData {
        let header = (!content_type.is_empty()).then(|| HeaderValue::from_static(content_type));
        classify(header.as_ref(), Bytes::from_static(body)).unwrap()
    }

    fn form_value(content_type: &'static str, body: &'static [u8], name: &str) -> Option<String> {
        match kind(content_type, body) {
            BodyData::Form(variables) => variables.get(name).map(str::to_owned),
            other => panic!("not a form: {other:?}"),
        }
    }

    #[test]
    fn a_json_object_counts_whatever_the_content_type() {
        for content_type in ["", "application/json", "text/plain", FORM, "multipart/form-data; boundary=b", "odd"] {
            let data = kind(content_type, b" {\"a\": NaN}");
            assert!(matches!(&data, BodyData::Json(text) if text == " {\"a\": NaN}"), "{content_type}: {data:?}");
        }
    }

    #[test]
    fn a_form_that_begins_with_a_brace_is_json_only_when_it_is_valid() {
        assert_eq!(form_value(FORM, b"{a}=1&b=2", "{a}").as_deref(), Some("1"));
    }

    #[test]
    fn an_urlencoded_form_gives_its_variables_and_drops_the_last_line_end() {
        assert_eq!(form_value(FORM, b"a=1&b=x+y\r\n", "b").as_deref(), Some("x y"));
        assert_eq!(form_value("Application/X-WWW-Form-Urlencoded ; charset=UTF-8", b"a=1", "a").as_deref(), Some("1"));
    }

    #[test]
    fn arrays_scalars_and_other_texts_are_no_data() {
        for body in [&b"[[\"a\", 1]]"[..], b"5", b"\"text\"", b"hello", b"", b"\xef\xbb\xbf{}"] {
            assert!(matches!(kind("application/json", body), BodyData::None), "{body:?}");
        }
    }

    #[test]
    fn a_declared_charset_is_honoured() {
        let data = kind("application/json; charset=ISO-8859-1", b"{\"a\": \"\xe9\"}");
        assert!(matches!(&data, BodyData::Json(text) if text == "{\"a\": \"é\"}"), "{data:?}");
        let data = kind("application/json; charset=utf-16", b"\xff\xfe{\0}\0");
        assert!(matches!(&data, BodyData::Json(text) if text == "{}"), "{data:?}");
        assert_eq!(form_value("application/x-www-form-urlencoded; charset=latin-1", b"a=%E9", "a").unwrap(), "é");
    }

    fn trouble(content_type: &'static str, body: &'static [u8]) -> String {
        classify(Some(&HeaderValue::from_static(content_type)), Bytes::from_static(body)).unwrap_err().to_string()
    }

    #[test]
    fn an_unknown_charset_is_no_data() {
        assert!(matches!(kind("application/json; charset=klingon", b"{}"), BodyData::None));
        assert_eq!(
            trouble("application/x-www-form-urlencoded; charset=klingon", b"a=1"),
            "it declares an unknown charset"
        );
    }

    #[test]
    fn an_empty_charset_is_none() {
        for declared in ["charset=", "charset=\"\"", "charset= ; x=y"] {
            let content_type: &'static str = format!("{FORM}; {declared}").leak();
            assert_eq!(form_value(content_type, "a=é".as_bytes(), "a").as_deref(), Some("é"), "{declared}");
        }
    }

    #[test]
    fn bytes_that_do_not_fit_cost_only_themselves() {
        assert_eq!(form_value("application/x-www-form-urlencoded; charset=x-sjis", b"a=1&b=%FF", "a").unwrap(), "1");
    }

    #[test]
    fn a_malformed_multipart_body_is_an_error_that_shows_nothing_of_it() {
        assert_eq!(trouble("multipart/form-data; boundary=b", b"--b\r\nnonsense"), "it has no closing boundary");
        assert_eq!(trouble("multipart/form-data", b"--b--\r\n"), "its content type has no boundary");
    }

    #[test]
    fn a_multipart_form_gives_its_fields() {
        let body = b"--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b--\r\n";
        match kind("multipart/form-data; boundary=\"b\"", body) {
            BodyData::Multipart(form) => assert_eq!(form.fields().collect::<Vec<_>>(), [("a", "1".into())]),
            other => panic!("{other:?}"),
        }
    }
}
