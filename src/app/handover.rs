//! What the process that serves and the one that is to replace it tell each other.
//!
//! Used on the signal thread of the old process, and on the Python thread of the new one. One message is a line of JSON
//! on a socket between the two. Promise: what one version does not know of another's message is ignored, and a message
//! that it does not know is an error, so that an upgrade fails instead of going wrong. Caveat: the two may be of
//! different versions, so names of variants and fields are kept for ever.

use std::io;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Name of the environment variable that tells a process that it is to replace another: `<process id>:<fd>`, of its
/// parent and of the socket between the two.
pub(super) const VARIABLE: &str = "PLUGINCORE_UPGRADE";

/// What the new process tells the old one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FromNew {
    /// The ini file has been read, the sockets are there, and plugins are loaded now.
    Started {
        /// How long the new process may go without a report.
        patience: Duration,
    },
    /// One more plugin file has been dealt with.
    Loaded {
        /// The file, as messages name it.
        file: String,
    },
    /// All plugins are loaded; the new process waits for [`ToNew::Serve`].
    Ready {
        /// The ids that it would serve.
        ids: Vec<String>,
        /// What could not be loaded, each with file and line.
        failures: Vec<String>,
        /// Those of them that a plugin's `self_check` is the reason for.
        failed_checks: Vec<String>,
    },
    /// It cannot take over, and ends.
    Failed {
        /// Why, a sentence each.
        reasons: Vec<String>,
    },
    /// It accepts connections.
    Serving,
}

/// What the old process tells the new one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToNew {
    /// The new process is to accept connections.
    Serve,
    /// The old process drains, and the new one is the service's main process.
    HandedOver,
}

/// A message as it is sent.
pub(super) fn line(message: &impl Serialize) -> io::Result<String> {
    let mut line = serde_json::to_string(message)?;
    line.push('\n');
    Ok(line)
}

/// A message as it was received.
pub(super) fn parse<T: DeserializeOwned>(line: &str) -> io::Result<T> {
    Ok(serde_json::from_str(line)?)
}

#[cfg(test)]
mod tests {
    use super::{FromNew, line, parse};

    #[test]
    fn a_message_is_one_line_whatever_is_in_it() {
        let text = line(&FromNew::Failed { reasons: vec!["one\ntwo".to_owned()] }).unwrap();
        assert_eq!(1, text.matches('\n').count());
        assert!(matches!(parse(&text), Ok(FromNew::Failed { reasons }) if reasons == ["one\ntwo"]));
    }

    #[test]
    fn what_another_version_adds_to_a_message_is_ignored() {
        let text = r#"{"loaded": {"file": "a.py", "seconds": 3}}"#;
        assert!(matches!(parse(text), Ok(FromNew::Loaded { file }) if file == "a.py"));
    }

    #[test]
    fn a_message_that_is_not_known_is_an_error() {
        assert!(parse::<FromNew>(r#"{"half_ready": {}}"#).is_err());
    }
}
