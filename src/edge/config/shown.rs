//! What the ini file says in the host's sections, for people: with its values as text, and no secret among them.
//!
//! Pure functions. Promise: nothing of `[keys]` is shown but names, nothing of a plugin's parameters or of headers that
//! is called like a secret, and no section that is a plugin's own. Caveat: what is shown is what is in force, so
//! environment variables and options have replaced what stands in the file.

use serde_json::{Value, json};

use super::resolved::{Item, ResolvedConfig, Section};
use super::schema::{HOST_SECTIONS, KEYS, is_of_host};

/// Stands for a secret.
const MASK: &str = "••••";

/// Words in the names of values that may be secrets.
const SECRETS: [&str; 8] = ["key", "pass", "secret", "token", "auth", "cookie", "dsn", "credential"];

/// Keys of the host that have such a word in their names and are no secrets.
const HARMLESS: [&str; 8] =
    ["keyfile", "key_sources", "rate_per_key", "rate_per_key_burst", "wrong_keys", "auth", "auth_type", "challenge"];

fn may_be_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !HARMLESS.contains(&&*name) && SECRETS.iter().any(|word| name.contains(word))
}

/// All items of the host's sections, in the order of the file.
pub(crate) fn shown(config: &ResolvedConfig) -> Value {
    let is_host =
        |name: &str| HOST_SECTIONS.iter().any(|(host, _)| host.eq_ignore_ascii_case(name)) || is_of_host(name);
    let has_own = |section: &&Section| section.items.iter().any(|item| !item.inherited);
    let sections = config.sections.iter().filter(|section| is_host(&section.name)).filter(has_own).map(section_json);
    json!({ "file": config.path.display().to_string(), "sections": sections.collect::<Vec<_>>() })
}

fn section_json(section: &Section) -> Value {
    let items = section.items.iter().filter(|item| !item.inherited).map(|item| {
        let value = value(&section.name, item);
        json!({ "key": item.key, "value": value, "place": item.location.to_string() })
    });
    json!({ "name": section.name, "items": items.collect::<Vec<_>>() })
}

fn value(section: &str, item: &Item) -> String {
    let is_for_collector = section.eq_ignore_ascii_case("tracing") && item.key == "headers";
    if section.eq_ignore_ascii_case(KEYS) || may_be_secret(&item.key) || is_for_collector {
        return MASK.to_owned();
    }
    if !section.eq_ignore_ascii_case("plugin_parms") {
        return item.text.clone();
    }
    let parameters = item.text.split('&').map(|parameter| match parameter.split_once('=') {
        Some((name, _)) if may_be_secret(name) => format!("{name}={MASK}"),
        // An address may have a password in it.
        Some((name, value)) if value.contains('@') => format!("{name}={MASK}"),
        _ => parameter.to_owned(),
    });
    parameters.collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::config::diagnostic::SourceLocation;

    fn item(key: &str, text: &str) -> Item {
        let location = SourceLocation::Option("");
        Item { key: key.into(), value: None, text: text.into(), location, inherited: false, missing: Vec::new() }
    }

    #[test]
    fn no_secret_is_shown() {
        for (section, key, text, expected) in [
            ("auth", "apikey", "k", MASK),
            ("auth", "key_sources", "header", "header"),
            ("keys", "admin", "key=k&scopes=control", MASK),
            ("SSL", "keyfile", "key.pem", "key.pem"),
            ("headers", "X-Api-Token", "t", MASK),
            ("tracing", "headers", "x-auth=t", MASK),
            ("limits", "wrong_keys", "3/m", "3/m"),
            (
                "plugin_parms",
                "shop",
                "auth_type=key&apikey=k&db=redis://u:p@h&n=1",
                "auth_type=key&apikey=••••&db=••••&n=1",
            ),
        ] {
            assert_eq!(expected, value(section, &item(key, text)), "[{section}] {key}");
        }
    }
}
