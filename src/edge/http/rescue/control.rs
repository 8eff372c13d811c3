//! Failures of the server's own endpoints.
//!
//! Pure functions, called on the I/O threads.

use http::header::RETRY_AFTER;
use http::{Response, StatusCode};

use super::answer::{ErrorAnswer, ErrorFormat, retry_after};
use super::code::ErrorCode;
use crate::edge::http::response::Body;

/// Why an endpoint of the server does not succeed, one variant a reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ControlError<'a> {
    /// 404: `/reload/<id>` for a plugin that does not exist.
    #[error("Plugin \"{0}\" not found")]
    UnknownPlugin(&'a str),
    /// 409: a reload of a plugin that is disabled.
    #[error("Plugin \"{0}\" is disabled; enable it to load it")]
    Disabled(&'a str),
    /// 409: a reload of a plugin that has ended the process too often.
    #[error("Plugin \"{0}\" is parked, since it ended the process again and again; enable it to load it")]
    Parked(&'a str),
    /// 409: a plugin that has not been reloaded since the start is to go back.
    #[error("Plugin \"{0}\" has no previous version: it has not been replaced since the server was started")]
    NoPrevious(&'a str),
    /// 500: a reload failed; everything serves as before.
    #[error("{}", plugin.map_or_else(
        || "Failed to reload all plugins".to_owned(),
        |plugin| format!("Failed to reload plugin {plugin}"),
    ))]
    ReloadFailed {
        /// The plugin to reload; `None` for all of them.
        plugin: Option<&'a str>,
        /// Why, each reason with file and line.
        reasons: &'a [String],
        /// Ids of the plugins that serve now, in load order.
        loaded_plugins: &'a [String],
    },
    /// 503 with `Retry-After`: the server stops before or during a reload.
    #[error("the server is shutting down")]
    ReloadInterrupted,
    /// 503 with `Retry-After`: a new process is about to take over, which would not know of a reload.
    #[error("a new process is taking over; reload again when it serves")]
    UpgradeUnderWay,
    /// 500: the ini file cannot be used.
    #[error("the ini file cannot be used")]
    InvalidFile {
        /// Why, each with file and line.
        reasons: &'a [String],
    },
    /// 500: a new process could not take over; this one serves as before.
    #[error("the upgrade failed; the server goes on as before")]
    UpgradeFailed {
        /// Why, a sentence each.
        reasons: &'a [String],
    },
    /// 503 with `Retry-After` for `/-/ready`: the server is about to stop, or its plugins are not loaded yet.
    #[error("the server is not ready: it is starting or stopping, or Python is blocked")]
    NotReady,
}

impl ControlError<'_> {
    fn status(&self) -> StatusCode {
        match self {
            Self::UnknownPlugin(_) => StatusCode::NOT_FOUND,
            Self::Disabled(_) | Self::NoPrevious(_) | Self::Parked(_) => StatusCode::CONFLICT,
            Self::ReloadFailed { .. } | Self::UpgradeFailed { .. } | Self::InvalidFile { .. } => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Self::ReloadInterrupted | Self::UpgradeUnderWay | Self::NotReady => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownPlugin(_) => ErrorCode::UnknownPlugin,
            Self::Disabled(_) => ErrorCode::PluginDisabled,
            Self::Parked(_) => ErrorCode::PluginParked,
            Self::NoPrevious(_) => ErrorCode::NoPrevious,
            Self::ReloadFailed { .. } => ErrorCode::ReloadFailed,
            Self::ReloadInterrupted => ErrorCode::ShuttingDown,
            Self::UpgradeUnderWay => ErrorCode::UpgradeUnderWay,
            Self::InvalidFile { .. } => ErrorCode::InvalidIni,
            Self::UpgradeFailed { .. } => ErrorCode::UpgradeFailed,
            Self::NotReady => ErrorCode::NotReady,
        }
    }

    /// The whole answer.
    pub(crate) fn respond(&self, format: &ErrorFormat) -> Response<Body> {
        let status = self.status();
        let answer = ErrorAnswer::new(status, self.code().as_str(), self.to_string());
        let answer = match self {
            Self::ReloadFailed { reasons, loaded_plugins, .. } => {
                answer.with("reasons", *reasons).with("loaded_plugins", *loaded_plugins)
            }
            Self::UpgradeFailed { reasons } | Self::InvalidFile { reasons } => answer.with("reasons", *reasons),
            // As in the answer of a server that is ready; in a problem it is the number of the status.
            Self::NotReady if !format.is_problem() => answer.with_first("status", "stopping"),
            _ => answer,
        };
        let mut response = answer.respond(format);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, retry_after());
        }
        response
    }
}
