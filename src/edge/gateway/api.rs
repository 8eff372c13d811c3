//! Answers the addresses below `/-/api/`.
//!
//! Runs on the I/O threads; what changes plugins awaits the Python thread, everything else is answered at once. Promise:
//! each address passes the same checks: its method, then who may control the server. Caveat: an address that does not
//! exist is a 404 to everyone.

use http::Response;

use super::builtin::check_control;
use super::stages::{RequestBody, RequestContext, RequestError, answer_options, check_method};
use super::state::{ServerState, Snapshot};
use crate::edge::control::api::ApiCall;
use crate::edge::control::{self, ReloadReport, ReloadTarget};
use crate::edge::http::rescue::Rejection;
use crate::edge::http::response::Body;
use crate::edge::queue::backend::Backend;

/// Answers a request for `path`, which follows `/-/api/`.
pub(super) async fn answer<B: Backend>(
    state: &ServerState<B>,
    snapshot: &Snapshot,
    context: &RequestContext,
    body: &mut RequestBody,
    path: &str,
) -> Result<Response<Body>, RequestError> {
    let (call, methods) = ApiCall::find(path).ok_or(Rejection::NotFound)?;
    if let Some(response) = answer_options(snapshot, context, methods)? {
        return Ok(response);
    }
    check_method(context, methods)?;
    check_control(snapshot, context, body).await?;
    let id = context.id.header();
    let report = match call {
        ApiCall::Plugins => return Ok(control::statuses(&state.statuses.load(), id)),
        ApiCall::Drain => {
            tracing::info!("Draining was asked for by {}: /-/ready fails from now on", context.client);
            state.set_ready(false);
            return Ok(control::draining(id));
        }
        ApiCall::Reload => state.backend.reload(ReloadTarget::All).await,
        ApiCall::Plugin(action, plugin) => state.backend.change(action, plugin).await,
    };
    // No report means that the server stops.
    Ok(control::reload(&report.unwrap_or(ReloadReport::Stopping), id))
}
