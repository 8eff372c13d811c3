//! Requests that the server answers without a plugin: health, `/plugins`, `/reload/…`, static files.
//!
//! Runs on the I/O threads; only the file of a static route is opened and read on a blocking thread. These requests
//! pass the same [`stages`](super::stages) as those for plugins, each route those that it needs. Caveat: `/plugins` and
//! `/reload/…` are checked here for who may use them; the health endpoints and static files are open to every client.

use http::{HeaderValue, Method, Response};

use super::stages::{
    RequestBody, RequestContext, RequestError, allowed, answer_options, body_variables, check_method, off_thread,
    refuse_key,
};
use super::state::Snapshot;
use crate::edge::control::{self, ReloadReport, ReloadTarget};
use crate::edge::files::response::FileRequest;
use crate::edge::files::static_files::ClientInfo;
use crate::edge::http::request::MethodSet;
use crate::edge::http::rescue::{Realm, Rejection};
use crate::edge::http::response::Body;
use crate::edge::policy::cors;
use crate::edge::policy::credential::{Access, AuthPolicy};
use crate::edge::policy::own_host;
use crate::edge::queue::backend::Backend;

/// Answers `/-/healthy`.
pub(super) fn healthy(context: &RequestContext) -> Result<Response<Body>, Rejection> {
    health(context, control::healthy)
}

/// Answers `/-/ready`.
pub(super) fn ready(context: &RequestContext, is_ready: bool) -> Result<Response<Body>, Rejection> {
    health(context, || control::ready(is_ready, context.id.header()))
}

/// OPTIONS is answered without CORS: these endpoints are not for web pages.
fn health(context: &RequestContext, answer: impl FnOnce() -> Response<Body>) -> Result<Response<Body>, Rejection> {
    if context.parts.method == Method::OPTIONS {
        return Ok(allowed(MethodSet::READ_ONLY));
    }
    check_method(context, MethodSet::READ_ONLY)?;
    Ok(answer())
}

/// Answers `/plugins`.
pub(super) async fn plugins(
    snapshot: &Snapshot,
    context: &RequestContext,
    body: &mut RequestBody,
) -> Result<Response<Body>, RequestError> {
    if let Some(response) = answer_options(snapshot, context, MethodSet::DEFAULT)? {
        return Ok(response);
    }
    check_method(context, MethodSet::DEFAULT)?;
    check_server_key(snapshot, context, body).await?;
    Ok(control::plugins(snapshot.table.ids(), context.id.header()))
}

/// Answers `/reload/<name>` when the reload is done.
pub(super) async fn reload(
    backend: &impl Backend,
    snapshot: &Snapshot,
    context: &RequestContext,
    body: &mut RequestBody,
    name: String,
) -> Result<Response<Body>, RequestError> {
    if let Some(response) = answer_options(snapshot, context, MethodSet::ACTING)? {
        return Ok(response);
    }
    check_method(context, MethodSet::ACTING)?;
    check_control(snapshot, context, body).await?;
    let report = backend.reload(ReloadTarget::named(name)).await;
    Ok(control::reload(&report.unwrap_or(ReloadReport::Stopping), context.id.header()))
}

/// Checks whether the client may control the server: by the control socket, with the server's key, or without a
/// configured one from the same machine, but never on behalf of a web page of another site.
pub(super) async fn check_control(
    snapshot: &Snapshot,
    context: &RequestContext,
    body: &mut RequestBody,
) -> Result<(), RequestError> {
    check_server_key(snapshot, context, body).await?;
    if context.is_control() {
        return Ok(());
    }
    let is_stranger = || !context.client.is_local() || cors::is_cross_site(&context.parts.headers);
    if matches!(snapshot.control, AuthPolicy::Open) && is_stranger() {
        return Err(Rejection::ControlRefused.into());
    }
    Ok(())
}

/// Checks the server's own key; a key in the body counts for POST, as in pluginserver. Without a configured key every
/// client is admitted, except for web pages of other origins. By the control socket no key is needed.
async fn check_server_key(
    snapshot: &Snapshot,
    context: &RequestContext,
    body: &mut RequestBody,
) -> Result<(), RequestError> {
    if context.is_control() {
        return Ok(());
    }
    if matches!(snapshot.control, AuthPolicy::Open) {
        let is_friend = |origin: &HeaderValue| snapshot.cors.as_ref().is_some_and(|cors| cors.names(origin));
        let is_foreign = own_host::may_be_foreign(&context.parts.uri, &context.parts.headers, is_friend);
        return if is_foreign { Err(Rejection::ForeignRefused.into()) } else { Ok(()) };
    }
    let granted = match snapshot.control.admits_head(&context.parts.headers, &context.query) {
        Access::Granted => true,
        Access::Refused => false,
        Access::BodyDecides => {
            let bytes = body.read(snapshot, &snapshot.general, &context.parts.headers).await?;
            snapshot.control.admits_body(&body_variables(context, &bytes))
        }
    };
    if granted { Ok(()) } else { Err(refuse_key(context, Realm::Control, context.parts.uri.path())) }
}

/// Answers with a static file, and adds the request to the access log, refused ones too.
pub(super) async fn static_file(
    snapshot: &Snapshot,
    context: RequestContext,
    subpath: Option<String>,
) -> Result<Response<Body>, RequestError> {
    let Some(documents) = snapshot.static_files.clone() else { return Err(Rejection::NotFound.into()) };
    let early = match answer_options(snapshot, &context, MethodSet::READ_ONLY) {
        Ok(None) => check_method(&context, MethodSet::READ_ONLY).map(|()| None),
        answered => answered,
    };
    let RequestContext { parts, client, .. } = context;
    let from = ClientInfo { client, version: parts.version };
    let request = FileRequest { method: parts.method, headers: parts.headers };
    let work = move || {
        let answered = early.transpose().unwrap_or_else(|| documents.answer(subpath.as_deref(), &parts.uri, &request));
        documents.note(&request, &parts.uri, &from, &answered);
        answered
    };
    Ok(off_thread(work).await?)
}
