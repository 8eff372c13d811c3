//! `plugincore man`: the manual pages, one for each command.
//!
//! Promise: the pages say what `--help` says, and are the same at each run. Caveat: those that come with the package
//! are checked in, and a test compares them.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command};

use super::terminal::{FAILED, report};

/// The options of `man`.
#[derive(Debug, Args)]
pub(super) struct ManualArguments {
    /// The folder, which is created if it is not there
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Writes the pages of `command`. Returns the exit code.
pub(super) fn run(arguments: &ManualArguments, command: Command) -> u8 {
    match write(command, &arguments.folder) {
        Ok(()) => 0,
        Err(error) => report(&format!("{}: the pages cannot be written: {error}", arguments.folder.display()), FAILED),
    }
}

fn write(command: Command, folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    // A page of `help` for each command would say nothing.
    clap_mangen::generate_to(command.disable_help_subcommand(true), folder)
}
