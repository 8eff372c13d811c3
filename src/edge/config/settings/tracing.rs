//! `[tracing]`, ready to use: where spans go, and of which traces.
//!
//! Plain data. Caveat: whether a collector listens there is not known here, since it may be started later.

use http::{HeaderName, HeaderValue, Uri};

/// Where spans go, if they go anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TracingSettings {
    /// The address that takes spans by OTLP over HTTP, path included.
    pub endpoint: Uri,
    /// What the server is called there.
    pub service: String,
    /// Of how many traces that begin here one is recorded; 1 for all.
    pub sample: u32,
    /// What is sent to the collector with the spans. Marked as sensitive, since keys may be among them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}
