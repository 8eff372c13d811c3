//! A plugin instance that is loaded, and how it is called.
//!
//! Runs on the Python thread. Promise: everything about the instance that a request needs is looked up once, when it is
//! loaded. Caveat: later changes by the plugin have an effect only where this module says so: the handler is looked up
//! on the instance at each call, and the authentication attributes are live.

use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use http::Method;
use pyo3::intern;
use pyo3::prelude::*;
use serde_json::Value;

use super::discover::stem;
use super::environment::Environment;
use super::handler_pool::HandlerPool;
use super::task_scope::PluginScope;
use super::typed::{self, TypedHandler};
use crate::edge::config::settings::plugins::PluginSettings;
use crate::edge::http::request::MethodSet;
use crate::edge::policy::admission::Entrance;
use crate::edge::policy::credential::AuthPolicy;
use crate::edge::policy::keys::{Keys, Resource};
use crate::host::bridge::in_flight::InFlight;
use crate::host::bridge::inside;
use crate::host::bridge::outcome::ResultContext;
use crate::host::bridge::time_limit::TimeLimit;
use crate::host::python::baseplugin::BasePlugin;

/// A loaded plugin.
pub(crate) struct LoadedPlugin {
    /// The id under which it is reached, without a leading slash.
    pub id: Arc<str>,
    /// The file it came from.
    pub file: PathBuf,
    /// The plugin object.
    pub instance: Py<PyAny>,
    /// Which method answers requests.
    pub entry: Entry,
    /// What its type hints say that it takes, if they say anything.
    pub typed: Option<TypedHandler>,
    /// What it says of itself.
    pub description: Arc<Value>,
    /// What its methods call the instance, if not `self`: names that no variable of a request may take.
    pub receivers: Vec<String>,
    /// Methods it answers: `http_methods` of the class, GET and POST by default.
    pub methods: MethodSet,
    /// What is asked of a client before a request enters.
    pub policy: Arc<ArcSwap<AuthPolicy>>,
    /// What the server goes by for it; a reload may change it while the plugin stays.
    settings: ArcSwap<PluginSettings>,
    /// Where requests are admitted to it, once it serves.
    pub entrance: OnceLock<Arc<Entrance>>,
    /// Whether the plugin itself decides whom it lets in.
    pub checks_itself: bool,
    /// How its results are read.
    pub source: Arc<ResultContext>,
    /// The threads of its own that it may have.
    pub pool: HandlerPool,
    /// Calls inside it.
    pub in_flight: Arc<InFlight>,
    /// Its background tasks and its context; shared by the plugins of one file.
    pub scope: Arc<PluginScope>,
    /// Those tasks that it started before it was ready to serve.
    pub part: Arc<PluginScope>,
}

/// Which method of a plugin answers requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// `request_handler`, plain or async.
    Handler,
    /// The plugin overrides `handle_request` or something that it calls first: it goes through `handle_request`.
    HandleRequest,
    /// There is no handler; the text says what to do about it.
    Missing(String),
}

impl LoadedPlugin {
    /// Looks at an initialised `instance`.
    ///
    /// # Errors
    /// When the plugin has no usable id or `http_methods`.
    pub(crate) fn new(
        instance: Bound<'_, PyAny>,
        file: PathBuf,
        (scope, part): (Arc<PluginScope>, Arc<PluginScope>),
        environment: &Environment,
    ) -> PyResult<Self> {
        let id = plugin_id(&instance)?;
        let class = instance.get_type();
        instance.cast::<BasePlugin>().map_err(PyErr::from)?.get().set_legacy_status(environment.legacy_status);
        let overrides = |name: &str| BasePlugin::hides(&class, name);
        let overrides_handle_request = overrides("handle_request")?;
        // A class that hides the attributes, with a property of its own say, is asked at each request, too.
        let overrides_check = overrides("_check_auth")? || overrides("_auth_type")? || overrides("_apikey")?;
        let through_handle_request = overrides_handle_request || overrides_check || overrides("_get_client_ip")?;
        let entry = entry(&instance, through_handle_request)?;
        let typed = match entry {
            Entry::Handler => TypedHandler::of(&instance.getattr(intern!(instance.py(), "request_handler"))?, &file),
            Entry::HandleRequest | Entry::Missing(_) => None,
        };
        let description = {
            let _limit = TimeLimit::begin("describe", environment.timeout);
            typed::description(&instance, &file)
        };
        let receivers = receivers(&instance)?;
        let methods = methods(&instance)?;
        let policy = policy(&instance, overrides_check)?;
        let settings = Arc::clone(environment.plugins.of(&id, &stem(&file)));
        Ok(Self {
            source: Arc::new(ResultContext {
                plugin: Arc::clone(&id),
                overrides_handle_request,
                legacy_status: environment.legacy_status,
                exception_hook: environment.exception_hook.clone(),
                number: AtomicU32::default(),
                watched: inside::number_of(&id),
            }),
            id,
            file,
            instance: instance.unbind(),
            entry,
            typed,
            description: Arc::new(description),
            receivers,
            methods,
            policy,
            pool: HandlerPool::new(settings.threads),
            settings: ArcSwap::new(settings),
            entrance: OnceLock::new(),
            checks_itself: overrides_check,
            in_flight: Arc::default(),
            scope,
            part,
        })
    }
}

impl LoadedPlugin {
    /// What the server goes by for it.
    pub(crate) fn settings(&self) -> Arc<PluginSettings> {
        self.settings.load_full()
    }

    /// Has it go by other settings from now on.
    pub(crate) fn go_by(&self, settings: Arc<PluginSettings>) {
        self.pool.set_threads(settings.threads);
        self.settings.store(settings);
    }

    /// What is wrong if it asks for a named key and `keys` have none that opens it: no client could use it.
    pub(crate) fn lacks_key(&self, py: Python<'_>, settings: &PluginSettings, keys: &Keys) -> Option<String> {
        let by_itself =
            self.instance.bind(py).cast::<BasePlugin>().is_ok_and(|plugin| plugin.get().asks_for_named_key());
        let asks = by_itself || settings.requires_key;
        (asks && !keys.has_usable_key_for(Resource::Plugin(&self.id))).then(|| {
            let id = &self.id;
            format!("{id} asks for a named key, and no key in [keys] is for it; add one with scopes={id}, or scopes=*")
        })
    }

    /// Who may call it, for the log.
    pub(crate) fn audience(&self, py: Python<'_>) -> &'static str {
        if self.settings.load().requires_key {
            return "named keys";
        }
        if self.checks_itself {
            return "its own check";
        }
        match **self.policy.load() {
            AuthPolicy::Open | AuthPolicy::ByPlugin => "open",
            AuthPolicy::Named => "named keys",
            AuthPolicy::Closed => "nobody: it asks for a key and has none",
            AuthPolicy::Key(_) => {
                let kind = self.instance.bind(py).getattr(intern!(py, "_auth_type")).and_then(|kind| kind.str());
                let is_global = kind.is_ok_and(|kind| kind.to_string_lossy().eq_ignore_ascii_case("global"));
                if is_global { "server key" } else { "own key" }
            }
        }
    }
}

fn invalid(text: String) -> PyErr {
    pyo3::exceptions::PyValueError::new_err(text)
}

/// The id, after `initialize`, because plugins may change it until then.
fn plugin_id(instance: &Bound<'_, PyAny>) -> PyResult<Arc<str>> {
    let py = instance.py();
    if instance.getattr_opt(intern!(py, "_plugin_id"))?.is_none() {
        return Err(invalid("it has no _plugin_id: call super().__init__(**kwargs) in its __init__".to_owned()));
    }
    let id = instance.call_method0(intern!(py, "_get_plugin_id"))?.str()?;
    let id = id.to_str()?.trim_matches('/');
    if id.is_empty() {
        return Err(invalid("its id is empty; set route_path or _plugin_id to a name".to_owned()));
    }
    if id.split('/').any(|segment| segment == "..") {
        return Err(invalid(format!("its id {id:?} has a '..' segment, which no request can reach")));
    }
    Ok(Arc::from(id))
}

fn entry(instance: &Bound<'_, PyAny>, through_handle_request: bool) -> PyResult<Entry> {
    let py = instance.py();
    let handler = instance.getattr_opt(intern!(py, "request_handler"))?.filter(pyo3::types::PyAnyMethods::is_callable);
    let through_base = !through_handle_request || {
        let base = py.get_type::<BasePlugin>().getattr(intern!(py, "handle_request"))?;
        instance.get_type().getattr(intern!(py, "handle_request"))?.is(base)
    };
    if handler.is_none() && through_base {
        return Ok(Entry::Missing(hint(instance)?));
    }
    Ok(if through_handle_request { Entry::HandleRequest } else { Entry::Handler })
}

/// What the author of a plugin without a handler probably meant.
fn hint(instance: &Bound<'_, PyAny>) -> PyResult<String> {
    const NAME: &str = "request_handler";
    let base = instance.py().get_type::<BasePlugin>();
    let mut nearest: Option<(f64, String)> = None;
    for name in instance.dir()?.iter() {
        let name = name.extract::<String>()?;
        if base.hasattr(&name)? || !instance.getattr(&name).is_ok_and(|value| value.is_callable()) {
            continue;
        }
        let likeness = strsim::normalized_damerau_levenshtein(&name.to_lowercase(), NAME);
        if likeness > 0.7 && nearest.as_ref().is_none_or(|(best, _)| likeness > *best) {
            nearest = Some((likeness, name));
        }
    }
    let class = instance.get_type().name()?;
    Ok(match nearest {
        Some((_, name)) => {
            format!("{name} in class {class} is probably meant to be {NAME}: async def {NAME}(self, **data)")
        }
        None => format!("define it in class {class}: async def {NAME}(self, **data)"),
    })
}

/// The names of the first parameters of both entry methods and of what decorators wrapped in them: a request variable
/// of such a name could never be passed as a keyword.
fn receivers(instance: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    /// More decorators than a method has; a chain that leads back to itself ends here.
    const MAX_WRAPPERS: usize = 64;
    let mut names = Vec::new();
    for method in ["handle_request", "request_handler"] {
        // Only what is bound to an instance gets it as its first argument.
        let method = instance.getattr_opt(method)?;
        let mut function = method.map(|method| method.getattr_opt("__func__")).transpose()?.flatten();
        for _ in 0..MAX_WRAPPERS {
            let Some(wrapper) = function else { break };
            if let Some(code) = wrapper.getattr_opt("__code__")?
                && code.getattr("co_argcount")?.extract::<usize>()? > 0
            {
                names.push(code.getattr("co_varnames")?.get_item(0)?.extract::<String>()?);
            }
            function = wrapper.getattr_opt("__wrapped__")?;
        }
    }
    Ok(names)
}

/// What a plugin may ask for; OPTIONS is the host's.
const ROUTABLE: [Method; 6] = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

fn methods(instance: &Bound<'_, PyAny>) -> PyResult<MethodSet> {
    let Some(asked) = instance.getattr_opt("http_methods")? else { return Ok(MethodSet::DEFAULT) };
    let wrong = || invalid("http_methods must be names of methods, such as (\"GET\", \"POST\", \"PUT\")".to_owned());
    let names =
        asked.try_iter().map_err(|_| wrong())?.map(|name| name?.extract::<String>()).collect::<PyResult<Vec<_>>>();
    let mut methods = MethodSet::EMPTY;
    for name in names.map_err(|_| wrong())? {
        let method = Method::from_bytes(name.to_uppercase().as_bytes()).ok();
        let method = method.filter(|method| ROUTABLE.contains(method)).ok_or_else(|| {
            invalid(format!("http_methods names {name:?}; it may name GET, HEAD, POST, PUT, PATCH and DELETE"))
        })?;
        methods = methods.with(&method);
        if method == Method::GET {
            methods = methods.with(&Method::HEAD);
        }
    }
    Ok(methods)
}

/// The live policy of the instance, unless the class takes authentication into its own hands.
fn policy(instance: &Bound<'_, PyAny>, overrides_check: bool) -> PyResult<Arc<ArcSwap<AuthPolicy>>> {
    if overrides_check {
        // `_check_auth` decides, on the Python thread.
        return Ok(Arc::new(ArcSwap::from_pointee(AuthPolicy::ByPlugin)));
    }
    BasePlugin::policy(instance.cast::<BasePlugin>().map_err(PyErr::from)?)
}
