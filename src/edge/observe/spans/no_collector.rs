//! What stands in the place of a collector in a program without the feature `otel`.
//!
//! Promise: nothing is sent. Caveat: settings with an endpoint are refused there, so that it is never asked.

use std::time::Duration;

use super::delivery::SendError;
use super::params::ExporterParams;
use super::span::Span;

/// Takes nothing.
pub(super) struct Collector;

impl Collector {
    /// One that takes nothing.
    pub(super) fn new(_: &ExporterParams) -> Self {
        Self
    }

    /// Fails.
    ///
    /// # Errors
    /// Always.
    pub(super) fn send(&self, _: &[Span], _: Duration) -> Result<usize, SendError> {
        let reason = "this program was built without the feature otel".to_owned();
        Err(SendError { reason, may_recover: false, pause: None })
    }
}
