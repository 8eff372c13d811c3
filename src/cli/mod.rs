//! The command line: what a person types, reads and gets as exit code.
//!
//! Promise: `pserve`'s options mean what they meant in pluginserver; exit codes are 0 for a stop that was asked for, 1
//! for a failed start, 2 for a wrong command line or configuration. [`ctl`] controls a server that runs, [`check`]
//! checks an ini file, [`key`] makes and lists keys. Caveat: the same entry serves the wheel's commands and the
//! standalone binary.

mod check;
mod ctl;
mod key;

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use clap::Parser;
use pyo3::prelude::*;

use crate::app::run::{StartError, run};
use crate::edge::config::fields::WatchMode;
use crate::edge::config::launch::LaunchOptions;
use crate::edge::observe::line::Level;
use crate::edge::observe::{log_file, output, repeats};

/// Serve Python plugins: each file in a folder becomes an authenticated, CORS-aware JSON endpoint.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    serve: ServeArguments,
    #[command(subcommand)]
    command: Option<Subcommand>,
}

/// The command line of `pserve`, which has no subcommands.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct PserveArguments {
    #[command(flatten)]
    serve: ServeArguments,
}

/// What `plugincore` does besides serving.
#[derive(Debug, clap::Subcommand)]
enum Subcommand {
    /// Ask a running server to tell or to do something
    Ctl(ctl::CtlArguments),
    /// Check the ini file, or compare it with a running server
    Check(check::CheckArguments),
    /// Make a key, or list those of an ini file
    Key(key::KeyArguments),
}

/// The options for serving.
#[derive(Debug, clap::Args)]
struct ServeArguments {
    /// The ini file [default: the program's name with .ini; without that file, ./plugins is served with safe defaults]
    #[arg(short, long, value_name = "INI")]
    ini_file: Option<PathBuf>,
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

/// The command name of pluginserver, whose command line stays as it was.
const PSERVE: &str = "pserve";

/// Code of a wrong command line or configuration.
const USAGE: u8 = 2;
/// Code of a start that failed.
const FAILED: u8 = 1;

/// Runs the program; `arguments` begin with its name, `restart` is what starts it again.
///
/// Returns the exit code.
pub(crate) fn main(py: Python<'_>, arguments: Vec<OsString>, restart: Vec<OsString>) -> u8 {
    output::open_standard_descriptors();
    let name = program_name(&arguments);
    let words = std::iter::once(OsString::from(&name)).chain(arguments.into_iter().skip(1));
    let parsed = if name == PSERVE {
        PserveArguments::try_parse_from(words).map(|parsed| Arguments { serve: parsed.serve, command: None })
    } else {
        Arguments::try_parse_from(words)
    };
    let Arguments { serve: parsed, command } = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version go to standard output and are no errors. A closed output has no reader.
            let _ = error.print();
            return if error.use_stderr() { USAGE } else { 0 };
        }
    };
    let folder = match working_folder() {
        Ok(folder) => folder,
        Err(error) => return report(&format!("the working directory cannot be used: {error}"), FAILED),
    };
    match command {
        Some(Subcommand::Ctl(arguments)) => return ctl::run(py, &arguments, &name, &folder),
        Some(Subcommand::Check(arguments)) => return check::run(py, &arguments, &name, &folder),
        Some(Subcommand::Key(arguments)) => return key::run(py, &arguments, &name, &folder),
        None => {}
    }
    let ini = match ini_file(parsed.ini_file, &name) {
        Ok(ini) => ini,
        Err(problem) => return report(&problem, USAGE),
    };
    log_file::begin_at(&folder);
    let launch = LaunchOptions {
        name,
        ini,
        folder,
        log: parsed.log,
        level: parsed.level.to_uppercase(),
        watch: parsed.watch,
        safe: parsed.safe,
        command: restart,
    };
    let ended = run(py, launch);
    repeats::finish();
    match ended {
        Ok(()) => 0,
        Err(StartError::Config(errors)) => report(&errors.to_string(), USAGE),
        Err(error) => report(&error.to_string(), FAILED),
    }
}

/// The working directory by the name that the shell has for it, which may lead through symbolic links, if that is still
/// its name: what is read again later is read where those links lead by then.
fn working_folder() -> std::io::Result<PathBuf> {
    let folder = std::env::current_dir()?;
    let named = std::env::var_os("PWD").map(PathBuf::from);
    let is_plain = |path: &PathBuf| {
        path.is_absolute() && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
    };
    let is_here = |path: &PathBuf| {
        let identity = |path: &Path| std::fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
        matches!((identity(path), identity(&folder)), (Ok(named), Ok(real)) if named == real)
    };
    Ok(named.filter(is_plain).filter(is_here).unwrap_or(folder))
}

/// A level as it was written, if it is one.
fn level(text: &str) -> Result<String, String> {
    match Level::named(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!("a level is one of {}", Level::ALL.map(Level::name).join(", "))),
    }
}

fn watch_mode(text: &str) -> Result<WatchMode, String> {
    WatchMode::of_word(text).ok_or_else(|| "a mode is one of on, off, poll".to_owned())
}

/// `plugincore` or `pserve`, by the name under which the program was called.
fn program_name(arguments: &[OsString]) -> String {
    let called = arguments.first().map(Path::new).and_then(Path::file_stem).map(|stem| stem.to_string_lossy());
    match called {
        Some(name) if !name.starts_with("__") => name.into_owned(),
        _ => "plugincore".to_owned(),
    }
}

fn ini_file(asked: Option<PathBuf>, name: &str) -> Result<Option<PathBuf>, String> {
    if let Some(file) = asked {
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
    } else if Path::new("plugins").is_dir() {
        Ok(None)
    } else {
        Err(format!(
            "there is neither {} nor a folder plugins here; name an ini file with -i, or put plugin files into ./plugins",
            usual.display()
        ))
    }
}

/// Tells a person, and returns `code`.
fn report(problem: &str, code: u8) -> u8 {
    // Without standard error there is no reader.
    let _ = writeln!(std::io::stderr(), "{problem}");
    code
}
