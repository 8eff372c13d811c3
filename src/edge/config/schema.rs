//! The sections and keys that the server uses, in one list: for environment variables and for detecting misspellings.
//!
//! Pure functions. All other sections belong to plugins and are passed on unchanged. Caveat: a key that is added to
//! [`Settings`](super::settings::Settings) must be added here as well, or it is reported as unknown.

/// Host sections with their keys. `[plugin_parms]` takes any key: the plugin file's stem.
pub(crate) const HOST_SECTIONS: &[(&str, &[&str])] = &[
    ("network", &["bindto", "port"]),
    ("paths", &["plugins", "pidfile", "documents", "indexfile"]),
    ("file_server", &["documents", "indexfile", "common_log", "markdown_css", "highlight_css"]),
    ("SSL", &["enabled", "certfile", "keyfile"]),
    ("auth", &["apikey"]),
    ("cors", &["enabled", "origin_url"]),
    (
        "server",
        &[
            "io_threads",
            "event_loop",
            "head_limit",
            "body_limit",
            "read_timeout",
            "max_in_flight",
            "max_in_flight_per_plugin",
            "trusted_proxies",
            "plugin_timeout",
            "shutdown_timeout",
            "drain_delay",
            "watchdog_restart",
            "watch",
            "control_socket",
            "state_dir",
            "crash_loop_guard",
        ],
    ),
    ("compat", &["legacy_status"]),
    ("plugin_parms", &[]),
];

/// The host's switches. What stands after `bool:` in one counts as a word of its own, see
/// [`word_of_switch`](super::fields::word_of_switch).
pub(crate) const SWITCHES: &[(&str, &str)] = &[
    ("SSL", "enabled"),
    ("cors", "enabled"),
    ("compat", "legacy_status"),
    ("server", "watchdog_restart"),
    ("server", "crash_loop_guard"),
];

/// Host sections without which a server is open: a misspelt key there is an error.
pub(crate) const GUARDS: &[&str] = &["SSL", "auth"];

/// The known name that `word` is probably meant to be: at most one in `tolerance` of the known name's letters, rounded
/// down, differs (two swapped neighbours count as one), or two neighbours are swapped and nothing else.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>, tolerance: usize) -> Option<&'a str> {
    let word = word.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&word, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= name.len() / tolerance || is_swap(&word, &name.to_lowercase()))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Whether the words differ in nothing but the order of two neighbours.
fn is_swap(one: &str, other: &str) -> bool {
    // One edit that changes neither the length nor the letters can only be a swap.
    let sorted = |word: &str| {
        let mut letters: Vec<_> = word.chars().collect();
        letters.sort_unstable();
        letters
    };
    strsim::osa_distance(one, other) == 1 && sorted(one) == sorted(other)
}

/// How far a section may be from a host section to be taken for its misspelling: one letter in five, so that
/// `[core]` or `[sql]`, which a plugin may well use, are not taken for `[cors]` and `[SSL]`.
pub(crate) const SECTION_TOLERANCE: usize = 5;

/// How far a key may be from a known one to be suggested: one letter in three.
pub(crate) const KEY_TOLERANCE: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn nearest_section(word: &str) -> Option<&'static str> {
        nearest(word, HOST_SECTIONS.iter().map(|(name, _)| *name), SECTION_TOLERANCE)
    }

    #[test]
    fn misspelt_sections_are_recognised() {
        for (word, meant) in [("netwrok", "network"), ("plugin_params", "plugin_parms"), ("path", "paths")] {
            assert_eq!(nearest_section(word), Some(meant));
        }
        for (word, meant) in [("auht", "auth"), ("atuh", "auth"), ("uath", "auth"), ("SLS", "SSL"), ("CROS", "cors")] {
            assert_eq!(nearest_section(word), Some(meant));
        }
    }

    #[test]
    fn short_names_of_plugins_are_left_alone() {
        for word in ["core", "sql", "oauth", "markdown", "session", "hatu", "auths", "a", ""] {
            assert_eq!(nearest_section(word), None, "{word}");
        }
    }
}
