//! What kind of data a body is, and its variables when it is a form.
//!
//! A JSON object counts whatever the content type says, since `curl -d` declares every body a form. A body that cannot
//! be read as what it claims to be is no data at all and the request goes on without it, as with pluginserver; the
//! debug log tells why. Caveat: outside forms, [`BodyData::Json`] only promises that the body begins like an object;
//! whoever builds objects from it finds out the rest, and treats an invalid one as [`BodyData::None`].

use bytes::Bytes;
use http::HeaderValue;

use super::charset::Charset;
use super::json::{begins_like_object, is_json_object};
use super::multipart::Multipart;
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

/// Decides what a complete body is. `content_type` is the header as it was sent.
pub fn classify(content_type: Option<&HeaderValue>, body: Bytes) -> BodyData {
    if body.is_empty() {
        return BodyData::None;
    }
    let content_type = ContentType(content_type.and_then(|value| value.to_str().ok()).unwrap_or_default());
    // UTF-8 when nothing is declared.
    let Some(charset) = content_type.param("charset").map_or(Some(Charset::Utf8), Charset::from_label) else {
        tracing::debug!("a request body declares an unknown charset; it is not read");
        return BodyData::None;
    };
    if content_type.is("multipart/form-data") && !is_json_object(&body) {
        multipart(content_type.param("boundary"), body, charset)
    } else if content_type.is("application/x-www-form-urlencoded") {
        form(&body, charset)
    } else {
        to_utf8(body, charset).filter(|text| begins_like_object(text)).map_or(BodyData::None, BodyData::Json)
    }
}

/// A `Content-Type` as it was sent; read leniently, since white space around `;` is legal and common.
#[derive(Clone, Copy)]
struct ContentType<'a>(&'a str);

impl<'a> ContentType<'a> {
    fn is(self, essence: &str) -> bool {
        self.0.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(essence)
    }

    fn param(self, name: &str) -> Option<&'a str> {
        self.0.split(';').skip(1).find_map(|param| {
            let (key, value) = param.split_once('=')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
        })
    }
}

fn multipart(boundary: Option<&str>, body: Bytes, charset: Charset) -> BodyData {
    let Some(boundary) = boundary.filter(|boundary| !boundary.is_empty()) else {
        tracing::debug!("a multipart body declares no boundary; it is not read");
        return BodyData::None;
    };
    match Multipart::parse(boundary, body, charset) {
        Ok(parts) => BodyData::Multipart(parts),
        Err(error) => {
            tracing::debug!(%error, "a multipart body is malformed; it is not read");
            BodyData::None
        }
    }
}

fn form(body: &Bytes, charset: Charset) -> BodyData {
    if let Some(text) = to_utf8(body.clone(), charset)
        && is_json_object(&text)
    {
        return BodyData::Json(text);
    }
    // The end of a file sent as it is: `curl -d @file` strips it, others do not.
    let form = body.trim_ascii_end();
    let variables = match charset {
        Charset::Utf8 => Some(Variables::from_form(form)),
        other => Variables::from_form_in(other, form),
    };
    variables.map_or_else(
        || {
            tracing::debug!("a form body does not fit its charset; it is not read");
            BodyData::None
        },
        BodyData::Form,
    )
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
        classify(header.as_ref(), Bytes::from_static(body))
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

    #[test]
    fn an_unknown_charset_is_no_data() {
        assert!(matches!(kind("application/json; charset=klingon", b"{}"), BodyData::None));
    }

    #[test]
    fn a_malformed_multipart_body_is_no_data() {
        assert!(matches!(kind("multipart/form-data; boundary=b", b"--b\r\nnonsense"), BodyData::None));
        assert!(matches!(kind("multipart/form-data", b"--b--\r\n"), BodyData::None));
    }

    #[test]
    fn a_multipart_form_gives_its_fields() {
        let body = b"--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b--\r\n";
        match kind("multipart/form-data; boundary=\"b\"", body) {
            BodyData::Multipart(form) => assert_eq!(form.fields().collect::<Vec<_>>(), [("a", "1")]),
            other => panic!("{other:?}"),
        }
    }
}
