//! Responses that the host writes itself: complete JSON bodies in the spelling of Python's `json.dumps`.
//!
//! Clients of pluginserver compare texts, so separators are `", "` and `": "` and all but printable ASCII is escaped.
//! Caveat: floats are spelled the Rust way, which differs from Python's for exponents (`1e16` for `1e+16`).

use std::io;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use serde_json::ser::Formatter;

/// A body whose bytes are all there.
pub type Body = Full<Bytes>;

/// `Content-Type` of every JSON answer, as pluginserver sent it.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// A JSON response. A `value` that JSON cannot express (a map with keys that are no texts) is logged and answered by
/// 500.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let mut text = Vec::with_capacity(128);
    let written = value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, PythonSpelling));
    let (status, body) = match written {
        Ok(()) => (status, Bytes::from(text)),
        Err(error) => {
            tracing::error!(%error, "an answer of the host cannot be written as JSON");
            let body = Bytes::from_static(br#"{"error": "the server cannot express its answer as JSON"}"#);
            (StatusCode::INTERNAL_SERVER_ERROR, body)
        }
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// The separators and escapes of `json.dumps` with its defaults.
struct PythonSpelling;

impl Formatter for PythonSpelling {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(|c: char| !matches!(c, ' '..='~')) {
            let (plain, odd) = rest.split_at(at);
            writer.write_all(plain.as_bytes())?;
            let mut chars = odd.chars();
            if let Some(c) = chars.next() {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
            rest = chars.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use http_body_util::BodyExt;
    use serde_json::json;

    use super::*;

    /// The body as text; it is all there, so nothing waits.
    pub(crate) fn text(response: Response<Body>) -> String {
        use futures_util::FutureExt;
        let collected = response.into_body().collect().now_or_never().unwrap().unwrap();
        String::from_utf8(collected.to_bytes().to_vec()).unwrap()
    }

    #[test]
    fn separators_and_escapes_are_those_of_json_dumps() {
        let value = json!({"b": [1, 2.5, null, true], "a": {}, "é\u{7f}😀": "\u{1}\n\"\\/\u{8}"});
        assert_eq!(
            text(super::json(StatusCode::OK, &value)),
            r#"{"b": [1, 2.5, null, true], "a": {}, "\u00e9\u007f\ud83d\ude00": "\u0001\n\"\\/\b"}"#
        );
    }

    #[test]
    fn the_content_type_and_status_are_set() {
        let response = super::json(StatusCode::NOT_FOUND, &json!({}));
        assert_eq!(response.status(), 404);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json; charset=utf-8");
    }

    #[test]
    fn a_value_that_json_cannot_express_is_a_500() {
        let odd = std::collections::BTreeMap::from([(vec![1], 1)]);
        assert_eq!(super::json(StatusCode::OK, &odd).status(), 500);
    }
}
