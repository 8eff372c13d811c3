//! The boundary between the gateway and what runs the plugins.
//!
//! Promise: everything that crosses is plain Rust data: requests and reloads go to a [`Backend`], an outcome comes back
//! through the [`Responder`](super::responder::Responder) of its request, a report through its channel. The gateway is
//! generic over the backend, so a call costs what a direct one does, and the gateway's tests run without Python.
//! Caveat: what the gateway needs to know of a plugin does not come this way; it is data of the plugin's route.

use tokio::sync::oneshot;

use super::board::RequestNumber;
use super::responder::QueuedRequest;
use crate::edge::control::api::PluginAction;
use crate::edge::control::{DifferenceReport, ReloadReport, ReloadTarget};
use crate::edge::observe::line::Level;
use crate::edge::observe::metrics::exposition::Format;

/// Runs the plugins. Called on the I/O threads, so it must neither block nor attach to the interpreter.
pub(crate) trait Backend: Send + Sync + 'static {
    /// Takes all `requests`, in their order, and leaves the vector empty. Each is answered through its responder; one
    /// that is dropped is answered with 503.
    fn submit(&self, requests: &mut Vec<QueuedRequest>);

    /// Cancels the handlers of these requests, which have been answered without them, where it can.
    fn cancel(&self, requests: Vec<RequestNumber>);

    /// Starts a reload; the report comes when old instances are terminated. A dropped sender means a stop.
    fn reload(&self, target: ReloadTarget) -> oneshot::Receiver<ReloadReport>;

    /// Starts to change one plugin, of which the list of statuses may know more than its id; otherwise like a reload.
    fn change(&self, action: PluginAction, id: String) -> oneshot::Receiver<ReloadReport>;

    /// Tells what a reload of everything would change. A dropped sender means a stop.
    fn difference(&self) -> oneshot::Receiver<DifferenceReport>;

    /// Has the figures written that plugins keep with the package `prometheus_client`. A dropped sender means that they
    /// cannot be.
    fn collect_registry(&self, format: Format) -> oneshot::Receiver<String>;

    /// Has Python's `logging` begin at `level`, when it comes to it.
    fn set_log_level(&self, level: Level);
}
