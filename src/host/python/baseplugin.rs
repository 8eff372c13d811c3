//! `plugincore.baseplugin.BasePlugin`: the base class of every plugin.
//!
//! Runs on the Python thread. Promise: constructor arguments, attributes and methods are pluginserver's, private names
//! included, so that existing files run unchanged. The authentication attributes are properties: setting them, at any
//! time, changes what the I/O threads check before a request reaches Python. Caveat: `config`, `log` and `args` exist
//! only after `super().__init__(**kwargs)`, as in pluginserver; authentication attributes in a class body are read on
//! its instances; a native class (`dict`, `Exception`) cannot be the other base.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PySuper, PyTuple, PyType};

use super::logjam::LogJam;
use super::metrics::Metrics;
use super::request::Request;
use super::response;
use crate::edge::config::settings::Secret;
use crate::edge::http::rescue::ErrorCode;
use crate::edge::policy::credential::{AuthPolicy, Credential};
use crate::edge::policy::keys::Resource;
use crate::host::bridge::coroutine::{await_python, coroutine};
use crate::host::bridge::step;

/// The base class of plugins.
///
/// Takes keyword arguments only: `config`, `log`, `task_callback`, `args`, `prog_args`, and the plugin's own parameters
/// from `[plugin_parms]` and its JSON file. Of these it uses `prog_args` (required), `config`, `route_path`,
/// `auth_type` (`global`, `plugin` or `key`) and `apikey`.
///
/// >>> from plugincore.baseplugin import BasePlugin
/// >>> from plugincore.testing import SyncPluginClient
/// >>> class Hello(BasePlugin):
/// ...     def __init__(self, **kwargs):
/// ...         super().__init__(**kwargs)
/// ...         self.word = kwargs.get("word", "Hello")
/// ...
/// ...     async def request_handler(self, name="world", **data):
/// ...         return 200, {"message": f"{self.word}, {name}!"}
/// >>> with SyncPluginClient(Hello, params="word=Good+day") as client:
/// ...     client.get(query={"name": "Ada"}).json()
/// {'message': 'Good day, Ada!'}
// No Python object is in its fields: all that an instance holds is in its `__dict__`, so garbage collection is
// Python's.
#[pyclass(frozen, subclass, dict, weakref, module = "plugincore.baseplugin")]
pub struct BasePlugin {
    /// What the I/O threads check; follows the attributes.
    policy: Arc<ArcSwap<AuthPolicy>>,
    /// `[compat] legacy_status`, once the host has loaded the plugin.
    legacy_status: AtomicBool,
}

/// The `_auth_type` of plugins that any key of `[keys]` opens whose scopes name them.
const NAMED_KEYS: &str = "key";

/// Attributes of a class body that are defaults of the properties of these names, and where they are kept.
const DEFAULTS: [(&str, &str); 2] = [("_apikey", "_default_apikey"), ("_auth_type", "_default_auth_type")];

impl BasePlugin {
    /// What the host checks before a request enters `plugin`; it follows the plugin's attributes from here on.
    ///
    /// # Errors
    /// Whatever `str()` of the plugin's key raises.
    pub fn policy(plugin: &Bound<'_, Self>) -> PyResult<Arc<ArcSwap<AuthPolicy>>> {
        Self::update(plugin)?;
        Ok(Arc::clone(&plugin.get().policy))
    }

    /// Whether any key of `[keys]` that is for the plugin opens it.
    pub fn asks_for_named_key(&self) -> bool {
        matches!(**self.policy.load(), AuthPolicy::Named)
    }

    /// Has `plugin` require the server's key `now` if it requires `before`, the server's key that it was made with;
    /// without a key no client has access. A key that the plugin set itself stays.
    ///
    /// # Errors
    /// What an attribute of the plugin's own raises.
    pub fn change_server_key(plugin: &Bound<'_, PyAny>, before: Option<&Secret>, now: Option<&Secret>) -> PyResult<()> {
        let py = plugin.py();
        let kind = plugin.getattr(intern!(py, "_auth_type"))?;
        if before == now || !kind.str()?.to_string_lossy().eq_ignore_ascii_case("global") {
            return Ok(());
        }
        let key = plugin.getattr(intern!(py, "_apikey"))?;
        let key = if key.is_truthy()? { Some(key.str()?.to_string_lossy().trim().to_owned()) } else { None };
        if key.as_deref() == before.map(Secret::expose) {
            plugin.setattr(intern!(py, "_apikey"), now.map(Secret::expose))?;
        }
        Ok(())
    }

    /// Has `handle_request` give every plain result the status 200, for clients of pluginserver.
    pub fn set_legacy_status(&self, legacy_status: bool) {
        self.legacy_status.store(legacy_status, Ordering::Relaxed);
    }

    /// Has the host obey the attributes as they are now.
    fn update(slf: &Bound<'_, Self>) -> PyResult<()> {
        slf.get().policy.store(Arc::new(policy_of(slf.as_any())?));
        Ok(())
    }

    /// True if `class`, or something between it and this one, has an attribute of its own called `name`.
    ///
    /// # Errors
    /// When the class has no such attribute.
    pub fn hides(class: &Bound<'_, PyType>, name: &str) -> PyResult<bool> {
        Ok(!class.getattr(name)?.is(class.py().get_type::<Self>().getattr(name)?))
    }

    /// Sets an attribute that decides about access.
    fn set_access(slf: &Bound<'_, Self>, name: &Bound<'_, PyString>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        slf.getattr(intern!(slf.py(), "__dict__"))?.set_item(name, value)?;
        Self::update(slf)
    }

    fn access<'py>(slf: &Bound<'py, Self>, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        slf.getattr(intern!(slf.py(), "__dict__"))?.call_method1(intern!(slf.py(), "get"), (name,))
    }
}

/// What `_auth_type` and `_apikey` of `plugin` ask for, as they are now.
fn policy_of(plugin: &Bound<'_, PyAny>) -> PyResult<AuthPolicy> {
    let py = plugin.py();
    if !plugin.getattr(intern!(py, "_auth_type"))?.is_truthy()? {
        return Ok(AuthPolicy::Open);
    }
    let key = plugin.getattr(intern!(py, "_apikey"))?;
    if key.is_truthy()? {
        return Ok(AuthPolicy::key(&Secret::new(key.str()?.to_str()?)));
    }
    let kind = plugin.getattr(intern!(py, "_auth_type"))?.str()?;
    Ok(if kind.to_string_lossy().eq_ignore_ascii_case(NAMED_KEYS) { AuthPolicy::Named } else { AuthPolicy::Closed })
}

#[pymethods]
impl BasePlugin {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(**kwargs)")]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self { policy: Arc::new(ArcSwap::from_pointee(AuthPolicy::Open)), legacy_status: AtomicBool::new(false) }
    }

    /// What copies and pickles of a plugin hold: its attributes.
    fn __getstate__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.getattr(intern!(slf.py(), "__dict__"))?.call_method0(intern!(slf.py(), "copy"))
    }

    /// Moves `_auth_type` and `_apikey` of a class body aside, or they would hide the properties.
    #[classmethod]
    #[pyo3(signature = (**options))]
    fn __init_subclass__(class: &Bound<'_, PyType>, options: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        let py = class.py();
        PySuper::new(&py.get_type::<Self>(), class)?.call_method("__init_subclass__", (), options)?;
        let body = class.getattr(intern!(py, "__dict__"))?;
        for (name, default) in DEFAULTS {
            if body.contains(name)? && !body.get_item(name)?.get_type().hasattr(intern!(py, "__get__"))? {
                class.setattr(default, body.get_item(name)?)?;
                class.delattr(name)?;
            }
        }
        Ok(())
    }

    #[pyo3(signature = (**kwargs))]
    fn __init__(slf: &Bound<'_, Self>, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        let py = slf.py();
        let kwargs = kwargs.map_or_else(|| Ok(PyDict::new(py)), pyo3::types::PyDictMethods::copy)?;
        let given = |name: &str| -> PyResult<Option<Bound<'_, PyAny>>> {
            Ok(kwargs.get_item(name)?.filter(|value| !value.is_none()))
        };
        let prog_args = given("prog_args")?.ok_or_else(|| {
            PyValueError::new_err("no args were passed: hand the keyword arguments on with super().__init__(**kwargs)")
        })?;
        let config = given("config")?;
        slf.setattr(intern!(py, "config"), config.clone())?;
        let plugin_id = match given("route_path")? {
            Some(path) => path,
            None => slf.get_type().name()?.call_method0(intern!(py, "lower"))?,
        };
        slf.setattr(intern!(py, "_plugin_id"), &plugin_id)?;
        let (auth_type, apikey) = authentication(&given, config.as_ref())?;
        for ((name, default), value) in DEFAULTS.into_iter().zip([apikey, auth_type]) {
            // What a class body says is the default, as class attributes are; one of a mixin stands as it is.
            if value.is_some() || !Self::hides(&slf.get_type(), name)? {
                slf.setattr(name, value.map_or_else(|| slf.getattr_opt(default), |value| Ok(Some(value)))?)?;
            }
        }
        let options = PyDict::new(py);
        options.set_item("name", plugin_id.str()?)?;
        options.set_item("level", prog_args.getattr(intern!(py, "level"))?)?;
        options.set_item("file", prog_args.getattr(intern!(py, "log"))?)?;
        let log = py.get_type::<LogJam>().call((), Some(&options))?;
        slf.setattr(intern!(py, "log"), &log)?;
        kwargs.set_item("log", log)?;
        slf.setattr(intern!(py, "args"), kwargs)
    }

    /// None, `global`, `plugin` or `key`: whose key opens this plugin. Anything that is true asks for a key.
    #[getter(_auth_type)]
    fn auth_type<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::access(slf, intern!(slf.py(), "_auth_type"))
    }

    #[setter(_auth_type)]
    fn set_auth_type(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::set_access(slf, intern!(slf.py(), "_auth_type"), value)
    }

    /// The key that opens this plugin; compared as text.
    #[getter(_apikey)]
    fn apikey<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::access(slf, intern!(slf.py(), "_apikey"))
    }

    #[setter(_apikey)]
    fn set_apikey(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::set_access(slf, intern!(slf.py(), "_apikey"), value)
    }

    /// Figures of the plugin in `/-/metrics`: `counter`, `gauge` and `histogram` declare them. A plugin may have another
    /// attribute of this name.
    #[getter]
    fn metrics<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let own = slf.getattr(intern!(py, "__dict__"))?.cast_into::<PyDict>()?;
        if let Some(other) = own.get_item(intern!(py, "metrics"))? {
            return Ok(other);
        }
        let id = slf.getattr(intern!(py, "_plugin_id"))?.str()?;
        Ok(Bound::new(py, Metrics::of(&id.to_string_lossy()))?.into_any())
    }

    #[setter]
    fn set_metrics(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        slf.getattr(intern!(slf.py(), "__dict__"))?.set_item(intern!(slf.py(), "metrics"), value)
    }

    /// Called when the plugin is unloaded or the server stops; override it to release what the plugin holds.
    ///
    /// It may be `async`. Tasks that the plugin created are cancelled afterwards by the host.
    #[allow(clippy::unused_self)] // A method that subclasses override.
    fn terminate_plugin(&self) {}

    /// The id under which the plugin is reached: `_plugin_id`.
    fn _get_plugin_id<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.getattr(intern!(slf.py(), "_plugin_id"))
    }

    /// The client's address as text: the peer's, or the one that a trusted proxy forwarded.
    #[allow(clippy::unused_self)] // A method that subclasses override.
    fn _get_client_ip(&self, request: &Bound<'_, PyAny>) -> PyResult<String> {
        if let Ok(request) = request.cast::<Request>() {
            return Ok(request.get().client_ip());
        }
        let py = request.py();
        let mut address = request.getattr_opt(intern!(py, "remote"))?.filter(|remote| !remote.is_none());
        if address.is_none()
            && let Some(transport) =
                request.getattr_opt(intern!(py, "transport"))?.filter(|transport| !transport.is_none())
        {
            let peer = transport.call_method1(intern!(py, "get_extra_info"), (intern!(py, "peername"),))?;
            address = if peer.is_none() { None } else { Some(peer.get_item(0)?) };
        }
        address.map_or_else(|| Ok("unknown".to_owned()), |address| address.str()?.extract())
    }

    /// True if `data` (as `request_handler` gets it) holds the key that this plugin asks for, or it asks for none.
    fn _check_auth(slf: &Bound<'_, Self>, data: &Bound<'_, PyDict>) -> PyResult<bool> {
        let py = data.py();
        let headers = data.get_item(intern!(py, "request_headers"))?;
        let header = |name: &Bound<'_, PyString>| -> PyResult<Option<String>> {
            headers.as_ref().map_or(Ok(None), |headers| headers.call_method1(intern!(py, "get"), (name,))?.extract())
        };
        let variable = data.get_item(intern!(py, "apikey"))?.and_then(|value| value.extract::<String>().ok());
        let request = data.get_item(intern!(py, "request"))?;
        let request = request.as_ref().and_then(|request| request.cast::<Request>().ok());
        let keys = request.and_then(|request| request.get().data().key.keys.clone()).unwrap_or_default();
        let shown = Credential::from_texts(
            keys.sources,
            header(intern!(py, "Authorization"))?.as_deref(),
            header(intern!(py, "X-Custom-Auth"))?.as_deref(),
            variable.as_deref(),
        );
        let by_name = request.is_some_and(|request| request.get().data().key.by_name);
        let policy = if by_name { AuthPolicy::Named } else { policy_of(slf.as_any())? };
        let Some(shown) = shown else { return Ok(matches!(policy, AuthPolicy::Open)) };
        let id = slf.getattr(intern!(py, "_plugin_id"))?.str()?;
        let id = id.to_string_lossy();
        let Ok(accepted) = policy.admits(&keys, Resource::Plugin(id.trim_matches('/')), &shown) else {
            return Ok(false);
        };
        if let (Some(request), Some(name)) = (request, accepted.and_then(|key| key.name)) {
            request.get().data().key.name.get_or_init(|| name);
        }
        Ok(true)
    }

    /// Checks the key and runs `request_handler(**data)`; the host calls it for plugins that override it,
    /// `_check_auth` or `_get_client_ip`, and does the same natively for all others.
    ///
    /// Returns a `plugincore.responses.Response` of what `request_handler` returned, which an override may change
    /// before it returns it; without the key, 403 with the same error that the server gives. A result that is a response already,
    /// also one of aiohttp's, comes as it is. What `request_handler` raises comes out.
    #[pyo3(signature = (**data))]
    fn handle_request<'py>(slf: &Bound<'py, Self>, data: Option<&Bound<'py, PyDict>>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let data = data.map_or_else(|| PyDict::new(py), Clone::clone).unbind();
        let plugin = slf.clone().into_any().unbind();
        let run = async move {
            let checked = Python::attach(|py| -> PyResult<_> {
                let (plugin, data) = (plugin.bind(py), data.bind(py));
                if let Some(request) = data.get_item("request")? {
                    data.set_item("client_ip", plugin.call_method1(intern!(py, "_get_client_ip"), (request,))?)?;
                }
                Ok(plugin.call_method1(intern!(py, "_check_auth"), (data,))?.unbind())
            })?;
            // An overridden check may be async; taken as it is, its coroutine would count as a yes.
            let admitted = settled(checked).await?;
            let result = Python::attach(|py| -> PyResult<_> {
                if !admitted.bind(py).is_truthy()? {
                    let body = PyDict::new(py);
                    body.set_item("error", "unauthorized")?;
                    body.set_item("code", ErrorCode::Unauthorized.as_str())?;
                    if let Some(request) = data.bind(py).get_item("request")?
                        && let Ok(request) = request.cast::<Request>()
                    {
                        body.set_item("request_id", request.get().data().id.as_str())?;
                    }
                    return Ok((403, body).into_pyobject(py)?.into_any().unbind());
                }
                let data = data.bind(py);
                Ok(plugin.bind(py).call_method(intern!(py, "request_handler"), (), Some(data))?.unbind())
            })?;
            let result = settled(result).await?;
            Python::attach(|py| {
                let legacy_status = plugin.bind(py).cast::<Self>()?.get().legacy_status.load(Ordering::Relaxed);
                PyResult::Ok(response::response(result.bind(py), legacy_status)?.unbind())
            })
        };
        Ok(coroutine(py, run)?.into_any())
    }
}

/// What `value` gives when it is awaited; `value` itself when it cannot be.
async fn settled(value: Py<PyAny>) -> PyResult<Py<PyAny>> {
    let waits = Python::attach(|py| step::awaitable(value.bind(py)).map(|found| found.is_some()))?;
    if waits { await_python(value).await } else { Ok(value) }
}

/// The attribute of an exception that names the parameter to blame, and its value.
pub(crate) const BLAMED: &str = "_plugincore_parameter";

/// A `ValueError` for which the parameter `name` is to blame, which was given as `value`.
pub(crate) fn parameter_error(py: Python<'_>, name: &str, value: &str, reason: impl Into<String>) -> PyErr {
    let error = PyValueError::new_err(reason.into());
    // Without it the message names the plugin instead of the parameter's place.
    let _ = error.value(py).setattr(BLAMED, (name, value));
    error
}

/// The entry of that very name, else the first whose name differs in case only.
///
/// # Errors
/// When `mapping` is no mapping.
pub(crate) fn named<'py>(mapping: &Bound<'py, PyAny>, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
    if mapping.contains(name)? {
        return mapping.get_item(name).map(Some);
    }
    for item in mapping.call_method0(intern!(mapping.py(), "items"))?.try_iter()? {
        let (known, value) = item?.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
        if known.extract::<String>().is_ok_and(|known| known.to_lowercase() == name.to_lowercase()) {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// Whether it can be shown: nothing, and nothing but white space, cannot.
fn is_key(key: &Bound<'_, PyAny>) -> bool {
    key.is_truthy().unwrap_or(false) && key.str().is_ok_and(|key| !key.to_string_lossy().trim().is_empty())
}

type Attributes<'py> = (Option<Bound<'py, PyAny>>, Option<Bound<'py, PyAny>>);

/// `(_auth_type, _apikey)` from the parameters; an unknown kind of authentication refuses to load rather than run open.
fn authentication<'py>(
    given: &dyn Fn(&str) -> PyResult<Option<Bound<'py, PyAny>>>,
    config: Option<&Bound<'py, PyAny>>,
) -> PyResult<Attributes<'py>> {
    let (mut name, mut asked) = ("auth_type", given("auth_type")?);
    if asked.is_none() {
        (name, asked) = ("auth", given("auth")?);
        if let Some(kind) = &asked {
            tracing::warn!("[plugin_parms]: auth={kind} is read as auth_type={kind}; please write auth_type");
        }
    }
    let Some(asked) = asked else { return Ok((None, None)) };
    let py = asked.py();
    let written = asked.str()?.to_string_lossy().into_owned();
    let wrong = |reason: &str| parameter_error(py, name, &written, reason);
    let kind = written.to_lowercase();
    match kind.as_str() {
        // The second says that the plugin is open on purpose.
        "" | "none" => Ok((None, None)),
        "global" => {
            let section = config.map(|config| named(config, "auth")).transpose()?.flatten();
            let key = section.filter(|auth| auth.contains("apikey").unwrap_or(false));
            let key = key.map(|auth| auth.get_item("apikey")).transpose()?;
            let key = key.filter(is_key);
            let key = key.ok_or_else(|| wrong("Auth is global but no apikey in auth"))?;
            Ok((Some(PyString::new(py, &kind).into_any()), Some(key)))
        }
        // Not one of its own, even if its class has one.
        NAMED_KEYS => Ok((Some(PyString::new(py, &kind).into_any()), Some(py.None().into_bound(py)))),
        "plugin" => {
            let key = given("apikey")?.filter(is_key);
            let key = key.ok_or_else(|| wrong("Auth is plugin but no plugin apikey"))?;
            Ok((Some(PyString::new(py, &kind).into_any()), Some(key)))
        }
        other => Err(wrong(&format!(
            "auth_type is {other:?}; it must be \"global\" (the key of [auth] apikey), \"plugin\" (its own apikey), \"key\" (the keys of [keys]) or \"none\""
        ))),
    }
}
