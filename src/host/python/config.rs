//! Where the ini file crosses from Python to Rust and back: CPython's own `configparser` reads it, everything else
//! (types, `${…}`, overrides, checks) is in [`crate::edge::config`].
//!
//! Runs on the Python thread. [`load`] gives the host its settings, [`to_python`] makes the `Config` that plugins get,
//! [`read_ini`] serves `plugincore.configfile.Config(file=…)`. Caveat: a name that Python's `Config` cannot have is an
//! error here.

pub(crate) mod parser;

use crate::edge::config::diagnostic::{ConfigErrors, Diagnostic, SourceLocation};
use crate::edge::config::difference::Digests;
use crate::edge::config::ini::Ini;
use crate::edge::config::interpolation::resolve;
use crate::edge::config::launch::Replacement;
use crate::edge::config::places::PlaceSetting;
use crate::edge::config::resolved::{Item, ResolvedConfig, Section, host_section};
use crate::edge::config::schema::{KEYS, is_of_host};
use crate::edge::config::settings::Settings;
use crate::edge::config::value::Value;
use crate::edge::config::{overrides, relative_paths};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Reads the host's file, found from `base`, with `PLUGINCORE_<SECTION>_<KEY>` variables in place of its texts, and with
/// `replaced` in place of both.
///
/// Errors of single values are in [`ResolvedConfig::errors`], for
/// [`Settings::from_config`](crate::edge::config::settings::Settings::from_config) to report with its own.
///
/// # Errors
/// When the file is missing, unreadable, not UTF-8 or not an ini file.
pub(crate) fn read(
    py: Python<'_>,
    base: &Path,
    path: &Path,
    replaced: &[Replacement],
) -> Result<ResolvedConfig, ConfigErrors> {
    let mut ini = parser::parse(py, path, &parser::text(base, path)?)?;
    overrides::apply_host(&mut ini, variable);
    overrides::apply_options(&mut ini, replaced);
    Ok(checked(py, &ini))
}

/// The ini file in both of its forms.
pub(crate) struct LoadedConfig {
    /// What the host uses.
    pub settings: Settings,
    /// What plugins get as `config`: `plugincore.configfile.Config`.
    pub config: Py<PyAny>,
    /// A digest of the sections that are not the host's.
    pub plugin_sections: [u8; 32],
    /// All keys, to tell later what has changed.
    pub digests: Digests,
}

/// Reads and checks everything the server needs: the file, or the defaults for the working directory without one.
///
/// Relative paths begin at `base`, the folder that the server was started in, wherever the process is now. `level` is
/// what plugins find as `config.logging.level`, `replaced` what the command line has in place of the file. Gives the reading or every error that the file has, and what
/// is doubtful in it besides.
pub(crate) fn load(
    py: Python<'_>,
    base: &Path,
    ini: Option<&Path>,
    level: &str,
    replaced: &[Replacement],
) -> (Result<LoadedConfig, ConfigErrors>, Vec<Diagnostic>) {
    let defaults = || Ok(read_defaults(py, Path::new(""), replaced));
    let mut document = match ini.map_or_else(defaults, |ini| read(py, base, ini, replaced)) {
        Ok(document) => ResolvedConfig { base: base.to_path_buf(), ..document },
        Err(errors) => return (Err(errors), Vec::new()),
    };
    document.resolve_switches();
    relative_paths::resolve(&mut document);
    let (settings, warnings) = Settings::from_config(&document);
    let reading = settings.and_then(|settings| {
        let config = to_python(py, &document).and_then(|config| {
            set_logging_level(py, config.bind(py), level)?;
            Ok(config)
        });
        let refused = |error: PyErr| {
            ConfigErrors::from(Diagnostic::error(SourceLocation::file(&document.path), error.to_string()))
        };
        let plugin_sections = document.digest_of_plugin_sections();
        let digests = Digests::of(&document);
        Ok(LoadedConfig { settings, config: config.map_err(refused)?, plugin_sections, digests })
    });
    (reading, warnings)
}

/// `[server] control_socket` and `[paths] pidfile`, whatever is wrong with the rest of the file.
///
/// # Errors
/// When the file cannot be read, or is no ini file.
pub(crate) fn control_socket(
    py: Python<'_>,
    base: &Path,
    ini: Option<&Path>,
) -> Result<(PlaceSetting, Option<PathBuf>), ConfigErrors> {
    let document = ini.map_or_else(|| Ok(read_defaults(py, Path::new(""), &[])), |ini| read(py, base, ini, &[]))?;
    let mut document = ResolvedConfig { base: base.to_path_buf(), ..document };
    relative_paths::resolve(&mut document);
    Ok(Settings::control_socket(&document))
}

/// What [`read`] gives when there is no file: the folder `plugins` in `folder`, and what replaces it.
pub(crate) fn read_defaults(py: Python<'_>, folder: &Path, replaced: &[Replacement]) -> ResolvedConfig {
    let mut ini = Ini::for_folder(folder);
    overrides::apply_host(&mut ini, variable);
    overrides::apply_options(&mut ini, replaced);
    checked(py, &ini)
}

/// Resolves a file and adds an error for each name that `Config` refuses.
fn checked(py: Python<'_>, ini: &Ini) -> ResolvedConfig {
    let mut document = resolve(ini, variable);
    for section in document.sections.iter().filter(|section| is_shown(section)) {
        let refused = |key: Option<&str>| {
            refusal(py, &section.name, key).map(|why| {
                let location = key.and_then(|key| section.item(key)).map_or(&section.location, |item| &item.location);
                let error =
                    Diagnostic::error(location.clone(), why).remedy("choose another name").in_section(&section.name);
                key.into_iter().fold(error, Diagnostic::at_key)
            })
        };
        let keys = section.items.iter().map(|item| Some(item.key.as_str()));
        document.errors.extend([None].into_iter().chain(keys).filter_map(refused));
    }
    document
}

/// Why plugins could not use this name, if so.
fn refusal(py: Python<'_>, section: &str, key: Option<&str>) -> Option<String> {
    let reason = py.import("plugincore.configfile").and_then(|module| module.call_method1("refusal", (section, key)));
    match reason {
        Ok(reason) => reason.extract().ok().flatten(),
        Err(error) => Some(format!("the name could not be checked: {error}")),
    }
}

/// An environment variable; one that is not UTF-8 is read as well as can be.
fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|text| text.to_string_lossy().into_owned())
}

/// The document that stands for a `Config` made in Python, for the tests of a plugin in `folder`.
///
/// Without `[network]` and `[SSL]`, since there are no sockets; only values that an ini file can hold are taken over.
///
/// # Errors
/// When `config` is no mapping.
pub(crate) fn for_rehearsal(config: &Bound<'_, PyAny>, folder: &Path) -> PyResult<ResolvedConfig> {
    let mut document = ResolvedConfig { path: PathBuf::from("config"), ..ResolvedConfig::default() };
    let location = SourceLocation::file(&document.path);
    let item =
        |key, value, text| Item { key, value, text, location: location.clone(), inherited: false, missing: Vec::new() };
    let empty = |name| Section { name, location: location.clone(), items: Vec::new() };
    for entry in config.call_method0("items")?.try_iter()? {
        let (name, section) = entry?.extract::<(String, Bound<'_, PyAny>)>()?;
        let meant_for_sockets = ["network", "ssl"].iter().any(|socket| name.eq_ignore_ascii_case(socket));
        let Some(items) = section.getattr_opt("items")?.filter(|_| !meant_for_sockets) else { continue };
        let mut section = empty(name);
        for pair in items.call0()?.try_iter()? {
            let (key, value) = pair?.extract::<(String, Bound<'_, PyAny>)>()?;
            section.items.push(item(key, value_of(&value)?, value.str()?.to_string_lossy().into_owned()));
        }
        document.sections.push(section);
    }
    let names = document.sections.iter().map(|section| section.name.as_str());
    let paths = host_section(names, "paths").unwrap_or_else(|| {
        document.sections.push(empty("paths".to_owned()));
        document.sections.len() - 1
    });
    let paths = &mut document.sections[paths];
    if paths.item("plugins").is_none() {
        let folder = folder.to_string_lossy().into_owned();
        paths.items.push(item("plugins".to_owned(), Some(Value::Text(folder.clone())), folder));
    }
    Ok(document)
}

/// What the ini file would have held; `None` for what it cannot hold.
fn value_of(value: &Bound<'_, PyAny>) -> PyResult<Option<Value>> {
    Ok(if let Ok(value) = value.cast::<PyBool>() {
        Some(Value::Bool(value.is_true()))
    } else if value.is_instance_of::<PyInt>() {
        value.extract().ok().map(Value::Int)
    } else if let Ok(value) = value.cast::<PyFloat>() {
        Some(Value::Float(value.value()))
    } else if let Ok(value) = value.cast::<PyString>() {
        Some(Value::Text(value.to_string_lossy().into_owned()))
    } else if let Ok(list) = value.cast::<PyList>() {
        let items = list.iter().map(|item| value_of(&item)).collect::<PyResult<Option<Vec<_>>>>()?;
        items.map(Value::List)
    } else {
        None
    })
}

/// Makes `config` what plugins find as `configfile.masterConfig`: the configuration that the server goes by.
///
/// # Errors
/// What Python raises.
pub(crate) fn proclaim(config: &Bound<'_, PyAny>) -> PyResult<()> {
    config.py().import("plugincore.configfile")?.setattr("masterConfig", config)
}

/// Whether plugins find the section in their `config`; keys, and how the host treats them, are not theirs.
fn is_shown(section: &Section) -> bool {
    !is_of_host(&section.name) && !is_of_keys(section)
}

fn is_of_keys(section: &Section) -> bool {
    section.name.eq_ignore_ascii_case(KEYS)
}

/// Builds the `plugincore.configfile.Config` that plugins get.
///
/// # Errors
/// What Python raises, `AttributeError` for a name that `Config` refuses among it.
pub(crate) fn to_python(py: Python<'_>, document: &ResolvedConfig) -> PyResult<Py<PyAny>> {
    let config = py.import("plugincore.configfile")?.getattr("Config")?;
    let shown = document.sections.iter().filter(|section| is_shown(section));
    Ok(config.call_method1("_from_sections", (values(py, shown)?,))?.unbind())
}

/// Adds `config.logging.level`, which the host knows from its command line.
///
/// # Errors
/// What Python raises.
pub(crate) fn set_logging_level(py: Python<'_>, config: &Bound<'_, PyAny>, level: &str) -> PyResult<()> {
    let options = PyDict::new(py);
    options.set_item("items", [("level", level)].into_iter().collect::<BTreeMap<_, _>>())?;
    options.set_item("section_name", "logging")?;
    options.set_item("top_config", config)?;
    let logging = py.import("plugincore.configfile")?.getattr("Config")?.call((), Some(&options))?;
    config.set_item("logging", logging)
}

/// Sections as a dict of dicts in file order.
fn values<'py, 'a>(py: Python<'py>, shown: impl Iterator<Item = &'a Section>) -> PyResult<Bound<'py, PyDict>> {
    let sections = PyDict::new(py);
    for section in shown {
        let items = PyDict::new(py);
        for item in &section.items {
            if let Some(value) = &item.value {
                items.set_item(&item.key, pythonize::pythonize(py, value)?)?;
            }
        }
        sections.set_item(&section.name, items)?;
    }
    Ok(sections)
}

/// Reads an ini file into a dict of sections, each a dict of typed values; `[keys]` is left out.
///
/// A missing file gives an empty dict. With `env_override`, a variable `[PREFIX_]SECTION_KEY` replaces the text of a
/// key that the file has. Raises `plugincore.configfile.ConfigError`, which contains every error with file and line.
#[pyfunction]
#[pyo3(signature = (path, env_override = false, env_prefix = None))]
pub(crate) fn read_ini<'py>(
    py: Python<'py>,
    path: PathBuf,
    env_override: bool,
    env_prefix: Option<&str>,
) -> PyResult<Bound<'py, PyDict>> {
    if matches!(std::fs::metadata(&path), Err(error) if error.kind() == ErrorKind::NotFound) {
        return Ok(PyDict::new(py));
    }
    let read = || -> Result<ResolvedConfig, ConfigErrors> {
        let mut ini = parser::parse(py, &path, &parser::text(Path::new(""), &path)?)?;
        if env_override {
            overrides::replace_existing(&mut ini, env_prefix.filter(|prefix| !prefix.is_empty()), variable);
        }
        let document = resolve(&ini, variable);
        if document.errors.is_empty() { Ok(document) } else { Err(ConfigErrors(document.errors)) }
    };
    match read() {
        // The server's own file may be read like this, too; by that name `Config` has no section.
        Ok(document) => values(py, document.sections.iter().filter(|section| !is_of_keys(section))),
        Err(errors) => Err(config_error(py, &errors)),
    }
}

/// `plugincore.configfile.ConfigError` with every error in its text.
fn config_error(py: Python<'_>, errors: &ConfigErrors) -> PyErr {
    let made =
        py.import("plugincore.configfile").and_then(|module| module.call_method1("ConfigError", (errors.to_string(),)));
    made.map_or_else(|error| error, PyErr::from_value)
}

#[cfg(test)]
mod tests;
