//! `[cors]`: what scripts of other origins may do.
//!
//! Plain data, read by all threads. Caveat: a plugin's own `origin_url` makes a value of its own, in which everything
//! else is that of `[cors]`.

use std::time::Duration;

/// `[cors]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CorsSettings {
    /// `origin_url`: allowed origins, compared exactly; `*` allows any, without credentials.
    pub origins: Vec<String>,
    /// `allow_headers`: request headers that scripts may set; `*` for all.
    pub allow_headers: Vec<String>,
    /// `expose_headers`: response headers that scripts may read.
    pub expose_headers: Vec<String>,
    /// `max_age`: how long browsers may keep the answer to a preflight (default an hour).
    pub max_age: Duration,
    /// `credentials`: whether origins that are listed may send cookies (default on).
    pub credentials: bool,
}

impl Default for CorsSettings {
    fn default() -> Self {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Self {
            origins: Vec::new(),
            // The two languages need no permission in general, nor does the first type, but browsers ask for them when
            // their values are unusual.
            allow_headers: names(&[
                "Content-Type",
                "Authorization",
                "X-Requested-With",
                "Accept",
                "X-Custom-Auth",
                "Accept-Language",
                "Content-Language",
                "traceparent",
                "If-None-Match",
            ]),
            expose_headers: names(&[
                "X-Custom-Header",
                "Content-Length",
                "X-Request-Id",
                "Retry-After",
                "ETag",
                "Location",
            ]),
            max_age: Duration::from_secs(3600),
            credentials: true,
        }
    }
}
