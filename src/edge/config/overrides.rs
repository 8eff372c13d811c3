//! Environment variables that replace texts of the file: `[PREFIX_]SECTION_KEY`, all in upper case.
//!
//! Pure functions, called on the Python thread. The new text may have a type prefix like one of the file (`int:9000`),
//! but `$` has no special meaning in it, so that passwords need no escaping. Values that refer to the key get the
//! replaced text, too.

use super::ini::{Entry, Ini, Section};
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
                entry.variable = Some(name);
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
                    section.entries.push(Entry { variable: Some(name), ..Entry::new(*key, text, 0) });
                }
            }
        }
    }
}

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
        assert_eq!(ini.sections[0].entries[0].variable.as_deref(), Some("APP_SSL_CERTFILE"));
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
}
