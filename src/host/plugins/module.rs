//! The modules of one load: plugin files and what they import from their folder.
//!
//! Runs on the Python thread. Promise: the source on disk is what runs (there is no byte code cache in between), once
//! for each load; `__name__` is the file's stem, and `sys.modules` finds the module by that name, which data classes,
//! pickling and type hints need. No installed package is ever shadowed, or imported for its name: a file with the name
//! of one, such as `json.py`, has a private `__name__`. Code and tracebacks have absolute file names, so that they can
//! be found wherever a plugin changes the working directory to. Caveat: `plugincore._modules` has the rules of what
//! belongs to a load; this is their face for the host.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pyo3::exceptions::PySyntaxError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyModule, PyType};

use super::discover::stem;
use super::task_scope::TaskScope;
use crate::host::python::baseplugin::BasePlugin;
use crate::host::python::imports;

/// The modules of one load, `plugincore._modules.ModuleTable`.
pub(crate) struct ModuleTable(Py<PyAny>);

/// The module of one plugin file.
pub(crate) struct FileModule {
    /// The load that it belongs to.
    table: Arc<ModuleTable>,
    /// Its plain name.
    name: String,
    /// A digest of what the plugins of the file are loaded with.
    parameters: [u8; 32],
}

impl ModuleTable {
    /// For plugin files in `folder`, an absolute path; nothing is loaded yet.
    ///
    /// # Errors
    /// When the package is not complete.
    pub(crate) fn new(py: Python<'_>, folder: &Path) -> PyResult<Arc<Self>> {
        let table = imports::package(py)?.getattr("ModuleTable")?.call1((folder.as_os_str(),))?;
        Ok(Arc::new(Self(table.unbind())))
    }

    /// Says that `files`, absolute paths, are the plugin files of this load, so that none of them finds an earlier
    /// module of another one.
    ///
    /// # Errors
    /// When a finder of modules raises.
    pub(crate) fn expect(&self, py: Python<'_>, files: impl Iterator<Item = PathBuf>) -> PyResult<()> {
        for file in files {
            self.0.bind(py).call_method1("add_file", (stem(&file), file.as_os_str()))?;
        }
        Ok(())
    }

    /// Says that `file`, an absolute path, is a plugin file of this load; returns its module, which has not run.
    /// `parameters` is a digest of what its plugins are loaded with.
    ///
    /// # Errors
    /// When a finder of modules raises.
    pub(crate) fn announce(
        self: &Arc<Self>,
        py: Python<'_>,
        file: &Path,
        parameters: [u8; 32],
    ) -> PyResult<FileModule> {
        let name = self.0.bind(py).call_method1("add_file", (stem(file), file.as_os_str()))?.extract()?;
        Ok(FileModule { table: Arc::clone(self), name, parameters })
    }

    /// Lets go of all modules, which serve no more.
    ///
    /// # Errors
    /// When `sys.modules` is not a dict.
    pub(crate) fn clear(&self, py: Python<'_>) -> PyResult<()> {
        self.0.bind(py).call_method0("drop").map(drop)
    }
}

impl FileModule {
    /// Runs the file, unless another one of this load has imported it, and returns its module.
    ///
    /// # Errors
    /// Whatever the file raises, `SystemExit` and `KeyboardInterrupt` included.
    pub(crate) fn run<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyModule>> {
        let table = self.table.0.bind(py);
        // Later, where no frame tells whose code runs, the context does.
        imports::package(py)?.getattr("CURRENT")?.call_method1("set", (table,))?;
        Ok(imports::load(table, &self.name)?.cast_into::<PyModule>()?)
    }

    /// Whether the file, a helper that it has imported or what its plugins are loaded with is another one by now:
    /// `parameters` is the digest of that.
    ///
    /// # Errors
    /// When a finder of modules raises.
    pub(crate) fn has_changed(&self, py: Python<'_>, parameters: &[u8; 32]) -> PyResult<bool> {
        if self.parameters != *parameters {
            return Ok(true);
        }
        self.table.0.bind(py).call_method1("has_changed", (&self.name,))?.extract()
    }

    /// A table for a load of the sources that this file and its helpers were run from.
    ///
    /// # Errors
    /// When Python is out of memory.
    pub(crate) fn restored(&self, py: Python<'_>) -> PyResult<Arc<ModuleTable>> {
        let table = self.table.0.bind(py).call_method1("restored", (&self.name,))?;
        Ok(Arc::new(ModuleTable(table.unbind())))
    }

    /// Whether it was run from earlier sources, rather than from the files.
    ///
    /// # Errors
    /// When Python is out of memory.
    pub(crate) fn is_restored(&self, py: Python<'_>) -> PyResult<bool> {
        self.table.0.bind(py).getattr("kept")?.is_truthy()
    }

    /// The SHA-256 of the file, of the helpers that it has imported and of what its plugins are loaded with.
    ///
    /// # Errors
    /// When Python is out of memory.
    pub(crate) fn content_hash(&self, py: Python<'_>) -> PyResult<String> {
        self.table.0.bind(py).call_method1("digest", (&self.name, self.parameters.as_slice()))?.extract()
    }

    /// Says who owns the tasks of its code, where nothing else tells.
    ///
    /// # Errors
    /// When Python is out of memory.
    pub(crate) fn set_owner(&self, owner: &Bound<'_, TaskScope>) -> PyResult<()> {
        self.table.0.bind(owner.py()).getattr("owners")?.set_item(&self.name, owner)
    }

    /// Has other plugins find this module when they import the file.
    ///
    /// # Errors
    /// When Python is out of memory.
    pub(crate) fn serve(&self, py: Python<'_>) -> PyResult<()> {
        self.table.0.bind(py).call_method1("serve", (&self.name,)).map(drop)
    }

    /// Whether both belong to the same load.
    pub(crate) fn is_of_the_load_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.table, &other.table)
    }

    /// Lets go of the module, which serves no more, and of what only it has imported; of the whole load if it
    /// `is_last`.
    ///
    /// # Errors
    /// When `sys.modules` is not a dict.
    pub(crate) fn release(&self, py: Python<'_>, is_last: bool) -> PyResult<()> {
        if is_last {
            return self.table.clear(py);
        }
        self.table.0.bind(py).call_method1("release", (&self.name,)).map(drop)
    }
}

/// Notes which versions of installed packages are there, for [`log_outdated_packages`].
pub(crate) fn remember_packages(py: Python<'_>) {
    if let Err(error) = py.import("plugincore._packages").and_then(|packages| packages.call_method0("remember")) {
        tracing::debug!("updates of packages will not be noticed: {error}");
    }
}

/// Says which installed packages have been changed while an older version of them is loaded: a reload does not import
/// them anew.
pub(crate) fn log_outdated_packages(py: Python<'_>) {
    let outdated = py
        .import("plugincore._packages")
        .and_then(|packages| packages.call_method0("outdated")?.extract::<Vec<(String, String, String)>>());
    match outdated {
        Ok(outdated) => {
            for (name, loaded, installed) in outdated {
                let now = if installed.is_empty() {
                    "it is not installed any more".to_owned()
                } else {
                    format!("{installed} is installed")
                };
                let pid = std::process::id();
                tracing::warn!("restart needed: {name} {loaded} is loaded, {now}; kill -USR1 {pid} loses no request");
            }
        }
        Err(error) => tracing::debug!("updates of packages are not noticed: {error}"),
    }
}

fn add_to_path(py: Python<'_>, folder: &Path) -> PyResult<()> {
    let path = py.import("sys")?.getattr("path")?;
    let folder = std::path::absolute(folder)?.into_os_string();
    if !path.contains(&folder)? {
        path.call_method1("append", (folder,))?;
    }
    Ok(())
}

/// Lets all code import modules from the folder `now`, instead of the folder `before` if there was one; the folder
/// comes last, so that it shadows nothing.
///
/// # Errors
/// When `sys.path` is not a list.
pub(crate) fn replace_in_path(py: Python<'_>, before: Option<&Path>, now: &Path) -> PyResult<()> {
    if let Some(before) = before.filter(|before| *before != now) {
        let path = py.import("sys")?.getattr("path")?;
        let before = std::path::absolute(before)?.into_os_string();
        if path.contains(&before)? {
            path.call_method1("remove", (before,))?;
        }
    }
    add_to_path(py, now)
}

/// The plugin classes that `module` itself defines, by name; imported base classes are none.
///
/// # Errors
/// When a class has a hostile metaclass.
pub(crate) fn plugin_classes<'py>(module: &Bound<'py, PyModule>) -> PyResult<Vec<Bound<'py, PyType>>> {
    let py = module.py();
    let own_name = module.name()?.to_string();
    let is_package = module.hasattr(intern!(py, "__path__"))?;
    let mut classes: Vec<(String, Bound<'py, PyType>)> = Vec::new();
    for (name, value) in module.dict().iter() {
        let (Ok(name), Ok(class)) = (name.extract::<String>(), value.cast_into::<PyType>()) else { continue };
        let home = class.getattr(intern!(py, "__module__"))?;
        // The modules of a package are one plugin.
        let within = |home: &str| is_package && home.strip_prefix(&own_name).is_some_and(|rest| rest.starts_with('.'));
        let own = home.extract::<String>().is_ok_and(|home| home == own_name || within(&home));
        let known = classes.iter().any(|(_, other)| other.is(&class));
        if own && !known && class.is_subclass_of::<BasePlugin>()? {
            classes.push((name, class));
        }
    }
    classes.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(classes.into_iter().map(|(_, class)| class).collect())
}

/// Where `error` was raised, innermost place first: files and lines.
pub(crate) fn places(py: Python<'_>, error: &PyErr) -> Vec<(PathBuf, usize)> {
    let mut places = Vec::new();
    let mut traceback = error.traceback(py).map(Bound::into_any);
    while let Some(entry) = traceback {
        let code = entry.getattr("tb_frame").and_then(|frame| frame.getattr("f_code"));
        let file = code.and_then(|code| code.getattr("co_filename")).and_then(|name| name.extract::<PathBuf>());
        let line = entry.getattr("tb_lineno").and_then(|line| line.extract());
        places.extend(file.ok().zip(line.ok()));
        traceback = entry.getattr("tb_next").ok().filter(|next| !next.is_none());
    }
    if error.is_instance_of::<PySyntaxError>(py) {
        // It lies in a file that was not run.
        let value = error.value(py);
        let file = value.getattr("filename").and_then(|file| file.extract::<PathBuf>());
        let line = value.getattr("lineno").and_then(|line| line.extract());
        places.extend(file.ok().zip(line.ok()));
    }
    places.reverse();
    places
}
