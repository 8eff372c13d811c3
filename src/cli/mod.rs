//! The command line: what a person types, reads and gets as exit code.
//!
//! Promise: `pserve`'s options mean what they meant in pluginserver; exit codes are 0 for a stop that was asked for, 1
//! for a failed start or a command that found problems, 2 for a wrong command line or configuration. [`serve`] serves,
//! [`ctl`] controls a server that runs, [`check`] checks an ini file, [`key`] makes and lists keys. Caveat: the same
//! entry serves the wheel's commands and the standalone binary.

mod check;
mod compare;
mod completions;
mod ctl;
mod examples;
mod init;
mod key;
mod manual;
mod new;
mod openapi;
mod project;
mod routes;
mod serve;
mod terminal;

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, CommandFactory, FromArgMatches, Parser};
use pyo3::prelude::*;

use self::serve::{PserveOptions, ServeOptions};
use self::terminal::{FAILED, USAGE, report};
use crate::edge::observe::output;

/// Serve Python plugins: each file in a folder becomes an authenticated, CORS-aware JSON endpoint.
#[derive(Debug, Parser)]
#[command(name = PLUGINCORE, version, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    serve: ServeOptions,
    #[command(subcommand)]
    command: Option<Subcommand>,
}

/// The command line of `pserve`, which has no subcommands.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct PserveArguments {
    #[command(flatten)]
    serve: PserveOptions,
}

/// The commands.
#[derive(Debug, clap::Subcommand)]
enum Subcommand {
    /// Serve plugins, as `plugincore` does without a command
    Serve(ServeOptions),
    /// Check the ini file and import all plugins, or compare the file with a running server
    Check(check::CheckArguments),
    /// List what a running server answers: method, path, plugin, file, who may use it, limits
    Routes(routes::RoutesArguments),
    /// Print what a running server takes and answers, as OpenAPI 3.1
    #[command(name = "openapi")]
    OpenApi(openapi::OpenApiArguments),
    /// Write a project: ini file, plugin, test, systemd unit
    Init(init::InitArguments),
    /// Write a plugin, its test, and its line of the ini file
    New(new::NewArguments),
    /// Make a key, or list those of an ini file
    Key(key::KeyArguments),
    /// Ask a running server to tell or to do something
    Ctl(ctl::CtlArguments),
    /// Ask an old server and the new one for the same, and show the differences
    Compare(compare::CompareArguments),
    /// Print a script with which a shell completes the command line
    Completions(completions::CompletionsArguments),
    /// Write the manual pages
    Man(manual::ManualArguments),
}

/// The command name of the product.
const PLUGINCORE: &str = "plugincore";

/// The command name of pluginserver, whose command line stays as it was.
const PSERVE: &str = "pserve";

/// The whole command line of `plugincore`, with all that its help shows.
fn command() -> Command {
    examples::with_examples(Arguments::command())
}

/// Runs the program; `arguments` begin with its name, `restart` is what starts it again.
///
/// Returns the exit code.
pub(crate) fn main(py: Python<'_>, arguments: Vec<OsString>, restart: Vec<OsString>) -> u8 {
    output::open_standard_descriptors();
    let name = program_name(&arguments);
    let count = arguments.len().saturating_sub(1);
    let words = std::iter::once(OsString::from(&name)).chain(arguments.into_iter().skip(1));
    let parsed = if name == PSERVE {
        PserveArguments::try_parse_from(words).map(|parsed| Arguments { serve: parsed.serve.into(), command: None })
    } else {
        parse(words)
    };
    let Arguments { serve: options, command } = match parsed {
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
    let ini = options.pserve.ini_file.clone();
    match command {
        None => serve::serve(py, options, name, folder, restart),
        Some(Subcommand::Serve(mut options)) => {
            options.pserve.ini_file = options.pserve.ini_file.or(ini);
            serve::serve(py, options, name, folder, restart)
        }
        Some(Subcommand::Check(arguments)) => check::run(py, &arguments, ini, &name, &folder),
        Some(Subcommand::Routes(arguments)) => routes::run(py, &arguments, ini, &name, &folder),
        Some(Subcommand::OpenApi(arguments)) => openapi::run(py, &arguments, ini, &name, &folder),
        Some(Subcommand::Init(arguments)) => init::run(&arguments, &folder, &program(&restart, count)),
        Some(Subcommand::New(arguments)) => new::run(py, &arguments, ini, &name, &folder),
        Some(Subcommand::Key(arguments)) => key::run(py, &arguments, ini, &name, &folder),
        Some(Subcommand::Ctl(arguments)) => ctl::run(py, &arguments, ini, &name, &folder),
        Some(Subcommand::Compare(arguments)) => compare::run(py, &arguments, ini, &name, &folder),
        Some(Subcommand::Completions(arguments)) => completions::run(&arguments, self::command()),
        Some(Subcommand::Man(arguments)) => manual::run(&arguments, self::command()),
    }
}

/// Reads a command line of `plugincore`. Before a command stands no option but `-i`.
fn parse(words: impl Iterator<Item = OsString>) -> Result<Arguments, clap::Error> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(words)?;
    if let Some(name) = matches.subcommand_name()
        && let Some(option) = misplaced(&matches)
    {
        let text = format!("{option} stands before the command {name}; only -i may stand there");
        return Err(command.error(ErrorKind::ArgumentConflict, text));
    }
    Arguments::from_arg_matches(&matches)
}

/// An option for serving that stands before a command.
fn misplaced(matches: &ArgMatches) -> Option<String> {
    let options = ServeOptions::augment_args(Command::new(PLUGINCORE));
    let is_given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let mut given = options.get_arguments().filter(|option| is_given(option.get_id().as_str()));
    given
        .find(|option| option.get_id() != "ini_file")
        .and_then(|option| option.get_long())
        .map(|name| format!("--{name}"))
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

/// What of the command that starts the program again is the program itself: all but its `count` arguments.
fn program(restart: &[OsString], count: usize) -> Vec<OsString> {
    restart[..restart.len().saturating_sub(count)].to_vec()
}

/// `plugincore` or `pserve`, by the name under which the program was called.
fn program_name(arguments: &[OsString]) -> String {
    let called = arguments.first().map(Path::new).and_then(Path::file_stem).map(|stem| stem.to_string_lossy());
    match called {
        Some(name) if !name.starts_with("__") => name.into_owned(),
        _ => PLUGINCORE.to_owned(),
    }
}
