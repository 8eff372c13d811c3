//! Loads one plugin file: import, construct, initialise.
//!
//! Promise: whatever a file does (syntax error, `sys.exit`, an exception in `__init__`, an `initialize` that never
//! ends) becomes a [`LoadFailure`] with file, line and reason, and nothing else is affected. Caveat: plugin code that
//! blocks without awaiting cannot be interrupted; time limits hold only where it awaits.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::{PyKeyboardInterrupt, PyRuntimeError, PySystemExit, PyTimeoutError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule, PyType};

use super::discover::stem;
use super::environment::Environment;
use super::module::{self, Registration};
use super::owner::Owner;
use super::parameters::keyword_arguments;
use super::resident::{Entry, Resident};
use super::terminate::{end_tasks, terminate_instance, wait_for};
use crate::bridge::aiohttp;
use crate::bridge::coroutine::{await_python, coroutine};
use crate::bridge::{outcome, step};

/// Why a plugin is not there.
#[derive(Clone, Debug)]
pub struct LoadFailure {
    /// The plugin file.
    pub file: PathBuf,
    /// The line in it, if the trouble has one.
    pub line: Option<usize>,
    /// The class, if the trouble is of one class.
    pub class: Option<String>,
    /// Exception type and text.
    pub reason: String,
    /// The exception itself, if there was one.
    pub cause: Option<Arc<PyErr>>,
}

impl fmt::Display for LoadFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        match &self.class {
            Some(class) => write!(f, ": class {class}: {}", self.reason),
            None => write!(f, ": {}", self.reason),
        }
    }
}

/// What came of one file.
#[derive(Default)]
pub struct LoadedFile {
    /// The plugins that are ready to serve.
    pub residents: Vec<Arc<Resident>>,
    /// What went wrong.
    pub failures: Vec<LoadFailure>,
    /// The file's module.
    pub module: Option<Py<PyModule>>,
    /// To take the file's module back out, should it not be wanted after all.
    pub registration: Option<Registration>,
}

impl LoadedFile {
    /// True if these plugins may take the place of `old`: if something failed, only if no id is lost by it.
    pub fn may_replace(&self, old: &[Arc<Resident>]) -> bool {
        self.failures.is_empty() || old.iter().all(|old| self.residents.iter().any(|new| new.id == old.id))
    }

    /// Turns the plugins that `objection` has something against into failures, and returns them.
    pub fn refuse<E: fmt::Display>(&mut self, mut objection: impl FnMut(&Resident) -> Option<E>) -> Vec<Arc<Resident>> {
        let mut refused = Vec::new();
        for resident in std::mem::take(&mut self.residents) {
            match objection(&resident) {
                None => self.residents.push(resident),
                Some(reason) => {
                    let file = resident.file.clone();
                    self.failures.push(LoadFailure {
                        file,
                        line: None,
                        class: None,
                        reason: reason.to_string(),
                        cause: None,
                    });
                    refused.push(resident);
                }
            }
        }
        refused
    }
}

/// Loads `file`. Never fails as a whole: see [`LoadedFile::failures`].
pub async fn load_file(environment: &Environment, file: &Path) -> LoadedFile {
    load(environment, file, None).await
}

/// Loads `class` alone, which was imported from `file` in whatever way; otherwise like [`load_file`].
pub async fn load_class(environment: &Environment, file: &Path, class: Py<PyType>) -> LoadedFile {
    load(environment, file, Some(class)).await
}

async fn load(environment: &Environment, file: &Path, class: Option<Py<PyType>>) -> LoadedFile {
    let mut loaded = LoadedFile::default();
    let owner = match Python::attach(Owner::new) {
        Ok(owner) => owner,
        Err(error) => {
            loaded.failures.push(Python::attach(|py| failure(py, file, None, &error)));
            return loaded;
        }
    };
    match class {
        Some(class) => bring_in(&mut loaded, environment, file, &class, &owner).await,
        None => load_into(&mut loaded, environment, file, &owner).await,
    }
    if loaded.residents.is_empty()
        && let Err(error) = end_tasks(&owner, environment.patience).await
    {
        let reason = Python::attach(|py| describe(py, &error));
        tracing::error!("{}: ending its background tasks: {reason}", file.display());
    }
    loaded
}

async fn load_into(loaded: &mut LoadedFile, environment: &Environment, file: &Path, owner: &Py<Owner>) {
    let imported =
        Python::attach(|py| import(py, environment, file, owner).map_err(|error| failure(py, file, None, &error)));
    let Imported { classes, module, registration } = match imported {
        Ok(imported) => imported,
        Err(failure) => {
            loaded.failures.push(failure);
            return;
        }
    };
    loaded.registration = Some(registration);
    loaded.module = Some(module);
    if classes.is_empty() {
        tracing::debug!("{}: no class derived from BasePlugin, so no endpoint", file.display());
    }
    for class in classes {
        bring_in(loaded, environment, file, &class, owner).await;
    }
}

/// Adds what comes of one class.
async fn bring_in(
    loaded: &mut LoadedFile,
    environment: &Environment,
    file: &Path,
    class: &Py<PyType>,
    owner: &Py<Owner>,
) {
    let name = Python::attach(|py| class.bind(py).name().map_or_else(|_| String::new(), |name| name.to_string()));
    match bring_up(environment, file, class, owner).await {
        Ok(resident) => {
            if let Entry::Missing(hint) = &resident.entry {
                tracing::error!("{}: class {name} has no request_handler; {hint}", file.display());
            }
            loaded.residents.push(Arc::new(resident));
        }
        Err(error) => {
            let failure = Python::attach(|py| failure(py, file, Some(name), &error));
            loaded.failures.push(failure);
        }
    }
}

struct Imported {
    classes: Vec<Py<PyType>>,
    module: Py<PyModule>,
    registration: Registration,
}

fn import(py: Python<'_>, environment: &Environment, file: &Path, owner: &Py<Owner>) -> PyResult<Imported> {
    Owner::enter(owner.bind(py))?;
    let (module, registration) = module::run(py, file, &environment.locate(file))?;
    aiohttp::get_ready(py);
    let classes = module::plugin_classes(&module)?.into_iter().map(Bound::unbind).collect();
    Ok(Imported { classes, module: module.unbind(), registration })
}

async fn bring_up(environment: &Environment, file: &Path, class: &Py<PyType>, owner: &Py<Owner>) -> PyResult<Resident> {
    let (instance, started) = Python::attach(|py| -> PyResult<_> {
        Owner::enter(owner.bind(py))?;
        let kwargs = keyword_arguments(py, environment, &stem(file), owner.bind(py).as_any())?;
        let instance = class.bind(py).call((), Some(&kwargs))?;
        let started = start(&instance, &kwargs)?;
        Ok((instance.unbind(), started))
    })?;
    if let Some(started) = started {
        patiently(environment.patience, started, "initialize").await?;
    }
    let resident = Python::attach(|py| {
        let (instance, owner) = (instance.bind(py).clone(), owner.clone_ref(py));
        Resident::new(instance, file.to_path_buf(), owner, environment)
    });
    if resident.is_err()
        && let Err(error) = terminate_instance(&instance, owner, environment.patience).await
    {
        let reason = Python::attach(|py| describe(py, &error));
        tracing::error!("{}: terminate_plugin: {reason}", file.display());
    }
    resident
}

/// Calls `initialize`, if there is one; what it returns is awaited if it can be.
fn start(instance: &Bound<'_, PyAny>, kwargs: &Bound<'_, PyDict>) -> PyResult<Option<Py<PyAny>>> {
    let initialize = instance.getattr_opt(intern!(instance.py(), "initialize"))?;
    let Some(initialize) = initialize.filter(pyo3::types::PyAnyMethods::is_callable) else { return Ok(None) };
    let result = initialize.call((), Some(kwargs))?;
    Ok(step::awaitable(&result)?.map(|_| result.unbind()))
}

/// Awaits what a plugin's life-cycle method returned, for as long as plugins are waited for; after that it is cancelled
/// and left to its owner, since it may not heed a cancellation.
///
/// # Errors
/// What it raised, with `SystemExit` and `KeyboardInterrupt` as plain errors so that they end no loop, or a time-out.
pub async fn patiently(patience: Duration, awaitable: Py<PyAny>, what: &str) -> PyResult<()> {
    let (task, waiting) = Python::attach(|py| -> PyResult<_> {
        let fenced = coroutine(py, async move {
            await_python(awaitable).await.map_err(|error| Python::attach(|py| fenced(py, error)))
        })?;
        let task = py.import("asyncio")?.call_method1("ensure_future", (fenced,))?;
        let waiting = wait_for(py, vec![task.clone()], patience)?;
        Ok((task.unbind(), waiting))
    })?;
    let waited = match waiting {
        Some(waiting) => await_python(waiting).await.map(drop),
        None => Ok(()),
    };
    Python::attach(|py| {
        let task = task.bind(py);
        if task.call_method0("done")?.is_truthy()? {
            return task.call_method0("result").map(drop);
        }
        task.call_method0("cancel")?;
        waited?;
        Err(PyTimeoutError::new_err(format!("{what} did not end within {} s", seconds(patience))))
    })
}

/// A time as a person would write it: what is left of ten seconds is ten seconds.
fn seconds(time: Duration) -> f64 {
    let parts = if time >= Duration::from_secs(1) { 10.0 } else { 1000.0 };
    (time.as_secs_f64() * parts).round() / parts
}

fn fenced(py: Python<'_>, error: PyErr) -> PyErr {
    if !error.is_instance_of::<PySystemExit>(py) && !error.is_instance_of::<PyKeyboardInterrupt>(py) {
        return error;
    }
    let plain = PyRuntimeError::new_err(describe(py, &error));
    plain.set_traceback(py, error.traceback(py));
    plain
}

/// `Type: text`, on one line.
pub fn describe(py: Python<'_>, error: &PyErr) -> String {
    let value = error.value(py);
    let name = value.get_type().name().map_or_else(|_| "Exception".to_owned(), |name| name.to_string());
    let text = value.str().map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned());
    let described = if text.is_empty() { name } else { format!("{name}: {text}") };
    described.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn failure(py: Python<'_>, file: &Path, class: Option<String>, error: &PyErr) -> LoadFailure {
    tracing::debug!("{}: {}", file.display(), outcome::traceback(py, error));
    LoadFailure {
        file: file.to_path_buf(),
        line: module::line_of(py, error, file),
        class,
        reason: describe(py, error),
        cause: Some(Arc::new(error.clone_ref(py))),
    }
}
