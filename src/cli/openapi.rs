//! `plugincore openapi`: the plugins of a running server as OpenAPI describes them.
//!
//! Runs on the main thread of a process of its own. Promise: exit code 0 if the server has answered, 1 if there is none,
//! 2 for a wrong command line; what is printed is JSON. Caveat: as for all that is asked of a server, its control socket
//! has to be reachable.

use std::path::{Path, PathBuf};

use clap::Args;
use pyo3::prelude::*;
use serde_json::Value;

use super::ctl::{self, PROMPT, refusal};
use super::serve::find_ini;
use super::terminal::{FAILED, USAGE, print, report};

/// The options of `openapi`.
#[derive(Debug, Args)]
pub(super) struct OpenApiArguments {
    /// The ini file of the server [default: as for serving, in this folder]
    #[arg(short, long, value_name = "INI")]
    ini_file: Option<PathBuf>,
}

/// Does what `arguments` say, called as `name` in `folder`, with `ini` named before the command. Returns the exit code.
pub(super) fn run(py: Python<'_>, arguments: &OpenApiArguments, ini: Option<PathBuf>, name: &str, folder: &Path) -> u8 {
    let ini = match find_ini(arguments.ini_file.clone().or(ini), name, true) {
        Ok(ini) => ini,
        Err(problem) => return report(&problem, USAGE),
    };
    let answer = match ctl::ask(py, ini.as_deref(), folder, "/-/openapi.json", Some(PROMPT)) {
        Ok(answer) => answer,
        Err(problem) => return report(&problem, FAILED),
    };
    let body = serde_json::from_str::<Value>(&answer.body).unwrap_or_default();
    if body.get("openapi").is_none() {
        return report(&refusal(&body, answer.status), FAILED);
    }
    print(&serde_json::to_string_pretty(&body).unwrap_or(answer.body));
    0
}
