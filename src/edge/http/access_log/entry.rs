//! What the access log and spans keep of a request until it is answered, and of its answer.
//!
//! Made on the I/O threads when the head is there, or when a head has been refused. Caveat: only those headers are kept
//! that a line has; spans have none.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::header::{HOST, REFERER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};

use crate::edge::config::settings::access_log::{AccessFormat, Field};
use crate::edge::http::request_id::RequestId;
use crate::edge::http::trace::TraceContext;
use crate::edge::observe::metrics::thread::{PluginTimes, RefusalReason};
use crate::edge::observe::repeats::Requester;

/// A request, as far as lines and spans may have it.
#[derive(Debug)]
pub(crate) struct AccessEntry {
    pub(in crate::edge::http) begun: Instant,
    pub(in crate::edge::http) id: RequestId,
    pub(in crate::edge::http) trace: TraceContext,
    /// The client, after what trusted proxies say has been read.
    pub(in crate::edge::http) client: Requester,
    pub(in crate::edge::http) secure: bool,
    /// Nothing if the head could not be read.
    pub(in crate::edge::http) head: Option<Head>,
    /// What requests with such a path have in common, if it is one of the server's own.
    pub(in crate::edge::http) route: OnceLock<&'static str>,
    /// The plugin that it is for.
    pub(in crate::edge::http) plugin: OnceLock<Arc<str>>,
    /// The name of the key that admitted it.
    pub(in crate::edge::http) key: OnceLock<Arc<str>>,
    /// Since when it is in the queue to its plugin.
    pub(in crate::edge::http) queued: OnceLock<Instant>,
    /// The type of the exception that its handler has raised.
    pub(in crate::edge::http) exception: OnceLock<String>,
}

/// The head of a request.
#[derive(Debug)]
pub(in crate::edge::http) struct Head {
    pub(in crate::edge::http) method: Method,
    pub(in crate::edge::http) uri: Uri,
    pub(in crate::edge::http) version: Version,
    pub(super) host: Option<HeaderValue>,
    pub(super) referer: Option<HeaderValue>,
    pub(super) user_agent: Option<HeaderValue>,
}

impl Head {
    /// What lines of `format`, if there are lines, and spans may have of a head.
    pub(in crate::edge::http) fn new(
        format: Option<&AccessFormat>,
        (method, uri, version): (&Method, &Uri, Version),
        headers: &HeaderMap,
    ) -> Self {
        let is_shown = |field| format.is_some_and(|format| format.has(field));
        let keep = |field, name| if is_shown(field) { headers.get(name).cloned() } else { None };
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
    pub(in crate::edge::http) fn new(
        (id, trace): (RequestId, TraceContext),
        (client, secure): (Requester, bool),
        head: Option<Head>,
    ) -> Self {
        let (route, plugin, key, queued, exception) = Default::default();
        Self { begun: Instant::now(), id, trace, client, secure, head, route, plugin, key, queued, exception }
    }
}

impl Answered {
    /// A request that was refused at once; the few bytes of the answer are not counted.
    pub(crate) fn refused(status: StatusCode, refusal: RefusalReason) -> Self {
        Self { status, refusal: Some(refusal), plugin_times: None, bytes: 0, total: Duration::ZERO }
    }
}
