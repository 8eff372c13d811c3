//! `plugincore serve`, which is also what `plugincore` does without a command: the options for serving.
//!
//! Runs on the main thread. Promise: what an option names replaces the key of the ini file and its environment variable,
//! at each reload, too. Caveat: a path on the command line is relative to the working directory.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use pyo3::prelude::*;

use super::terminal::{FAILED, USAGE, report};
use crate::app::run::{StartError, run};
use crate::edge::config::fields::WatchMode;
use crate::edge::config::launch::{LaunchOptions, Replacement};
use crate::edge::observe::line::Level;
use crate::edge::observe::{log_file, repeats, spans};

/// The options that pluginserver had, and those that `pserve` has besides.
#[derive(Debug, Args)]
pub(super) struct PserveOptions {
    /// The ini file [default: the program's name with .ini; without that file, ./plugins is served with safe defaults]
    #[arg(short, long, value_name = "INI")]
    pub ini_file: Option<PathBuf>,
    /// Write the log to this file, too
    #[arg(short, long, value_name = "LOG")]
    log: Option<PathBuf>,
    /// DEBUG, INFO, WARN, ERROR or CRITICAL
    #[arg(short = 'v', long, value_name = "LEVEL", default_value = "INFO", value_parser = level)]
    level: String,
    /// Load plugins, their helpers and the ini file again when they change; MODE is on, off or poll
    #[arg(long, value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "on",
          value_parser = watch_mode)]
    watch: Option<WatchMode>,
    /// Load no plugins until they are enabled by `plugincore ctl enable`
    #[arg(long)]
    safe: bool,
}

/// The options of `serve`.
#[derive(Debug, Args)]
pub(super) struct ServeOptions {
    #[command(flatten)]
    pub pserve: PserveOptions,
    /// Listen on this address, instead of those of the ini file: an IP address, a host name, or * for all
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Listen on this port, instead of that of the ini file; 0 for any free one
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Serve the plugin files of this folder, instead of those of the ini file
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// Show the server in a browser as soon as it serves
    #[arg(long)]
    open: bool,
}

impl From<PserveOptions> for ServeOptions {
    fn from(pserve: PserveOptions) -> Self {
        Self { pserve, host: None, port: None, plugins: None, open: false }
    }
}

impl ServeOptions {
    /// The values of the ini file that they replace.
    fn replaced(&self, folder: &Path) -> Vec<Replacement> {
        let replacement = |option, section, key, text| Replacement { option, section, key, text };
        let plugins = self.plugins.as_ref().map(|plugins| folder.join(plugins).to_string_lossy().into_owned());
        [
            self.host.clone().map(|host| replacement("--host", "network", "bindto", host)),
            self.port.map(|port| replacement("--port", "network", "port", port.to_string())),
            plugins.map(|plugins| replacement("--plugins", "paths", "plugins", plugins)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Serves as `options` say, called as `name` in `folder`, until the server is stopped; `restart` is what starts the
/// program again. Returns the exit code.
pub(super) fn serve(
    py: Python<'_>,
    options: ServeOptions,
    name: String,
    folder: PathBuf,
    restart: Vec<OsString>,
) -> u8 {
    let needs_folder = options.plugins.is_none();
    let replaced = options.replaced(&folder);
    let PserveOptions { ini_file, log, level, watch, safe } = options.pserve;
    let ini = match find_ini(ini_file, &name, needs_folder) {
        Ok(ini) => ini,
        Err(problem) => return report(&problem, USAGE),
    };
    log_file::begin_at(&folder);
    let launch = LaunchOptions {
        name,
        ini,
        folder,
        log,
        level: level.to_uppercase(),
        watch,
        safe,
        replaced,
        open: options.open,
        // A browser that was opened at the first start is not opened again.
        command: restart.into_iter().filter(|word| word != "--open").collect(),
    };
    let ended = run(py, launch);
    spans::finish();
    repeats::finish();
    match ended {
        Ok(()) => 0,
        Err(StartError::Config(errors)) => report(&errors.to_string(), USAGE),
        Err(error) => report(&error.to_string(), FAILED),
    }
}

/// A level as it was written, if it is one.
pub(super) fn level(text: &str) -> Result<String, String> {
    match Level::named(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!("a level is one of {}", Level::ALL.map(Level::name).join(", "))),
    }
}

fn watch_mode(text: &str) -> Result<WatchMode, String> {
    WatchMode::of_word(text).ok_or_else(|| "a mode is one of on, off, poll".to_owned())
}

/// The ini file that is meant: `named`, or that of the program's name, if it is here. Without one, a folder of plugins
/// has to be here if it `needs_folder`.
///
/// # Errors
/// When it cannot be used, with the remedy.
pub(super) fn find_ini(named: Option<PathBuf>, name: &str, needs_folder: bool) -> Result<Option<PathBuf>, String> {
    if let Some(file) = named {
        let name = file.display();
        return match std::fs::metadata(&file) {
            Ok(metadata) if metadata.is_dir() => {
                Err(format!("{name}: this is a folder; name an ini file in it with -i"))
            }
            Ok(_) => Ok(Some(file)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(format!("{name}: there is no such ini file; name an existing one with -i"))
            }
            Err(error) => Err(format!("{name}: the ini file cannot be read: {error}; name a readable one with -i")),
        };
    }
    let usual = PathBuf::from(format!("{name}.ini"));
    if usual.is_file() {
        Ok(Some(usual))
    } else if Path::new("plugins").is_dir() || !needs_folder {
        Ok(None)
    } else {
        Err(format!(
            "there is neither {} nor a folder plugins here; name an ini file with -i, or put plugin files into ./plugins",
            usual.display()
        ))
    }
}
