//! What a person reads of a command.
//!
//! Runs on the main thread. Promise: a closed output is no error of a command. Caveat: nothing here escapes control
//! characters; that is for what makes the texts.

use std::io::Write;

/// Code of a wrong command line or configuration.
pub(super) const USAGE: u8 = 2;
/// Code of a start that failed, or of a command that found problems.
pub(super) const FAILED: u8 = 1;

/// Writes to standard output.
pub(super) fn print(text: &str) {
    // A closed output has no reader.
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

/// Writes to standard error, and returns `code`.
pub(super) fn report(problem: &str, code: u8) -> u8 {
    // Without standard error there is no reader.
    let _ = writeln!(std::io::stderr(), "{problem}");
    code
}
