//! `[limits]`: what holds for the whole server.
//!
//! Plain data, read by all threads. Caveat: what may differ from plugin to plugin is in
//! [`PluginSettings`](super::plugins::PluginSettings), of which `[limits]` gives the general case.

use std::time::Duration;

use crate::edge::config::fields::UNLIMITED;
use crate::edge::config::rate::Rate;

/// How long a request body may take; more is 408.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BodyTimes {
    /// `body_idle_time`: longest gap within it (default 20 s).
    pub idle: Option<Duration>,
    /// `body_time`: for the whole (default 60 s), besides what `min_rate` grants.
    pub whole: Option<Duration>,
    /// `body_min_rate`: bytes for which it may take a second more (default 1 KiB); nothing is granted without it.
    pub min_rate: Option<usize>,
}

impl Default for BodyTimes {
    fn default() -> Self {
        let [idle, whole] = [20, 60].map(|seconds| Some(Duration::from_secs(seconds)));
        Self { idle, whole, min_rate: Some(1024) }
    }
}

/// The limits of the whole server, all with safe defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LimitSettings {
    /// `head_size`: bytes of request line and headers (default 64 KiB, at least 8 KiB); more is 431.
    pub head_size: usize,
    /// `head_fields`: headers of a request (default 100); more is 431.
    pub head_fields: usize,
    /// `target_size`: bytes of path and query (default 65534); more is 414.
    pub target_size: usize,
    /// `head_time`: for request line and headers, from the first byte on (default 10 s); more is 408.
    pub head_time: Option<Duration>,
    /// `idle_time`: for a connection without a request (default 75 s); it closes then.
    pub idle_time: Option<Duration>,
    /// `send_idle_time`: for a client to take something of its response (default 60 s); the connection closes then.
    pub send_idle_time: Option<Duration>,
    /// How long a request body may take.
    pub body: BodyTimes,
    /// `in_flight`: requests inside plugins at one time (default 1024), but for the plugins that have a number of their
    /// own; more is 503.
    pub in_flight: usize,
    /// `in_flight_per_client`: requests of one client inside plugins at one time (default none); more is 503.
    pub in_flight_per_client: usize,
    /// `connections`: open at one time (default 10000); more are refused.
    pub connections: usize,
    /// `connections_per_client`: of one client that is not a trusted proxy (default 256); more are refused.
    pub connections_per_client: usize,
    /// `wrong_keys`: wrong keys from one client address (default 20 a minute); more lock it out for a minute.
    pub wrong_keys: Option<Rate>,
}

impl Default for LimitSettings {
    fn default() -> Self {
        let [head_time, idle_time, send_idle_time] = [10, 75, 60].map(|seconds| Some(Duration::from_secs(seconds)));
        Self {
            head_time,
            idle_time,
            send_idle_time,
            head_size: 64 * 1024,
            head_fields: 100,
            target_size: 65534,
            body: BodyTimes::default(),
            in_flight: 1024,
            in_flight_per_client: UNLIMITED,
            connections: 10_000,
            connections_per_client: 256,
            wrong_keys: Some(Rate { count: 20, seconds: 60 }),
        }
    }
}
