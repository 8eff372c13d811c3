//! `plugincore check`: whether the ini file is right, and what a reload would change.
//!
//! Runs on the main thread of a process of its own. Promise: exit code 0 if the file can be used, 1 if it cannot, or if
//! there is no server to compare with, 2 for a wrong command line. Caveat: by itself it uses the environment
//! variables of its caller; `--diff` asks the server, which uses its own.

use std::path::{Path, PathBuf};

use clap::Args;
use pyo3::prelude::*;
use serde_json::Value;

use super::ctl::{self, refusal};
use super::serve::find_ini;
use super::terminal::{FAILED, USAGE, print, report};
use crate::edge::http::tls::Tls;
use crate::host::python::config;

/// The options of `check`.
#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// The ini file [default: as for serving, in this folder]
    #[arg(short, long, value_name = "INI")]
    ini_file: Option<PathBuf>,
    /// Show for each key that differs from the running server what a reload would do
    #[arg(long)]
    diff: bool,
}

/// Does what `arguments` say, called as `name` in `folder`, with `ini` named before the command. Returns the exit code.
pub(super) fn run(py: Python<'_>, arguments: &CheckArguments, ini: Option<PathBuf>, name: &str, folder: &Path) -> u8 {
    let ini = match find_ini(arguments.ini_file.clone().or(ini), name, true) {
        Ok(ini) => ini,
        Err(problem) => return report(&problem, USAGE),
    };
    if arguments.diff { compare(py, ini.as_deref(), folder) } else { check(py, ini.as_deref(), folder) }
}

fn check(py: Python<'_>, ini: Option<&Path>, folder: &Path) -> u8 {
    let (reading, warnings) = config::load(py, folder, ini, "DEBUG", &[]);
    for warning in &warnings {
        report(&format!("{}: {warning}", warning.severity), 0);
    }
    let settings = match reading {
        Ok(reading) => reading.settings,
        Err(errors) => return report(&errors.to_string(), FAILED),
    };
    if let Some(Err(error)) = settings.tls.as_ref().map(|tls| Tls::load(folder, tls)) {
        return report(&error.to_string(), FAILED);
    }
    let file = ini.map_or_else(|| "the defaults".to_owned(), |ini| ini.display().to_string());
    print(&format!("{file}: no errors"));
    for address in &settings.listen {
        print(&format!("listens on {address}"));
    }
    0
}

fn compare(py: Python<'_>, ini: Option<&Path>, folder: &Path) -> u8 {
    let answer = match ctl::ask(py, ini, folder, "GET", "/-/api/diff") {
        Ok(answer) => answer,
        Err(problem) => return report(&problem, FAILED),
    };
    let body = serde_json::from_str::<Value>(&answer.body).unwrap_or(Value::Null);
    let Some(changes) = body["changes"].as_array() else {
        return report(&refusal(&body, answer.status), FAILED);
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for change in changes {
        print(&format!("[{}] {}: {}", text(&change["section"]), text(&change["key"]), text(&change["effect"])));
    }
    if changes.is_empty() {
        print("no differences");
    }
    0
}
