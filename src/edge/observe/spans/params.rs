//! What an exporter goes by.
//!
//! Plain data. Caveat: whether a collector listens there is not known here.

use http::{HeaderName, HeaderValue, Uri};

/// Where spans go, and of which traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExporterParams {
    /// The address that takes spans by OTLP over HTTP, path included.
    pub endpoint: Uri,
    /// What the server is called there.
    pub service: String,
    /// Of how many traces that begin here one is recorded; 1 for all.
    pub sample: u32,
    /// What is sent with them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}
