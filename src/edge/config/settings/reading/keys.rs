//! `[keys]` and, in `[auth]`, how keys are sent and asked for.
//!
//! Called on the Python thread; reads the files that keys are in. Promise: no message repeats a part of a line. Caveat:
//! of what stands in `[DEFAULT]`, nothing is a key.

use std::path::Path;

use crate::edge::config::diagnostic::{Diagnostic, Diagnostics};
use crate::edge::config::fields::{InvalidValue, ParseResult};
use crate::edge::config::keys::{DEFAULT_KEY, KeyDigest, KeyScope, KeySettings, key_line};
use crate::edge::config::relative_paths::{absolute, near_or_at};
use crate::edge::config::resolved::{Item, ResolvedConfig};
use crate::edge::config::schema::KEYS;
use crate::edge::config::settings::Secret;
use crate::edge::config::settings::plugins::PluginScope;
use crate::edge::config::value::Value;

/// The keys of `[keys]`; `apikey` is that of `[auth]`.
pub(super) fn keys(config: &ResolvedConfig, apikey: Option<&Secret>, found: &mut Diagnostics) -> Vec<KeySettings> {
    let apikey = apikey.map(|key| KeyDigest::of(key.expose().as_bytes()));
    let mut keys: Vec<KeySettings> = Vec::new();
    for item in config.host_section(KEYS).into_iter().flat_map(|section| &section.items).filter(|item| !item.inherited)
    {
        let read = |file: &str| content(config, item, file);
        let read_key = line(item, read).and_then(|key| match key.as_ref().and_then(|key| double(key, &keys, apikey)) {
            Some(double) => Err(double),
            None => Ok(key),
        });
        let InvalidValue { message, remedy } = match read_key {
            Ok(key) => {
                keys.extend(key);
                continue;
            }
            Err(invalid) => invalid,
        };
        let error = Diagnostic::error(item.location.clone(), message).remedy(remedy);
        found.push(error.in_section(KEYS).at_key(&item.key));
    }
    keys
}

/// The scopes of `keys` that name plugins, with the lines where they stand.
pub(super) fn scopes(config: &ResolvedConfig, keys: &[KeySettings]) -> Vec<PluginScope> {
    let items = || config.host_section(KEYS).into_iter().flat_map(|section| &section.items);
    let line = |key: &str| items().find(|item| item.key == key).map(|item| item.location.clone());
    let of_key = |key: &KeySettings| {
        let location = line(&key.name);
        let plugins = key.scopes.iter().filter_map(|scope| match scope {
            KeyScope::Plugin(id) => Some(id.clone()),
            KeyScope::AllPlugins | KeyScope::Control | KeyScope::Metrics => None,
        });
        let scope = |plugin| Some(PluginScope { key: key.name.clone(), plugin, location: location.clone()? });
        plugins.filter_map(scope).collect::<Vec<_>>()
    };
    keys.iter().flat_map(of_key).collect()
}

/// The key of one line; nothing if its references could not be resolved, which has been reported.
fn line(item: &Item, read: impl Fn(&str) -> ParseResult<String>) -> ParseResult<Option<KeySettings>> {
    let Some(value) = &item.value else { return Ok(None) };
    if let Some(reason) = item.missing_reason() {
        return Err(InvalidValue::new(reason, "set it, or take the key out"));
    }
    match value {
        Value::Text(text) => key_line(&item.key, text, read).map(Some),
        _ => Err(InvalidValue::new("must be text", "write hash=sha256:…&scopes=… without a type prefix")),
    }
}

/// What is wrong with a key that there is already: its name would not identify requests.
fn double(key: &KeySettings, earlier: &[KeySettings], apikey: Option<KeyDigest>) -> Option<InvalidValue> {
    if key.name == DEFAULT_KEY && apikey.is_some() {
        return Some(InvalidValue::new("is the name of the key in [auth] apikey", "choose another name"));
    }
    let same = earlier.iter().find(|one| one.digest == key.digest).map(|one| one.name.as_str());
    let same = same.or_else(|| apikey.filter(|apikey| *apikey == key.digest).map(|_| DEFAULT_KEY))?;
    Some(InvalidValue::new(format!("is the same key as {same}"), "take one of them out, or make a new key"))
}

/// What is in the file that a line names.
fn content(config: &ResolvedConfig, item: &Item, file: &str) -> ParseResult<String> {
    let path = near_or_at(config, &item.location, Path::new(file));
    std::fs::read_to_string(&path).map_err(|error| {
        let message = format!("{} cannot be read: {error}", absolute(&path).display());
        InvalidValue::new(message, "name a file that this user may read")
    })
}
