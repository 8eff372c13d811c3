//! The sections and keys that the server uses, in one list: for environment variables and for detecting misspellings.
//!
//! Pure functions. All other sections belong to plugins and are passed on unchanged. Caveat: a key that is added to
//! [`Settings`](super::settings::Settings) must be added here as well, or it is reported as unknown.

/// The section of named keys, which plugins do not find in their configuration.
pub(crate) const KEYS: &str = "keys";

/// The section of headers that all responses have.
pub(crate) const HEADERS: &str = "headers";

/// Host sections with their keys. `[plugin_parms]` takes any key: the plugin file's stem; so do `[keys]`, a key's name,
/// and `[headers]`, a header's.
pub(crate) const HOST_SECTIONS: &[(&str, &[&str])] = &[
    ("network", &["bindto", "port", "listen", "unix_mode", "unix_group", "proxy_protocol", "http2", "hosts"]),
    ("paths", &["plugins", "pidfile", "documents", "indexfile"]),
    ("file_server", &["documents", "indexfile", "common_log", "markdown_css", "highlight_css"]),
    ("SSL", &["enabled", "certfile", "keyfile", "min_version", "client_ca", "client_certificate", "check_interval"]),
    ("auth", &["apikey", "key_sources", "challenge"]),
    (KEYS, &[]),
    (HEADERS, &[]),
    ("cors", &["enabled", "origin_url", "allow_headers", "expose_headers", "max_age", "credentials"]),
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
            "stall_warn",
            "stall_unready",
            "watch",
            "control_socket",
            "state_dir",
            "crash_loop_guard",
            "compression",
            "show_errors",
        ],
    ),
    (
        "limits",
        &[
            "head_size",
            "head_fields",
            "target_size",
            "body_size",
            "head_time",
            "idle_time",
            "send_idle_time",
            "body_idle_time",
            "body_time",
            "body_min_rate",
            "handler_time",
            "queue_time",
            "in_flight",
            "in_flight_per_plugin",
            "in_flight_per_client",
            "connections",
            "connections_per_client",
            "rate",
            "rate_burst",
            "rate_per_key",
            "rate_per_key_burst",
            "wrong_keys",
        ],
    ),
    ("log", &["format"]),
    ("access_log", &["file", "stdout", "journald", "format", "sample", "slow"]),
    ("tracing", &["endpoint", "service", "sample", "headers"]),
    ("compat", &["legacy_status"]),
    ("page", &["enabled"]),
    ("openapi", &["public"]),
    ("plugin_parms", &[]),
];

/// The keys of `[plugin x]`, which says how the host treats one plugin.
pub(crate) const PLUGIN_KEYS: &[&str] = &[
    "body_size",
    "in_flight",
    "queue_time",
    "handler_time",
    "rate",
    "rate_burst",
    "rate_per_key",
    "rate_per_key_burst",
    "auth",
    "origin_url",
    "park_after",
    "threads",
    "compression",
    "etag",
];

/// The first word of a section for one plugin.
const PLUGIN: &str = "plugin";

/// The plugin that the section called `section` is for, by its id or the stem of its file; `None` if it is no section
/// for one plugin.
pub(crate) fn plugin_of_section(section: &str) -> Option<&str> {
    let (word, plugin) = section.trim().split_once(char::is_whitespace)?;
    word.eq_ignore_ascii_case(PLUGIN).then(|| plugin.trim().trim_matches('/'))
}

/// The keys of `[SSL name]`, which has a further certificate.
pub(crate) const CERTIFICATE_KEYS: &[&str] = &["certfile", "keyfile"];

/// Whether the section called `section` is one for a further certificate.
pub(crate) fn is_of_certificate(section: &str) -> bool {
    section.trim().split_once(char::is_whitespace).is_some_and(|(word, _)| word.eq_ignore_ascii_case("SSL"))
}

/// Whether the section called `section` is of the host though its name is not in [`HOST_SECTIONS`].
pub(crate) fn is_of_host(section: &str) -> bool {
    plugin_of_section(section).is_some() || is_of_certificate(section)
}

/// Whether the section called `section` is probably meant to be one for a plugin: two words, of which the first is
/// `plugin` but for a letter.
pub(crate) fn is_nearly_of_plugin(section: &str) -> bool {
    let word = section.trim().split_once(char::is_whitespace).map(|(word, _)| word);
    word.is_some_and(|word| nearest(word, [PLUGIN], SECTION_TOLERANCE).is_some())
}

/// The host's switches. What stands after `bool:` in one counts as a word of its own, see
/// [`word_of_switch`](super::fields::word_of_switch).
pub(crate) const SWITCHES: &[(&str, &str)] = &[
    ("network", "http2"),
    ("network", "proxy_protocol"),
    ("SSL", "enabled"),
    ("auth", "challenge"),
    ("cors", "enabled"),
    ("cors", "credentials"),
    ("access_log", "stdout"),
    ("compat", "legacy_status"),
    ("page", "enabled"),
    ("openapi", "public"),
    ("server", "watchdog_restart"),
    ("server", "crash_loop_guard"),
    ("server", "compression"),
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
    fn a_section_for_a_plugin_is_known_by_its_first_word() {
        for (section, plugin) in [("plugin greet", "greet"), ("Plugin  /shop/cart", "shop/cart"), ("plugin a b", "a b")]
        {
            assert_eq!(plugin_of_section(section), Some(plugin));
        }
        for section in ["plugin", "plugins", "plugin_parms", "plugins greet", "plugin-greet"] {
            assert_eq!(plugin_of_section(section), None, "{section}");
        }
        assert!(is_nearly_of_plugin("plugins greet") && is_nearly_of_plugin("plguin greet"));
        assert!(!is_nearly_of_plugin("plugins") && !is_nearly_of_plugin("my shop"));
    }

    #[test]
    fn short_names_of_plugins_are_left_alone() {
        for word in ["core", "sql", "oauth", "markdown", "session", "hatu", "auths", "a", ""] {
            assert_eq!(nearest_section(word), None, "{word}");
        }
    }
}
