//! Answers the addresses below `/-/api/`.
//!
//! Runs on the I/O threads; what changes plugins awaits the Python thread, everything else is answered at once.
//! Promise: each address passes the same checks: its method, then who may control the server. Caveat: an address that
//! does not exist is a 404 to everyone.

use std::path::Path;
use std::sync::Arc;

use http::{Method, Response};
use tokio::sync::oneshot;

use super::access::Gate;
use super::builtin::{check_control, log_control};
use super::page;
use super::routes::routes;
use super::stages::{RequestBody, RequestContext, RequestError, answer_options, check_method, off_thread};
use super::state::{ServerState, Snapshot};
use crate::edge::control::api::{ApiCall, PluginAction};
use crate::edge::control::events::{self, Event, NoStream};
use crate::edge::control::kept;
use crate::edge::control::process::ProcessRequest;
use crate::edge::control::{self, ReloadReport, ReloadTarget, ServerStatus};
use crate::edge::http::request::MethodSet;
use crate::edge::http::rescue::Rejection;
use crate::edge::http::response::Body;
use crate::edge::observe::line::Level;
use crate::edge::observe::subscriber;
use crate::edge::queue::backend::Backend;

/// Disables the file of a plugin at once, however long Python takes to terminate it: its endpoints are refused, and it
/// is not loaded after a restart. False if there is no such plugin.
async fn disable<B: Backend>(state: &ServerState<B>, plugin: &str) -> Result<bool, RequestError> {
    let statuses = state.statuses.load_full();
    let Some(named) = statuses.iter().find(|status| &*status.id == plugin) else { return Ok(false) };
    let ids: Vec<_> =
        statuses.iter().filter(|status| status.file == named.file).map(|status| status.id.to_string()).collect();
    let (kept, key, all) = (Arc::clone(&state.kept), kept::key(Path::new(&named.file)), ids.clone());
    off_thread(move || {
        kept.disable(&key, all);
        Ok(())
    })
    .await?;
    let snapshot = state.snapshot.load();
    for endpoint in ids.iter().filter_map(|id| snapshot.table.get(id)) {
        endpoint.disable();
    }
    Ok(true)
}

/// Has the log begin at the level that the query names.
fn set_log_level<B: Backend>(state: &ServerState<B>, context: &RequestContext) -> Result<Response<Body>, RequestError> {
    let asked = context.request.query.get("level").unwrap_or_default();
    let Some(level) = Level::named(asked) else {
        let names = Level::ALL.map(Level::name).join(", ");
        return Err(Rejection::BadRequest(format!("level is to be one of {names}")).into());
    };
    if let Some(log) = subscriber::server() {
        log.sink.set_threshold(level.severity());
    }
    state.backend.set_log_level(level);
    tracing::info!("The log level is {} from now on", level.name());
    Ok(control::log_level(level, &context.error_format()))
}

/// Answers a request for `path`, which follows `/-/api/`.
pub(super) async fn answer<B: Backend>(
    state: &ServerState<B>,
    snapshot: &Snapshot,
    context: &RequestContext,
    body: &mut RequestBody,
    path: &str,
) -> Result<Response<Body>, RequestError> {
    let found = ApiCall::find(path).filter(|(call, _)| context.is_control() || !call.needs_socket());
    let (call, methods) = found.ok_or(Rejection::NotFound)?;
    if let Some(response) = answer_options(snapshot.cors.as_ref(), context, methods)? {
        return Ok(response);
    }
    check_method(context, methods)?;
    let gate = Gate { clients: &state.clients, snapshot, context };
    match call {
        ApiCall::Session => return Ok(page::session(&gate)?),
        ApiCall::Login => return page::login(&gate, body).await,
        ApiCall::Logout => return Ok(page::logout(&gate)?),
        _ => {}
    }
    let acts = methods == MethodSet::POST;
    let key = check_control(&gate, body, acts).await?;
    if acts {
        log_control(context, key.as_ref());
    }
    let format = context.error_format();
    let report = match call {
        // Answered above, since they need no key yet.
        ApiCall::Session | ApiCall::Login | ApiCall::Logout => return Err(Rejection::NotFound.into()),
        ApiCall::Plugins => return Ok(control::statuses(&state.statuses.load(), &format)),
        ApiCall::Routes => return Ok(control::routes(routes(snapshot, &state.statuses.load()), &format)),
        ApiCall::Drain => {
            tracing::info!("Draining was asked for by {}: /-/ready fails from now on", context.request.client);
            state.set_ready(false);
            state.events.publish(Event::Draining);
            return Ok(control::draining(&format));
        }
        ApiCall::Status => {
            let (is_ready, in_flight) = (state.is_ready(), state.in_flight());
            let is_safe_mode = state.kept.is_safe_mode();
            let (started_at, listening) = (state.started_at, state.listening.load_full());
            let python = state.python.get().cloned();
            let server = ServerStatus { is_ready, is_safe_mode, started_at, in_flight, listening, python };
            return Ok(control::status(server, &state.statuses.load(), &format));
        }
        ApiCall::Stop => {
            // The answer goes out before the connection ends with the drain.
            let asked = state.process.get().is_some_and(|process| process.send(ProcessRequest::Stop).is_ok());
            return if asked { Ok(control::stopping(&format)) } else { Err(Rejection::ShuttingDown.into()) };
        }
        ApiCall::Difference => {
            let report = state.backend.difference().await.map_err(|_| Rejection::ShuttingDown)?;
            return Ok(control::difference(report, &format));
        }
        ApiCall::Upgrade => {
            let (reply, outcome) = oneshot::channel();
            // An outcome that does not come means that the server stops, as does a request that cannot be made.
            let _ = state.process.get().map(|process| process.send(ProcessRequest::Upgrade(reply)));
            return Ok(control::upgraded(outcome.await.map_err(|_| Rejection::ShuttingDown)?, &format));
        }
        ApiCall::History => return Ok(control::shown(&state.history.to_json(), &format)),
        ApiCall::Keys => return Ok(control::shown(&snapshot.keys.to_json(), &format)),
        ApiCall::Log => {
            let after = context.request.query.get("after").and_then(|number| number.parse().ok()).unwrap_or(0);
            return Ok(control::log(after, &format));
        }
        ApiCall::Config => return Ok(control::shown(&snapshot.config, &format)),
        ApiCall::LogLevel => return set_log_level(state, context),
        ApiCall::Events => return Ok(events(state, context)?),
        ApiCall::Reload | ApiCall::Plugin(..) if state.is_upgrading() => Ok(ReloadReport::Upgrading),
        ApiCall::Reload => state.backend.reload(ReloadTarget::All).await,
        ApiCall::Plugin(PluginAction::Disable, plugin) => {
            if disable(state, &plugin).await? {
                state.backend.change(PluginAction::Disable, plugin).await
            } else {
                Ok(ReloadReport::Unknown { plugin })
            }
        }
        ApiCall::Plugin(action, plugin) => state.backend.change(action, plugin).await,
    };
    // No report means that the server stops.
    Ok(control::reload(&report.unwrap_or(ReloadReport::Stopping), &format))
}

/// Answers `/-/api/events`: with a stream that ends when the server stops, or the client is too slow.
fn events<B>(state: &ServerState<B>, context: &RequestContext) -> Result<Response<Body>, Rejection> {
    if context.request.method == Method::HEAD {
        return Ok(events::response(Body::default()));
    }
    let last = context.request.headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let serving = || state.snapshot.load().table.ids().map(str::to_owned).collect();
    let figures = context.request.query.get("figures").is_some();
    state.events.stream(last, figures, serving).map_err(|reason| match reason {
        NoStream::Stopping => Rejection::ShuttingDown,
        NoStream::TooMany => Rejection::Overloaded,
    })
}
