//! Requests that are observed: those of which a line of the access log or spans are made when they have been answered.
//!
//! Made on the I/O threads. Promise: where nothing is observed, a request costs a look at an empty option; where
//! something is, it is noted once, when the answer has been handed over. Caveat: a request whose client leaves before
//! the answer is dropped without a trace.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, Method, StatusCode, Uri, Version};

use super::access_log::AccessLog;
use super::access_log::entry::{AccessEntry, Answered, Head};
use super::request_id::RequestId;
use super::request_spans;
use super::trace::TraceContext;
use crate::edge::config::diagnostic::ConfigErrors;
use crate::edge::config::settings::Settings;
use crate::edge::config::settings::tracing::TracingSettings;
use crate::edge::observe::metrics::thread::RefusalReason;
use crate::edge::observe::repeats::Requester;
use crate::edge::observe::spans::{Exporter, ExporterParams};

/// What observes requests, as one reading of the ini file has it.
#[derive(Debug)]
pub(crate) struct Observers {
    log: Option<Arc<AccessLog>>,
    exporter: Option<Arc<Exporter>>,
}

impl Observers {
    /// Those that `settings` ask for, with paths relative to `folder`; nothing if there are none.
    ///
    /// # Errors
    /// When the access log cannot be written to.
    pub(crate) fn open(settings: &Settings, folder: &Path) -> Result<Option<Arc<Self>>, ConfigErrors> {
        let log = settings.access_log.as_ref().map(|log| AccessLog::open(log, folder)).transpose()?;
        let exporter = settings.tracing.clone().map(|tracing| Exporter::of(params(tracing)));
        let is_any = log.is_some() || exporter.is_some();
        Ok(is_any.then(|| Arc::new(Self { log, exporter })))
    }

    /// What sends spans, if they go anywhere.
    pub(crate) fn exporter(&self) -> Option<&Arc<Exporter>> {
        self.exporter.as_ref()
    }

    /// Decides whether a trace is recorded, if it begins here.
    pub(crate) fn sample(&self, trace: &mut TraceContext) {
        if let Some(exporter) = &self.exporter
            && !trace.is_continued()
            && !exporter.samples(trace.trace_id())
        {
            trace.leave_out();
        }
    }

    /// Whether anything is made of a request of this trace.
    fn observes(&self, trace: &TraceContext) -> bool {
        self.log.is_some() || (self.exporter.is_some() && trace.is_sampled())
    }

    fn note(&self, entry: &AccessEntry, answered: &Answered) {
        if let Some(log) = &self.log {
            log.write(entry, answered);
        }
        if let Some(exporter) = self.exporter.as_ref().filter(|_| entry.trace.is_sampled()) {
            exporter.record(request_spans::spans(entry, answered));
        }
    }

    /// Notes bytes that did not become a request.
    pub(crate) fn note_unread(
        &self,
        name: (RequestId, TraceContext),
        client: (Requester, bool),
        status: StatusCode,
        refusal: RefusalReason,
    ) {
        if self.observes(&name.1) {
            self.note(&AccessEntry::new(name, client, None), &Answered::refused(status, refusal));
        }
    }
}

fn params(TracingSettings { endpoint, service, sample, headers }: TracingSettings) -> ExporterParams {
    ExporterParams { endpoint, service, sample, headers }
}

/// A request, and what observes it.
#[derive(Debug)]
pub(crate) struct ObservedRequest {
    observers: Arc<Observers>,
    entry: AccessEntry,
}

impl ObservedRequest {
    /// A request that begins now, by its id and its place in a trace; nothing if nothing is made of it.
    pub(crate) fn new(
        observers: &Arc<Observers>,
        name: (RequestId, TraceContext),
        client: (Requester, bool),
        head: (&Method, &Uri, Version),
        headers: &HeaderMap,
    ) -> Option<Arc<Self>> {
        if !observers.observes(&name.1) {
            return None;
        }
        let head = Head::new(observers.log.as_ref().map(|log| log.format()), head, headers);
        let entry = AccessEntry::new(name, client, Some(head));
        Some(Arc::new(Self { observers: Arc::clone(observers), entry }))
    }

    /// Notes what its path has in common with others, if it is one of the server's own.
    pub(crate) fn note_route(&self, pattern: Option<&'static str>) {
        pattern.inspect(|pattern| _ = self.entry.route.get_or_init(|| pattern));
    }

    /// Notes for which plugin it is.
    pub(crate) fn note_plugin(&self, plugin: &Arc<str>) {
        self.entry.plugin.get_or_init(|| Arc::clone(plugin));
    }

    /// Notes that it may use its plugin, to which it goes now, and by which key, if by one.
    pub(crate) fn note_access(&self, key: Option<&Arc<str>>) {
        self.entry.queued.get_or_init(Instant::now);
        key.inspect(|name| self.note_key(name));
    }

    /// Notes by which key it was admitted.
    pub(crate) fn note_key(&self, name: &Arc<str>) {
        self.entry.key.get_or_init(|| Arc::clone(name));
    }

    /// Notes which exception its handler has raised.
    pub(crate) fn note_exception(&self, type_name: &str) {
        self.entry.exception.get_or_init(|| type_name.to_owned());
    }

    /// Notes its answer.
    pub(crate) fn end(&self, answered: &Answered) {
        self.observers.note(&self.entry, answered);
    }

    /// Notes an answer that has taken until now.
    pub(crate) fn end_now(&self, answered: &Answered) {
        self.end(&Answered { total: self.entry.begun.elapsed(), ..*answered });
    }
}
