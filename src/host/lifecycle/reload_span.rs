//! The span of a reload, or of a change to one plugin.
//!
//! Runs on the Python thread. Promise: it is recorded however the reload ends, in a trace of its own, whatever part of
//! the traces is recorded: reloads are few. Caveat: it goes to the collector of the settings that are in force
//! afterwards.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::edge::control::{ReloadReport, ReloadTarget};
use crate::edge::http::request_id::RequestId;
use crate::edge::http::trace::TraceContext;
use crate::edge::observe::spans::{Exporter, Span, Value};

/// A reload that has begun.
pub(super) struct ReloadSpan {
    begun: SystemTime,
    since: Instant,
}

impl ReloadSpan {
    /// One that begins now.
    pub(super) fn begin() -> Self {
        Self { begun: SystemTime::now(), since: Instant::now() }
    }

    /// Records it.
    pub(super) fn end(self, exporter: &Arc<Exporter>, target: &ReloadTarget, report: &ReloadReport) {
        let trace = TraceContext::begin(&RequestId::fresh());
        let asked_for = match target {
            ReloadTarget::All => "all",
            ReloadTarget::Changed => "changed",
            ReloadTarget::One(id) | ReloadTarget::OneOrFailed(id) | ReloadTarget::Previous(id) => id,
        };
        let result = if report.is_success() { "success" } else { "failure" };
        let attributes = vec![
            ("plugincore.reload.target", Value::from(asked_for.to_owned())),
            ("plugincore.reload.result", result.into()),
            ("plugincore.plugins", Value::Texts(plugins(asked_for, report))),
        ];
        let error = match report {
            ReloadReport::Failed { reasons, .. } => Some(reasons.join("; ")),
            report => (!report.is_success()).then(String::new),
        };
        exporter.record(vec![Span {
            trace_id: trace.trace_id(),
            id: trace.span_id,
            name: "reload".into(),
            begun: self.begun,
            ended: self.begun + self.since.elapsed(),
            attributes,
            error,
            ..Span::default()
        }]);
    }
}

/// The ids of the plugins that a reload was about.
fn plugins(asked_for: &str, report: &ReloadReport) -> Vec<String> {
    match report {
        ReloadReport::All { loaded: plugins, .. }
        | ReloadReport::Failed { target: ReloadTarget::All | ReloadTarget::Changed, loaded: plugins, .. }
        | ReloadReport::Disabled { plugins, .. }
        | ReloadReport::Enabled { plugins, .. } => plugins.clone(),
        _ => vec![asked_for.to_owned()],
    }
}
