//! `plugincore.pluginmanager.PluginManager`: the loader for Python code that wants plugins without a server.
//!
//! Promise: the methods are pluginserver's; loading, reloading and ending are the host's own. Caveat: it serves nothing
//! and shares nothing with a running server.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::discover::{discover, stem};
use super::environment::Environment;
use super::load::load_file;
use super::module;
use super::registry::Registry;
use super::resident::Resident;
use super::terminate::terminate;
use crate::bridge::coroutine::{Coroutine, coroutine};

/// How long plugins of a manager may take to initialise or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Loads the plugin files of a folder.
///
/// `plugin_dir` is the folder. `config` (a `Config`), `log` (a `LogJam`) and `task_callback` are handed to the plugins;
/// `args` (a namespace with `ini_file`, `log` and `level`) is required.
#[pyclass(frozen, module = "plugincore.pluginmanager")]
pub struct PluginManager {
    plugin_dir: PathBuf,
    /// The plugins by id.
    #[pyo3(get)]
    plugins: Py<PyDict>,
    /// The modules by file stem.
    #[pyo3(get)]
    modules: Py<PyDict>,
    /// The log that plugins get.
    #[pyo3(get)]
    log: Py<PyAny>,
    /// The namespace that plugins get.
    #[pyo3(get)]
    prog_args: Py<PyAny>,
    /// What plugins hand background tasks to.
    #[pyo3(get)]
    task_callback: Py<PyAny>,
    config: Mutex<Py<PyAny>>,
    registry: Registry,
}

#[pymethods]
impl PluginManager {
    #[new]
    #[pyo3(signature = (plugin_dir, *, config = None, log = None, task_callback = None, args = None))]
    fn new(
        py: Python<'_>,
        plugin_dir: PathBuf,
        config: Option<Py<PyAny>>,
        log: Option<Py<PyAny>>,
        task_callback: Option<Py<PyAny>>,
        args: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let or_none = |value: Option<Py<PyAny>>| value.unwrap_or_else(|| py.None());
        Ok(Self {
            plugin_dir,
            plugins: PyDict::new(py).unbind(),
            modules: PyDict::new(py).unbind(),
            log: or_none(log),
            prog_args: args.ok_or_else(|| PyValueError::new_err("PluginManager: no args object passed"))?,
            task_callback: or_none(task_callback),
            config: Mutex::new(or_none(config)),
            registry: Registry::default(),
        })
    }

    /// The folder of the plugin files.
    #[getter]
    fn plugin_dir(&self) -> &OsStr {
        self.plugin_dir.as_os_str()
    }

    /// The configuration that plugins get.
    #[getter]
    fn config(&self, py: Python<'_>) -> Py<PyAny> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone_ref(py)
    }

    /// Use another configuration for what is loaded from now on.
    fn reset_config(&self, config: Py<PyAny>) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// Load every plugin file of the folder, in sorted order; what fails is logged.
    fn load_plugins(slf: Py<Self>, py: Python<'_>) -> PyResult<Bound<'_, Coroutine>> {
        procedure(py, async move {
            let folder = &slf.get().plugin_dir;
            Python::attach(|py| module::add_to_path(py, folder))?;
            match discover(folder) {
                Ok(files) => {
                    for file in files {
                        slf.get().bring_in(&file).await?;
                    }
                    Ok(())
                }
                Err(error) => {
                    let folder = folder.display();
                    slf.get().tell("warning", &format!("the plugin folder {folder} cannot be read: {error}"))
                }
            }
        })
    }

    /// Load one plugin file; what fails is logged.
    fn load_plugin(slf: Py<Self>, py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, Coroutine>> {
        procedure(py, async move { slf.get().bring_in(&path).await })
    }

    /// Terminate a plugin and forget it; an unknown id is logged.
    fn remove_plugin(slf: Py<Self>, py: Python<'_>, plugin_id: String) -> PyResult<Bound<'_, Coroutine>> {
        procedure(py, async move {
            let manager = slf.get();
            let Some(resident) = manager.registry.serving().get(&plugin_id).cloned() else {
                return manager.tell("info", &format!("No plugin with ID {plugin_id}"));
            };
            let others =
                manager.registry.serving().residents().iter().filter(|one| one.id != resident.id).cloned().collect();
            manager.publish(others)?;
            if manager.registry.serving().of_file(&resident.file).is_empty() {
                Python::attach(|py| manager.modules.bind(py).del_item(stem(&resident.file)))?;
            }
            terminate(&[resident], Instant::now() + PATIENCE).await;
            Ok(())
        })
    }

    /// Load the file of a plugin again; on failure the old instance stays.
    fn reload_plugin(slf: Py<Self>, py: Python<'_>, plugin_id: String) -> PyResult<Bound<'_, Coroutine>> {
        procedure(py, async move {
            let manager = slf.get();
            match manager.registry.serving().get(&plugin_id).cloned() {
                Some(resident) => manager.bring_in(&resident.file).await,
                None => manager.tell("info", &format!("No such plugin to reload: {plugin_id}")),
            }
        })
    }

    /// Return the plugin with this id, or None.
    fn get_plugin(slf: Py<Self>, py: Python<'_>, plugin_id: String) -> PyResult<Bound<'_, Coroutine>> {
        coroutine(py, async move {
            Python::attach(|py| Ok(slf.get().plugins.bind(py).get_item(plugin_id)?.map(Bound::unbind)))
        })
    }

    /// Return the plugins by id.
    fn all_plugins(slf: Py<Self>, py: Python<'_>) -> PyResult<Bound<'_, Coroutine>> {
        coroutine(py, async move { Python::attach(|py| Ok(slf.get().plugins.clone_ref(py))) })
    }
}

/// A coroutine that returns None.
fn procedure(
    py: Python<'_>,
    future: impl Future<Output = PyResult<()>> + Send + 'static,
) -> PyResult<Bound<'_, Coroutine>> {
    coroutine(py, async move { future.await.map(|()| None::<Py<PyAny>>) })
}

impl PluginManager {
    async fn bring_in(&self, file: &Path) -> PyResult<()> {
        let environment = Python::attach(|py| Environment {
            config: self.config(py),
            log: self.log.clone_ref(py),
            args: self.prog_args.clone_ref(py),
            task_callback: (!self.task_callback.is_none(py)).then(|| self.task_callback.clone_ref(py)),
            folder: self.plugin_dir.clone(),
            patience: PATIENCE,
            legacy_status: false,
        });
        let old = self.registry.serving().of_file(file);
        let loaded = load_file(&environment, file).await;
        for failure in &loaded.failures {
            self.tell("exception", &format!("Exception loading plugin from {failure}"))?;
        }
        if !loaded.failures.is_empty() && !old.is_empty() {
            terminate(&loaded.residents, Instant::now() + PATIENCE).await;
            if let Some(registration) = loaded.registration {
                Python::attach(|py| registration.undo(py));
            }
            return Ok(());
        }
        if let Some(module) = loaded.module {
            Python::attach(|py| self.modules.bind(py).set_item(stem(file), module))?;
        }
        let mut residents: Vec<_> =
            self.registry.serving().residents().iter().filter(|one| one.file != file).cloned().collect();
        for resident in loaded.residents {
            self.tell("info", &format!("Loaded plugin {}", resident.id))?;
            residents.retain(|one: &Arc<Resident>| one.id != resident.id);
            residents.push(resident);
        }
        self.publish(residents)?;
        terminate(&old, Instant::now() + PATIENCE).await;
        Ok(())
    }

    fn publish(&self, residents: Vec<Arc<Resident>>) -> PyResult<()> {
        Python::attach(|py| {
            let plugins = self.plugins.bind(py);
            plugins.clear();
            for resident in &residents {
                plugins.set_item(&*resident.id, &resident.instance)?;
            }
            PyResult::Ok(())
        })?;
        self.registry.publish(residents);
        Ok(())
    }

    fn tell(&self, level: &str, text: &str) -> PyResult<()> {
        Python::attach(|py| {
            let log = self.log.bind(py);
            let method = if log.is_none() { None } else { log.getattr_opt(level)? };
            match method {
                Some(method) => method.call1((text,)).map(drop),
                None => py.import(intern!(py, "builtins"))?.call_method1(intern!(py, "print"), (text,)).map(drop),
            }
        })
    }
}
