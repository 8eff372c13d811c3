//! `plugincore key`: makes keys, and lists those of an ini file.
//!
//! Runs on the main thread of a process of its own. Promise: a new key is printed once and kept nowhere; no other key
//! is ever printed. Exit code 0 if it was done, 1 if the key or the ini file cannot be used, 2 for a wrong command
//! line. Caveat: to list keys, the whole ini file is read as for serving, files that it names for keys included.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use pyo3::prelude::*;

use super::serve::find_ini;
use super::terminal::{FAILED, USAGE, print, report};
use crate::edge::config::keys::{DEFAULT_KEY, Expiry, KeyDigest, KeyScope};
use crate::host::python::config;

/// The options of `key`.
#[derive(Debug, Args)]
pub(super) struct KeyArguments {
    #[command(subcommand)]
    verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Print a new random key, and its line for the ini file
    New {
        /// The key's name, for plugins and the log
        #[arg(long, default_value = "client", value_parser = key_name)]
        name: String,
        /// What it opens, with commas between: ids of plugins, * for all of them, control, metrics
        #[arg(long, default_value = "*", value_parser = scopes)]
        scopes: String,
        /// When it ceases to count: a day, such as 2027-06-30, at its end in UTC, or a time
        #[arg(long, value_parser = expiry)]
        expires: Option<Expiry>,
    },
    /// Read a key from standard input and print its hash, for a line of the ini file
    Hash,
    /// List the keys of an ini file: name, scopes, expiry
    List {
        /// The ini file [default: as for serving, in this folder]
        #[arg(short, long, value_name = "INI")]
        ini_file: Option<PathBuf>,
    },
}

/// Does what `arguments` say, called as `name` in `folder`, with `ini` named before the command. Returns the exit code.
pub(super) fn run(py: Python<'_>, arguments: &KeyArguments, ini: Option<PathBuf>, name: &str, folder: &Path) -> u8 {
    match &arguments.verb {
        Verb::New { name, scopes, expires } => new(py, name, scopes, expires.as_ref()),
        Verb::Hash => hash(),
        Verb::List { ini_file } => match find_ini(ini_file.clone().or(ini), name, true) {
            Ok(ini) => list(py, ini.as_deref(), folder),
            Err(problem) => report(&problem, USAGE),
        },
    }
}

fn new(py: Python<'_>, name: &str, scopes: &str, expires: Option<&Expiry>) -> u8 {
    let (key, hash) = match random_key(py) {
        Ok(made) => made,
        Err(error) => return report(&format!("no random key can be made: {error}"), FAILED),
    };
    let expires = expires.map_or_else(String::new, |expires| format!("&expires={}", escaped(&expires.to_string())));
    print(&key);
    print(&format!("{name} = hash={hash}&scopes={}{expires}", escaped(scopes)));
    report("The first line is the key, for the client; it is not shown again. The second is for section [keys].", 0)
}

/// A new key, and its hash as the ini file has it.
///
/// # Errors
/// When the system has no random numbers.
pub(super) fn random_key(py: Python<'_>) -> PyResult<(String, String)> {
    // 256 bits, in characters that need no escaping anywhere.
    let key: String = py.import("secrets")?.call_method1("token_urlsafe", (32,))?.extract()?;
    let hash = KeyDigest::of(key.as_bytes()).written();
    Ok((key, hash))
}

fn hash() -> u8 {
    let mut key = Vec::new();
    if let Err(error) = std::io::stdin().read_to_end(&mut key) {
        return report(&format!("standard input cannot be read: {error}"), FAILED);
    }
    match key.trim_ascii() {
        [] => report("standard input has no key; try: printf %s KEY | plugincore key hash", FAILED),
        key => {
            print(&format!("hash={}", KeyDigest::of(key).written()));
            0
        }
    }
}

fn list(py: Python<'_>, ini: Option<&Path>, folder: &Path) -> u8 {
    let (reading, warnings) = config::load(py, folder, ini, "DEBUG", &[]);
    for warning in &warnings {
        report(&format!("warning: {warning}"), 0);
    }
    let settings = match reading {
        Ok(reading) => reading.settings,
        Err(errors) => return report(&errors.to_string(), FAILED),
    };
    let mut rows = vec![["name", "scopes", "expires"].map(str::to_owned)];
    if settings.apikey.is_some() {
        rows.push([DEFAULT_KEY, "*,control", "never"].map(str::to_owned));
    }
    for key in &settings.keys {
        let scopes: Vec<_> = key.scopes.iter().map(ToString::to_string).collect();
        let expires = match &key.expires {
            None => "never".to_owned(),
            Some(expires) if expires.is_over() => format!("{expires} (expired)"),
            Some(expires) => expires.to_string(),
        };
        rows.push([key.name.clone(), scopes.join(","), expires]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let (names, scopes) = (width(0), width(1));
    for [name, scope, expires] in &rows {
        print(&format!("{name:names$}  {scope:scopes$}  {expires}"));
    }
    0
}

/// What a value of the ini file may not hold as it is.
fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('&', "%26").replace('+', "%2B").replace('$', "$$")
}

/// A name that can stand in the ini file, which knows no capitals in keys.
fn key_name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    let is_name = text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(is_plain);
    if is_name {
        Ok(text.to_owned())
    } else {
        Err("a name is of a-z, 0-9, -, _ and ., and begins with a letter".to_owned())
    }
}

fn scopes(text: &str) -> Result<String, String> {
    let scopes = KeyScope::parse_all(text);
    let has_space = text.contains(char::is_whitespace);
    if scopes.is_empty() || has_space {
        return Err("scopes are ids of plugins, *, control or metrics, with commas between".to_owned());
    }
    Ok(scopes.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
}

fn expiry(text: &str) -> Result<Expiry, String> {
    Expiry::parse(text)
        .ok_or_else(|| "write a day, such as 2027-06-30, or a time, such as 2027-06-30T12:00:00Z".to_owned())
}
