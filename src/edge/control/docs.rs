//! `/-/docs`: Swagger UI, whose files are a part of the executable, with a page that shows `/-/openapi.json` by it.
//!
//! Called on the I/O threads. Promise: nothing is loaded from another server, scripts come from files of this one alone,
//! and nothing in the files depends on who asks. Caveat: Swagger UI sets styles of elements by scripts, so the policy
//! allows styles in the page.

use std::hash::{DefaultHasher, Hasher};
use std::io::Read as _;

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Response};

use crate::edge::http::accept_encoding::{Coding, accepted};
use crate::edge::http::entity_tag;
use crate::edge::http::response::Body;

/// What the page may do.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// What compressed files are offered as.
const OFFERED: [Coding; 3] = [Coding::Gzip; 3];

/// A file of the page.
struct File {
    name: &'static str,
    content_type: &'static str,
    content: Content,
}

/// What is in a file.
enum Content {
    Text(&'static str),
    /// Compressed, since it is large.
    Gzip(&'static [u8]),
}

/// All files; the page itself has no name.
const FILES: [File; 4] = [
    File { name: "", content_type: HTML, content: Content::Text(include_str!("docs/index.html")) },
    File { name: "start.js", content_type: SCRIPT, content: Content::Text(include_str!("docs/start.js")) },
    File {
        name: "swagger-ui-bundle.js",
        content_type: SCRIPT,
        content: Content::Gzip(include_bytes!("docs/vendor/swagger-ui-bundle.js.gz")),
    },
    File {
        name: "swagger-ui.css",
        content_type: STYLE,
        content: Content::Gzip(include_bytes!("docs/vendor/swagger-ui.css.gz")),
    },
];

/// The file called `name`, as a client with these `headers` gets it.
pub(crate) fn file(name: &str, headers: &HeaderMap) -> Option<Response<Body>> {
    FILES.iter().find(|file| file.name == name).map(|file| file.respond(headers))
}

impl File {
    /// What stands for the text, however it is sent.
    fn tag(&self) -> HeaderValue {
        let mut hasher = DefaultHasher::new();
        match self.content {
            Content::Text(text) => hasher.write(text.as_bytes()),
            Content::Gzip(bytes) => hasher.write(&bytes[bytes.len().saturating_sub(TRAILER)..]),
        }
        HeaderValue::try_from(format!("W/\"{:016x}\"", hasher.finish())).expect("digits are valid in a header")
    }

    fn respond(&self, headers: &HeaderMap) -> Response<Body> {
        let takes_gzip = || accepted(headers.get_all(ACCEPT_ENCODING), OFFERED).contains(&Coding::Gzip);
        let (bytes, is_compressed) = match self.content {
            Content::Text(text) => (Bytes::from_static(text.as_bytes()), false),
            Content::Gzip(bytes) if takes_gzip() => (Bytes::from_static(bytes), true),
            Content::Gzip(bytes) => (decompressed(bytes), false),
        };
        let mut response = Response::new(Body::new(bytes));
        let own = response.headers_mut();
        own.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        own.insert(ETAG, self.tag());
        own.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        own.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        own.insert(CONTENT_SECURITY_POLICY, POLICY);
        own.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        own.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        if is_compressed {
            own.insert(CONTENT_ENCODING, Coding::Gzip.header());
        }
        if headers.get(IF_NONE_MATCH).is_some_and(|known| entity_tag::is_known(&response, known)) {
            entity_tag::leave_out(&mut response);
        }
        response
    }
}

/// The length of what stands at the end of a file of gzip: its checksum and size.
const TRAILER: usize = 8;

/// A file for a client that does not take it compressed.
fn decompressed(bytes: &[u8]) -> Bytes {
    let mut text = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut text).expect("the file was compressed by gzip, which a test checks");
    Bytes::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_there_compressed_or_not() {
        for File { name, content, .. } in &FILES {
            let mut headers = HeaderMap::new();
            let plain = file(name, &headers).unwrap();
            assert!(!plain.headers().contains_key(CONTENT_ENCODING), "{name}");
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("br, gzip"));
            let packed = file(name, &headers).unwrap();
            assert_eq!(packed.headers().contains_key(CONTENT_ENCODING), matches!(content, Content::Gzip(_)), "{name}");
        }
        assert!(file("index.html", &HeaderMap::new()).is_none());
    }

    #[test]
    fn a_file_that_a_browser_has_is_not_sent_again() {
        let mut headers = HeaderMap::new();
        let tag = file("start.js", &headers).unwrap().headers()[ETAG].clone();
        headers.insert(IF_NONE_MATCH, tag);
        assert_eq!(file("start.js", &headers).unwrap().status(), http::StatusCode::NOT_MODIFIED);
    }
}
