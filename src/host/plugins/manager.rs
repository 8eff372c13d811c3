//! `plugincore.pluginmanager.PluginManager`: loads plugins for Python code that has no server.
//!
//! Runs on the thread of its caller's event loop. Promise: the methods are pluginserver's; loading, reloading and
//! ending are the host's own. Caveat: it serves nothing and shares nothing with a running server.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::discover::{discover, stem};
use super::environment::Environment;
use super::load::load_file;
use super::loaded_plugin::LoadedPlugin;
use super::module::{self, ModuleTable};
use super::registry::{Registry, Swap};
use super::terminate::terminate;
use crate::host::bridge::coroutine::{Coroutine, coroutine};

/// How long plugins of a manager may take to initialise or to end.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Loads the plugin files of a folder, without a server.
///
/// `plugin_dir` is the folder. `args` (a namespace with `ini_file`, `log` and `level`) is required. `config` (a
/// `Config`), `log` (a `LogJam`), `task_callback` and whatever else is given are handed to the plugins. All of them are
/// attributes, too, and may be set: what is loaded afterwards gets the new ones. `plugins` holds the plugins by id,
/// `modules` the modules by the names of their files.
///
/// >>> import argparse, asyncio, pathlib, tempfile
/// >>> from plugincore.pluginmanager import PluginManager
/// >>> source = "from plugincore.baseplugin import BasePlugin\nclass Hello(BasePlugin): pass"
/// >>> async def main():
/// ...     with tempfile.TemporaryDirectory() as folder:
/// ...         _ = pathlib.Path(folder, "hello_module.py").write_text(source)
/// ...         args = argparse.Namespace(ini_file="", log=None, level="ERROR")
/// ...         manager = PluginManager(folder, args=args, log=lambda text: print("log:", text))
/// ...         await manager.load_plugins()
/// ...         await manager.remove_plugin("unknown")
/// ...         return await manager.get_plugin("hello") is not None, ", ".join(manager.modules)
/// >>> asyncio.run(main())
/// log: Loaded plugin hello
/// log: No plugin with ID unknown
/// (True, 'hello_module')
// What it was made of is in its `__dict__`, where subclasses and callers may change it.
#[pyclass(frozen, subclass, dict, weakref, module = "plugincore.pluginmanager")]
pub struct PluginManager {
    registry: Registry,
}

#[pymethods]
impl PluginManager {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(plugin_dir, **kwargs)")]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self { registry: Registry::default() }
    }

    #[pyo3(signature = (plugin_dir, **kwargs))]
    fn __init__(
        slf: &Bound<'_, Self>,
        plugin_dir: &Bound<'_, PyAny>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let py = slf.py();
        let kwargs = kwargs.map_or_else(|| Ok(PyDict::new(py)), pyo3::types::PyDictMethods::copy)?;
        plugin_dir.extract::<PathBuf>()?;
        let args = kwargs.get_item("args")?.filter(|args| !args.is_none());
        slf.setattr("prog_args", args.ok_or_else(|| PyValueError::new_err("PluginManager: no args object passed"))?)?;
        for name in ["config", "log", "task_callback"] {
            slf.setattr(name, kwargs.get_item(name)?)?;
        }
        slf.setattr("plugin_dir", plugin_dir)?;
        slf.setattr("plugins", PyDict::new(py))?;
        slf.setattr("modules", PyDict::new(py))?;
        slf.setattr("kwargs", kwargs)
    }

    /// Use another configuration for what is loaded from now on.
    fn reset_config(slf: &Bound<'_, Self>, config: &Bound<'_, PyAny>) -> PyResult<()> {
        slf.setattr("config", config)
    }

    /// Load every plugin file of the folder, in sorted order; what fails is logged.
    fn load_plugins(slf: Py<Self>, py: Python<'_>) -> PyResult<Bound<'_, Coroutine>> {
        procedure(py, async move {
            let (modules, folder) = Python::attach(|py| {
                let folder: PathBuf = slf.bind(py).getattr("plugin_dir")?.extract()?;
                module::replace_in_path(py, None, &folder)?;
                PyResult::Ok((ModuleTable::new(py, &folder)?, folder))
            })?;
            let files = match discover(Path::new(""), &folder) {
                Ok(files) => files,
                Err(error) => return report(&slf, "warn", &format!("{}: {error}", folder.display())),
            };
            for file in files {
                load_and_swap(&slf, &file, Arc::clone(&modules)).await?;
            }
            Ok(())
        })
    }

    /// Load one plugin file; what fails is logged.
    fn load_plugin(slf: Py<Self>, py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, Coroutine>> {
        procedure(py, async move { load_alone(&slf, &path).await })
    }

    /// Terminate a plugin and forget it; an unknown id is logged.
    fn remove_plugin(slf: Py<Self>, py: Python<'_>, plugin_id: String) -> PyResult<Bound<'_, Coroutine>> {
        procedure(py, async move {
            let registry = &slf.get().registry;
            let Some(plugin) = registry.serving().get(&plugin_id).cloned() else {
                return report(&slf, "info", &format!("No plugin with ID {plugin_id}"));
            };
            let others = registry.serving().plugins().iter().filter(|one| one.id != plugin.id).cloned().collect();
            publish(&slf, others)?;
            if registry.serving().of_file(&plugin.file).is_empty() {
                Python::attach(|py| {
                    slf.bind(py).getattr("modules")?.call_method1("pop", (stem(&plugin.file), py.None())).map(drop)
                })?;
            }
            let serving = registry.serving();
            let is_needed = |file: &Path| file != plugin.file || !serving.of_file(file).is_empty();
            let released = Python::attach(|py| registry.replace_modules(py, Vec::new(), is_needed));
            terminate(&[Arc::clone(&plugin)], Instant::now() + TIMEOUT).await;
            Python::attach(|py| registry.release(py, &released));
            Ok(())
        })
    }

    /// Load the file of a plugin again; on failure the old instance stays.
    fn reload_plugin(slf: Py<Self>, py: Python<'_>, plugin_id: String) -> PyResult<Bound<'_, Coroutine>> {
        procedure(py, async move {
            let plugin = slf.get().registry.serving().get(&plugin_id).cloned();
            match plugin {
                Some(plugin) => load_alone(&slf, &plugin.file).await,
                None => report(&slf, "info", &format!("No such plugin to reload: {plugin_id}")),
            }
        })
    }

    /// Return the plugin with this id, or None.
    fn get_plugin(slf: Py<Self>, py: Python<'_>, plugin_id: Py<PyAny>) -> PyResult<Bound<'_, Coroutine>> {
        coroutine(py, async move {
            Python::attach(|py| slf.bind(py).getattr("plugins")?.call_method1("get", (plugin_id,)).map(Bound::unbind))
        })
    }

    /// Return the plugins by id.
    fn all_plugins(slf: Py<Self>, py: Python<'_>) -> PyResult<Bound<'_, Coroutine>> {
        coroutine(py, async move { Python::attach(|py| slf.getattr(py, "plugins")) })
    }
}

/// A coroutine that returns None.
fn procedure(
    py: Python<'_>,
    future: impl Future<Output = PyResult<()>> + Send + 'static,
) -> PyResult<Bound<'_, Coroutine>> {
    coroutine(py, async move { future.await.map(|()| None::<Py<PyAny>>) })
}

/// What plugins are loaded with, by the attributes as they are now.
fn environment(manager: &Bound<'_, PluginManager>, modules: Arc<ModuleTable>) -> PyResult<Environment> {
    let given = manager.getattr("kwargs")?.cast_into::<PyDict>()?;
    Ok(Environment {
        modules,
        config: manager.getattr("config")?.unbind(),
        log: manager.getattr("log")?.unbind(),
        args: manager.getattr("prog_args")?.unbind(),
        task_callback: Some(manager.getattr("task_callback")?)
            .filter(|callback| !callback.is_none())
            .map(Bound::unbind),
        base: PathBuf::new(),
        folder: manager.getattr("plugin_dir")?.extract()?,
        timeout: TIMEOUT,
        terminate_timeout: TIMEOUT,
        legacy_status: false,
        plugin_sections: [0; 32],
        has_server_key: false,
        parameter_lines: Vec::new(),
        plugins: Arc::default(),
        given: Some(given.unbind()),
        overrides: None,
        exception_hook: None,
    })
}

/// Loads a file with modules of its own.
async fn load_alone(manager: &Py<PluginManager>, file: &Path) -> PyResult<()> {
    let modules = Python::attach(|py| {
        let folder: PathBuf = manager.bind(py).getattr("plugin_dir")?.extract()?;
        ModuleTable::new(py, &folder)
    })?;
    load_and_swap(manager, file, modules).await
}

/// Loads a file, and has it take over from its earlier generation.
async fn load_and_swap(manager: &Py<PluginManager>, file: &Path, modules: Arc<ModuleTable>) -> PyResult<()> {
    let environment = Python::attach(|py| environment(manager.bind(py), modules))?;
    let serving = manager.get().registry.serving();
    let old = serving.of_file(file);
    let mut loaded = load_file(&environment, file).await;
    for failure in &loaded.failures {
        let record = Python::attach(|py| failure.record(py));
        report(manager, "exception", &format!("Exception loading plugin from {record}"))?;
    }
    if !loaded.may_replace(&old) {
        loaded.give_up(TIMEOUT).await;
        return Ok(());
    }
    if let Some(module) = loaded.module {
        Python::attach(|py| manager.bind(py).getattr("modules")?.set_item(stem(file), module))?;
    }
    // An id belongs to the plugin that took it last.
    let (mut plugins, mut lost) = (Vec::<Arc<LoadedPlugin>>::new(), Vec::new());
    for plugin in loaded.plugins {
        report(manager, "info", &format!("Loaded plugin {}", plugin.id))?;
        lost.extend(plugins.iter().position(|one| one.id == plugin.id).map(|place| plugins.remove(place)));
        plugins.push(plugin);
    }
    // Read again: another load may have ended meanwhile.
    let serving = manager.get().registry.serving();
    let Swap { serving, mut retired } = serving.swap(vec![(file.to_path_buf(), plugins)], |_| true);
    publish(manager, serving)?;
    let registry = &manager.get().registry;
    let modules = vec![(file.to_path_buf(), loaded.origin.take())];
    let released = Python::attach(|py| registry.replace_modules(py, modules, |_| true));
    retired.append(&mut lost);
    terminate(&retired, Instant::now() + TIMEOUT).await;
    Python::attach(|py| registry.release(py, &released));
    Ok(())
}

/// Makes `plugins` the plugins of the manager; what callers put into `plugins` themselves stays there.
fn publish(manager: &Py<PluginManager>, plugins: Vec<Arc<LoadedPlugin>>) -> PyResult<()> {
    let registry = &manager.get().registry;
    Python::attach(|py| {
        let attribute = manager.bind(py).getattr("plugins")?;
        for plugin in registry.serving().plugins() {
            attribute.call_method1(intern!(py, "pop"), (&*plugin.id, py.None()))?;
        }
        for plugin in &plugins {
            attribute.set_item(&*plugin.id, &plugin.instance)?;
        }
        PyResult::Ok(())
    })?;
    registry.publish(plugins, Vec::new());
    Ok(())
}

/// Writes to the log, whose method for the level, or the log itself, is called; prints without a log.
fn report(manager: &Py<PluginManager>, level: &str, text: &str) -> PyResult<()> {
    Python::attach(|py| {
        let log = manager.bind(py).getattr("log")?;
        let method = match log.getattr_opt(level)? {
            Some(method) => method,
            None if log.is_callable() => log,
            None => py.import(intern!(py, "builtins"))?.getattr("print")?,
        };
        method.call1((text,)).map(drop)
    })
}
