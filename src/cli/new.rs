//! `plugincore new`: a plugin with its test and its line of the ini file.
//!
//! Runs on the main thread of a process of its own. Promise: what is written runs as it is: the test succeeds, and a
//! server serves the plugin; nothing that exists is overwritten. Exit code 1 if it cannot be written, 2 for a wrong
//! command line. Caveat: a running server without `--watch` loads it only by a reload.

use std::path::{Path, PathBuf};

use clap::Args;
use pyo3::prelude::*;

use super::key::random_key;
use super::project::{Features, NewFiles, parameters, plugin, plugin_name, replace, with_line};
use super::serve::find_ini;
use super::terminal::{FAILED, USAGE, print, report};
use crate::host::python::config;

/// The options of `new`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option that is given or not")]
pub(super) struct NewArguments {
    /// The plugin's name, which is that of its file and of its path
    #[arg(value_parser = plugin_name)]
    name: String,
    /// The ini file [default: as for serving, in this folder]
    #[arg(short, long, value_name = "INI")]
    ini_file: Option<PathBuf>,
    /// Have it ask for a key, which is made
    #[arg(long)]
    auth: bool,
    /// Have a task run beside its requests
    #[arg(long)]
    background: bool,
    /// Have it answer with a `WebSocket`, which needs the package aiohttp
    #[arg(long)]
    websocket: bool,
    /// Have it name the types of what it takes and returns
    #[arg(long, conflicts_with = "websocket")]
    typed: bool,
}

/// Does what `arguments` say, called as `name` in `folder`, with `ini` named before the command. Returns the exit code.
pub(super) fn run(py: Python<'_>, arguments: &NewArguments, ini: Option<PathBuf>, name: &str, folder: &Path) -> u8 {
    let ini = match find_ini(arguments.ini_file.clone().or(ini), name, true) {
        Ok(ini) => ini,
        Err(problem) => return report(&format!("{problem}; or run: plugincore init ."), USAGE),
    };
    match write(py, arguments, ini.as_deref(), folder) {
        Ok(done) => {
            print(&done.join("\n"));
            0
        }
        Err(problem) => report(&problem, FAILED),
    }
}

/// Writes everything, and returns what a person reads of it.
fn write(py: Python<'_>, arguments: &NewArguments, ini: Option<&Path>, folder: &Path) -> Result<Vec<String>, String> {
    let NewArguments { name, auth, background, websocket, typed, .. } = arguments;
    let features = Features { auth: *auth, background: *background, websocket: *websocket, typed: *typed };
    let (reading, _) = config::load(py, folder, ini, "INFO", &[]);
    let plugins = reading.map_err(|errors| errors.to_string())?.settings.paths.plugins;
    let home = ini.and_then(Path::parent).unwrap_or(Path::new(""));
    let (text, key) = match ini {
        None if *auth => return Err("--auth needs an ini file, for the key; run: plugincore init .".to_owned()),
        None => (None, None),
        Some(ini) => with_lines(py, name, features, &folder.join(ini))?,
    };
    let file: PathBuf = plugins.join(format!("{name}.py")).components().collect();
    let absolute = |path: &Path| std::path::absolute(folder.join(path)).map_err(|error| error.to_string());
    let (on_disk, home_on_disk) = (absolute(&file)?, absolute(home)?);
    // As the test finds it, which is in a folder beside the ini file.
    let near = on_disk.strip_prefix(&home_on_disk).unwrap_or(&on_disk);
    let [source, of_test] = plugin(name, features, near);
    let mut files = NewFiles::default();
    files.add(file, source);
    files.add(home.join("tests").join(format!("test_{name}.py")), of_test);
    let written = files.write(folder)?;
    let mut done: Vec<_> = written.iter().map(|file| format!("created {}", file.display())).collect();
    match (ini, text) {
        (Some(ini), Some(text)) => {
            if let Err(error) = replace(&folder.join(ini), &text) {
                for file in written {
                    // The first error is the one to report.
                    let _ = std::fs::remove_file(folder.join(file));
                }
                return Err(format!("{}: the file cannot be changed: {error}", ini.display()));
            }
            done.push(format!("added {name} to {}", ini.display()));
        }
        (Some(ini), None) => done.push(format!("{} has lines for {name} already", ini.display())),
        (None, _) => {}
    }
    done.extend(key.map(|key| format!("its key, which is not shown again: {key}")));
    Ok(done)
}

/// The text of the ini file with what belongs to the plugin, if that has to be changed, and the key that was made.
fn with_lines(
    py: Python<'_>,
    name: &str,
    features: Features,
    ini: &Path,
) -> Result<(Option<String>, Option<String>), String> {
    let before = std::fs::read_to_string(ini).map_err(|error| format!("{}: {error}", ini.display()))?;
    let mut text = before.clone();
    let mut key = None;
    if let Some(with_parameters) = with_line(&text, "plugin_parms", name, &parameters(name, features)) {
        text = with_parameters;
    }
    if features.auth {
        let (made, hash) = random_key(py).map_err(|error| format!("no random key can be made: {error}"))?;
        if let Some(with_key) = with_line(&text, "keys", name, &format!("hash={hash}&scopes={name}")) {
            text = with_key;
            key = Some(made);
        }
    }
    Ok(((text != before).then_some(text), key))
}
