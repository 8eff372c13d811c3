//! `[limits]`, and the names in `[server]` that some of its keys had before.
//!
//! Pure functions, called on the Python thread. Promise: an earlier name stays valid, with a note; both names at once
//! are an error, since it would not be clear which one is meant.

use super::SectionReader;
use crate::edge::config::diagnostic::{Diagnostic, Diagnostics};
use crate::edge::config::fields::{self, ParseResult, UNLIMITED};
use crate::edge::config::resolved::ResolvedConfig;
use crate::edge::config::settings::limits::LimitSettings;
use crate::edge::config::settings::plugins::PluginSettings;
use crate::edge::config::value::Value;

/// hyper refuses to read heads into a smaller buffer.
const MIN_HEAD_SIZE: usize = 8 * 1024;

/// What holds for the server, and for each plugin that has no section of its own.
pub(super) fn limits(config: &ResolvedConfig, found: &mut Diagnostics) -> (LimitSettings, PluginSettings) {
    let (server, plugin) = (LimitSettings::default(), PluginSettings::default());
    let mut reader = LimitReader { config, found };
    let server = LimitSettings {
        head_size: reader.renamed("head_size", "head_limit", server.head_size, head_size),
        in_flight: reader.renamed("in_flight", "max_in_flight", server.in_flight, count),
    };
    let plugin = PluginSettings {
        body_size: reader.renamed("body_size", "body_limit", plugin.body_size, body_size),
        in_flight: reader.renamed("in_flight_per_plugin", "max_in_flight_per_plugin", plugin.in_flight, count),
        ..plugin
    };
    (server, plugin)
}

/// The largest size is also what `none` stands for: a head is always in memory.
fn head_size(value: &Value) -> ParseResult<usize> {
    let largest = usize::try_from(u32::MAX).unwrap_or(UNLIMITED);
    fields::or_none(value, largest, |value| fields::size(value, MIN_HEAD_SIZE))
}

pub(super) fn body_size(value: &Value) -> ParseResult<usize> {
    fields::or_none(value, UNLIMITED, |value| fields::size(value, 1))
}

pub(super) fn count(value: &Value) -> ParseResult<usize> {
    fields::or_none(value, UNLIMITED, fields::count)
}

struct LimitReader<'a> {
    config: &'a ResolvedConfig,
    found: &'a mut Diagnostics,
}

impl LimitReader<'_> {
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
            (false, _) => SectionReader::new(self.config, "limits", self.found).read(key, default, fit),
        }
    }
}
