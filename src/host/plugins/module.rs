//! Runs a plugin file as a module.
//!
//! Runs on the Python thread. Promise: the source on disk is what runs (there is no byte code cache in between),
//! `__name__` is the file's stem, and the module can be found in `sys.modules` by that name, which data classes,
//! pickling and type hints need. No installed package is ever shadowed, or imported for its name: a file with the name
//! of one, such as `json.py`, has a private `__name__`. Code and tracebacks have absolute file names, so that they can
//! be found wherever a plugin changes the working directory to. Caveat: modules beside the plugins can be imported,
//! since the folder is at the end of `sys.path`; they are imported anew whenever a plugin is reloaded, packages from
//! elsewhere are not.

use std::path::{Path, PathBuf};

use pyo3::exceptions::PySyntaxError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule, PyType};

use super::discover::stem;
use crate::host::python::baseplugin::BasePlugin;

/// Prefix of the private names in `sys.modules`; no import statement can spell it. A module called like another one
/// has it in its `__name__`.
const PRIVATE: &str = "plugincore:";

/// What `sys.modules` held before a file was run, to be put back if the load fails.
pub(crate) struct Registration {
    before: Vec<(String, Option<Py<PyAny>>)>,
}

/// Runs the plugin file at `on_disk`, an absolute path, and returns its module.
///
/// # Errors
/// Whatever the file raises, `SystemExit` and `KeyboardInterrupt` included; the registration is undone then.
pub(crate) fn run<'py>(py: Python<'py>, on_disk: &Path) -> PyResult<(Bound<'py, PyModule>, Registration)> {
    let stem = stem(on_disk);
    let source = std::fs::read(on_disk)?;
    let builtins = py.import("builtins")?;
    // `compile` takes the bytes, so that a coding line in the file is obeyed.
    let code = builtins.call_method1("compile", (source.as_slice(), on_disk.as_os_str(), "exec", 0, true))?;
    let private = format!("{PRIVATE}{stem}");
    let names = if may_be_called(py, &modules(py)?, &stem)? { vec![stem, private] } else { vec![private] };
    let name = &names[0];
    let loader = py.import("importlib.util")?.call_method1("spec_from_file_location", (name, on_disk.as_os_str()))?;
    let module = PyModule::new(py, name)?;
    module.setattr("__file__", loader.getattr("origin")?)?;
    module.setattr("__package__", "")?;
    module.setattr("__spec__", &loader)?;
    module.setattr("__loader__", loader.getattr("loader")?)?;
    module.setattr("__builtins__", &builtins)?;
    let registration = register(&module, names)?;
    match builtins.call_method1("exec", (code, module.dict())) {
        Ok(_) => Ok((module, registration)),
        Err(error) => {
            registration.undo(py);
            Err(error)
        }
    }
}

fn register(module: &Bound<'_, PyModule>, names: Vec<String>) -> PyResult<Registration> {
    let modules = modules(module.py())?;
    let mut before = Vec::new();
    for name in names {
        before.push((name.clone(), modules.get_item(&name)?.map(Bound::unbind)));
        modules.set_item(name, module)?;
    }
    Ok(Registration { before })
}

/// True if nothing but an earlier generation of the same plugin goes by `name`.
fn may_be_called(py: Python<'_>, modules: &Bound<'_, PyDict>, name: &str) -> PyResult<bool> {
    if let Some(known) = modules.get_item(name)? {
        let earlier = modules.get_item(format!("{PRIVATE}{name}"))?;
        return Ok(earlier.is_some_and(|earlier| earlier.is(&known)));
    }
    if name.contains('.') {
        // Looked up as a submodule, which imports the parent; without a parent there is nothing to shadow.
        let found = py.import("importlib.util")?.call_method1("find_spec", (name,));
        return Ok(found.map_or(true, |found| found.is_none()));
    }
    let found = py.import("importlib.machinery")?.getattr("PathFinder")?.call_method1("find_spec", (name,))?;
    let built_in = py.import("importlib.machinery")?.getattr("BuiltinImporter")?.call_method1("find_spec", (name,))?;
    // In the plugin folder it finds the very file that is being loaded.
    let itself = found.getattr_opt("origin")?.is_some_and(|origin| {
        origin.extract::<PathBuf>().is_ok_and(|origin| stem(&origin) == name && in_plugin_path(py, &origin))
    });
    Ok(built_in.is_none() && (found.is_none() || itself))
}

fn in_plugin_path(py: Python<'_>, file: &Path) -> bool {
    let last = py.import("sys").and_then(|sys| sys.getattr("path")).and_then(|path| path.get_item(-1));
    let folder = last.and_then(|last| last.extract::<PathBuf>());
    folder.is_ok_and(|folder| file.parent() == Some(&folder))
}

impl Registration {
    /// Puts back what was there before.
    pub(crate) fn undo(self, py: Python<'_>) {
        let Ok(modules) = modules(py) else { return };
        for (name, before) in self.before {
            // Failing to restore leaves the broken module under its name, which the next load replaces.
            let _ = match before {
                Some(module) => modules.set_item(name, module),
                None => modules.del_item(name),
            };
        }
    }
}

/// Lets plugins import modules that lie beside them; the folder comes last so that it shadows nothing.
///
/// # Errors
/// When `sys.path` is not a list.
pub(crate) fn add_to_path(py: Python<'_>, folder: &Path) -> PyResult<()> {
    let path = py.import("sys")?.getattr("path")?;
    let folder = std::path::absolute(folder)?.into_os_string();
    if !path.contains(&folder)? {
        path.call_method1("append", (folder,))?;
    }
    Ok(())
}

/// Lets plugins import modules from the folder `now` instead of the folder `before`.
///
/// # Errors
/// When `sys.path` is not a list.
pub(crate) fn replace_in_path(py: Python<'_>, before: &Path, now: &Path) -> PyResult<()> {
    if before != now {
        let path = py.import("sys")?.getattr("path")?;
        let before = std::path::absolute(before)?.into_os_string();
        if path.contains(&before)? {
            path.call_method1("remove", (before,))?;
        }
    }
    add_to_path(py, now)
}

/// Forgets the modules of `folder` that plugins imported as helpers, so that a reload sees them as they are on disk;
/// returns them for [`restore_helpers`].
///
/// # Errors
/// When `sys.modules` is not a dict.
pub(crate) fn forget_helpers(py: Python<'_>, folder: &Path) -> PyResult<Vec<(String, Py<PyAny>)>> {
    let folder = std::path::absolute(folder)?;
    let modules = modules(py)?;
    let mut forgotten = Vec::new();
    for (name, module) in modules.copy()?.iter() {
        let (Ok(name), Ok(module)) = (name.extract::<String>(), module.cast_into::<PyModule>()) else { continue };
        let file = module.getattr_opt(intern!(py, "__file__")).ok().flatten();
        let file = file.and_then(|file| file.extract::<PathBuf>().ok()).and_then(|file| std::path::absolute(file).ok());
        // A file without a plugin class was run like a plugin, too, but only serves those that import it.
        if file.is_some_and(|file| file.starts_with(&folder)) && plugin_classes(&module)?.is_empty() {
            modules.del_item(&name)?;
            drop_byte_code(&module);
            forgotten.push((name, module.into_any().unbind()));
        }
    }
    py.import("importlib")?.call_method0("invalidate_caches")?;
    Ok(forgotten)
}

/// Removes the cached byte code of `module`: stale code differs from it only by size and second of the source, which an
/// edit need not change.
fn drop_byte_code(module: &Bound<'_, PyAny>) {
    let cached = module.getattr("__spec__").and_then(|spec| spec.getattr("cached"));
    if let Ok(cached) = cached.and_then(|cached| cached.extract::<PathBuf>()) {
        // Nothing there is as good as removed.
        let _ = std::fs::remove_file(cached);
    }
}

/// Puts forgotten helper modules back, after a reload that failed.
///
/// # Errors
/// When `sys.modules` is not a dict.
pub(crate) fn restore_helpers(py: Python<'_>, forgotten: Vec<(String, Py<PyAny>)>) -> PyResult<()> {
    let modules = modules(py)?;
    for (name, module) in forgotten {
        modules.set_item(name, module)?;
    }
    Ok(())
}

fn modules(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    Ok(py.import("sys")?.getattr("modules")?.cast_into::<PyDict>()?)
}

/// The plugin classes that `module` itself defines, by name; imported base classes are none.
///
/// # Errors
/// When a class has a hostile metaclass.
pub(crate) fn plugin_classes<'py>(module: &Bound<'py, PyModule>) -> PyResult<Vec<Bound<'py, PyType>>> {
    let py = module.py();
    let own_name = module.name()?;
    let mut classes: Vec<(String, Bound<'py, PyType>)> = Vec::new();
    for (name, value) in module.dict().iter() {
        let (Ok(name), Ok(class)) = (name.extract::<String>(), value.cast_into::<PyType>()) else { continue };
        let own = class.getattr(intern!(py, "__module__"))?.eq(&own_name)?;
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
