//! `[limits]`, and the names in `[server]` that some of its keys had before.
//!
//! Pure functions, called on the Python thread. Promise: an earlier name stays valid, with a note; both names at once
//! are an error, since it would not be clear which one is meant.

use std::time::Duration;

use super::SectionReader;
use crate::edge::config::diagnostic::{Diagnostic, Diagnostics};
use crate::edge::config::fields::{self, InvalidValue, ParseResult, UNLIMITED};
use crate::edge::config::rate::{RateLimit, RateSettings, burst, rate};
use crate::edge::config::resolved::ResolvedConfig;
use crate::edge::config::settings::limits::{BodyTimes, LimitSettings};
use crate::edge::config::settings::plugins::PluginSettings;
use crate::edge::config::value::Value;

/// The key of `[server]` that several of `[limits]` replace.
const READ_TIMEOUT: &str = "read_timeout";

/// hyper refuses to read heads into a smaller buffer.
const MIN_HEAD_SIZE: usize = 8 * 1024;

/// Far below what the table of headers can hold.
const MAX_HEAD_FIELDS: usize = 10_000;

/// What the type of a target holds.
const MAX_TARGET_SIZE: usize = 65534;

/// What holds for the server, and for each plugin that has no section of its own.
pub(super) fn limits(config: &ResolvedConfig, found: &mut Diagnostics) -> (LimitSettings, PluginSettings) {
    let (server, plugin) = (LimitSettings::default(), PluginSettings::default());
    let mut reader = LimitReader { config, found };
    let server = reader.with_earlier_timeout(server);
    let server = LimitSettings {
        head_size: reader.renamed("head_size", "head_limit", server.head_size, head_size),
        head_fields: reader.read("head_fields", server.head_fields, head_fields),
        target_size: reader.read("target_size", server.target_size, target_size),
        head_time: reader.read("head_time", server.head_time, time),
        idle_time: reader.read("idle_time", server.idle_time, time),
        send_idle_time: reader.read("send_idle_time", server.send_idle_time, time),
        body: reader.body_times(server.body),
        in_flight: reader.renamed("in_flight", "max_in_flight", server.in_flight, count),
        in_flight_per_client: reader.read("in_flight_per_client", server.in_flight_per_client, count),
        connections: reader.read("connections", server.connections, count),
        connections_per_client: reader.read("connections_per_client", server.connections_per_client, count),
        wrong_keys: SectionReader::new(config, "limits", reader.found).read("wrong_keys", server.wrong_keys, rate),
    };
    let plugin = PluginSettings {
        body_size: reader.renamed("body_size", "body_limit", plugin.body_size, body_size),
        in_flight: reader.renamed("in_flight_per_plugin", "max_in_flight_per_plugin", plugin.in_flight, count),
        queue_time: reader.read("queue_time", plugin.queue_time, time),
        handler_time: reader.read("handler_time", plugin.handler_time, time),
        rates: RateSettings {
            client_apart: false,
            key_apart: false,
            ..rates(&mut SectionReader::new(config, "limits", reader.found), plugin.rates)
        },
        ..plugin
    };
    (server, plugin)
}

/// The rates of a section; what it does not have is as in `general`.
pub(super) fn rates(section: &mut SectionReader<'_>, general: RateSettings) -> RateSettings {
    let (per_client, client_apart) = rate_limit(section, ["rate", "rate_burst"], general.per_client);
    let (per_key, key_apart) = rate_limit(section, ["rate_per_key", "rate_per_key_burst"], general.per_key);
    RateSettings { per_client, per_key, client_apart, key_apart }
}

/// A rate with its burst, and whether the section has either.
fn rate_limit(
    section: &mut SectionReader<'_>,
    [name, name_of_burst]: [&str; 2],
    general: Option<RateLimit>,
) -> (Option<RateLimit>, bool) {
    let own = section.read(name, general.map(|limit| limit.rate), rate);
    let own_burst = section.read(name_of_burst, None, |value| burst(value).map(Some));
    let is_own = |name| section.item(name).is_some();
    let burst = own_burst.or_else(|| general.and_then(|limit| limit.burst));
    (own.map(|rate| RateLimit::new(rate, burst)), is_own(name) || is_own(name_of_burst))
}

/// The largest size is also what `none` stands for: a head is always in memory.
fn head_size(value: &Value) -> ParseResult<usize> {
    let largest = usize::try_from(u32::MAX).unwrap_or(UNLIMITED);
    fields::or_none(value, largest, |value| fields::size(value, MIN_HEAD_SIZE))
}

pub(super) fn body_size(value: &Value) -> ParseResult<usize> {
    fields::or_none(value, UNLIMITED, |value| fields::size(value, 1))
}

/// Headers are kept in a table that takes no more; `none` stands for that.
fn head_fields(value: &Value) -> ParseResult<usize> {
    let wrong = || {
        let message = format!("must be a whole number from 1 to {MAX_HEAD_FIELDS}");
        InvalidValue::new(message, "write a number, or leave the key out for 100")
    };
    let within = |value: &Value| fields::count(value).ok().filter(|count| *count <= MAX_HEAD_FIELDS).ok_or_else(wrong);
    fields::or_none(value, MAX_HEAD_FIELDS, within)
}

/// The type of a target has no longer ones; `none` stands for that.
fn target_size(value: &Value) -> ParseResult<usize> {
    let wrong = || {
        let message = format!("must be a size from 1 to {MAX_TARGET_SIZE} bytes");
        InvalidValue::new(message, "write bytes, or a whole number with KiB")
    };
    let within = |value: &Value| fields::size(value, 1).ok().filter(|size| *size <= MAX_TARGET_SIZE).ok_or_else(wrong);
    fields::or_none(value, MAX_TARGET_SIZE, within)
}

/// A time, or none.
pub(super) fn time(value: &Value) -> ParseResult<Option<Duration>> {
    fields::or_none(value, None, |value| fields::duration(value).map(Some))
}

/// A number of bytes in a second, or none: `1KiB/s` or `1KiB`.
fn bytes_per_second(value: &Value) -> ParseResult<Option<usize>> {
    let wrong = || InvalidValue::new("must be a size in each second", "write for example 1KiB/s");
    let value = match value {
        Value::Text(text) => Value::Text(text.trim().strip_suffix("/s").unwrap_or(text).to_owned()),
        other => other.clone(),
    };
    fields::or_none(&value, None, |value| fields::size(value, 1).map(Some).map_err(|_| wrong()))
}

pub(super) fn count(value: &Value) -> ParseResult<usize> {
    fields::or_none(value, UNLIMITED, fields::count)
}

struct LimitReader<'a> {
    config: &'a ResolvedConfig,
    found: &'a mut Diagnostics,
}

impl LimitReader<'_> {
    fn read<T>(&mut self, key: &str, default: T, fit: fn(&Value) -> ParseResult<T>) -> T {
        SectionReader::new(self.config, "limits", self.found).read(key, default, fit)
    }

    fn body_times(&mut self, default: BodyTimes) -> BodyTimes {
        BodyTimes {
            idle: self.read("body_idle_time", default.idle, time),
            whole: self.read("body_time", default.whole, time),
            min_rate: self.read("body_min_rate", default.min_rate, bytes_per_second),
        }
    }

    /// The defaults with `[server] read_timeout`, if it is there, for the four times that it stood for. A time of its
    /// own in `[limits]` counts before it.
    fn with_earlier_timeout(&mut self, default: LimitSettings) -> LimitSettings {
        let mut server = SectionReader::new(self.config, "server", self.found);
        if server.item(READ_TIMEOUT).is_none() {
            return default;
        }
        let message = "is called head_time, idle_time, send_idle_time and body_idle_time in [limits] now";
        server.report(READ_TIMEOUT, |location| {
            Diagnostic::note(location, message).remedy("the earlier name stays valid where they are not given")
        });
        let time = server.read(READ_TIMEOUT, None, |value| fields::duration(value).map(Some));
        LimitSettings {
            head_time: time,
            idle_time: time,
            send_idle_time: time,
            body: BodyTimes { idle: time, ..default.body },
            ..default
        }
    }

    /// The value of `key`, which was called `earlier` in `[server]`.
    fn renamed<T>(&mut self, key: &str, earlier: &str, default: T, fit: fn(&Value) -> ParseResult<T>) -> T {
        let is_given = SectionReader::new(self.config, "limits", self.found).item(key).is_some();
        let mut server = SectionReader::new(self.config, "server", self.found);
        match (server.item(earlier).is_some(), is_given) {
            (true, true) => {
                let message = format!("is the earlier name of [limits] {key}, which is given as well");
                server.report(earlier, |location| {
                    Diagnostic::error(location, message)
                        .remedy("remove one of them; the new name is the one in [limits]")
                });
                default
            }
            (true, false) => {
                let message = format!("is called {key} in [limits] now");
                server.report(earlier, |location| {
                    Diagnostic::note(location, message).remedy("the earlier name stays valid")
                });
                server.read(earlier, default, fit)
            }
            (false, _) => self.read(key, default, fit),
        }
    }
}
