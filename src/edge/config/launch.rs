//! The options of the command line.
//!
//! Plain data that does not change while the process serves; a restart in place uses the same options. Caveat: paths
//! are as written, relative to [`LaunchOptions::folder`].

use std::ffi::OsString;
use std::path::PathBuf;

use super::fields::WatchMode;

/// An option that replaces a value of the ini file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replacement {
    /// Its name, such as `--port`.
    pub option: &'static str,
    /// The section.
    pub section: &'static str,
    /// The key.
    pub key: &'static str,
    /// The text.
    pub text: String,
}

/// The options of one start.
#[derive(Clone, Debug)]
pub(crate) struct LaunchOptions {
    /// Name of the program in the log: `plugincore` or `pserve`.
    pub name: String,
    /// The ini file; without one, the folder `plugins` is served with the defaults.
    pub ini: Option<PathBuf>,
    /// The working directory at the start, in which the program starts again, wherever plugins went since.
    pub folder: PathBuf,
    /// `-l`: the log file.
    pub log: Option<PathBuf>,
    /// `-v`: the level, as it was written.
    pub level: String,
    /// `--safe`: no plugin is loaded until somebody enables it.
    pub safe: bool,
    /// `--watch`: how plugin files are watched, if the command line says it.
    pub watch: Option<WatchMode>,
    /// `--host`, `--port`, `--plugins`.
    pub replaced: Vec<Replacement>,
    /// `--open`: whether a browser shows the server once it serves.
    pub open: bool,
    /// The program and its arguments, for starting again in place.
    pub command: Vec<OsString>,
}
