//! Loads one plugin file: import, construct, initialise.
//!
//! Runs on the Python thread. Promise: whatever a file does (syntax error, `sys.exit`, an exception in `__init__`, an
//! `initialize` that never ends) becomes a [`LoadFailure`] with file, line and reason, and nothing else is affected.
//! Time limits hold for code that blocks Python as well. Caveat: C code that looks for no signals cannot be
//! interrupted.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyModule, PyType};

use super::discover::stem;
use super::environment::Environment;
use super::failure::{LoadFailure, describe};
use super::host_keys::ALWAYS;
use super::loaded_plugin::{Entry, LoadedPlugin};
use super::module::{self, FileModule};
use super::parameters::{self, keyword_arguments};
use super::signature::{Uncallable, uncallable};
use super::task_scope::PluginScope;
use super::terminate::{close, discard, discard_instance, end_tasks};
use super::timeout::with_timeout;
use super::watch::Step;
use crate::host::bridge::aiohttp;
use crate::host::bridge::coroutine::{await_python, coroutine};
use crate::host::bridge::time_limit::TimeLimit;
use crate::host::bridge::{fork, step};
use crate::host::python::baseplugin::BasePlugin;

/// What came of one file.
#[derive(Default)]
pub(crate) struct LoadedFile {
    /// The file, as messages name it.
    file: PathBuf,
    /// The plugins that are ready to serve.
    pub plugins: Vec<Arc<LoadedPlugin>>,
    /// What went wrong.
    pub failures: Vec<LoadFailure>,
    /// The file's module.
    pub module: Option<Py<PyModule>>,
    /// Where that module belongs, to take it back out if it is not wanted after all.
    pub origin: Option<Arc<FileModule>>,
    /// The background tasks of the file.
    scope: Option<Arc<PluginScope>>,
}

impl LoadedFile {
    /// True if these plugins may take the place of `old`: if something failed, only if no id is lost by it.
    pub(crate) fn may_replace(&self, old: &[Arc<LoadedPlugin>]) -> bool {
        self.failures.is_empty() || old.iter().all(|old| self.plugins.iter().any(|new| new.id == old.id))
    }

    /// Turns the plugins that `objection` has something against into failures, and discards them.
    pub(crate) async fn refuse<E: fmt::Display>(
        &mut self,
        timeout: Duration,
        mut objection: impl FnMut(&LoadedPlugin) -> Option<E>,
    ) {
        let mut refused = Vec::new();
        for plugin in std::mem::take(&mut self.plugins) {
            match objection(&plugin) {
                None => self.plugins.push(plugin),
                Some(reason) => {
                    self.fail(LoadFailure::objection(&plugin.file, None, None, reason.to_string()));
                    refused.push(plugin);
                }
            }
        }
        discard(&refused, timeout).await;
        if self.plugins.is_empty() {
            self.end_tasks(timeout).await;
        }
    }

    /// Adds the host's own objection to the file as a whole.
    pub(crate) fn object(&mut self, reason: String) {
        self.fail(LoadFailure::objection(&self.file, None, None, reason));
    }

    /// Takes everything back: the plugins, the tasks, the module.
    pub(crate) async fn give_up(self, timeout: Duration) {
        discard(&self.plugins, timeout).await;
        self.end_tasks(timeout).await;
        if let Some(origin) = self.origin {
            Python::attach(|py| release(py, &self.file, &origin));
        }
    }

    /// Notes what went wrong; what is wrong with the parameters of all classes is reported once.
    fn fail(&mut self, failure: LoadFailure) {
        let text = failure.to_string();
        if self.failures.iter().all(|known| known.to_string() != text) {
            self.failures.push(failure);
        }
    }

    async fn end_tasks(&self, timeout: Duration) {
        let Some(scope) = &self.scope else { return };
        if let Err(error) = end_tasks(scope, timeout).await {
            let reason = Python::attach(|py| describe(py, &error));
            tracing::error!("ending background tasks: {reason}");
        }
        Python::attach(|py| close(py, scope));
    }
}

/// Lets go of the module of a file that serves no more.
pub(crate) fn release(py: Python<'_>, file: &Path, origin: &FileModule) {
    if let Err(error) = origin.release(py, false) {
        tracing::error!("{}: its modules stay: {}", file.display(), describe(py, &error));
    }
}

/// Loads `file`. Never fails as a whole: see [`LoadedFile::failures`].
pub(crate) async fn load_file(environment: &Environment, file: &Path) -> LoadedFile {
    load(environment, file, None).await
}

/// Loads `class` alone, which was imported from `file` in whatever way; otherwise like [`load_file`].
pub(crate) async fn load_class(environment: &Environment, file: &Path, class: Py<PyType>) -> LoadedFile {
    load(environment, file, Some(class)).await
}

async fn load(environment: &Environment, file: &Path, class: Option<Py<PyType>>) -> LoadedFile {
    let mut loaded = LoadedFile { file: file.to_path_buf(), ..LoadedFile::default() };
    let scope = match Python::attach(PluginScope::new) {
        Ok(scope) => scope,
        Err(error) => {
            loaded.fail(Python::attach(|py| LoadFailure::of_error(py, environment, file, None, &error)));
            return loaded;
        }
    };
    loaded.scope = Some(Arc::clone(&scope));
    match class {
        Some(class) => load_class_into(&mut loaded, environment, file, &class, &scope).await,
        None => load_into(&mut loaded, environment, file, &scope).await,
    }
    // From here on the context is that of requests, whose tasks are the file's and not a single plugin's.
    let left = Python::attach(|py| scope.enter(py).map(drop));
    if let Err(error) = left {
        loaded.fail(Python::attach(|py| LoadFailure::of_error(py, environment, file, None, &error)));
    }
    if loaded.plugins.is_empty() {
        loaded.end_tasks(environment.terminate_timeout).await;
    }
    loaded
}

/// Imports `file` and nothing more: there are no instances, so what `__init__` and `initialize` would do is not known.
/// Returns the names of its plugin classes, and what is wrong with it or with its parameters.
pub(crate) fn try_import(py: Python<'_>, environment: &Environment, file: &Path) -> (Vec<String>, Vec<LoadFailure>) {
    let mut loaded = LoadedFile { file: file.to_path_buf(), ..LoadedFile::default() };
    let name = |class: Py<PyType>| class.bind(py).name().map_or_else(|_| String::new(), |name| name.to_string());
    let tried = PluginScope::new(py).and_then(|scope| {
        let imported = announce_and_import(py, &mut loaded, environment, file, &scope)?;
        let classes: Vec<_> = imported.classes.into_iter().map(name).collect();
        if !classes.is_empty() {
            let kwargs = keyword_arguments(py, environment, &stem(file), scope.owner.bind(py).as_any())?;
            // What the base class makes of the parameters; a class of its own may not pass them on.
            if let Err(error) = py.get_type::<BasePlugin>().call((), Some(&kwargs)) {
                let failure = LoadFailure::of_error(py, environment, file, None, &error);
                if failure.is_of_parameters() {
                    loaded.fail(failure);
                }
            }
        }
        Ok(classes)
    });
    let classes = tried.unwrap_or_else(|error| {
        loaded.fail(LoadFailure::of_error(py, environment, file, None, &error));
        Vec::new()
    });
    (classes, loaded.failures)
}

fn announce_and_import(
    py: Python<'_>,
    loaded: &mut LoadedFile,
    environment: &Environment,
    file: &Path,
    scope: &PluginScope,
) -> PyResult<Imported> {
    let parameters = parameters::digest(py, environment, &stem(file))?;
    let origin = environment.modules.announce(py, &environment.locate(file), parameters)?;
    origin.set_owner(scope.owner.bind(py))?;
    let _limit = TimeLimit::begin("its import", environment.timeout);
    import(py, file, loaded.origin.insert(Arc::new(origin)), scope)
}

async fn load_into(loaded: &mut LoadedFile, environment: &Environment, file: &Path, scope: &Arc<PluginScope>) {
    let imported = Python::attach(|py| announce_and_import(py, loaded, environment, file, scope));
    let Imported { classes, module } = match imported {
        Ok(imported) => imported,
        Err(error) => {
            loaded.fail(Python::attach(|py| LoadFailure::of_error(py, environment, file, None, &error)));
            return;
        }
    };
    loaded.module = Some(module);
    if classes.is_empty() {
        tracing::debug!("{}: no class derived from BasePlugin, so no endpoint", file.display());
    }
    for class in classes {
        load_class_into(loaded, environment, file, &class, scope).await;
    }
}

/// Adds what comes of one class.
async fn load_class_into(
    loaded: &mut LoadedFile,
    environment: &Environment,
    file: &Path,
    class: &Py<PyType>,
    scope: &Arc<PluginScope>,
) {
    let name = Python::attach(|py| class.bind(py).name().map_or_else(|_| String::new(), |name| name.to_string()));
    let part = Python::attach(|py| scope.part(py));
    let brought = match &part {
        Ok(part) => instantiate(environment, file, class, (scope, part)).await,
        Err(error) => Err(Python::attach(|py| error.clone_ref(py)).into()),
    };
    match brought {
        Ok(plugin) => {
            if let Entry::Missing(hint) = &plugin.entry {
                tracing::error!("{}: class {name} has no request_handler; {hint}", file.display());
            }
            let plugin = Arc::new(plugin);
            match Python::attach(|py| objection(py, environment, &plugin, &name)) {
                None => loaded.plugins.push(plugin),
                Some(failure) => {
                    discard(&[plugin], environment.terminate_timeout).await;
                    loaded.fail(failure);
                }
            }
        }
        Err(NotReady { error, of_self_check }) => {
            let mut failure = Python::attach(|py| LoadFailure::of_error(py, environment, file, Some(name), &error));
            failure.of_self_check = of_self_check;
            loaded.fail(failure);
        }
    }
}

/// Why an instance cannot serve.
struct NotReady {
    error: PyErr,
    /// Whether its own `self_check` said so.
    of_self_check: bool,
}

impl From<PyErr> for NotReady {
    fn from(error: PyErr) -> Self {
        Self { error, of_self_check: false }
    }
}

/// What is against a plugin that is ready: that no request could ever call its handler.
fn objection(py: Python<'_>, environment: &Environment, plugin: &LoadedPlugin, class: &str) -> Option<LoadFailure> {
    let instance = plugin.instance.bind(py);
    let method = match plugin.entry {
        Entry::HandleRequest if plugin.source.overrides_handle_request => intern!(py, "handle_request"),
        Entry::HandleRequest | Entry::Handler => intern!(py, "request_handler"),
        Entry::Missing(_) => return None,
    };
    // What cannot be looked at may well be called.
    let found = instance.getattr(method).and_then(|method| uncallable(&method, &ALWAYS)).ok().flatten()?;
    let Uncallable { mut reason, file, line } = found;
    let own = file == environment.locate(&plugin.file);
    if !own {
        let file = environment.shown(&file).unwrap_or(file);
        reason = format!("{reason} ({}:{line})", file.display());
    }
    Some(LoadFailure::objection(&plugin.file, own.then_some(line), Some(class.to_owned()), reason))
}

struct Imported {
    classes: Vec<Py<PyType>>,
    module: Py<PyModule>,
}

fn import(py: Python<'_>, file: &Path, origin: &FileModule, scope: &PluginScope) -> PyResult<Imported> {
    let _step = Step::begin(file, "its import");
    let _entered = scope.enter(py)?;
    let ran = origin.run(py);
    fork::end_child(py, ran.as_ref().err());
    let module = ran?;
    aiohttp::get_ready(py);
    let classes = module::plugin_classes(&module)?.into_iter().map(Bound::unbind).collect();
    Ok(Imported { classes, module: module.unbind() })
}

async fn instantiate(
    environment: &Environment,
    file: &Path,
    class: &Py<PyType>,
    (scope, part): (&Arc<PluginScope>, &Arc<PluginScope>),
) -> Result<LoadedPlugin, NotReady> {
    let made = Python::attach(|py| -> PyResult<_> {
        let _entered = part.enter(py)?;
        let kwargs = keyword_arguments(py, environment, &stem(file), part.owner.bind(py).as_any())?;
        let _step = Step::begin(file, format!("__init__ of {}", class.bind(py).name()?));
        let limit = TimeLimit::begin("__init__", environment.timeout);
        let instance = class.bind(py).call((), Some(&kwargs));
        drop(limit);
        fork::end_child(py, instance.as_ref().err());
        Ok((instance?.unbind(), kwargs.unbind()))
    });
    let (instance, ready) = match made {
        Ok((instance, kwargs)) => {
            let ready = make_ready(environment, file, &instance, kwargs, (scope, part)).await;
            (Some(instance), ready)
        }
        Err(error) => (None, Err(error.into())),
    };
    if ready.is_err() {
        if let Some(instance) = &instance {
            discard_instance(file, instance, part, environment.terminate_timeout).await;
        }
        if let Err(error) = end_tasks(part, environment.terminate_timeout).await {
            tracing::warn!("{}: ending its tasks: {}", file.display(), Python::attach(|py| describe(py, &error)));
        }
    }
    ready
}

/// From a new instance to one that can serve.
async fn make_ready(
    environment: &Environment,
    file: &Path,
    instance: &Py<PyAny>,
    kwargs: Py<PyDict>,
    (scope, part): (&Arc<PluginScope>, &Arc<PluginScope>),
) -> Result<LoadedPlugin, NotReady> {
    let step = Python::attach(|py| PyResult::Ok(instance.bind(py).get_type().name()?.to_string()))
        .map(|class| Step::begin(file, format!("initialize of {class}")))?;
    let started = Python::attach(|py| {
        let _entered = part.enter(py)?;
        let limit = TimeLimit::begin("initialize", environment.timeout);
        let started = start(instance.bind(py), kwargs.bind(py));
        drop(limit);
        fork::end_child(py, started.as_ref().err());
        started
    })?;
    if let Some(started) = started {
        let context = Python::attach(|py| part.context(py));
        with_timeout(environment.timeout, context, started, "initialize").await?;
    }
    drop(step);
    let checked = self_check(environment, file, instance, part).await;
    checked.map_err(|error| NotReady { error, of_self_check: true })?;
    Python::attach(|py| {
        let _entered = part.enter(py)?;
        let scopes = (Arc::clone(scope), Arc::clone(part));
        Ok(LoadedPlugin::new(instance.bind(py).clone(), file.to_path_buf(), scopes, environment)?)
    })
}

/// Asks a plugin that has a `self_check` whether it is able to serve, which it denies by raising or by returning False.
async fn self_check(
    environment: &Environment,
    file: &Path,
    instance: &Py<PyAny>,
    part: &Arc<PluginScope>,
) -> PyResult<()> {
    let begun = Python::attach(|py| -> PyResult<_> {
        let check = instance.bind(py).getattr_opt(intern!(py, "self_check"))?;
        let Some(check) = check.filter(pyo3::types::PyAnyMethods::is_callable) else { return Ok(None) };
        let step = Step::begin(file, format!("self_check of {}", instance.bind(py).get_type().name()?));
        let _entered = part.enter(py)?;
        let limit = TimeLimit::begin("self_check", environment.timeout);
        let result = check.call0();
        drop(limit);
        fork::end_child(py, result.as_ref().err());
        let result = result?;
        if step::awaitable(&result)?.is_none() {
            return verdict(&result).map(|()| None);
        }
        let result = result.unbind();
        let checked = coroutine(py, async move {
            let result = await_python(result).await?;
            Python::attach(|py| verdict(result.bind(py)))
        })?;
        Ok(Some((step, part.context(py), checked.into_any().unbind())))
    })?;
    let Some((_step, context, checked)) = begun else { return Ok(()) };
    with_timeout(environment.timeout, context, checked, "self_check").await
}

/// What a `self_check` that returned `result` says.
fn verdict(result: &Bound<'_, PyAny>) -> PyResult<()> {
    match result.cast::<PyBool>() {
        Ok(result) if !result.is_true() => Err(PyRuntimeError::new_err("self_check returned False")),
        _ => Ok(()),
    }
}

/// Calls `initialize`, if there is one; what it returns is awaited if it can be.
fn start(instance: &Bound<'_, PyAny>, kwargs: &Bound<'_, PyDict>) -> PyResult<Option<Py<PyAny>>> {
    let initialize = instance.getattr_opt(intern!(instance.py(), "initialize"))?;
    let Some(initialize) = initialize.filter(pyo3::types::PyAnyMethods::is_callable) else { return Ok(None) };
    let result = initialize.call((), Some(kwargs))?;
    Ok(step::awaitable(&result)?.map(|_| result.unbind()))
}
