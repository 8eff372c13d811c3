//! `[tracing]`.
//!
//! Pure functions, called on the Python thread. Promise: an endpoint that spans cannot be sent to is an error here,
//! before anything is started. Caveat: no connection is made, since a collector may be started after the server.

use std::str::FromStr;

use http::uri::{PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Uri};

use super::{SectionReader, access_log};
use crate::edge::config::diagnostic::Diagnostics;
use crate::edge::config::fields::{InvalidValue, ParseResult};
use crate::edge::config::resolved::{Item, ResolvedConfig};
use crate::edge::config::settings::tracing::TracingSettings;
use crate::edge::config::value::Value;

/// Where collectors take spans if the endpoint has no path.
const PATH: &str = "/v1/traces";

/// The port on which collectors speak gRPC.
const GRPC: u16 = 4317;

/// What the server is called if the file does not say.
const SERVICE: &str = env!("CARGO_PKG_NAME");

/// Where spans go, if there is an endpoint.
pub(super) fn tracing(config: &ResolvedConfig, found: &mut Diagnostics) -> Option<TracingSettings> {
    let mut section = SectionReader::new(config, "tracing", found);
    let endpoint = section.read("endpoint", None, |value| endpoint(value, cfg!(feature = "otel")));
    let service = section.read("service", SERVICE.to_owned(), service);
    let sample = section.read("sample", 1, access_log::sample);
    let headers = section.read("headers", Vec::new(), headers);
    if section.item("endpoint").is_none()
        && let Some(key) = ["service", "sample", "headers"].into_iter().find(|key| section.item(key).is_some())
    {
        section.warn(key, "is not used, since spans go nowhere", "add endpoint=http://127.0.0.1:4318");
    }
    if endpoint.is_none()
        && let Some(reason) = section.item("endpoint").and_then(Item::missing_reason)
    {
        section.invalid("endpoint", InvalidValue::new(reason, "set it, or take the key out"));
    }
    let endpoint = endpoint?;
    if endpoint.port_u16() == Some(GRPC) {
        section.warn("endpoint", "names the port of gRPC, which is not spoken", "use that of HTTP, which is 4318");
    }
    Some(TracingSettings { endpoint, service, sample, headers })
}

/// An address by HTTP; nothing if it is empty, and an error in a program that `can_export` nothing.
fn endpoint(value: &Value, can_export: bool) -> ParseResult<Option<Uri>> {
    const EXAMPLE: &str = "write for example endpoint=http://127.0.0.1:4318";
    let Value::Text(text) = value else { return Err(InvalidValue::new("must be text", EXAMPLE)) };
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    if !can_export {
        let remedy = "take the key out, or build with the feature otel, as cargo does by default";
        return Err(InvalidValue::new("cannot be used: this program was built without the feature otel", remedy));
    }
    if text.contains('@') {
        // Before anything whose message shows the text.
        return Err(InvalidValue::new("has a name or a password in it, which is not sent", "send a key by headers"));
    }
    let mut parts = Uri::from_str(text)
        .map_err(|error| InvalidValue::new(format!("must be an address: {error}"), EXAMPLE))?
        .into_parts();
    let is_http = parts.scheme == Some(Scheme::HTTP) || parts.scheme == Some(Scheme::HTTPS);
    if !is_http || parts.authority.as_ref().is_none_or(|authority| authority.host().is_empty()) {
        return Err(InvalidValue::new("must be an address that begins with http:// or https://", EXAMPLE));
    }
    if parts.path_and_query.as_ref().is_some_and(|path| path.query().is_some()) || text.contains('#') {
        return Err(InvalidValue::new("must be an address without a query", EXAMPLE));
    }
    if parts.path_and_query.as_ref().is_none_or(|path| path.path() == "/") {
        parts.path_and_query = Some(PathAndQuery::from_static(PATH));
    }
    Uri::from_parts(parts).map(Some).map_err(|_| InvalidValue::new("must be an address", EXAMPLE))
}

fn service(value: &Value) -> ParseResult<String> {
    match value {
        Value::Text(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        _ => Err(InvalidValue::new("must be a name", "leave the key out for plugincore")),
    }
}

/// Headers as OpenTelemetry's variables have them: `name=value`, separated by commas; `%2C` is a comma in a value.
fn headers(value: &Value) -> ParseResult<Vec<(HeaderName, HeaderValue)>> {
    // Not with the text, which may be a key.
    let wrong = || InvalidValue::new("has something that is no header", "write for example headers=x-api-key=abc, a=b");
    let Value::Text(text) = value else { return Err(wrong()) };
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let header = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8().ok()?;
        let mut value = HeaderValue::from_str(&value).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::from_str(name.trim()).ok()?, value))
    };
    pairs.map(|pair| header(pair).ok_or_else(wrong)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{errors, good};
    use super::*;

    fn checked(text: &str) -> Result<Option<String>, String> {
        let checked = endpoint(&Value::Text(text.to_owned()), true);
        checked.map(|uri| uri.map(|uri| uri.to_string())).map_err(|invalid| invalid.message)
    }

    #[test]
    fn spans_go_nowhere_unless_an_endpoint_says_where() {
        assert!(good("").0.tracing.is_none());
        let (settings, warnings) = good("[tracing]\nsample=1/10");
        assert!(settings.tracing.is_none());
        assert!(warnings[0].contains("is not used, since spans go nowhere"), "{warnings:?}");
    }

    #[test]
    fn an_endpoint_without_a_path_has_the_usual_one() {
        for (text, expected) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("https://collector.example/", "https://collector.example/v1/traces"),
            ("http://[::1]:4318/otlp/v1/traces", "http://[::1]:4318/otlp/v1/traces"),
        ] {
            assert_eq!(Ok(Some(expected.to_owned())), checked(text));
        }
        assert_eq!(Ok(None), checked(" "));
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_the_reason() {
        for (text, expected) in [
            ("localhost:4318", "must be an address that begins with http:// or https://"),
            ("grpc://a:4317", "must be an address that begins with http:// or https://"),
            ("collector", "must be an address that begins with http:// or https://"),
            ("http://u:p@collector", "has a name or a password in it, which is not sent"),
            ("ftp://u:p@a b", "has a name or a password in it, which is not sent"),
            ("http://collector/?a=b", "must be an address without a query"),
            ("http://collector/#a", "must be an address without a query"),
            ("http://a b", "must be an address: invalid uri character"),
        ] {
            assert_eq!(Err(expected.to_owned()), checked(text), "{text}");
        }
    }

    #[test]
    fn a_program_that_cannot_export_refuses_an_endpoint() {
        let refused = endpoint(&Value::Text("http://127.0.0.1:4318".to_owned()), false).unwrap_err();
        assert!(refused.message.contains("built without the feature otel"), "{}", refused.message);
        assert!(refused.remedy.contains("build with the feature otel"), "{}", refused.remedy);
        assert_eq!(Ok(None), endpoint(&Value::Text(String::new()), false).map_err(|invalid| invalid.message));
    }

    #[cfg(feature = "otel")]
    #[test]
    fn all_keys_are_read_and_the_port_of_grpc_is_warned_of() {
        let text = "[tracing]\nendpoint=http://c:4317\nservice=shop\nsample=1/10\nheaders=X-Key=a%2Cb, other=c";
        let (settings, warnings) = good(text);
        let tracing = settings.tracing.unwrap();
        assert_eq!(("shop", 10), (&*tracing.service, tracing.sample));
        let headers: Vec<_> = tracing.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!([("x-key", &b"a,b"[..]), ("other", b"c")], *headers);
        assert!(warnings[0].contains("names the port of gRPC"), "{warnings:?}");
    }

    #[test]
    fn a_key_is_not_shown_in_an_error() {
        for text in ["headers=secret", "headers=a b=secret", "headers=a=secret\u{7f}"] {
            let errors = errors(&format!("[tracing]\n{text}"));
            assert!(errors[0].contains("has something that is no header"), "{errors:?}");
            assert!(!errors[0].contains("secret"), "{errors:?}");
        }
        for text in ["service=", "sample=2/3", "sample=0"] {
            assert!(!errors(&format!("[tracing]\n{text}")).is_empty(), "{text}");
        }
    }
}
