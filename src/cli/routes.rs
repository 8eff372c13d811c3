//! `plugincore routes`: what a running server answers, and to whom.
//!
//! Runs on the main thread of a process of its own. Promise: exit code 0 if the server has answered, 1 if there is none,
//! 2 for a wrong command line. Caveat: the server's own endpoints, which are the same everywhere, are not listed.

use std::path::{Path, PathBuf};

use clap::Args;
use pyo3::prelude::*;
use serde_json::{Value, json};

use super::ctl::{self, PROMPT, refusal, table, word};
use super::serve::find_ini;
use super::terminal::{FAILED, USAGE, print, report};

/// The options of `routes`.
#[derive(Debug, Args)]
pub(super) struct RoutesArguments {
    /// The ini file of the server [default: as for serving, in this folder]
    #[arg(short, long, value_name = "INI")]
    ini_file: Option<PathBuf>,
    /// Write the server's answer as JSON
    #[arg(long)]
    json: bool,
}

/// Does what `arguments` say, called as `name` in `folder`, with `ini` named before the command. Returns the exit code.
pub(super) fn run(py: Python<'_>, arguments: &RoutesArguments, ini: Option<PathBuf>, name: &str, folder: &Path) -> u8 {
    let ini = match find_ini(arguments.ini_file.clone().or(ini), name, true) {
        Ok(ini) => ini,
        Err(problem) => return report(&problem, USAGE),
    };
    let fail = |problem: &str| {
        if arguments.json {
            print(&json!({ "error": problem }).to_string());
            return FAILED;
        }
        report(problem, FAILED)
    };
    let answer = match ctl::ask(py, ini.as_deref(), folder, "/-/api/routes", Some(PROMPT)) {
        Ok(answer) => answer,
        Err(problem) => return fail(&problem),
    };
    let body = serde_json::from_str::<Value>(&answer.body).unwrap_or_default();
    let Some(routes) = body["routes"].as_array() else { return fail(&refusal(&body, answer.status)) };
    print(&if arguments.json { answer.body } else { shown(routes) });
    0
}

/// A table of them.
fn shown(routes: &[Value]) -> String {
    let mut rows = vec![["METHOD", "PATH", "PLUGIN", "FILE", "AUTH", "LIMITS"].map(str::to_owned)];
    for route in routes {
        let methods: Vec<_> = route["methods"].as_array().into_iter().flatten().map(word).collect();
        rows.push([
            methods.join(","),
            word(&route["path"]),
            word(&route["plugin"]),
            word(&route["file"]),
            word(&route["auth"]),
            limits(&route["limits"]),
        ]);
    }
    table(&rows)
}

/// The limits that there are, each after its name.
fn limits(limits: &Value) -> String {
    let limits = limits.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let shown = limits.map(|(name, value)| {
        let unit = if name.ends_with("_time") { " s" } else { "" };
        match value.as_f64().filter(|number| name.ends_with("_time") && number.fract() == 0.0) {
            Some(number) => format!("{name} {number:.0}{unit}"),
            None => format!("{name} {}{unit}", word(value)),
        }
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_a_table_with_the_limits_that_there_are() {
        let limits =
            json!({"body_size": 1024, "queue_time": 5.0, "handler_time": 0.5, "rate": "10/s", "in_flight": null});
        let shown = shown(&[json!({
            "path": "/greet", "methods": ["GET", "POST"], "plugin": "greet", "file": "plugins/greet.py",
            "auth": "server key", "limits": limits,
        })]);
        let expected = "\
METHOD    PATH    PLUGIN  FILE              AUTH        LIMITS
GET,POST  /greet  greet   plugins/greet.py  server key  body_size 1024, queue_time 5 s, handler_time 0.5 s, rate 10/s";
        assert_eq!(expected, shown);
    }
}
