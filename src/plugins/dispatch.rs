//! Calls the handler of a plugin for a request.
//!
//! Promise: `data` is what the documentation says, host keys always win over what the client sends, and every request
//! runs in a context of its own. Caveat: runs on the Python thread, between two turns of the loop; a plain `def`
//! handler holds the loop for as long as it runs, as it did in pluginserver.

use std::sync::Arc;

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::owner::Owner;
use super::registry::Registry;
use super::resident::{Entry, Resident};
use crate::bridge::call::Call;
use crate::bridge::consumer::{Consumer, Dispatch};
use crate::bridge::context::OwnContext;
use crate::bridge::driver::Driver;
use crate::bridge::exchange::{Job, Outcome};
use crate::bridge::request_data::RequestData;
use crate::bridge::{json, step};
use crate::http::request::BodyData;
use crate::http::rescue::{Failure, Rejection};
use crate::python::headers::RequestHeaders;
use crate::python::request::Request;

/// Names that no variable of a request can take: the host's keys, and what handlers call themselves by.
const HOST_KEYS: [&str; 6] = ["log", "request_headers", "request", "subpath", "client_ip", "self"];

/// A dispatcher for the plugins in `registry`; `log` is what handlers get as `data['log']`.
pub fn dispatcher(registry: Arc<Registry>, log: Py<PyAny>) -> Dispatch {
    Box::new(move |py, consumer, job| {
        if job.exchange.is_abandoned() {
            return;
        }
        // Looked up by id and not carried along: after a reload the new instance answers what was queued before.
        match registry.serving().get(&job.plugin) {
            Some(resident) => run(py, consumer, resident, job, &log),
            None => job.exchange.complete(Outcome::Rejected(Rejection::NotFound)),
        }
    })
}

fn run(py: Python<'_>, consumer: &Arc<Consumer>, resident: &Arc<Resident>, job: Job, log: &Py<PyAny>) {
    let call = Call::start(job.exchange, consumer, &resident.source, &resident.occupancy);
    if let Entry::Missing(hint) = &resident.entry {
        return call.answer(py, Outcome::Failed(Failure::NoHandler { hint: hint.clone() }));
    }
    // The owner is set before the context is copied: it stays for the next request of the same plugin.
    let entered = Owner::enter_consumer(resident.owner.bind(py)).and_then(|()| OwnContext::enter(py));
    let _context = match entered {
        Ok(context) => context,
        Err(error) => return call.finish(py, Err(error)),
    };
    match arguments(py, job.request, resident, log).and_then(|data| invoke(py, resident, &data)) {
        Err(error) => call.finish(py, Err(error)),
        Ok(result) => match step::awaitable(&result) {
            Err(error) => call.finish(py, Err(error)),
            Ok(None) => call.finish(py, Ok(result)),
            Ok(Some(inner)) => {
                if let Err(error) = consumer.spawn(py, Driver::new(inner, call)) {
                    // The call went down with the driver, which answered for it.
                    tracing::error!("plugin {}: cannot start a task: {error}", resident.id);
                }
            }
        },
    }
}

fn invoke<'py>(py: Python<'py>, resident: &Resident, data: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyAny>> {
    let method = match resident.entry {
        Entry::Handler => intern!(py, "request_handler"),
        Entry::HandleRequest => intern!(py, "handle_request"),
        Entry::Missing(_) => return Err(PyRuntimeError::new_err("the plugin has no handler")),
    };
    resident.instance.bind(py).getattr(method)?.call((), Some(data))
}

/// The keyword arguments of the handler: host objects < body variables < query variables < `subpath`, `client_ip`.
fn arguments<'py>(
    py: Python<'py>,
    request: RequestData,
    resident: &Resident,
    log: &Py<PyAny>,
) -> PyResult<Bound<'py, PyDict>> {
    let data = PyDict::new(py);
    data.set_item(intern!(py, "log"), log)?;
    data.set_item(intern!(py, "request_headers"), RequestHeaders::new(py, &request.headers)?)?;
    // The place of `request` is kept before the variables, as pluginserver had it.
    data.set_item(intern!(py, "request"), py.None())?;
    let reserved = |name: &str| HOST_KEYS.contains(&name) || resident.receivers.iter().any(|receiver| receiver == name);
    if request.method != http::Method::GET && request.method != http::Method::HEAD {
        body_variables(&data, &request, &reserved)?;
    }
    if !request.query.is_empty() {
        let query = PyDict::new(py);
        first_of_each(&query, request.query.iter(), &reserved)?;
        data.update(query.as_mapping())?;
    }
    data.set_item(intern!(py, "subpath"), request.subpath.as_deref())?;
    data.set_item(intern!(py, "client_ip"), request.client.to_string())?;
    data.set_item(intern!(py, "request"), Request::new(py, request)?)?;
    Ok(data)
}

fn body_variables(data: &Bound<'_, PyDict>, request: &RequestData, reserved: &dyn Fn(&str) -> bool) -> PyResult<()> {
    match &request.variables {
        BodyData::None => {}
        BodyData::Json(body) => {
            if let Err(error) = json::decode_into(body, data, reserved) {
                tracing::debug!("a request body is not read as variables: {error}");
            }
        }
        BodyData::Form(fields) => first_of_each(data, fields.iter(), reserved)?,
        BodyData::Multipart(form) => first_of_each(data, form.fields(), reserved)?,
    }
    Ok(())
}

/// Adds the variables that are not there yet.
fn first_of_each<'a>(
    data: &Bound<'_, PyDict>,
    variables: impl Iterator<Item = (&'a str, &'a str)>,
    reserved: &dyn Fn(&str) -> bool,
) -> PyResult<()> {
    let py = data.py();
    for (name, value) in variables {
        let key = PyString::new(py, name);
        if !reserved(name) && !data.contains(&key)? {
            data.set_item(key, PyString::new(py, value))?;
        }
    }
    Ok(())
}
