//! `[limits]`: what holds for the whole server.
//!
//! Plain data, read by all threads. Caveat: what may differ from plugin to plugin is in
//! [`PluginSettings`](super::plugins::PluginSettings), of which `[limits]` gives the general case.

/// The limits of the whole server, all with safe defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LimitSettings {
    /// `head_size`: bytes of request line and headers (default 64 KiB, at least 8 KiB); more is 431.
    pub head_size: usize,
    /// `in_flight`: requests inside plugins at one time (default 1024), but for the plugins that have a number of their
    /// own; more is 503.
    pub in_flight: usize,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self { head_size: 64 * 1024, in_flight: 1024 }
    }
}
