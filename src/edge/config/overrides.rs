//! What replaces texts of the file: environment variables, `[PREFIX_]SECTION_KEY` in upper case, and options of the
//! command line.
//!
//! Pure functions, called on the Python thread. The new text may have a type prefix like one of the file (`int:9000`),
//! but `$` has no special meaning in it, so that passwords need no escaping. Values that refer to the key get the
//! replaced text, too.

use super::diagnostic::SourceLocation;
use super::ini::{Entry, Ini, Section};
use super::launch::Replacement;
use super::resolved::host_section;
use super::schema::{HOST_SECTIONS, is_of_host};

/// Prefix of the variables that the server itself obeys.
pub(crate) const HOST_PREFIX: &str = "PLUGINCORE";

/// Replaces texts of keys that the file has. `variable` looks a variable up.
pub(crate) fn replace_existing(ini: &mut Ini, prefix: Option<&str>, variable: impl Fn(&str) -> Option<String>) {
    for section in &mut ini.sections {
        for entry in &mut section.entries {
            let name = variable_name(prefix, &section.name, &entry.key);
            if let Some(text) = variable(&name) {
                entry.text = text;
                entry.replaced_by = Some(SourceLocation::Variable(name));
            }
        }
    }
}

/// Replaces texts of keys that the file has and adds keys that the server uses: `PLUGINCORE_NETWORK_PORT=9000`.
pub(crate) fn apply_host(ini: &mut Ini, variable: impl Fn(&str) -> Option<String>) {
    replace_existing(ini, Some(HOST_PREFIX), &variable);
    for (section_name, keys) in HOST_SECTIONS {
        for key in *keys {
            let name = variable_name(Some(HOST_PREFIX), section_name, key);
            if let Some(text) = variable(&name) {
                let section = section_for(ini, section_name);
                if !section.entries.iter().any(|entry| entry.key == *key) {
                    let replaced_by = Some(SourceLocation::Variable(name));
                    section.entries.push(Entry { replaced_by, ..Entry::new(*key, text, 0) });
                }
            }
        }
    }
}

/// Replaces what options of the command line name, which come before variables.
pub(crate) fn apply_options(ini: &mut Ini, options: &[Replacement]) {
    for Replacement { option, section, key, text } in options {
        let section = section_for(ini, section);
        section.entries.retain(|entry| entry.key != *key && !(NETWORK_KEYS.contains(key) && entry.key == "listen"));
        let replaced_by = Some(SourceLocation::Option(option));
        section.entries.push(Entry { replaced_by, ..Entry::new(*key, text, 0) });
    }
}

/// The keys whose options replace `listen`, too: the server is to listen where the command line has it listen.
const NETWORK_KEYS: [&str; 2] = ["bindto", "port"];

fn variable_name(prefix: Option<&str>, section: &str, key: &str) -> String {
    let section = if is_of_host(section) {
        // What no shell lets a variable's name have.
        section.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
    } else {
        section.to_owned()
    };
    let name = format!("{section}_{key}");
    prefix.map_or_else(|| name.clone(), |prefix| format!("{prefix}_{name}")).to_uppercase()
}

fn section_for<'a>(ini: &'a mut Ini, name: &str) -> &'a mut Section {
    let at = host_section(ini.sections.iter().map(|section| section.name.as_str()), name).unwrap_or_else(|| {
        let entries = ini.defaults.iter().map(|entry| Entry { inherited: true, ..entry.clone() }).collect();
        ini.sections.push(Section { name: name.to_owned(), line: 0, entries });
        ini.sections.len() - 1
    });
    &mut ini.sections[at]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ini() -> Ini {
        let entries = vec![Entry::new("certfile", "/file", 2)];
        Ini { sections: vec![Section { name: "ssl".into(), line: 1, entries }], ..Ini::default() }
    }

    fn texts(ini: &Ini) -> Vec<(&str, &str, &str)> {
        ini.sections
            .iter()
            .flat_map(|s| s.entries.iter().map(|e| (s.name.as_str(), e.key.as_str(), e.text.as_str())))
            .collect()
    }

    #[test]
    fn a_variable_replaces_an_existing_text() {
        let mut ini = ini();
        replace_existing(&mut ini, Some("app"), |name| (name == "APP_SSL_CERTFILE").then(|| "/env".into()));
        assert_eq!(texts(&ini), [("ssl", "certfile", "/env")]);
        let variable = SourceLocation::Variable("APP_SSL_CERTFILE".into());
        assert_eq!(ini.sections[0].entries[0].replaced_by, Some(variable));
    }

    #[test]
    fn without_a_prefix_the_name_begins_with_the_section() {
        let mut ini = ini();
        replace_existing(&mut ini, None, |name| (name == "SSL_CERTFILE").then(|| "/env".into()));
        assert_eq!(texts(&ini), [("ssl", "certfile", "/env")]);
    }

    #[test]
    fn a_section_for_a_plugin_has_underscores_in_its_variables() {
        assert_eq!(variable_name(Some("P"), "plugin shop/cart-2", "in_flight"), "P_PLUGIN_SHOP_CART_2_IN_FLIGHT");
    }

    #[test]
    fn the_host_adds_keys_it_knows_to_the_section_whatever_its_case() {
        let mut ini = ini();
        apply_host(&mut ini, |name| match name {
            "PLUGINCORE_SSL_KEYFILE" => Some("/key".into()),
            "PLUGINCORE_NETWORK_PORT" => Some("9000".into()),
            "PLUGINCORE_NETWORK_COLOUR" => Some("red".into()),
            _ => None,
        });
        assert_eq!(
            texts(&ini),
            [("ssl", "certfile", "/file"), ("ssl", "keyfile", "/key"), ("network", "port", "9000")]
        );
    }

    #[test]
    fn an_option_replaces_key_and_variable_and_one_for_an_address_the_list_of_them() {
        let entries =
            vec![Entry::new("listen", "unix:/x", 2), Entry::new("port", "1", 3), Entry::new("http2", "no", 4)];
        let sections = vec![Section { name: "Network".into(), line: 1, entries }];
        let mut ini = Ini { path: "file".into(), sections, ..Ini::default() };
        let option = Replacement { option: "--port", section: "network", key: "port", text: "2".into() };
        apply_options(&mut ini, &[option]);
        assert_eq!(texts(&ini), [("Network", "http2", "no"), ("Network", "port", "2")]);
        assert_eq!("option --port", ini.location(&ini.sections[0].entries[1]).to_string());
    }
}
