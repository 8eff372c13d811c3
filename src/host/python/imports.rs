//! `import` for the code of plugins: `builtins.__import__`.
//!
//! Runs on every thread that runs Python code. Promise: an import in a module that was loaded for plugins gets the
//! modules of its own load (see `plugincore._modules`, which finds and runs them); an import anywhere else is what it
//! was before, and costs one look at the globals more. Caveat: code that keeps the former `__import__` gets what
//! `sys.modules` has by the plain name, a proxy that stands for the same module.

use pyo3::exceptions::{PyImportError, PyModuleNotFoundError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyModule, PyString, PyTuple, PyType};

use crate::host::bridge::locked::made_once;

/// What was `builtins.__import__` before.
static FORMER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
/// The class of loaders of plugin code.
static LOADER: PyOnceLock<Py<PyType>> = PyOnceLock::new();
/// `plugincore._modules`, of which there must be one only, even if somebody takes it out of `sys.modules`.
static PACKAGE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
/// `sys.modules`, which nothing here may import `sys` for: that would be an import inside of an import.
static MODULES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();

/// `plugincore._modules`; from the first call on the import system knows the modules of plugins.
///
/// # Errors
/// When the package is not complete.
pub(crate) fn package(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    let package = made_once(py, &PACKAGE, || py.import("plugincore._modules").map(Bound::unbind))?.bind(py);
    if FORMER.get(py).is_some() {
        return Ok(package);
    }
    let builtins = py.import("builtins")?;
    package.call_method0("install")?;
    made_once(py, &LOADER, || Ok(package.getattr("PluginLoader")?.cast_into::<PyType>()?.unbind()))?;
    made_once(py, &MODULES, || Ok(py.import("sys")?.getattr("modules")?.cast_into::<PyDict>()?.unbind()))?;
    made_once(py, &FORMER, || Ok(builtins.getattr("__import__")?.unbind()))?;
    builtins.setattr("__import__", wrap_pyfunction!(import, py)?)?;
    Ok(package)
}

/// Import a module, for the code whose globals are given: the function behind ``import`` statements.
#[pyfunction]
#[pyo3(name = "__import__", signature = (name, globals = None, locals = None, fromlist = None, level = 0))]
fn import<'py>(
    py: Python<'py>,
    name: &Bound<'py, PyAny>,
    globals: Option<&Bound<'py, PyAny>>,
    locals: Option<&Bound<'py, PyAny>>,
    fromlist: Option<&Bound<'py, PyAny>>,
    level: usize,
) -> PyResult<Bound<'py, PyAny>> {
    if let Some(importer) = Importer::of(py, globals)?
        && let Ok(name) = name.cast::<PyString>()
    {
        let name = name.to_str()?;
        return match importer.absolute(name, level)? {
            Some(absolute) if importer.owns(&absolute)? => importer.import(former(py)?, &absolute, fromlist, level),
            _ => {
                let found = former(py)?.call1((name, globals, locals, fromlist, level));
                found.inspect_err(|error| importer.note_missing(error, name))
            }
        };
    }
    let names = fromlist.map_or_else(|| PyTuple::empty(py).into_any(), Clone::clone);
    former(py)?.call1((name, globals, locals, names, level))
}

fn former(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    FORMER.get(py).ok_or_else(not_ready).map(|former| former.bind(py))
}

fn modules(py: Python<'_>) -> PyResult<&Bound<'_, PyDict>> {
    MODULES.get(py).ok_or_else(not_ready).map(|modules| modules.bind(py))
}

fn not_ready() -> PyErr {
    PyImportError::new_err("the modules of plugins cannot be imported yet")
}

/// The module of a plugin that imports something.
struct Importer<'py> {
    globals: Bound<'py, PyDict>,
    /// The `ModuleTable` of its load.
    table: Bound<'py, PyAny>,
    /// Its plain name.
    name: Bound<'py, PyAny>,
}

impl<'py> Importer<'py> {
    /// The module with these globals, if it was loaded for plugins.
    fn of(py: Python<'py>, globals: Option<&Bound<'py, PyAny>>) -> PyResult<Option<Self>> {
        let Some(globals) = globals.and_then(|globals| globals.cast::<PyDict>().ok()) else { return Ok(None) };
        let Some(loader) = globals.get_item(intern!(py, "__loader__"))? else { return Ok(None) };
        let Some(class) = LOADER.get(py).filter(|class| loader.get_type().is(*class)) else { return Ok(None) };
        debug_assert!(loader.is_instance(class.bind(py))?, "the loader of plugin code");
        Ok(Some(Self {
            globals: globals.clone(),
            table: loader.getattr(intern!(py, "table"))?,
            name: loader.getattr(intern!(py, "public"))?,
        }))
    }

    /// The plain name of what `name` and `level` ask for; `None` if a relative import leads out of every package.
    fn absolute(&self, name: &str, level: usize) -> PyResult<Option<String>> {
        if level == 0 {
            return Ok(Some(name.to_owned()));
        }
        let package = self.globals.get_item(intern!(self.table.py(), "__package__"))?;
        let Some(package) = package.and_then(|package| package.extract::<String>().ok()) else { return Ok(None) };
        let mut base = package.as_str();
        for _ in 1..level {
            let Some((parent, _)) = base.rsplit_once('.') else { return Ok(None) };
            base = parent;
        }
        Ok(match (base, name) {
            ("", _) => None,
            (base, "") => Some(base.to_owned()),
            (base, name) => Some(format!("{base}.{name}")),
        })
    }

    fn private(&self, name: &str) -> PyResult<Bound<'py, PyAny>> {
        private(&self.table, name)
    }

    /// Whether the module is one of the plugins' own.
    fn owns(&self, absolute: &str) -> PyResult<bool> {
        let (py, top) = (self.table.py(), top(absolute));
        if top.is_empty() {
            return Ok(false);
        }
        let modules = modules(py)?;
        if modules.contains(self.private(top)?)? {
            return Ok(true);
        }
        if let Some(known) = modules.get_item(top)?.and_then(|known| known.cast_into_exact::<PyModule>().ok()) {
            // A package without a file may be a folder beside the plugins, and is looked at below.
            let (attributes, file) = (known.dict(), intern!(py, "__file__"));
            if attributes.contains(file)? || !attributes.contains(intern!(py, "__path__"))? {
                return Ok(false);
            }
        }
        self.table.call_method1(intern!(py, "owns"), (top,))?.extract()
    }

    /// Imports the module called `absolute`, which the plugins own, and returns what an import statement expects.
    fn import(
        &self,
        former: &Bound<'py, PyAny>,
        absolute: &str,
        fromlist: Option<&Bound<'py, PyAny>>,
        level: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let module = self.load(former, absolute)?;
        let names = fromlist.map(|names| names.try_iter()?.collect::<PyResult<Vec<_>>>()).transpose()?;
        match names.filter(|names| !names.is_empty()) {
            Some(names) => {
                if module.hasattr(intern!(module.py(), "__path__"))? {
                    self.load_named(former, &module, absolute, names)?;
                }
                Ok(module)
            }
            None if level > 0 => Ok(module),
            None => modules(module.py())?.as_any().get_item(self.private(top(absolute))?),
        }
    }

    /// The module called `absolute`, which is run unless it has been already.
    fn load(&self, former: &Bound<'py, PyAny>, absolute: &str) -> PyResult<Bound<'py, PyAny>> {
        let py = former.py();
        let module = run(former, &self.table, absolute)?;
        self.table.call_method1(intern!(py, "note"), (&self.name, absolute))?;
        Ok(module)
    }

    /// Imports those of `names` that are modules of the package `module` rather than attributes.
    fn load_named(
        &self,
        former: &Bound<'py, PyAny>,
        module: &Bound<'py, PyAny>,
        absolute: &str,
        mut names: Vec<Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        if names.iter().any(|name| name.eq("*").unwrap_or(false))
            && let Some(all) = module.getattr_opt(intern!(module.py(), "__all__"))?
        {
            names.extend(all.try_iter()?.collect::<PyResult<Vec<_>>>()?);
        }
        for name in names {
            let Ok(name) = name.cast_into::<PyString>() else { continue };
            if name.to_str()? == "*" || module.hasattr(&name)? {
                continue;
            }
            let submodule = format!("{absolute}.{name}");
            if let Err(error) = self.load(former, &submodule) {
                // Without such a module the statement itself says that it cannot import the name.
                let missing = missing_name(module.py(), &error);
                if missing.as_deref() != Some(submodule.as_str()) {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Notes that nobody has a module of this name, since that may change.
    fn note_missing(&self, error: &PyErr, name: &str) {
        let py = self.table.py();
        let top = top(name);
        if missing_name(py, error).as_deref() == Some(top)
            && let Err(error) = self.table.call_method1(intern!(py, "note_missing"), (&self.name, top))
        {
            tracing::debug!("a missing module is not noted: {error}");
        }
    }
}

/// The package around the module called `name`, or the module itself.
fn top(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// The name of the module that is missing, if that is what `error` says.
fn missing_name(py: Python<'_>, error: &PyErr) -> Option<String> {
    let is_missing = error.is_instance_of::<PyModuleNotFoundError>(py);
    is_missing.then(|| error.value(py).getattr(intern!(py, "name")).ok()?.extract().ok()).flatten()
}

/// The owner of the code with these globals, as it was said to its load; `None` if it is no plugin's, or several's.
///
/// # Errors
/// When the package is not complete.
pub(crate) fn owner_of_code<'py>(globals: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(importer) = Importer::of(globals.py(), Some(globals))? else { return Ok(None) };
    let owner = importer.table.call_method1(intern!(globals.py(), "owner_of"), (importer.name,))?;
    Ok(Some(owner).filter(|owner| !owner.is_none()))
}

/// Runs the module of `table` called `name`, unless it has been run, and returns it.
///
/// # Errors
/// What the module raises. Errors of the import system have the plain name.
pub(crate) fn load<'py>(table: &Bound<'py, PyAny>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    run(former(table.py())?, table, name)
}

fn run<'py>(former: &Bound<'py, PyAny>, table: &Bound<'py, PyAny>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    let py = former.py();
    let (modules, private) = (modules(py)?, private(table, name)?);
    let is_new = !modules.contains(&private)?;
    // With a list of names it returns the module itself and not the package around it.
    let module = former.call1((&private, py.None(), py.None(), ("__name__",), 0)).inspect_err(|error| {
        if let Err(problem) = make_plain(table, error) {
            tracing::debug!("an error keeps the private name of a module: {problem}");
        }
    })?;
    if !is_new {
        return Ok(module);
    }
    table.call_method1(intern!(py, "settle"), (name,))?;
    modules.as_any().get_item(private)
}

/// The name in `sys.modules` of the module of `table` called `name`.
fn private<'py>(table: &Bound<'py, PyAny>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    let prefix = table.getattr(intern!(table.py(), "prefix"))?.cast_into::<PyString>()?;
    Ok(PyString::new(table.py(), &format!("{}{name}", prefix.to_str()?)).into_any())
}

/// Gives an error of the import system the plain name of the module instead of the private one.
fn make_plain(table: &Bound<'_, PyAny>, error: &PyErr) -> PyResult<()> {
    let py = table.py();
    if !error.is_instance_of::<PyImportError>(py) {
        return Ok(());
    }
    let value = error.value(py);
    let prefix = table.getattr(intern!(py, "prefix"))?.extract::<String>()?;
    for attribute in ["name", "msg"] {
        if let Some(text) = value.getattr(attribute)?.extract::<String>().ok().filter(|text| text.contains(&prefix)) {
            value.setattr(attribute, text.replace(&prefix, ""))?;
        }
    }
    let arguments = value.getattr(intern!(py, "args"))?.cast_into::<PyTuple>()?;
    let mut plain = Vec::with_capacity(arguments.len());
    for argument in arguments.iter() {
        let text = argument.extract::<String>().ok().filter(|text| text.contains(&prefix));
        plain.push(match text {
            Some(text) => PyString::new(py, &text.replace(&prefix, "")).into_any(),
            None => argument,
        });
    }
    value.setattr(intern!(py, "args"), PyTuple::new(py, plain)?)
}
