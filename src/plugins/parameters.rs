//! The keyword arguments that a plugin's `__init__` and `initialize` get.
//!
//! Promise: precedence is pluginserver's: built-ins < `[plugin_parms]` < `prog_args` and `config` < the JSON file.
//! Caveat: values from `[plugin_parms]` are always text; typed ones come only through the JSON file.

use std::path::Path;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping};

use super::environment::Environment;

/// Builds the arguments for the plugin file called `stem`.
///
/// # Errors
/// When the JSON file is not there, is not JSON or is not an object; the text names it.
pub fn keyword_arguments<'py>(
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
    let mut json = None;
    for (name, value) in parse(&environment.parameters_of(py, stem)?) {
        if name == "json" {
            json = Some(value.clone());
        }
        kwargs.set_item(name, value)?;
    }
    kwargs.set_item("prog_args", environment.args.bind(py))?;
    kwargs.set_item("config", environment.config.bind(py))?;
    if let Some(name) = json {
        let file = environment.folder.join(&name);
        let on_disk = environment.locate(&file);
        if on_disk.exists() {
            kwargs.update(read_json(py, &file, &on_disk)?.cast::<PyMapping>().map_err(PyErr::from)?)?;
        } else {
            tracing::warn!(
                "[plugin_parms] {stem}: the parameter file {} is not there; going on without it",
                file.display()
            );
        }
    }
    if let Some(overrides) = &environment.overrides {
        kwargs.update(overrides.bind(py).as_mapping())?;
    }
    Ok(kwargs)
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

fn read_json<'py>(py: Python<'py>, file: &Path, on_disk: &Path) -> PyResult<Bound<'py, PyAny>> {
    let bad = |reason: String| {
        pyo3::exceptions::PyValueError::new_err(format!("parameter file {}: {reason}", file.display()))
    };
    let text = std::fs::read_to_string(on_disk).map_err(|error| bad(error.to_string()))?;
    let value =
        py.import("json")?.call_method1(intern!(py, "loads"), (text,)).map_err(|error| bad(error.to_string()))?;
    if value.is_instance_of::<PyDict>() {
        Ok(value)
    } else {
        Err(bad("the top level must be a JSON object, {\"name\": value, …}".to_owned()))
    }
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
