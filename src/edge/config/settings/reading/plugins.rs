//! `[plugin x]`: how the host treats one plugin.
//!
//! Pure functions, called on the Python thread. Caveat: whether there is such a plugin is not known here.

use std::sync::Arc;

use super::SectionReader;
use super::cors::origins;
use super::limits::{self, body_size, count, time};
use crate::edge::config::diagnostic::{Diagnostic, Diagnostics};
use crate::edge::config::fields::{self, InvalidValue, ParseResult};
use crate::edge::config::resolved::ResolvedConfig;
use crate::edge::config::schema::{KEY_TOLERANCE, PLUGIN_KEYS, nearest, plugin_of_section};
use crate::edge::config::settings::cors::CorsSettings;
use crate::edge::config::settings::plugins::{ParkAfter, PluginScope, PluginSection, PluginSections, PluginSettings};
use crate::edge::config::value::Value;

/// All sections for plugins, beside the `scopes` of keys; `general` holds where they say nothing.
pub(super) fn sections(
    config: &ResolvedConfig,
    general: PluginSettings,
    cors: Option<&CorsSettings>,
    scopes: Vec<PluginScope>,
    found: &mut Diagnostics,
) -> PluginSections {
    let mut sections: Vec<PluginSection> = Vec::new();
    for section in &config.sections {
        let Some(plugin) = plugin_of_section(&section.name) else { continue };
        if let Some(same) = sections.iter().find(|earlier| earlier.plugin == plugin) {
            let message = format!("is for the same plugin as [{}]", same.name);
            let error = Diagnostic::error(section.location.clone(), message);
            found.push(error.in_section(&section.name).remedy("put everything into one section"));
        }
        let mut reader = SectionReader::of(config, section, found);
        unknown_keys(&mut reader);
        let settings = Arc::new(read(&mut reader, &general, cors));
        let (name, plugin, location) = (section.name.clone(), plugin.to_owned(), section.location.clone());
        sections.push(PluginSection { name, plugin, location, settings });
    }
    PluginSections { general: Arc::new(general), sections, scopes }
}

fn read(section: &mut SectionReader<'_>, general: &PluginSettings, cors: Option<&CorsSettings>) -> PluginSettings {
    PluginSettings {
        body_size: section.read("body_size", general.body_size, body_size),
        in_flight: section.read("in_flight", general.in_flight, count),
        counts_apart: section.item("in_flight").is_some(),
        queue_time: section.read("queue_time", general.queue_time, time),
        handler_time: section.read("handler_time", general.handler_time, time),
        park_after: section.read("park_after", general.park_after, |value| fields::or_none(value, None, park_after)),
        compression: section.switch("compression", general.compression),
        etag: section.switch("etag", general.etag),
        threads: section.read("threads", general.threads, |value| fields::or_none(value, 0, threads)),
        rates: limits::rates(section, general.rates),
        requires_key: section.read("auth", general.requires_key, requires_key),
        cors: own_cors(section, cors),
    }
}

/// Whether a named key is required.
fn requires_key(value: &Value) -> ParseResult<bool> {
    let word = if let Value::Text(text) = value { text.trim().to_lowercase() } else { String::new() };
    match word.as_str() {
        "key" => Ok(true),
        "none" => Ok(false),
        _ => {
            Err(InvalidValue::new("must be key or none", "key asks for a key of [keys]; none leaves it to the plugin"))
        }
    }
}

/// The plugin's own origins, in place of those in `[cors]`.
fn own_cors(section: &mut SectionReader<'_>, cors: Option<&CorsSettings>) -> Option<Arc<CorsSettings>> {
    section.item("origin_url")?;
    let own = origins(section);
    if cors.is_none() {
        section.warn("origin_url", "is not used, since CORS is not enabled", "add enabled=true to [cors]");
    }
    cors.map(|cors| Arc::new(CorsSettings { origins: own, ..cors.clone() }))
}

/// Failures that a plugin may have at most before it is parked.
const MAX_FAILURES: usize = 1000;

/// Threads that a plugin may have at most.
const MAX_THREADS: usize = 256;

/// A number of failures and a time, such as `5/1m`.
fn park_after(value: &Value) -> ParseResult<Option<ParkAfter>> {
    let wrong = || InvalidValue::new("must be a number of failures and a time", "write it like 5/1m or 3/30s");
    let Value::Text(text) = value else { return Err(wrong()) };
    let (failures, within) = text.split_once('/').ok_or_else(wrong)?;
    let failures = failures.trim().parse().ok().filter(|count| (1..=MAX_FAILURES).contains(count)).ok_or_else(wrong)?;
    let within = fields::duration(&Value::Text(within.trim().to_owned())).map_err(|_| wrong())?;
    Ok(Some(ParkAfter { failures, within }))
}

fn threads(value: &Value) -> ParseResult<usize> {
    let wrong = || InvalidValue::new("must be a number from 1 to 256", "write a number of threads");
    fields::count(value).ok().filter(|count| *count <= MAX_THREADS).ok_or_else(wrong)
}

fn unknown_keys(reader: &mut SectionReader<'_>) {
    let items = reader.section.map_or(&[][..], |section| &section.items);
    for item in items.iter().filter(|item| !item.inherited && !PLUGIN_KEYS.contains(&item.key.as_str())) {
        let near = nearest(&item.key, PLUGIN_KEYS.iter().copied(), KEY_TOLERANCE);
        let remedy =
            near.map_or_else(|| format!("known are {}", PLUGIN_KEYS.join(", ")), |near| format!("is {near} meant?"));
        reader.report(&item.key, |location| {
            // Without what is probably meant, the plugin may be open.
            let diagnostic = if near == Some("auth") { Diagnostic::error } else { Diagnostic::warning };
            diagnostic(location, "is not known to the server").remedy(remedy)
        });
    }
}
