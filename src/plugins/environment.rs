//! What plugins are loaded with: one reading of the ini file, as Python objects.
//!
//! Promise: all plugins of one load see the same configuration object. Caveat: immutable; a reload makes a new one.

use std::path::PathBuf;
use std::time::Duration;

use pyo3::intern;
use pyo3::prelude::*;

/// The surroundings of a load.
pub struct Environment {
    /// `plugincore.configfile.Config` of the whole file.
    pub config: Py<PyAny>,
    /// The server's own `LogJam`.
    pub log: Py<PyAny>,
    /// `argparse.Namespace(ini_file, log, level)`.
    pub args: Py<PyAny>,
    /// What plugins get as `task_callback`; without one, the owner of their own tasks.
    pub task_callback: Option<Py<PyAny>>,
    /// Folder of the plugin files; parameter files are looked up here too.
    pub folder: PathBuf,
    /// How long an async `initialize` or `terminate_plugin` may take.
    pub patience: Duration,
    /// `[compat] legacy_status`.
    pub legacy_status: bool,
}

impl Environment {
    /// The parameter string of the plugin file called `stem`; empty if there is none. Case does not matter, because
    /// `configparser` lower-cases the names of an ini file.
    ///
    /// # Errors
    /// When `config` is not a mapping of mappings.
    pub fn parameters_of(&self, py: Python<'_>, stem: &str) -> PyResult<String> {
        let config = self.config.bind(py);
        if config.is_none() || !config.contains(intern!(py, "plugin_parms"))? {
            return Ok(String::new());
        }
        let section = config.get_item(intern!(py, "plugin_parms"))?;
        for item in section.call_method0(intern!(py, "items"))?.try_iter()? {
            let (name, value) = item?.extract::<(String, Bound<'_, PyAny>)>()?;
            if name.to_lowercase() == stem.to_lowercase() {
                return value.str()?.extract();
            }
        }
        Ok(String::new())
    }
}
