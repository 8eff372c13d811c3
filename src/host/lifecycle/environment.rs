//! Makes what plugins are loaded with from one reading of the ini file.
//!
//! Runs on the Python thread. Promise: everything in it is of that reading and of the command line.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::edge::config::launch::LaunchOptions;
use crate::edge::config::relative_paths::absolute;
use crate::host::plugins::environment::Environment;
use crate::host::plugins::module::ModuleTable;
use crate::host::python::config::LoadedConfig;
use crate::host::python::interpreter;
use crate::host::python::logjam::LogJam;

/// What plugins are loaded with, from one reading of the ini file.
///
/// # Errors
/// When Python refuses an object.
pub(crate) fn environment(
    py: Python<'_>,
    launch: &LaunchOptions,
    LoadedConfig { settings, config, plugin_sections, .. }: &LoadedConfig,
) -> PyResult<Environment> {
    let ini = launch.ini.as_ref().map(|ini| ini.to_string_lossy().into_owned()).unwrap_or_default();
    let log = launch.log.as_ref().map(|log| log.to_string_lossy().into_owned());
    let folder = settings.paths.plugins.clone();
    Ok(Environment {
        modules: ModuleTable::new(py, &absolute(&launch.folder.join(&folder)))?,
        config: config.clone_ref(py),
        log: LogJam::server(py)?.into_any(),
        task_callback: None,
        args: interpreter::program_arguments(py, &ini, log.as_deref(), &launch.level)?,
        base: launch.folder.clone(),
        folder,
        timeout: settings.server.plugin_timeout,
        // A stop that interrupts a load has the other half for the plugins that serve.
        terminate_timeout: settings.server.shutdown_timeout / 2,
        legacy_status: settings.legacy_status,
        plugin_sections: *plugin_sections,
        has_server_key: settings.apikey.is_some(),
        parameter_lines: settings.parameters.clone(),
        plugins: Arc::clone(&settings.plugins),
        given: None,
        overrides: None,
        exception_hook: None,
    })
}
