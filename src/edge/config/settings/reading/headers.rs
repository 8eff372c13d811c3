//! `[headers]`: the headers that all responses have.
//!
//! Pure functions, called on the Python thread. Promise: what is read here can be sent as it is. Caveat: whether a
//! value means anything to clients is not known here; of what stands in `[DEFAULT]`, nothing is a header.

use http::{HeaderName, HeaderValue};

use crate::edge::config::diagnostic::{Diagnostic, Diagnostics};
use crate::edge::config::fields::{InvalidValue, ParseResult};
use crate::edge::config::resolved::{Item, ResolvedConfig};
use crate::edge::config::schema::HEADERS;
use crate::edge::config::value::Value;

/// What each response has of its own, if it has it: it belongs to the connection, to the body, or to this one answer.
const OF_THE_SERVER: [&str; 18] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "etag",
    "keep-alive",
    "last-modified",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "www-authenticate",
    "x-request-id",
];

/// The headers, in the order of the file.
pub(super) fn headers(config: &ResolvedConfig, found: &mut Diagnostics) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    let items = config.host_section(HEADERS).into_iter().flat_map(|section| &section.items);
    for item in items.filter(|item| !item.inherited) {
        match header(item) {
            Ok(header) => headers.extend(header),
            Err(InvalidValue { message, remedy }) => {
                let error = Diagnostic::error(item.location.clone(), message).remedy(remedy);
                found.push(error.in_section(HEADERS).at_key(&item.key));
            }
        }
    }
    headers
}

/// One header; nothing if its references could not be resolved, which has been reported.
fn header(item: &Item) -> ParseResult<Option<(HeaderName, HeaderValue)>> {
    let name = name(&item.key)?;
    let Some(value) = &item.value else { return Ok(None) };
    if let Some(reason) = item.missing_reason() {
        return Err(InvalidValue::new(reason, "set it, or take the header out"));
    }
    let Value::Text(text) = value else {
        return Err(InvalidValue::new("must be text", "write the value without a type prefix"));
    };
    // A long one may be continued on further lines.
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() {
        return Err(InvalidValue::new("has no value", "write one, or take the header out"));
    }
    // Other bytes than those of ASCII are allowed, but read in one way by some clients and in another by others.
    let value = HeaderValue::from_str(&line).ok().filter(|_| line.is_ascii()).ok_or_else(|| {
        InvalidValue::new("has a character that is not allowed in a header", "write printable ASCII characters")
    })?;
    Ok(Some((name, value)))
}

fn name(key: &str) -> ParseResult<HeaderName> {
    let name = HeaderName::from_bytes(key.as_bytes()).map_err(|_| {
        InvalidValue::new("is not a name of a header", "write letters, digits and hyphens, such as X-Frame-Options")
    })?;
    if OF_THE_SERVER.contains(&name.as_str()) || name.as_str().starts_with("sec-websocket-") {
        let message = "is set by the server, where a response has it";
        return Err(InvalidValue::new(
            message,
            "take it out; a plugin may set it in a response, unless it is about the connection",
        ));
    }
    if name.as_str().starts_with("access-control-") {
        return Err(InvalidValue::new("is for CORS, which depends on the request", "use section [cors]"));
    }
    Ok(name)
}
