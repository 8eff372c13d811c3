//! What plugins are loaded with: one reading of the ini file, as Python objects.
//!
//! Runs on the Python thread. Promise: all plugins of one load see the same configuration object and
//! share one copy of the modules beside them. Caveat: immutable; a
//! reload makes a new one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::module::ModuleTable;
use crate::edge::config::diagnostic::Diagnostic;
use crate::edge::config::schema::{KEY_TOLERANCE, nearest};
use crate::edge::config::settings::ParameterLine;
use crate::edge::config::settings::plugins::PluginSections;
use crate::host::bridge::outcome::ExceptionHook;
use crate::host::python::baseplugin::named;

/// The surroundings of a load.
pub(crate) struct Environment {
    /// The modules of the load.
    pub modules: Arc<ModuleTable>,
    /// `plugincore.configfile.Config` of the whole file.
    pub config: Py<PyAny>,
    /// The server's own `LogJam`.
    pub log: Py<PyAny>,
    /// `argparse.Namespace(ini_file, log, level)`.
    pub args: Py<PyAny>,
    /// What plugins get as `task_callback`; without one, the owner of their own tasks.
    pub task_callback: Option<Py<PyAny>>,
    /// Where relative paths begin: the folder that the server was started in, since a plugin may go elsewhere. Empty
    /// for whatever folder the process is in.
    pub base: PathBuf,
    /// Folder of the plugin files; parameter files are looked up here too.
    pub folder: PathBuf,
    /// How long an async `initialize` may take.
    pub timeout: Duration,
    /// How long an async `terminate_plugin` and the tasks of what does not come to serve may take.
    pub terminate_timeout: Duration,
    /// `[compat] legacy_status`.
    pub legacy_status: bool,
    /// A digest of the sections of the ini file that are not the host's, which plugins may go by.
    pub plugin_sections: [u8; 32],
    /// Whether the server has a key of its own, without which plugins that ask for it cannot be loaded.
    pub has_server_key: bool,
    /// Where the parameters of each plugin file stand, if that is known.
    pub parameter_lines: Vec<ParameterLine>,
    /// What the server goes by for each plugin.
    pub plugins: Arc<PluginSections>,
    /// Arguments that all others win over: what a manager was given besides those that it knows.
    pub given: Option<Py<PyDict>>,
    /// Parameters that win over all others, as those of a JSON file do: what a test hands in.
    pub overrides: Option<Py<PyDict>>,
    /// Who is shown what handlers raise.
    pub exception_hook: Option<ExceptionHook>,
}

impl Environment {
    /// The same for another load.
    ///
    /// # Errors
    /// When Python refuses an object.
    pub(crate) fn anew(&self, py: Python<'_>) -> PyResult<Self> {
        Ok(Self {
            modules: ModuleTable::new(py, &self.locate(&self.folder))?,
            config: self.config.clone_ref(py),
            log: self.log.clone_ref(py),
            args: self.args.clone_ref(py),
            task_callback: self.task_callback.as_ref().map(|callback| callback.clone_ref(py)),
            base: self.base.clone(),
            folder: self.folder.clone(),
            timeout: self.timeout,
            terminate_timeout: self.terminate_timeout,
            legacy_status: self.legacy_status,
            plugin_sections: self.plugin_sections,
            has_server_key: self.has_server_key,
            parameter_lines: self.parameter_lines.clone(),
            plugins: Arc::clone(&self.plugins),
            given: self.given.as_ref().map(|given| given.clone_ref(py)),
            overrides: self.overrides.as_ref().map(|overrides| overrides.clone_ref(py)),
            exception_hook: self.exception_hook.clone(),
        })
    }

    /// Where `path` is on disk, absolutely; messages name it as it was written.
    pub(crate) fn locate(&self, path: &Path) -> PathBuf {
        let path = self.base.join(path);
        // Only a working folder that is gone leaves it as it is.
        std::path::absolute(&path).unwrap_or(path)
    }

    /// The name in messages of the file at `on_disk`, if it lies in the folder of the plugins.
    pub(crate) fn shown(&self, on_disk: &Path) -> Option<PathBuf> {
        on_disk.strip_prefix(self.locate(&self.folder)).ok().map(|rest| self.folder.join(rest))
    }

    /// Where `[plugin_parms]` speaks of the plugin file called `stem`.
    pub(crate) fn parameter_line(&self, stem: &str) -> Option<&ParameterLine> {
        self.parameter_lines.iter().find(|line| line.stem.to_lowercase() == stem.to_lowercase())
    }

    /// The lines of `[plugin_parms]` that belong to none of the plugin files called `stems`.
    pub(crate) fn strays(&self, stems: &[String]) -> Vec<Diagnostic> {
        let belongs = |key: &str| stems.iter().any(|stem| stem.to_lowercase() == key.to_lowercase());
        let stray = |ParameterLine { stem: key, location, .. }: &ParameterLine| {
            let known = stems.iter().map(String::as_str);
            let remedy = match nearest(key.strip_suffix(".py").unwrap_or(key), known, KEY_TOLERANCE) {
                Some(near) => format!("is {near} meant? Write the file's name without .py"),
                None => "write a plugin file's name without .py, or remove the line".to_owned(),
            };
            let stray =
                Diagnostic::warning(location.clone(), "there is no such plugin file, so the line guards nothing");
            stray.in_section("plugin_parms").at_key(key).remedy(remedy)
        };
        self.parameter_lines.iter().filter(|line| !belongs(&line.stem)).map(stray).collect()
    }

    /// The parameter string of the plugin file called `stem`; empty if there is none. Case does not matter, because
    /// `configparser` lower-cases the names of an ini file.
    ///
    /// # Errors
    /// When `config` is not a mapping of mappings.
    pub(crate) fn parameters_of(&self, py: Python<'_>, stem: &str) -> PyResult<String> {
        let config = self.config.bind(py);
        if config.is_none() {
            return Ok(String::new());
        }
        let Some(section) = named(config, "plugin_parms")? else { return Ok(String::new()) };
        named(&section, stem)?.map_or_else(|| Ok(String::new()), |text| text.str()?.extract())
    }
}
