//! A request that is to be logged, with the log that gets its line.
//!
//! Made on the I/O threads. Promise: each is written once, when its answer has been handed over. Caveat: one whose client
//! leaves before the answer is dropped without a line.

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, Uri, Version};

use super::AccessLog;
use super::entry::{AccessEntry, Answered, Head};
use crate::edge::http::request_id::RequestId;
use crate::edge::observe::metrics::thread::RefusalReason;
use crate::edge::observe::repeats::Requester;

/// A request and its log.
#[derive(Debug)]
pub(crate) struct LoggedRequest {
    log: Arc<AccessLog>,
    entry: AccessEntry,
}

impl LoggedRequest {
    /// A request that begins now, by its id and that of its trace.
    pub(crate) fn new(
        log: &Arc<AccessLog>,
        name: (RequestId, u128),
        client: (Requester, bool),
        head: (&Method, &Uri, Version),
        headers: &HeaderMap,
    ) -> Arc<Self> {
        let head = Head::new(log.format(), head, headers);
        Arc::new(Self { log: Arc::clone(log), entry: AccessEntry::new(name, client, Some(head)) })
    }

    /// Writes a line for bytes that did not become a request, if there is a `log`.
    pub(crate) fn write_unread(
        log: Option<&Arc<AccessLog>>,
        name: (RequestId, u128),
        client: (Requester, bool),
        status: StatusCode,
        refusal: RefusalReason,
    ) {
        if let Some(log) = log {
            log.write(&AccessEntry::new(name, client, None), &Answered::refused(status, refusal));
        }
    }

    /// Notes for which plugin it is.
    pub(crate) fn note_plugin(&self, plugin: &Arc<str>) {
        self.entry.plugin.get_or_init(|| Arc::clone(plugin));
    }

    /// Notes by which key it was admitted.
    pub(crate) fn note_key(&self, name: &Arc<str>) {
        self.entry.key.get_or_init(|| Arc::clone(name));
    }

    /// Writes its line.
    pub(crate) fn write(&self, answered: &Answered) {
        self.log.write(&self.entry, answered);
    }

    /// Writes the line of one whose answer has taken until now.
    pub(crate) fn write_at_end(&self, answered: &Answered) {
        self.write(&Answered { total: self.entry.begun.elapsed(), ..*answered });
    }
}
