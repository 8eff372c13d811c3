//! The stable words by which programs tell errors apart, all in one list.
//!
//! Promise: a word keeps its meaning; the text beside it may change. `docs/errors.md` lists each of them, which a test
//! compares. Caveat: plugins may raise errors with words of their own.

/// Defines the words once: the variant, and how it is written.
macro_rules! codes {
    ($($variant:ident = $word:literal,)*) => {
        /// Why a request got an error.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum ErrorCode { $($variant,)* }

        impl ErrorCode {
            /// All of them.
            #[cfg(test)]
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

codes! {
    BadRequest = "bad_request",
    BadResult = "bad_result",
    BodyTimeout = "body_timeout",
    BodyTooLarge = "body_too_large",
    ControlRefused = "control_refused",
    Exception = "exception",
    ExpectationFailed = "expectation_failed",
    FileUnavailable = "file_unavailable",
    ForeignRefused = "foreign_refused",
    HeadTimeout = "head_timeout",
    HeadTooLarge = "head_too_large",
    HostRefused = "host_refused",
    HttpVersion = "http_version",
    HttpsExpected = "https_expected",
    Interrupted = "interrupted",
    Invalid = "invalid",
    InvalidIni = "invalid_ini",
    KeyRequired = "key_required",
    Malformed = "malformed",
    MethodNotAllowed = "method_not_allowed",
    Misdirected = "misdirected",
    NoHandler = "no_handler",
    NoPrevious = "no_previous",
    NotFound = "not_found",
    NotImplemented = "not_implemented",
    NotReady = "not_ready",
    Overdue = "overdue",
    Overload = "overload",
    PageRefused = "page_refused",
    PluginDisabled = "plugin_disabled",
    PluginParked = "plugin_parked",
    PreconditionFailed = "precondition_failed",
    PreflightRefused = "preflight_refused",
    RangeNotSatisfiable = "range_not_satisfiable",
    Rate = "rate",
    ReloadFailed = "reload_failed",
    SessionRefused = "session_refused",
    ShuttingDown = "shutting_down",
    TargetTooLong = "target_too_long",
    TooManyConnections = "too_many_connections",
    TooManyWrongKeys = "too_many_wrong_keys",
    Unauthorized = "unauthorized",
    UnknownPlugin = "unknown_plugin",
    Unreadable = "unreadable",
    UnsupportedCoding = "unsupported_coding",
    UnwritableAnswer = "unwritable_answer",
    UpgradeFailed = "upgrade_failed",
    UpgradeUnderWay = "upgrade_under_way",
    WebSocketVersion = "websocket_version",
}

#[cfg(test)]
mod tests {
    use super::ErrorCode;

    const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/errors.md"));

    #[test]
    fn the_page_on_errors_lists_all_words_and_no_others() {
        let (_, list) = PAGE.split_once("\n## Codes\n").unwrap();
        let listed = list.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(word, _)| word));
        let mut listed: Vec<_> = listed.collect();
        listed.sort_unstable();
        let mut known: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        known.sort_unstable();
        assert_eq!(known, listed);
    }
}
