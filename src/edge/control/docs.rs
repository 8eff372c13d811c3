//! `/-/docs`: Swagger UI, whose files are a part of the executable, with a page that shows `/-/openapi.json` by it.
//!
//! Called on the I/O threads. Promise: nothing is loaded from another server, scripts come from files of this one alone,
//! and nothing in the files depends on who asks. Caveat: Swagger UI sets styles of elements by scripts, so the policy
//! allows styles in the page.

use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Response};

use super::embedded::{self, File, HTML, SCRIPT, STYLE};
use crate::edge::http::response::Body;

/// What the page may do.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// All files; the page itself has no name.
static FILES: [File; 4] = [
    File::new("", HTML, include_bytes!("docs/index.html")),
    File::new("start.js", SCRIPT, include_bytes!("docs/start.js")),
    File::compressed("swagger-ui-bundle.js", SCRIPT, include_bytes!("docs/vendor/swagger-ui-bundle.js.gz")),
    File::compressed("swagger-ui.css", STYLE, include_bytes!("docs/vendor/swagger-ui.css.gz")),
];

/// The file called `name`, as a client with these `headers` gets it.
pub(crate) fn file(name: &str, headers: &HeaderMap) -> Option<Response<Body>> {
    let mut response = embedded::find(&FILES, name, headers)?;
    let own = response.headers_mut();
    own.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
    own.insert(CONTENT_SECURITY_POLICY, POLICY);
    own.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    own.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Some(response)
}

#[cfg(test)]
mod tests {
    use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};

    use super::*;

    #[test]
    fn every_file_is_there_compressed_or_not() {
        for name in ["", "start.js", "swagger-ui-bundle.js", "swagger-ui.css"] {
            for headers in
                [HeaderMap::new(), HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("gzip"))])]
            {
                let sent = file(name, &headers).unwrap();
                assert_eq!(headers.is_empty(), !sent.headers().contains_key(CONTENT_ENCODING), "{name}");
                assert!(!sent.body().is_empty(), "{name}");
            }
        }
        assert!(file("index.html", &HeaderMap::new()).is_none());
    }
}
