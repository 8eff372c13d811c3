//! The keyword arguments that a plugin's `__init__` and `initialize` get.
//!
//! Runs on the Python thread. Promise: precedence is pluginserver's: built-ins < `[plugin_parms]` < `prog_args` and
//! `config` < the JSON file. Caveat: values from `[plugin_parms]` are always text; typed ones come only through the
//! JSON file.

use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyMapping};
use sha2::{Digest, Sha256};

use super::environment::Environment;
use super::slips::slip;
use crate::edge::config::diagnostic::SourceLocation;
use crate::edge::config::settings::ParameterLine;
use crate::host::python::baseplugin::{BLAMED, parameter_error};

/// The parameter that names a file of parameters.
const JSON: &str = "json";

/// Builds the arguments for the plugin file called `stem`.
///
/// # Errors
/// When the JSON file is not there, is not JSON or is not an object; the text names it. When a line of the ini file
/// looks as if it was to ask for a key and does not.
pub(crate) fn keyword_arguments<'py>(
    py: Python<'py>,
    environment: &Environment,
    stem: &str,
    owner: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyDict>> {
    let kwargs = PyDict::new(py);
    if let Some(given) = &environment.given {
        kwargs.update(given.bind(py).as_mapping())?;
    }
    kwargs.set_item("config", environment.config.bind(py))?;
    kwargs.set_item("log", environment.log.bind(py))?;
    match &environment.task_callback {
        Some(callback) => kwargs.set_item("task_callback", callback)?,
        None => kwargs.set_item("task_callback", owner)?,
    }
    kwargs.set_item("args", environment.args.bind(py))?;
    let line = environment.parameters_of(py, stem)?;
    let parameters = parse(&line);
    for (name, value) in &parameters {
        kwargs.set_item(name, value)?;
    }
    let mut typed_names = Vec::new();
    kwargs.set_item("prog_args", environment.args.bind(py))?;
    kwargs.set_item("config", environment.config.bind(py))?;
    if let Some((_, file)) = parameters.iter().find(|(name, _)| name == JSON) {
        let typed = read_json(py, environment, file).map_err(|reason| parameter_error(py, JSON, file, reason))?;
        typed_names = typed.cast::<PyDict>().map_err(PyErr::from)?.keys().extract()?;
        kwargs.update(typed.cast::<PyMapping>().map_err(PyErr::from)?)?;
    }
    // Only a line of the ini file can have typos; a program that passes parameters has none.
    if environment.parameter_line(stem).is_some()
        && let Some(slip) = slip(&line, &typed_names)
    {
        return Err(parameter_error(py, "", "", slip));
    }
    if let Some(overrides) = &environment.overrides {
        kwargs.update(overrides.bind(py).as_mapping())?;
    }
    Ok(kwargs)
}

/// A digest of what the plugin file called `stem` is loaded with: its line of the ini file, its parameter file and
/// whatever else plugins may go by.
///
/// # Errors
/// When the configuration is not a mapping of mappings.
pub(crate) fn digest(py: Python<'_>, environment: &Environment, stem: &str) -> PyResult<[u8; 32]> {
    let line = environment.parameters_of(py, stem)?;
    let mut digest = Sha256::new();
    digest.update(environment.plugin_sections);
    digest.update([u8::from(environment.legacy_status), u8::from(environment.has_server_key)]);
    digest.update(&line);
    if let Some((_, file)) = parse(&line).iter().find(|(name, _)| name == JSON) {
        match std::fs::read(environment.locate(&environment.folder.join(file))) {
            Ok(content) => digest.update(content),
            Err(error) => digest.update(error.to_string()),
        }
    }
    Ok(digest.finalize().into())
}

/// What Python's `parse_qs` makes of a parameter string, first value of each name; empty values do not count. A part
/// written `json:file` means `json=file`.
fn parse(text: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for part in text.split('&') {
        let (name, value) = match part.strip_prefix("json:") {
            Some(file) => ("json".to_owned(), file.to_owned()),
            None => match form_urlencoded::parse(part.as_bytes()).next() {
                Some((name, value)) => (name.into_owned(), value.into_owned()),
                None => continue,
            },
        };
        if !value.is_empty() && !found.iter().any(|(known, _)| *known == name) {
            found.push((name, value));
        }
    }
    found
}

/// The JSON file that the parameters of the plugin file called `stem` name, as messages name it.
///
/// # Errors
/// When the configuration is not a mapping of mappings.
pub(crate) fn parameter_file(py: Python<'_>, environment: &Environment, stem: &str) -> PyResult<Option<PathBuf>> {
    let parameters = parse(&environment.parameters_of(py, stem)?);
    let named = parameters.into_iter().find(|(name, _)| name == JSON);
    Ok(named.map(|(_, file)| environment.folder.join(file)))
}

/// The object in the parameter file called `name`.
fn read_json<'py>(py: Python<'py>, environment: &Environment, name: &str) -> Result<Bound<'py, PyAny>, String> {
    let file = environment.folder.join(name);
    let bad = |reason: &dyn fmt::Display| format!("parameter file {}: {reason}", file.display());
    let bytes = std::fs::read(environment.locate(&file)).map_err(|error| match error.kind() {
        ErrorKind::NotFound => bad(&"there is no such file"),
        _ => bad(&error),
    })?;
    // From bytes it finds out by itself whether they are UTF-8, UTF-16 or UTF-32, byte order mark or not.
    let bytes = PyBytes::new(py, &bytes);
    let loaded = py.import("json").and_then(|json| json.call_method1(intern!(py, "loads"), (bytes,)));
    match loaded {
        Ok(value) if value.is_instance_of::<PyDict>() => Ok(value),
        Ok(_) => Err(bad(&"the top level must be a JSON object, {\"name\": value, …}")),
        Err(error) => Err(bad(&error)),
    }
}

/// Where a parameter was given.
pub(crate) struct Origin {
    /// The line of the ini file with the key, or the parameter file.
    pub location: SourceLocation,
    /// The key of `[plugin_parms]`, unless it was the parameter file.
    pub key: Option<String>,
    /// Environment variables that were to give a part of it and did not, as half a sentence.
    pub missing: Option<String>,
}

/// Where the parameter that `error` complains of was given, if it was given and the error says which: the line of
/// `[plugin_parms]`, or the parameter file.
pub(crate) fn origin(py: Python<'_>, environment: &Environment, stem: &str, error: &PyErr) -> Option<Origin> {
    let blamed = error.value(py).getattr_opt(BLAMED).ok().flatten()?;
    let (name, value) = blamed.extract::<(String, String)>().ok()?;
    let parameters = parse(&environment.parameters_of(py, stem).ok()?);
    let file = parameters.iter().find(|(known, _)| known == JSON).map(|(_, file)| file);
    let typed = file.and_then(|file| Some((file, read_json(py, environment, file).ok()?)));
    if let Some((file, typed)) = typed
        && let Ok(given) = typed.get_item(&name)
    {
        let same = given.str().is_ok_and(|given| given.to_string_lossy() == value);
        let location = SourceLocation::file(&environment.folder.join(file));
        return same.then_some(Origin { location, key: None, missing: None });
    }
    let line = name.is_empty() || parameters.iter().any(|(known, given)| *known == name && *given == value);
    let ParameterLine { location, missing, .. } = environment.parameter_line(stem).filter(|_| line)?;
    Some(Origin { location: location.clone(), key: Some(stem.to_owned()), missing: missing.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text)
    }

    fn expected(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_first_value_of_a_repeated_name_counts_and_empty_ones_do_not() {
        assert_eq!(expected(&[("a", "1"), ("b", "2")]), pairs("a=1&a=3&b=&b=2&c&d="));
    }

    #[test]
    fn plus_and_percent_are_decoded_and_a_semicolon_is_no_separator() {
        assert_eq!(expected(&[("a", "x y;b=z%")]), pairs("a=x+y;b%3Dz%25"));
    }

    #[test]
    fn a_json_file_may_be_written_with_a_colon() {
        assert_eq!(expected(&[("json", "p.json"), ("a", "1")]), pairs("json:p.json&a=1"));
    }
}
