//! `plugincore completions`: what a shell completes of the command line.
//!
//! Pure output. Caveat: the script is that of this version; it is to be written again after an update.

use clap::{Args, Command};
use clap_complete::{Shell, generate};

use super::terminal::print;

/// The options of `completions`.
#[derive(Debug, Args)]
pub(super) struct CompletionsArguments {
    /// bash, elvish, fish, powershell or zsh
    #[arg(value_enum, hide_possible_values = true)]
    shell: Shell,
}

/// Prints the script for `command`. Returns the exit code.
pub(super) fn run(arguments: &CompletionsArguments, mut command: Command) -> u8 {
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    generate(arguments.shell, &mut command, name, &mut script);
    print(&String::from_utf8_lossy(&script));
    0
}
