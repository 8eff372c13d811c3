//! The names of all figures: the one list that the text, the documentation, the dashboard and the alerts go by.
//!
//! Plain data. Promise: a test compares it with `docs/metrics.md`, `packaging/grafana` and `packaging/prometheus`.
//! Caveat: the labels stand in the order in which their values are given.

/// What kind of figure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It only grows; its name ends in `_total`.
    Counter,
    /// It rises and falls.
    Gauge,
    /// Durations by ranges, with their sum and number.
    Histogram,
}

impl Kind {
    /// The word that both formats have for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// All figures of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Family {
    /// The name.
    pub name: &'static str,
    /// What kind of figure it is.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it is, in a sentence without a full stop.
    pub help: &'static str,
}

/// The unit that the end of a name states, without that of a counter.
pub(crate) fn unit(name: &str) -> Option<&'static str> {
    let name = name.strip_suffix("_total").unwrap_or(name);
    ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(&format!("_{unit}")))
}

macro_rules! families {
    ($($constant:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = concat!("`", $name, "`: ", $help, ".")]
            pub(crate) const $constant: Family =
                Family { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )*

        /// All of them, in the order in which they are shown.
        #[cfg(test)]
        pub(crate) const ALL: &[Family] = &[$($constant),*];
    };
}

families! {
    REQUESTS: Counter "plugincore_requests_total" ["plugin", "method", "code"]
        "Requests that were answered";
    REQUEST_DURATION: Histogram "plugincore_request_duration_seconds" ["plugin"]
        "Time from the head of a request to that of its response";
    QUEUE_WAIT: Histogram "plugincore_queue_wait_seconds" ["plugin"]
        "Time from the head of a request, or the end of its body, to the call of its handler";
    HANDLER_DURATION: Histogram "plugincore_handler_duration_seconds" ["plugin"]
        "Time from the call of a handler until it has answered or begun to";
    BODY_BYTES: Counter "plugincore_response_body_bytes_total" ["plugin"]
        "Bytes of the bodies of responses";
    REFUSALS: Counter "plugincore_refusals_total" ["plugin", "reason"]
        "Requests that were refused before a handler ran";
    EXCEPTIONS: Counter "plugincore_exceptions_total" ["plugin", "type"]
        "Exceptions that handlers raised";
    UNCAUGHT: Counter "plugincore_uncaught_exceptions_total" ["plugin"]
        "Exceptions in tasks, threads and callbacks that no code caught";
    WARNINGS: Counter "plugincore_python_warnings_total" ["plugin"]
        "Warnings of Python that were logged";
    IN_FLIGHT: Gauge "plugincore_requests_in_flight" ["plugin"]
        "Requests in the queue to the plugin or in its handler";
    STALLS: Counter "plugincore_stalls_total" ["plugin"]
        "How often the plugin has blocked Python";
    STALL_SECONDS: Counter "plugincore_stall_seconds_total" ["plugin"]
        "How long the plugin has blocked Python";
    TASKS: Gauge "plugincore_tasks" ["plugin"]
        "Background tasks of the plugin that have not ended";
    GENERATION: Gauge "plugincore_plugin_generation" ["plugin"]
        "How often the plugin has been loaded";
    PLUGINS: Gauge "plugincore_plugins" ["state"]
        "Plugins by what they are doing";
    RELOADS: Counter "plugincore_reloads_total" ["result"]
        "Reloads and changes of plugins";
    READY: Gauge "plugincore_ready" []
        "1 if /-/ready succeeds, else 0";
    CONNECTIONS_OPEN: Gauge "plugincore_connections_open" []
        "Connections of clients";
    CONNECTIONS: Counter "plugincore_connections_total" []
        "Connections that were accepted";
    TLS_HANDSHAKES: Counter "plugincore_tls_handshakes_total" ["version"]
        "TLS handshakes that succeeded";
    TLS_FAILURES: Counter "plugincore_tls_handshake_failures_total" []
        "TLS handshakes that failed or took too long";
    RECEIVED: Counter "plugincore_received_bytes_total" []
        "Bytes from clients";
    SENT: Counter "plugincore_sent_bytes_total" []
        "Bytes to clients";
    BUILD_INFO: Gauge "plugincore_build_info" ["version", "python"]
        "Always 1; the labels name the versions of the server and of Python";
    HTTP_VERSIONS: Counter "plugincore_http_requests_total" ["version"]
        "Requests by the version of HTTP";
    LOOP_LAG: Histogram "plugincore_loop_lag_seconds" []
        "Time until the event loop takes a turn";
    GIL_WAIT: Histogram "plugincore_gil_wait_seconds" []
        "Time until the Python thread gets the interpreter";
    CALLS_DROPPED: Counter "plugincore_metric_calls_dropped_total" ["plugin"]
        "Calls of a plugin's own metrics that would have made too many series";
    LOG_LINES_LOST: Counter "plugincore_log_lines_lost_total" []
        "Log lines that an output did not take";
    ACCESS_LINES_LOST: Counter "plugincore_access_log_lines_lost_total" []
        "Lines of the access log that its output did not take";
    SPANS_SENT: Counter "plugincore_spans_sent_total" []
        "Spans that the collector has taken";
    SPANS_LOST: Counter "plugincore_spans_lost_total" []
        "Spans that the collector did not take, or for which there was no room";
    PROCESS_CPU: Counter "process_cpu_seconds_total" []
        "Processor time of the process";
    PROCESS_RESIDENT: Gauge "process_resident_memory_bytes" []
        "Memory of the process";
    PROCESS_VIRTUAL: Gauge "process_virtual_memory_bytes" []
        "Address space of the process";
    PROCESS_THREADS: Gauge "process_threads" []
        "Threads of the process";
    PROCESS_FDS: Gauge "process_open_fds" []
        "Descriptors that are open";
    PROCESS_MAX_FDS: Gauge "process_max_fds" []
        "Descriptors that may be open";
    PROCESS_START: Gauge "process_start_time_seconds" []
        "When the server was started, in seconds since 1970";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_state_kind_and_unit_and_are_there_once() {
        let mut names: Vec<_> = ALL.iter().map(|family| family.name).collect();
        for family in ALL {
            let Family { name, kind, help, .. } = family;
            assert!(name.starts_with("plugincore_") || name.starts_with("process_"), "{name}");
            assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}");
            assert!(*kind != Kind::Histogram || unit(name) == Some("seconds"), "{name}");
            assert!(!help.ends_with('.') && !help.contains('\n'), "{help}");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(ALL.len(), names.len());
    }

    #[test]
    fn the_documentation_has_the_same_figures_in_the_same_order() {
        let page = include_str!("../../../../docs/metrics.md");
        let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| `p") && line.contains('_')).collect();
        let rows: Vec<_> = rows.into_iter().filter(|line| !line.starts_with("| `plugin`")).collect();
        let expected: Vec<_> = ALL
            .iter()
            .map(|Family { name, kind, labels, help }| {
                let labels: Vec<_> = labels.iter().map(|label| format!(" `{label}`")).collect();
                format!("| `{name}` | {} |{} | {help} |", kind.name(), labels.join(","))
            })
            .collect();
        assert_eq!(expected, rows);
    }

    /// Every figure that a text names, with its labels: those behind it in braces, and those that sums are kept by.
    fn check_names(text: &str) {
        let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
        let mut found = 0;
        for (start, _) in text.match_indices("plugincore_").chain(text.match_indices("process_")) {
            if text[..start].ends_with(is_part) {
                continue;
            }
            let name: String = text[start..].chars().take_while(|character| is_part(*character)).collect();
            let known = |family: &&Family| {
                let suffix = name.strip_prefix(family.name);
                let is_part = family.kind == Kind::Histogram && matches!(suffix, Some("_bucket" | "_sum" | "_count"));
                suffix == Some("") || is_part
            };
            let family = ALL.iter().find(known);
            assert!(family.is_some(), "{name} is not in the list");
            found += 1;
            let labels = text[start + name.len()..].strip_prefix('{').and_then(|rest| rest.split_once('}'));
            for label in labels.into_iter().flat_map(|(labels, _)| labels.split(',')) {
                let label = label.split(['=', '!']).next().unwrap_or_default();
                let is_known = family.is_some_and(|family| family.labels.contains(&label)) || label == "instance";
                assert!(is_known, "{name} has no label {label}");
            }
        }
        assert!(found > 5, "the names are not found");
    }

    #[test]
    fn the_dashboard_and_the_alerts_name_figures_and_labels_that_there_are() {
        let dashboard = include_str!("../../../../packaging/grafana/plugincore.json");
        let dashboard: serde_json::Value = serde_json::from_str(dashboard).unwrap();
        let targets = dashboard["panels"].as_array().unwrap().iter().filter_map(|panel| panel["targets"].as_array());
        let queries: Vec<_> = targets.flatten().map(|target| target["expr"].as_str().unwrap()).collect();
        check_names(&queries.join("\n"));
        check_names(include_str!("../../../../packaging/prometheus/rules.yml"));
    }

    #[test]
    fn the_unit_is_the_end_of_a_name() {
        let names = ["a_seconds", "a_seconds_total", "a_bytes_total", "a_total", "seconds"];
        assert_eq!([Some("seconds"), Some("seconds"), Some("bytes"), None, None], names.map(unit));
    }
}
