//! The page for browsers at `/-/`: its files, which are a part of the executable.
//!
//! Called on the I/O threads. Promise: nothing in a file depends on the server or on who asks; each is compressed once,
//! when it is first asked for. Scripts come from this server alone, and no text can become one, since the policy that
//! goes with every answer allows neither. Caveat: who may ask is decided by the gateway.

use std::io::Write as _;
use std::sync::OnceLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use sha2::{Digest, Sha256};

use crate::edge::http::accept_encoding::{Coding, accepted};
use crate::edge::http::entity_tag;
use crate::edge::http::response::Body;

/// What the page may do: load scripts, styles and data of this server, and nothing else.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// A file of the page.
struct File {
    name: &'static str,
    content_type: &'static str,
    text: &'static [u8],
    prepared: OnceLock<Prepared>,
}

/// What is made of a file once.
struct Prepared {
    tag: HeaderValue,
    gzip: Bytes,
}

impl File {
    const fn new(name: &'static str, content_type: &'static str, text: &'static [u8]) -> Self {
        Self { name, content_type, text, prepared: OnceLock::new() }
    }

    fn prepared(&self) -> &Prepared {
        self.prepared.get_or_init(|| {
            let digest = Sha256::digest(self.text);
            let number = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
            let tag = HeaderValue::try_from(format!("W/\"{number:016x}\"")).expect("digits are valid in a header");
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            let written = encoder.write_all(self.text).and_then(|()| encoder.finish());
            Prepared { tag, gzip: Bytes::from(written.expect("a vector takes all that is written")) }
        })
    }

    fn respond(&self, headers: &HeaderMap) -> Response<Body> {
        let Prepared { tag, gzip } = self.prepared();
        let is_compressed = accepted(headers.get_all(ACCEPT_ENCODING), OFFERED).contains(&Coding::Gzip);
        let bytes = if is_compressed { gzip.clone() } else { Bytes::from_static(self.text) };
        let mut response = Response::new(Body::new(bytes));
        let own = response.headers_mut();
        own.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        own.insert(ETAG, tag.clone());
        own.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        if self.content_type != HTML {
            // A browser may keep it, but asks each time whether it is still the same.
            own.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        if is_compressed {
            own.insert(CONTENT_ENCODING, Coding::Gzip.header());
        }
        if headers.get(IF_NONE_MATCH).is_some_and(|known| entity_tag::is_known(&response, known)) {
            entity_tag::leave_out(&mut response);
        }
        response
    }
}

/// What the files are compressed by, if the client takes it.
const OFFERED: [Coding; 3] = [Coding::Gzip; 3];

/// All files; the page itself has no name.
static FILES: [File; 11] = [
    File::new("", HTML, include_bytes!("page/index.html")),
    File::new("app.js", SCRIPT, include_bytes!("page/app.js")),
    File::new("parts.js", SCRIPT, include_bytes!("page/parts.js")),
    File::new("charts.js", SCRIPT, include_bytes!("page/charts.js")),
    File::new("views.js", SCRIPT, include_bytes!("page/views.js")),
    File::new("style.css", STYLE, include_bytes!("page/style.css")),
    File::new("preact.js", SCRIPT, include_bytes!("page/vendor/preact.js")),
    File::new("preact-hooks.js", SCRIPT, include_bytes!("page/vendor/preact-hooks.js")),
    File::new("htm.js", SCRIPT, include_bytes!("page/vendor/htm.js")),
    File::new("uplot.js", SCRIPT, include_bytes!("page/vendor/uplot.js")),
    File::new("uplot.css", STYLE, include_bytes!("page/vendor/uplot.css")),
];

/// The file called `name`, as a client with these `headers` gets it.
pub(crate) fn file(name: &str, headers: &HeaderMap) -> Option<Response<Body>> {
    FILES.iter().find(|file| file.name == name).map(|file| file.respond(headers))
}

/// What a browser finds at `/`: the name, and a link to the page if the client gets that.
pub(crate) fn landing(is_shown: bool) -> Response<Body> {
    let more = if is_shown {
        "<p><a href=\"/-/\">Plugins, charts and log of this server</a></p>"
    } else {
        "<p>The page of this server is shown on the machine that it runs on, and elsewhere only by HTTPS and with a \
         key.</p>"
    };
    let text = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>plugincore</title></head>\
         <body><main><h1>plugincore</h1><p>A server of plugins runs here.</p>{more}</main></body></html>\n"
    );
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(HTML));
    guard(response.headers_mut());
    response
}

/// Gives an answer what keeps it from being stored, shown in a frame, or taken for something else.
pub(crate) fn guard(headers: &mut HeaderMap) {
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_together_are_small() {
        let size: usize = FILES.iter().map(|file| file.prepared().gzip.len()).sum();
        assert!(size <= 60 * 1024, "{size} bytes, compressed");
    }

    #[test]
    fn a_file_is_sent_once_and_compressed_to_those_who_take_that() {
        let plain = file("app.js", &HeaderMap::new()).unwrap();
        assert!(!plain.headers().contains_key(CONTENT_ENCODING));
        let gzip = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("br, gzip"))]);
        assert_eq!("gzip", file("app.js", &gzip).unwrap().headers()[CONTENT_ENCODING]);
        let known = HeaderMap::from_iter([(IF_NONE_MATCH, plain.headers()[ETAG].clone())]);
        let again = file("app.js", &known).unwrap();
        assert!(again.status() == 304 && again.body().is_empty());
        assert!(file("vendor/htm.js", &HeaderMap::new()).is_none());
    }

    #[test]
    fn the_policy_allows_no_inline_scripts() {
        let mut headers = HeaderMap::new();
        guard(&mut headers);
        assert!(!headers[CONTENT_SECURITY_POLICY].to_str().unwrap().contains("safe-"));
        assert_eq!("no-store", headers[CACHE_CONTROL]);
    }
}
