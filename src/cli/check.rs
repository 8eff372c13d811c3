//! `plugincore check`: whether a server could start with the ini file, and what a reload would change.
//!
//! Runs on the main thread of a process of its own. Promise: all problems are shown together; exit code 0 if there is
//! none, 1 if there is one, or if there is no server to compare with, 2 for a wrong command line. Caveat: by itself it
//! uses the environment variables of its caller; `--diff` asks the server, which uses its own. Plugins are imported in
//! processes of their own, but not built.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use serde_json::{Value, json};

use super::ctl::{self, PROMPT, refusal};
use super::serve::find_ini;
use super::terminal::{FAILED, Progress, USAGE, print, report, report_problem, seconds};
use crate::app::trial::{Trial, Tried};
use crate::edge::config::diagnostic::{Diagnostic, Severity, SourceLocation};
use crate::edge::config::launch::LaunchOptions;
use crate::edge::config::settings::Settings;
use crate::edge::http::listener;
use crate::edge::http::tls::Tls;
use crate::host::lifecycle::environment::environment;
use crate::host::plugins::discover::{discover, stem};
use crate::host::python::config::{self, LoadedConfig};

/// The options of `check`.
#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// The ini file [default: as for serving, in this folder]
    #[arg(short, long, value_name = "INI")]
    ini_file: Option<PathBuf>,
    /// Show for each key that differs from the running server what a reload would do
    #[arg(long)]
    diff: bool,
    /// Seconds that the import of a plugin may take
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds, conflicts_with = "diff")]
    timeout: Duration,
    /// Write the result as JSON
    #[arg(long)]
    json: bool,
}

/// Does what `arguments` say, called as `name` in `folder`, with `ini` named before the command. Returns the exit code.
pub(super) fn run(py: Python<'_>, arguments: &CheckArguments, ini: Option<PathBuf>, name: &str, folder: &Path) -> u8 {
    let ini = match find_ini(arguments.ini_file.clone().or(ini), name, true) {
        Ok(ini) => ini,
        Err(problem) => return report(&problem, USAGE),
    };
    if arguments.diff {
        return compare(py, ini.as_deref(), folder, arguments.json);
    }
    let launch = LaunchOptions {
        name: name.to_owned(),
        ini,
        folder: folder.to_path_buf(),
        log: None,
        level: "INFO".to_owned(),
        safe: false,
        watch: None,
        replaced: Vec::new(),
        open: false,
        command: Vec::new(),
    };
    match check(py, &launch, arguments.timeout) {
        Ok(found) if arguments.json => found.write(),
        Ok(found) => found.show(),
        Err(error) if error.is_instance_of::<PyKeyboardInterrupt>(py) => report("interrupted", FAILED),
        Err(error) => report(&format!("the plugins cannot be imported: {error}"), FAILED),
    }
}

/// What was found.
struct Found {
    /// The ini file as it was named.
    file: String,
    problems: Vec<Diagnostic>,
    /// Where a server would listen.
    listen: Vec<String>,
    /// `None` where the ini file has errors, so that it does not say where plugins are and what they are given.
    plugins: Option<Vec<Tried>>,
}

fn check(py: Python<'_>, launch: &LaunchOptions, timeout: Duration) -> PyResult<Found> {
    let ini = launch.ini.as_deref();
    let file = ini.map_or_else(|| "the defaults".to_owned(), |ini| ini.display().to_string());
    let (reading, problems) = config::load(py, &launch.folder, ini, &launch.level, &launch.replaced);
    let mut found = Found { file, problems, listen: Vec::new(), plugins: None };
    let reading = match reading {
        Ok(reading) => reading,
        Err(errors) => {
            found.problems.extend(errors.0);
            return Ok(found);
        }
    };
    let settings = &reading.settings;
    found.listen = settings.listen.iter().map(ToString::to_string).collect();
    if let Some(Err(error)) = settings.tls.as_ref().map(|tls| Tls::load(&launch.folder, tls)) {
        let problem = Diagnostic::error(error.location, error.reason.to_string());
        found.problems.push(problem.in_section(&error.section).at_key(error.reason.option()));
    }
    found.problems.extend(unavailable(py, launch, settings));
    let mut plugins = import(py, launch, &reading, timeout)?;
    let stems: Vec<_> = plugins.iter().map(|tried| stem(&tried.file)).collect();
    found.problems.extend(plugins.iter_mut().flat_map(|tried| std::mem::take(&mut tried.problems)));
    found.plugins = Some(plugins);
    found.problems.extend(environment(py, launch, &reading)?.strays(&stems));
    Ok(found)
}

/// The addresses that cannot be had, unless the server of this ini file has them.
fn unavailable(py: Python<'_>, launch: &LaunchOptions, settings: &Settings) -> Vec<Diagnostic> {
    let refused = settings.listen.iter().filter_map(|address| listener::probe(address).err());
    let mut refused = refused.peekable();
    if refused.peek().is_none() {
        return Vec::new();
    }
    let answer = ctl::ask(py, launch.ini.as_deref(), &launch.folder, "/-/api/status", Some(PROMPT));
    let status = answer.ok().and_then(|answer| serde_json::from_str::<Value>(&answer.body).ok()).unwrap_or_default();
    let own: Vec<_> = status["listening"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let line = &settings.listen_line;
    refused
        .filter(|error| !own.contains(&&*error.address.to_string()))
        .map(|error| Diagnostic::error(line.location.clone(), error.to_string()).in_section("network").at_key(line.key))
        .collect()
}

/// Imports all plugin files.
fn import(py: Python<'_>, launch: &LaunchOptions, reading: &LoadedConfig, timeout: Duration) -> PyResult<Vec<Tried>> {
    let files = discover(&launch.folder, &reading.settings.paths.plugins)?;
    let progress = Progress::new("imported", files.len());
    Trial { launch, reading, timeout }.run(py, &files, |done| progress.show(done))
}

impl Found {
    fn errors(&self) -> usize {
        self.problems.iter().filter(|problem| problem.severity == Severity::Error).count()
    }

    /// The exit code.
    fn code(&self) -> u8 {
        if self.errors() == 0 { 0 } else { FAILED }
    }

    /// Shows it to a person. Errors come last, where they are seen.
    fn show(&self) -> u8 {
        let (errors, others): (Vec<_>, Vec<_>) =
            self.problems.iter().partition(|problem| problem.severity == Severity::Error);
        for problem in others.into_iter().chain(errors) {
            report_problem(problem.severity, &problem.to_string());
        }
        let imported = match self.plugins.as_ref().map(Vec::len) {
            None => "plugin files are imported once it has none".to_owned(),
            Some(1) => "1 plugin file imported".to_owned(),
            Some(number) => format!("{number} plugin files imported"),
        };
        match self.errors() {
            0 => {
                print(&format!("{}: no errors", self.file));
                for address in &self.listen {
                    print(&format!("listens on {address}"));
                }
                print(&imported);
            }
            1 => drop(report(&format!("{}: 1 error; {imported}", self.file), FAILED)),
            number => drop(report(&format!("{}: {number} errors; {imported}", self.file), FAILED)),
        }
        self.code()
    }

    /// Writes it for a program.
    fn write(&self) -> u8 {
        let problem = |problem: &Diagnostic| {
            let Diagnostic { severity, location, section, key, message, remedy } = problem;
            let (file, variable) = match location {
                SourceLocation::File { path, .. } => (Some(path.display().to_string()), None),
                SourceLocation::Variable(name) => (None, Some(name.clone())),
                SourceLocation::Option(_) => (None, None),
            };
            json!({
                "severity": severity.to_string(),
                "file": file,
                "line": location.line(),
                "variable": variable,
                "section": section,
                "key": key,
                "message": message,
                "remedy": Some(remedy).filter(|remedy| !remedy.is_empty()),
            })
        };
        let plugin = |tried: &Tried| json!({ "file": tried.file.display().to_string(), "classes": tried.classes });
        let result = json!({
            "file": self.file,
            "errors": self.errors(),
            "problems": self.problems.iter().map(problem).collect::<Vec<_>>(),
            "listen": self.listen,
            "plugins": self.plugins.iter().flatten().map(plugin).collect::<Vec<_>>(),
        });
        print(&result.to_string());
        self.code()
    }
}

fn compare(py: Python<'_>, ini: Option<&Path>, folder: &Path, as_json: bool) -> u8 {
    let fail = |problem: &str| {
        if as_json {
            print(&json!({ "error": problem }).to_string());
            return FAILED;
        }
        report(problem, FAILED)
    };
    let answer = match ctl::ask(py, ini, folder, "/-/api/diff", None) {
        Ok(answer) => answer,
        Err(problem) => return fail(&problem),
    };
    let body = serde_json::from_str::<Value>(&answer.body).unwrap_or(Value::Null);
    let Some(changes) = body["changes"].as_array() else {
        return fail(&refusal(&body, answer.status));
    };
    if as_json {
        print(&answer.body);
        return 0;
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for change in changes {
        print(&format!("[{}] {}: {}", text(&change["section"]), text(&change["key"]), text(&change["effect"])));
    }
    if changes.is_empty() {
        print("no differences");
    }
    0
}
