//! `plugincore ctl`: asks a running server, by its control socket, to tell or to do something.
//!
//! Runs on the main thread of a process of its own. Promise: exit code 0 if the server did what it was asked for, 1 if
//! it refused or if there is none, 2 for a wrong command line. With `--json` the server's answer is written as it came.
//! Caveat: the server is found by its ini file, of which no more is read than what decides where its socket is.

mod client;
mod output;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use pyo3::prelude::*;
use serde_json::{Value, json};

use super::serve::{find_ini, level};
use super::terminal::{FAILED, USAGE, print, report};
use crate::edge::config::places::Places;
use crate::host::python::config;
use client::{Answer, CallError};
pub(super) use output::{refusal, table, word};

/// The options of `ctl`.
#[derive(Debug, Args)]
pub(super) struct CtlArguments {
    /// The ini file of the server [default: as for serving, in this folder]
    #[arg(short, long, value_name = "INI", conflicts_with = "socket", global = true)]
    ini_file: Option<PathBuf>,
    /// The control socket of the server
    #[arg(long, value_name = "PATH", global = true)]
    socket: Option<PathBuf>,
    /// Write the server's answer as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

/// What to ask for.
#[derive(Debug, Subcommand)]
enum Verb {
    /// List all plugins with their state
    Plugins,
    /// Reload one plugin, or everything
    Reload {
        /// The plugin's id
        id: Option<String>,
    },
    /// Terminate a plugin, and load it no more until it is enabled
    Disable {
        /// The plugin's id
        id: String,
    },
    /// Load a plugin that is disabled
    Enable {
        /// The plugin's id, or the name of its file
        id: String,
    },
    /// Load what a plugin was before the last change
    Previous {
        /// The plugin's id
        id: String,
    },
    /// Have the readiness check fail until the server is stopped; everything is served as before
    Drain,
    /// Stop the server, as SIGTERM does
    Stop,
    /// Have a new process take over, as SIGUSR2 does
    Upgrade,
    /// Show the state of the server
    Status,
    /// Change the level of the log until the server ends
    LogLevel {
        /// DEBUG, INFO, WARN, ERROR or CRITICAL
        #[arg(value_parser = level)]
        level: String,
    },
}

/// How long an answer may take that needs no plugin.
pub(super) const PROMPT: Duration = Duration::from_secs(10);

/// What stays as it is in an id within a path.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

impl Verb {
    /// Method and path of the request.
    fn request(&self) -> (&'static str, String) {
        let api = |rest: &str| format!("/-/api/{rest}");
        match self {
            Self::Plugins => ("GET", api("plugins")),
            Self::Status => ("GET", api("status")),
            Self::Reload { id: None } => ("POST", api("reload")),
            Self::Reload { id: Some(id) } => ("POST", of_plugin(id, "reload")),
            Self::Disable { id } => ("POST", of_plugin(id, "disable")),
            Self::Enable { id } => ("POST", of_plugin(id, "enable")),
            Self::Previous { id } => ("POST", of_plugin(id, "previous")),
            Self::Drain => ("POST", api("drain")),
            Self::Stop => ("POST", api("stop")),
            Self::Upgrade => ("POST", api("upgrade")),
            Self::LogLevel { level } => ("POST", api(&format!("log-level?level={}", level.to_uppercase()))),
        }
    }

    /// How long the answer may take; nothing for what waits for plugins.
    fn timeout(&self) -> Option<Duration> {
        match self {
            Self::Reload { .. }
            | Self::Disable { .. }
            | Self::Enable { .. }
            | Self::Previous { .. }
            | Self::Upgrade => None,
            Self::Plugins | Self::Status | Self::Drain | Self::Stop | Self::LogLevel { .. } => Some(PROMPT),
        }
    }

    /// The answer for a person.
    fn shown(&self, answer: &Value) -> String {
        match self {
            Self::Plugins => output::plugins(answer),
            Self::Status => output::pairs(answer),
            _ => output::done(answer),
        }
    }
}

fn of_plugin(id: &str, action: &str) -> String {
    format!("/-/api/plugins/{}/{action}", utf8_percent_encode(id, IN_PATH))
}

/// Does what `arguments` say, called as `name` in `folder`, with `ini` named before the command. Returns the exit code.
pub(super) fn run(py: Python<'_>, arguments: &CtlArguments, ini: Option<PathBuf>, name: &str, folder: &Path) -> u8 {
    let ini = arguments.ini_file.clone().or(ini);
    let (sockets, whose) = match &arguments.socket {
        Some(socket) => (vec![folder.join(socket)], String::new()),
        None => match find_ini(ini, name, true).and_then(|ini| of_ini(py, ini.as_deref(), folder)) {
            Ok(found) => found,
            Err(problem) => return fail(arguments, &problem, USAGE),
        },
    };
    if sockets.is_empty() {
        return fail(arguments, "the server has no control socket: [server] control_socket is none", FAILED);
    }
    let (method, path) = arguments.verb.request();
    match client::call(&sockets, method, &path, arguments.verb.timeout()) {
        Ok(answer) => tell(arguments, &answer),
        Err(CallError::NoServer) => fail(arguments, &no_server(&sockets, &whose), FAILED),
        Err(CallError::Failed(problem)) => fail(arguments, &problem, FAILED),
    }
}

/// Asks the server of an ini file something; without `timeout`, the Python thread may be needed for it.
///
/// # Errors
/// Why there is no answer, in words.
pub(super) fn ask(
    py: Python<'_>,
    ini: Option<&Path>,
    folder: &Path,
    path: &str,
    timeout: Option<Duration>,
) -> Result<Answer, String> {
    let (sockets, whose) = of_ini(py, ini, folder)?;
    client::call(&sockets, "GET", path, timeout).map_err(|error| match error {
        CallError::NoServer => no_server(&sockets, &whose),
        CallError::Failed(problem) => problem,
    })
}

/// Where the server of this ini file may listen, and whose server it is in words.
fn of_ini(py: Python<'_>, ini: Option<&Path>, folder: &Path) -> Result<(Vec<PathBuf>, String), String> {
    let (setting, pidfile) = config::control_socket(py, folder, ini).map_err(|errors| errors.to_string())?;
    let places = Places { setting: &setting, pidfile: pidfile.as_deref(), ini, folder };
    let sockets = places.candidates();
    Ok((sockets, ini.map_or(" for this folder".to_owned(), |ini| format!(" with {}", ini.display()))))
}

fn no_server(sockets: &[PathBuf], whose: &str) -> String {
    let mut text = format!("no server runs{whose}: nobody listens at ");
    for (index, socket) in sockets.iter().enumerate() {
        // Writing to a text cannot fail.
        let _ = write!(text, "{}{}", if index == 0 { "" } else { ", " }, socket.display());
    }
    text
}

/// Writes the server's answer; returns the exit code.
fn tell(arguments: &CtlArguments, answer: &Answer) -> u8 {
    let is_done = (200..300).contains(&answer.status);
    let Ok(body) = serde_json::from_str::<Value>(&answer.body) else {
        return fail(arguments, &format!("the server's answer ({}) is not JSON", answer.status), FAILED);
    };
    if arguments.json {
        print(&answer.body);
    } else if is_done {
        print(&arguments.verb.shown(&body));
    } else {
        report(&refusal(&body, answer.status), FAILED);
    }
    if is_done { 0 } else { FAILED }
}

/// Tells why there is no answer; returns `code`.
fn fail(arguments: &CtlArguments, problem: &str, code: u8) -> u8 {
    if arguments.json {
        print(&json!({ "error": problem }).to_string());
        return code;
    }
    report(problem, code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_one_part_of_the_address() {
        for (id, path) in [
            ("a/b", "/-/api/plugins/a/b/reload"),
            ("ä ?#%", "/-/api/plugins/%C3%A4%20%3F%23%25/reload"),
            ("x\r\nHost: y", "/-/api/plugins/x%0D%0AHost%3A%20y/reload"),
        ] {
            assert_eq!(("POST", path.to_owned()), Verb::Reload { id: Some(id.to_owned()) }.request());
        }
    }
}
