//! Calls the handler of a plugin for a request.
//!
//! Runs on the Python thread, between two turns of the loop. Promise: `data` is what the documentation describes, the
//! host's keys always win over the client's, and every request runs in a context of its own. Caveat: a plain `def`
//! handler holds the loop for as long as it runs, as in pluginserver.

use std::sync::Arc;

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::host_keys::{CLIENT_IP, HOST_KEYS, LOG, REQUEST, REQUEST_HEADERS, SUBPATH};
use super::loaded_plugin::{Entry, LoadedPlugin};
use super::registry::Registry;
use crate::edge::http::request::BodyData;
use crate::edge::http::rescue::{Failure, Rejection};
use crate::edge::http::trace::{TRACESTATE, TraceContext};
use crate::edge::policy::address::Client;
use crate::edge::queue::request_data::RequestData;
use crate::edge::queue::responder::{Outcome, QueuedRequest};
use crate::host::bridge::consumer::{Called, Consumer, Dispatch};
use crate::host::bridge::invoke;
use crate::host::bridge::locked::{Locked, made_once};
use crate::host::bridge::request_scope;
use crate::host::python::header_cache::HeaderCache;
use crate::host::python::request::Request;
use crate::json;

/// What the host hands to every handler.
struct HostObjects {
    /// What handlers get as `data['log']`.
    log: Py<PyAny>,
    /// The keys of `data` when the request has no variables.
    keys: Py<PyTuple>,
    /// Headers that came before.
    headers: HeaderCache,
    /// The last client's address as text: clients come in bunches, behind a proxy all of them.
    client: Locked<Option<(Client, Py<PyString>)>>,
}

impl HostObjects {
    fn client_ip<'py>(&self, py: Python<'py>, client: Client) -> Bound<'py, PyString> {
        let known = self.client.with_references(py, |last, references| match last {
            Some((known, text)) if *known == client => Some(references.again(text)),
            _ => None,
        });
        if let Some(text) = known {
            return text.into_bound(py);
        }
        let text = PyString::new(py, &client.to_string());
        drop(self.client.replace(Some((client, text.clone().unbind()))));
        text
    }
}

/// A dispatcher for the plugins in `registry`; `log` is what handlers get as `data['log']`.
///
/// # Errors
/// When there is no memory.
pub(crate) fn dispatcher(py: Python<'_>, registry: Arc<Registry>, log: Py<PyAny>) -> PyResult<Dispatch> {
    let keys = [
        intern!(py, LOG),
        intern!(py, REQUEST_HEADERS),
        intern!(py, REQUEST),
        intern!(py, SUBPATH),
        intern!(py, CLIENT_IP),
    ];
    let keys = PyTuple::new(py, keys)?.unbind();
    let objects = HostObjects { log, keys, headers: HeaderCache::default(), client: Locked::new(None) };
    Ok(Box::new(move |py, consumer, job| {
        if !job.responder.claim() {
            return;
        }
        // The instance that the request was admitted to also answers it, unless that has ended meanwhile.
        if let Some(plugin) = registry.serving().at(&job.plugin, job.responder.entrance()) {
            run(py, consumer, plugin, job, &objects);
        } else {
            let is_disabled = registry.is_withheld(&job.plugin);
            let rejection = if is_disabled { Rejection::PluginDisabled } else { Rejection::NotFound };
            consumer.answer(py, job.responder, Outcome::Rejected(rejection));
        }
    }))
}

/// What puts a trace where `opentelemetry` looks for it; nothing while no code has imported that.
fn telemetry(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    static MODULES: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let modules = made_once(py, &MODULES, || Ok(py.import("sys")?.getattr("modules")?.unbind()))?.bind(py);
    let is_imported = modules.cast::<PyDict>()?.get_item(intern!(py, "opentelemetry.trace"))?.is_some();
    if is_imported { py.import("plugincore._telemetry")?.getattr_opt("attach") } else { Ok(None) }
}

/// Has `opentelemetry` know the trace of a request, in the current context.
fn attach(attach: &Bound<'_, PyAny>, request: &RequestData) -> PyResult<()> {
    let TraceContext { span_id, flags, .. } = request.trace;
    let states = request.headers.get_all(TRACESTATE).iter().filter_map(|state| state.to_str().ok());
    // The state belongs to the trace of the client.
    let states: Vec<_> = states.filter(|_| request.trace.is_continued()).collect();
    attach.call1((request.trace.trace_id(), span_id, flags, states)).map(drop)
}

fn run(py: Python<'_>, consumer: &Consumer, plugin: &LoadedPlugin, job: QueuedRequest, objects: &HostObjects) {
    let key = job.request.key.name.get().cloned();
    let call = consumer.begin(job.responder, key, &plugin.source, &plugin.in_flight);
    if let Entry::Missing(hint) = &plugin.entry {
        return call.answer(py, Outcome::Failed(Failure::NoHandler { hint: hint.clone() }));
    }
    let context = match plugin.scope.copy_context(py) {
        Ok(context) => context,
        Err(error) => return call.finish(py, Err(error)),
    };
    let (trace, id) = (job.request.trace, call.request_id().clone());
    let started = consumer.run(py, call, context, |slot| {
        request_scope::enter(py, id, trace, &plugin.id)?;
        if let Some(telemetry) = telemetry(py)? {
            attach(&telemetry, &job.request)?;
        }
        let request = Bound::new(py, Request::new(job.request, slot))?;
        let result = call_handler(&request, plugin, objects);
        Ok(Called { request: request.into_any().unbind(), result })
    });
    if let Err(error) = started {
        tracing::error!("plugin {}: cannot start a task: {error}", plugin.id);
    }
}

/// Calls the handler with its keyword arguments: host objects < body variables < query variables < `subpath`,
/// `client_ip`.
fn call_handler<'py>(
    request: &Bound<'py, Request>,
    plugin: &LoadedPlugin,
    objects: &HostObjects,
) -> PyResult<Bound<'py, PyAny>> {
    let py = request.py();
    let method = match plugin.entry {
        Entry::Handler => intern!(py, "request_handler"),
        Entry::HandleRequest => intern!(py, "handle_request"),
        Entry::Missing(_) => return Err(PyRuntimeError::new_err("the plugin has no handler")),
    };
    let instance = plugin.instance.bind(py);
    let data = request.get().data();
    let headers = objects.headers.dict(py, &data.headers, data.remote.port())?.into_any();
    let subpath = match &data.subpath {
        Some(subpath) => PyString::new(py, subpath).into_any(),
        None => py.None().into_bound(py),
    };
    let client_ip = objects.client_ip(py, data.client).into_any();
    let (log, object) = (objects.log.bind(py), request.as_any());
    if !plugin.pool.has_threads() && data.query.is_empty() && matches!(data.variables, BodyData::None) {
        let values = [log, &headers, object, &subpath, &client_ip];
        return invoke::call_method(instance, method, objects.keys.bind(py), values);
    }
    let keywords = PyDict::new(py);
    keywords.set_item(intern!(py, LOG), log)?;
    keywords.set_item(intern!(py, REQUEST_HEADERS), headers)?;
    keywords.set_item(intern!(py, REQUEST), object)?;
    let reserved = |name: &str| HOST_KEYS.contains(&name) || plugin.receivers.iter().any(|receiver| receiver == name);
    match &plugin.typed {
        None => variables(&keywords, data, &reserved, &reserved)?,
        Some(typed) => {
            // What came as text for a typed parameter has been read by its type.
            variables(&keywords, data, &reserved, &|name| reserved(name) || typed.takes(name))?;
            typed.convert(&keywords, &data.texts)?;
        }
    }
    keywords.set_item(intern!(py, SUBPATH), subpath)?;
    keywords.set_item(intern!(py, CLIENT_IP), client_ip)?;
    let handler = instance.getattr(method)?;
    match plugin.pool.call(&plugin.id, &handler, &keywords)? {
        Some(call) => Ok(call),
        None => handler.call((), Some(&keywords)),
    }
}

/// Adds the variables of a request; names are reserved from JSON, or from text.
fn variables(
    data: &Bound<'_, PyDict>,
    request: &RequestData,
    from_json: &dyn Fn(&str) -> bool,
    from_text: &dyn Fn(&str) -> bool,
) -> PyResult<()> {
    match &request.variables {
        BodyData::None => return first_of_each(data, request.query.iter(), from_text),
        BodyData::Json(body) => {
            if let Err(error) = json::decode_into(body, data, from_json) {
                tracing::debug!("a request body is not read as variables: {error}");
            }
        }
        BodyData::Form(fields) => first_of_each(data, fields.iter(), from_text)?,
        BodyData::Multipart(form) => first_of_each(data, form.fields(), from_text)?,
    }
    if !request.query.is_empty() {
        let query = PyDict::new(data.py());
        first_of_each(&query, request.query.iter(), from_text)?;
        data.update(query.as_mapping())?;
    }
    Ok(())
}

/// Adds the variables that are not there yet.
fn first_of_each<'a>(
    data: &Bound<'_, PyDict>,
    variables: impl Iterator<Item = (&'a str, impl AsRef<str>)>,
    reserved: &dyn Fn(&str) -> bool,
) -> PyResult<()> {
    let py = data.py();
    for (name, value) in variables {
        let key = PyString::new(py, name);
        if !reserved(name) && !data.contains(&key)? {
            data.set_item(key, PyString::new(py, value.as_ref()))?;
        }
    }
    Ok(())
}
