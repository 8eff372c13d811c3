//! The spans of a request: the request itself, the time in the queue to its plugin, and that in the handler.
//!
//! Pure functions, called on the I/O threads for requests of traces that are recorded. The names of attributes are
//! those of OpenTelemetry's conventions for servers of HTTP; the server's own begin with `plugincore.`. Promise: a part
//! lies within the whole; nothing of a query, a header or a body is in a span. Caveat: a path is, as it was sent.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use http::{Method, Version};

use super::access_log::entry::{AccessEntry, Answered, Head};
use super::trace::TraceContext;
use crate::edge::observe::repeats::Requester;
use crate::edge::observe::spans::{Parent, Span, SpanKind, Value};

/// What stands for a method that is not one of those that are known.
const OTHER_METHOD: &str = "_OTHER";

/// The spans of an observed request that has been answered now.
pub(super) fn spans(entry: &AccessEntry, answered: &Answered) -> Vec<Span> {
    let (elapsed, now) = (entry.begun.elapsed(), SystemTime::now());
    let begun = now.checked_sub(elapsed).unwrap_or(now);
    let mut spans = vec![whole(entry, answered, begun, now)];
    let queued = entry.queued.get().map(|queued| queued.saturating_duration_since(entry.begun));
    if let (Some(queued), Some(times)) = (queued, answered.plugin_times) {
        let called = (queued + times.queue).min(elapsed);
        let ended = (called + times.handler).min(elapsed);
        let part = |name: &'static str, from: Duration, to: Duration| Span {
            trace_id: entry.trace.trace_id(),
            id: TraceContext::fresh_span_id(),
            parent: Some(Parent::Local(entry.trace.span_id)),
            name: name.into(),
            begun: begun + from,
            ended: begun + to,
            ..Span::default()
        };
        spans.push(part("queue", queued.min(called), called));
        let mut handler = part("handler", called, ended);
        if let Some(plugin) = entry.plugin.get() {
            handler.attributes.push(("plugincore.plugin", plugin.to_string().into()));
        }
        if let Some(exception) = entry.exception.get() {
            handler.attributes.push(("error.type", exception.clone().into()));
            handler.error = Some(exception.clone());
        }
        spans.push(handler);
    }
    spans
}

/// The span of the request itself, under the id that its answer names.
fn whole(entry: &AccessEntry, answered: &Answered, begun: SystemTime, ended: SystemTime) -> Span {
    let (head, trace, status) = (entry.head.as_ref(), &entry.trace, answered.status);
    let own = || entry.route.get().map(|route| Cow::Borrowed(*route));
    let route = entry.plugin.get().map(|plugin| Cow::Owned(format!("/{plugin}"))).or_else(own);
    let method = head.map_or(OTHER_METHOD, method);
    let shown = if method == OTHER_METHOD { "HTTP" } else { method };
    let mut attributes = vec![
        ("http.request.method", method.into()),
        ("url.scheme", if entry.secure { "https" } else { "http" }.into()),
        ("http.response.status_code", Value::Number(status.as_u16().into())),
        ("plugincore.request_id", entry.id.to_string().into()),
    ];
    if let Some(head) = head {
        attributes.push(("url.path", head.uri.path().to_owned().into()));
        if method == OTHER_METHOD {
            attributes.push(("http.request.method_original", head.method.to_string().into()));
        }
        attributes.extend(version(head.version).map(|version| ("network.protocol.version", version.into())));
    }
    if let Requester::Address(address) = entry.client {
        attributes.push(("client.address", address.to_string().into()));
    }
    attributes.extend(route.clone().map(|route| ("http.route", Value::Text(route))));
    attributes.extend(entry.plugin.get().map(|plugin| ("plugincore.plugin", plugin.to_string().into())));
    attributes.extend(answered.refusal.map(|refusal| ("plugincore.refusal", refusal.name().into())));
    let exception = entry.exception.get();
    // What a client has done wrong is no failure of the server.
    let has_failed = status.is_server_error() || exception.is_some();
    if has_failed {
        let error = exception.cloned().unwrap_or_else(|| status.as_str().to_owned());
        attributes.push(("error.type", error.into()));
    }
    Span {
        trace_id: trace.trace_id(),
        id: trace.span_id,
        parent: trace.is_continued().then_some(Parent::Remote(trace.parent_id)),
        kind: SpanKind::Server,
        name: route.map_or_else(|| shown.into(), |route| format!("{shown} {route}").into()),
        begun,
        ended,
        attributes,
        error: has_failed.then(|| exception.cloned().unwrap_or_default()),
    }
}

/// The method, unless it is one that clients make up: names of spans are to be few.
fn method(head: &Head) -> &'static str {
    match head.method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        Method::TRACE => "TRACE",
        Method::CONNECT => "CONNECT",
        _ => OTHER_METHOD,
    }
}

fn version(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        _ => None,
    }
}
