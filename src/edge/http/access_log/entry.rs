//! What the access log keeps of a request until it is answered, and of its answer.
//!
//! Made on the I/O threads when the head is there, or when a head has been refused. Caveat: only those headers are kept
//! that a line has.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::header::{HOST, REFERER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};

use crate::edge::config::settings::access_log::{AccessFormat, Field};
use crate::edge::http::request_id::RequestId;
use crate::edge::observe::metrics::thread::{PluginTimes, RefusalReason};
use crate::edge::observe::repeats::Requester;

/// A request, as far as lines may have it.
#[derive(Debug)]
pub(crate) struct AccessEntry {
    pub(super) begun: Instant,
    pub(super) id: RequestId,
    pub(super) trace_id: u128,
    /// The client, after what trusted proxies say has been read.
    pub(super) client: Requester,
    pub(super) secure: bool,
    /// Nothing if the head could not be read.
    pub(super) head: Option<Head>,
    /// The plugin that it is for.
    pub(super) plugin: OnceLock<Arc<str>>,
    /// The name of the key that admitted it.
    pub(super) key: OnceLock<Arc<str>>,
}

/// The head of a request.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) version: Version,
    pub(super) host: Option<HeaderValue>,
    pub(super) referer: Option<HeaderValue>,
    pub(super) user_agent: Option<HeaderValue>,
}

impl Head {
    /// What lines of `format` may have of a head.
    pub(super) fn new(
        format: &AccessFormat,
        (method, uri, version): (&Method, &Uri, Version),
        headers: &HeaderMap,
    ) -> Self {
        let keep = |field, name| if format.has(field) { headers.get(name).cloned() } else { None };
        Self {
            method: method.clone(),
            uri: uri.clone(),
            version,
            host: keep(Field::Host, HOST),
            referer: keep(Field::Referer, REFERER),
            user_agent: keep(Field::UserAgent, USER_AGENT),
        }
    }
}

/// How a request was answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    /// The status.
    pub status: StatusCode,
    /// Why it was refused, if it was.
    pub refusal: Option<RefusalReason>,
    /// How long it was with its plugin.
    pub plugin_times: Option<PluginTimes>,
    /// Bytes of the body.
    pub bytes: u64,
    /// How long it took to hand all of the answer over.
    pub total: Duration,
}

impl AccessEntry {
    /// A request that begins now.
    pub(super) fn new(
        (id, trace_id): (RequestId, u128),
        (client, secure): (Requester, bool),
        head: Option<Head>,
    ) -> Self {
        let (plugin, key) = Default::default();
        Self { begun: Instant::now(), id, trace_id, client, secure, head, plugin, key }
    }
}

impl Answered {
    /// A request that was refused at once; the few bytes of the answer are not counted.
    pub(crate) fn refused(status: StatusCode, refusal: RefusalReason) -> Self {
        Self { status, refusal: Some(refusal), plugin_times: None, bytes: 0, total: Duration::ZERO }
    }
}
