//! The page for browsers at `/-/`: its files, which are a part of the executable.
//!
//! Called on the I/O threads. Promise: scripts come from this server alone, and no text can become one, since the policy that
//! goes with every answer allows neither. Caveat: who may ask is decided by the gateway.

use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Response};

use super::embedded::{self, File, HTML, SCRIPT, STYLE};
use crate::edge::http::response::Body;

/// What the page may do: load scripts, styles and data of this server, and nothing else.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

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
    embedded::find(&FILES, name, headers)
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
        let size: usize = FILES.iter().map(File::packed_size).sum();
        assert!(size <= 60 * 1024, "{size} bytes, compressed");
    }

    #[test]
    fn the_policy_allows_no_inline_scripts() {
        let mut headers = HeaderMap::new();
        guard(&mut headers);
        assert!(!headers[CONTENT_SECURITY_POLICY].to_str().unwrap().contains("safe-"));
        assert_eq!("no-store", headers[CACHE_CONTROL]);
    }
}
