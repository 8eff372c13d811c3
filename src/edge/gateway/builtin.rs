//! Requests that the server answers without a plugin: health, figures, `/plugins`, `/reload/…`, static files.
//!
//! Runs on the I/O threads; only the file of a static route is opened and read on a blocking thread. These requests
//! pass the same [`stages`](super::stages) as those for plugins, each route those that it needs. Caveat: `/plugins` and
//! `/reload/…` are checked here for who may use them; the health endpoints and static files are open to every client.

use std::sync::Arc;

use http::header::{ACCEPT, IF_NONE_MATCH};
use http::{HeaderValue, Method, Response};

use super::access::Gate;
use super::clients::ClientRecords;
use super::openapi;
use super::stages::{
    RequestBody, RequestContext, RequestError, allowed, answer_options, body_variables, check_method, off_thread,
};
use super::state::{DescriptionPolicy, ServerState, Snapshot};
use crate::edge::control::metrics::Figures;
use crate::edge::control::{self, ReloadReport, ReloadTarget};
use crate::edge::files::response::FileRequest;
use crate::edge::files::static_files::ClientInfo;
use crate::edge::http::request::{BodyData, MethodSet};
use crate::edge::http::rescue::{Rejection, unwritable};
use crate::edge::http::response::Body;
use crate::edge::observe::metrics::exposition::Format;
use crate::edge::policy::cors;
use crate::edge::policy::credential::{Access, AuthPolicy};
use crate::edge::policy::keys::Resource;
use crate::edge::policy::own_host;
use crate::edge::queue::backend::Backend;
use crate::edge::queue::request_data::RequestData;

/// Answers `/-/healthy`.
pub(super) fn healthy(context: &RequestContext) -> Result<Response<Body>, Rejection> {
    health(context, control::healthy)
}

/// Answers `/-/ready`.
pub(super) fn ready(context: &RequestContext, is_ready: bool) -> Result<Response<Body>, Rejection> {
    health(context, || control::ready(is_ready, &context.error_format()))
}

/// OPTIONS is answered without CORS: these endpoints are not for web pages.
fn health(context: &RequestContext, answer: impl FnOnce() -> Response<Body>) -> Result<Response<Body>, Rejection> {
    if context.request.method == Method::OPTIONS {
        return Ok(allowed(MethodSet::READ_ONLY));
    }
    check_method(context, MethodSet::READ_ONLY)?;
    Ok(answer())
}

/// Answers `/plugins`.
pub(super) async fn plugins(gate: &Gate<'_>, body: &mut RequestBody) -> Result<Response<Body>, RequestError> {
    let Gate { snapshot, context, .. } = gate;
    if let Some(response) = answer_options(snapshot.cors.as_ref(), context, MethodSet::DEFAULT)? {
        return Ok(response);
    }
    check_method(context, MethodSet::DEFAULT)?;
    check_server_key(gate, body, Resource::Control, false).await?;
    Ok(control::plugins(snapshot.table.ids(), &context.error_format()))
}

/// Answers `/reload/<name>` when the reload is done.
pub(super) async fn reload(
    backend: &impl Backend,
    gate: &Gate<'_>,
    body: &mut RequestBody,
    name: String,
) -> Result<Response<Body>, RequestError> {
    let Gate { snapshot, context, .. } = gate;
    if let Some(response) = answer_options(snapshot.cors.as_ref(), context, MethodSet::ACTING)? {
        return Ok(response);
    }
    check_method(context, MethodSet::ACTING)?;
    let key = check_control(gate, body, true).await?;
    log_control(context, key.as_ref());
    let report = backend.reload(ReloadTarget::named(name)).await;
    Ok(control::reload(&report.unwrap_or(ReloadReport::Stopping), &context.error_format()))
}

/// Checks whether the client may control the server: by the control socket, with a key of scope `control`, or without
/// a configured one from the same machine, but never on behalf of a web page of another site. Returns the key's name.
/// A request that `acts` changes something, whatever its method is.
pub(super) async fn check_control(
    gate: &Gate<'_>,
    body: &mut RequestBody,
    acts: bool,
) -> Result<Option<Arc<str>>, RequestError> {
    let Gate { snapshot, context, .. } = gate;
    let key = check_server_key(gate, body, Resource::Control, acts).await?;
    refuse_strangers(context, &snapshot.control)?;
    Ok(key)
}

/// Without a configured key, refuses clients on other machines and web pages of other sites.
fn refuse_strangers(context: &RequestContext, policy: &AuthPolicy) -> Result<(), Rejection> {
    let is_stranger = || !context.request.client.is_local() || cors::is_cross_site(&context.request.headers);
    let is_refused = matches!(policy, AuthPolicy::Open) && !context.is_control() && is_stranger();
    if is_refused { Err(Rejection::ControlRefused) } else { Ok(()) }
}

/// Answers `/-/metrics`: to a key of scope `metrics` or `control`, or while no key is configured to this machine.
pub(super) async fn metrics<B: Backend>(
    state: &ServerState<B>,
    gate: &Gate<'_>,
    body: &mut RequestBody,
) -> Result<Response<Body>, RequestError> {
    let Gate { snapshot, context, .. } = gate;
    if context.request.method == Method::OPTIONS {
        return Ok(allowed(MethodSet::READ_ONLY));
    }
    check_method(context, MethodSet::READ_ONLY)?;
    check_server_key(gate, body, Resource::Metrics, false).await?;
    refuse_strangers(context, &snapshot.metrics)?;
    let accept = context.request.headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = Format::accepted(accept);
    let figures = Figures {
        format,
        registry: state.registry.read(&*state.backend, format).await,
        plugins: state.statuses.load_full(),
        is_ready: state.is_ready(),
        connections: state.connections.taken(),
        started_at: state.started_at,
        python: state.python.get().cloned().unwrap_or_default(),
    };
    // As many plugins as there may be make it a long text.
    Ok(off_thread(move || Ok(figures.respond())).await?)
}

/// Answers `/-/openapi.json`: to a client with any key, or to every one while there is none or the ini file says so.
pub(super) async fn openapi(snapshot: &Arc<Snapshot>, gate: &Gate<'_>) -> Result<Response<Body>, RequestError> {
    let context = gate.context;
    if let Some(response) = answer_options(snapshot.cors.as_ref(), context, MethodSet::READ_ONLY)? {
        return Ok(response);
    }
    check_method(context, MethodSet::READ_ONLY)?;
    check_reader(gate)?;
    let (snapshot, format) = (Arc::clone(snapshot), context.error_format());
    let if_none_match = context.request.headers.get(IF_NONE_MATCH).cloned();
    // As many plugins as there may be make it a long text.
    let work = move || {
        let answered = openapi::respond(&snapshot, if_none_match.as_ref());
        Ok(answered.unwrap_or_else(|error| unwritable(&error, &format)))
    };
    Ok(off_thread(work).await?)
}

/// Answers `/-/docs`, as `/-/openapi.json` is; its scripts and styles hold nothing of this server and are for everyone.
pub(super) fn docs(gate: &Gate<'_>, name: &str) -> Result<Response<Body>, RequestError> {
    let context = gate.context;
    if context.request.method == Method::OPTIONS {
        return Ok(allowed(MethodSet::READ_ONLY));
    }
    check_method(context, MethodSet::READ_ONLY)?;
    if name.is_empty() {
        check_reader(gate)?;
    }
    Ok(control::docs::file(name, &context.request.headers).ok_or(Rejection::NotFound)?)
}

/// Checks whether the client may read what plugins take.
fn check_reader(gate: &Gate<'_>) -> Result<(), RequestError> {
    let Gate { snapshot, context, .. } = gate;
    if context.is_control() {
        return Ok(());
    }
    let rates = &snapshot.general.rates;
    gate.check_rate(rates, "")?;
    match &snapshot.description {
        DescriptionPolicy::Public => Ok(()),
        DescriptionPolicy::ByKey(AuthPolicy::Open) => refuse_foreign(gate),
        DescriptionPolicy::ByKey(policy) => {
            if let Some(key) = gate.check_session(Resource::Description, false)? {
                return Ok(gate.check_key_rate(rates, "", &key)?);
            }
            let access = gate.check_head(policy, Resource::Description)?;
            if let Some(key) = gate.check_body(policy, Resource::Description, access, &BodyData::None)? {
                gate.check_key_rate(rates, "", &key)?;
            }
            Ok(())
        }
    }
}

/// Refuses what a page of another site may have asked for.
fn refuse_foreign(gate: &Gate<'_>) -> Result<(), RequestError> {
    let Gate { snapshot, context, .. } = gate;
    let is_friend = |origin: &HeaderValue| snapshot.cors.as_ref().is_some_and(|cors| cors.names(origin));
    let is_foreign =
        own_host::may_be_foreign(&context.request.uri, &context.request.headers, snapshot.hosts.as_ref(), is_friend);
    if is_foreign { Err(Rejection::ForeignRefused.into()) } else { Ok(()) }
}

/// Logs with which key the server is controlled; without one, that it is done from a browser.
pub(super) fn log_control(context: &RequestContext, key: Option<&Arc<str>>) {
    let (client, path) = (context.request.client, context.request.uri.path());
    if let Some(key) = key {
        tracing::info!("{client} - {path} - with the key {key}");
    } else if own_host::is_same_origin(&context.request.headers) {
        tracing::info!("{client} - {path} - from the page, without a key");
    }
}

/// Checks the rate and the key for the server's own endpoints; a key in the body counts for POST, as in pluginserver.
/// Without a configured key every client is admitted, except for web pages of other origins. By the control socket no
/// key is needed, and a browser may have logged in with one. Returns the key's name.
async fn check_server_key(
    gate: &Gate<'_>,
    body: &mut RequestBody,
    resource: Resource<'_>,
    acts: bool,
) -> Result<Option<Arc<str>>, RequestError> {
    let Gate { snapshot, context, .. } = gate;
    let policy = if resource == Resource::Metrics { &snapshot.metrics } else { &snapshot.control };
    if context.is_control() {
        return Ok(None);
    }
    let rates = &snapshot.general.rates;
    gate.check_rate(rates, "")?;
    if matches!(policy, AuthPolicy::Open) {
        return refuse_foreign(gate).map(|()| None);
    }
    if let Some(key) = gate.check_session(resource, acts)? {
        gate.check_key_rate(rates, "", &key)?;
        return Ok(key.name);
    }
    let access = gate.check_head(policy, resource)?;
    let variables = if matches!(access, Access::BodyDecides) {
        let bytes = body.read(snapshot, &snapshot.general, &context.request.headers).await?;
        body_variables(context, &bytes)
    } else {
        BodyData::None
    };
    let Some(key) = gate.check_body(policy, resource, access, &variables)? else { return Ok(None) };
    gate.check_key_rate(rates, "", &key)?;
    if let (Some(observed), Some(name)) = (&context.observed, &key.name) {
        observed.note_key(name);
    }
    Ok(key.name)
}

/// Answers with a static file, and adds the request to the access log, refused ones too.
pub(super) async fn static_file(
    clients: &ClientRecords,
    snapshot: &Snapshot,
    context: RequestContext,
    subpath: Option<String>,
) -> Result<Response<Body>, RequestError> {
    let Some(documents) = snapshot.static_files.clone() else { return Err(Rejection::NotFound.into()) };
    let early = match answer_options(snapshot.cors.as_ref(), &context, MethodSet::READ_ONLY) {
        Ok(None) => {
            let gate = Gate { clients, snapshot, context: &context };
            let checked = check_method(&context, MethodSet::READ_ONLY);
            checked.and_then(|()| gate.check_rate(&snapshot.general.rates, "")).map(|()| None)
        }
        answered => answered,
    };
    let RequestData { method, uri, headers, version, client, .. } = *context.request;
    let from = ClientInfo { client, version };
    let request = FileRequest { method, headers };
    let work = move || {
        let answered = early.transpose().unwrap_or_else(|| documents.answer(subpath.as_deref(), &uri, &request));
        documents.note(&request, &uri, &from, &answered);
        answered
    };
    Ok(off_thread(work).await?)
}
