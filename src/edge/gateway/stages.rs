//! The stages of a request, in the order in which [`service`](super::service) calls them.
//!
//! Run on the I/O threads. What a stage decides about is in `policy` and `routing`; here it is applied to one request.
//! Promise: only [`RequestBody::read`] and [`await_outcome`] wait. Caveat: each stage takes the [`Snapshot`] that the
//! request began with as an argument; none looks for a newer one.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use http_body::Body as _;

use super::representations::{Compression, Tags};
use super::state::Snapshot;
use crate::edge::config::settings::plugins::PluginSettings;
use crate::edge::control::page;
use crate::edge::http::access_log::entry::Answered;
use crate::edge::http::body::{self, BodyError};
use crate::edge::http::conformance::HeaderFlags;
use crate::edge::http::content_coding::{ContentCoding, UnsupportedCoding};
use crate::edge::http::incoming::Incoming;
use crate::edge::http::observed::{ObservedRequest, Observers};
use crate::edge::http::request::{BodyData, MethodSet, Variables, classify, declares_json, decode_path};
use crate::edge::http::request_id::{RequestId, X_REQUEST_ID};
use crate::edge::http::rescue::{ErrorFormat, Failure, Rejection};
use crate::edge::http::response::Body;
use crate::edge::http::service::ConnectInfo;
use crate::edge::http::trace::{TRACEPARENT, TraceContext};
use crate::edge::http::upgrade::Upgrade;
use crate::edge::observe::line::Level;
use crate::edge::observe::metrics::slots::Slot;
use crate::edge::observe::metrics::thread::{self, AnsweredRequest, CountedMethod, PluginTimes};
use crate::edge::observe::repeats::LineKind;
use crate::edge::parameters::{Parameters, Sources, TextValues};
use crate::edge::policy::address::{Client, Origin, is_trusted};
use crate::edge::policy::admission::Refused;
use crate::edge::policy::cors::{Cors, Preflight};
use crate::edge::queue::outstanding::Awaited;
use crate::edge::queue::request_data::{KeyCheck, RequestData};
use crate::edge::queue::responder::{Outcome, Reply, TimedOutcome};
use crate::edge::queue::turn_clock::{self, Moment};
use crate::edge::routing::{Endpoint, Route};

/// Why a request gets an error as its response.
pub(super) enum RequestError {
    /// It was refused.
    Rejected(Rejection),
    /// Its plugin failed.
    Failed(Failure),
}

impl From<Rejection> for RequestError {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<Refused> for RequestError {
    fn from(refused: Refused) -> Self {
        Self::Rejected(match refused {
            Refused::Full => Rejection::Overloaded,
            // Rounded up, so that the client does not come too early.
            Refused::Parked(left) => Rejection::PluginParked { seconds: left.as_millis().div_ceil(1000).max(1) },
        })
    }
}

/// A request whose head has been read.
pub(super) struct RequestContext {
    /// What crosses to the Python thread, if it gets so far: in its place from the beginning, because to move it would
    /// take longer.
    pub(super) request: Box<RequestData>,
    pub(super) id: RequestId,
    /// Whether the client is on this machine, as far as is known; a proxy that is not trusted may stand before others.
    is_local: bool,
    /// Which of the rarer headers it has.
    flags: HeaderFlags,
    peer: Rc<ConnectInfo>,
    /// The same for the access log and spans, if there are any.
    pub(super) observed: Option<Arc<ObservedRequest>>,
}

impl RequestContext {
    /// Stage: request id, client address and variables of the query.
    pub(super) fn new(snapshot: &Snapshot, peer: Rc<ConnectInfo>, parts: Parts, flags: HeaderFlags) -> Self {
        let id = if flags.request_id { RequestId::from_headers(&parts.headers) } else { RequestId::fresh() };
        let trace =
            if flags.trace { TraceContext::from_headers(&parts.headers, &id) } else { TraceContext::begin(&id) };
        let query = parts.uri.query().map_or_else(Variables::default, Variables::from_query);
        let request = Box::new(RequestData {
            id: id.clone(),
            method: parts.method,
            uri: parts.uri,
            decoded_path: None,
            query,
            headers: parts.headers,
            version: parts.version,
            trace,
            remote: peer.remote,
            local: peer.local.clone(),
            client: Client::peer(peer.remote),
            secure: peer.secure,
            is_tls: peer.secure,
            certificate: peer.certificate.clone(),
            key: KeyCheck::default(),
            subpath: None,
            body: Bytes::new(),
            variables: BodyData::None,
            texts: TextValues::default(),
        });
        let is_local = request.client.is_local();
        let mut context = Self { request, id, is_local, flags, peer, observed: None };
        context.find_origin(snapshot);
        if let Some(observers) = &snapshot.observers {
            context.observed = context.observe(observers);
        }
        context
    }

    #[cold]
    fn observe(&mut self, observers: &Arc<Observers>) -> Option<Arc<ObservedRequest>> {
        observers.sample(&mut self.request.trace);
        let request = &self.request;
        let head = (&request.method, &request.uri, request.version);
        let client = (request.client.requester(), request.secure);
        let name = (self.id.clone(), request.trace);
        ObservedRequest::new(observers, name, client, head, &request.headers)
    }

    /// The same request, to be judged by another snapshot.
    pub(super) fn again(mut self, snapshot: &Snapshot) -> Self {
        self.request.decoded_path = None;
        self.find_origin(snapshot);
        self
    }

    /// Takes from the headers of trusted proxies who the client is, and what it has asked for.
    fn find_origin(&mut self, snapshot: &Snapshot) {
        if !self.flags.forwarded {
            return;
        }
        let (request, peer) = (&mut self.request, &self.peer);
        let origin = Origin::of(peer.remote, &request.headers, &snapshot.trusted_proxies);
        self.is_local = is_trusted(Client::peer(peer.remote), &snapshot.trusted_proxies) && origin.client.is_local();
        (request.client, request.secure) = (origin.client, origin.secure.unwrap_or(peer.secure));
        if let Some(host) = origin.host {
            request.headers.insert(HOST, host);
        }
    }

    /// True if it came by the control socket.
    pub(super) fn is_control(&self) -> bool {
        self.peer.is_control
    }

    /// Whether the client is on this machine, as far as is known.
    pub(super) fn is_local(&self) -> bool {
        self.is_local
    }

    /// How the client gets an error.
    pub(super) fn error_format(&self) -> ErrorFormat {
        ErrorFormat::new(&self.id, self.flags.problem)
    }

    /// True for `OPTIONS *`, which concerns the server and not a path.
    pub(super) fn is_for_whole_server(&self) -> bool {
        self.request.uri.path() == "*"
    }
}

/// Stage: the route, and the decoded path if decoding changed it.
pub(super) fn route(snapshot: &Snapshot, context: &RequestContext) -> Result<(Route, Option<String>), Rejection> {
    let path = decode_path(context.request.uri.path())?;
    let route = snapshot.table.lookup(&path)?;
    if context.is_control() && !route.is_of_server() {
        return Err(Rejection::NotFound);
    }
    Ok((route, path.into_changed()))
}

/// Stage: refuses hosts that the server does not answer to. Health checks ask for it by whatever address it has.
pub(super) fn check_host(
    snapshot: &Snapshot,
    context: &RequestContext,
    route: Result<&Route, &Rejection>,
) -> Result<(), Rejection> {
    let Some(hosts) = &snapshot.hosts else { return Ok(()) };
    let is_exempt = context.is_control() || matches!(route, Ok(Route::Healthy | Route::Ready));
    if is_exempt || hosts.admit(context.request.headers.get(HOST)) { Ok(()) } else { Err(Rejection::Misdirected) }
}

/// Stage: OPTIONS, which the server answers for all routes, CORS preflights included.
pub(super) fn answer_options(
    cors: Option<&Arc<Cors>>,
    context: &RequestContext,
    methods: MethodSet,
) -> Result<Option<Response<Body>>, Rejection> {
    let (method, headers) = (&context.request.method, &context.request.headers);
    if *method != Method::OPTIONS {
        return Ok(None);
    }
    match cors.zip(Preflight::of(headers)) {
        Some((cors, preflight)) => Ok(Some(cors.preflight(&preflight, methods)?)),
        None => Ok(Some(allowed(methods))),
    }
}

/// The answer to OPTIONS for a route that has `methods`.
pub(super) fn allowed(methods: MethodSet) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(ALLOW, methods.allow());
    response
}

/// Stage: refuses methods that the route does not have.
pub(super) fn check_method(context: &RequestContext, methods: MethodSet) -> Result<(), Rejection> {
    if methods.contains(&context.request.method) { Ok(()) } else { Err(Rejection::MethodNotAllowed { allow: methods }) }
}

/// A body that has not been read yet.
pub(super) struct RequestBody {
    body: Option<Incoming>,
    broken: bool,
}

impl RequestBody {
    /// The body of a request as hyper has it.
    pub(super) fn new(body: Incoming) -> Self {
        Self { body: Some(body), broken: false }
    }

    /// False if the request has none.
    pub(super) fn is_expected(&self) -> bool {
        self.body.as_ref().is_some_and(|body| !body.is_end_stream())
    }

    /// Stage: the whole body, within its limit and decoded.
    pub(super) async fn read(
        &mut self,
        snapshot: &Snapshot,
        settings: &PluginSettings,
        headers: &HeaderMap,
    ) -> Result<Bytes, Rejection> {
        let codings = ContentCoding::from_headers(headers).map_err(|UnsupportedCoding| Rejection::UnsupportedCoding)?;
        let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) else { return Ok(Bytes::new()) };
        let read = body::read(body, &codings, settings.body_size, snapshot.body_times).await;
        self.broken = read.is_err();
        read.map_err(|error| match error {
            BodyError::TooLarge { limit } => Rejection::BodyTooLarge { limit },
            BodyError::Timeout => Rejection::BodyTimeout,
            BodyError::Malformed | BodyError::Undecodable | BodyError::Disconnected => {
                Rejection::BadRequest(error.to_string())
            }
        })
    }

    /// True if bytes of it may still be on their way, so that the connection cannot be used again. They are discarded,
    /// because a client that is still sending must be able to read its response.
    pub(super) fn leaves_bytes(self) -> bool {
        match self.body.filter(|body| !body.is_end_stream()) {
            Some(body) => {
                body::discard(body);
                true
            }
            None => self.broken,
        }
    }
}

/// Stage: what the body adds to the variables; nothing for GET and HEAD, whose bodies are only there for
/// `request.read()`.
pub(super) fn body_variables(context: &RequestContext, body: &Bytes) -> BodyData {
    let request = &context.request;
    if request.method == Method::GET || request.method == Method::HEAD {
        return BodyData::None;
    }
    classify(request.headers.get(CONTENT_TYPE), body.clone()).unwrap_or_else(|trouble| {
        static UNREADABLE: LineKind = LineKind::new(Level::Warn, "the form in the body is not read");
        let (client, method, path) = (request.client, &request.method, request.uri.path());
        if UNREADABLE.admits(client.requester()) {
            tracing::warn!("{client} - {method} {path} - the form in the body is not read: {trouble}");
        }
        BodyData::None
    })
}

/// Stage: refuses what does not fit the parameters of a plugin, and reads what came as text by their types.
pub(super) fn check_parameters(context: &mut RequestContext, parameters: &Parameters) -> Result<(), Rejection> {
    let request = &context.request;
    let has_body = !request.body.is_empty() && request.method != Method::GET && request.method != Method::HEAD;
    let is_json = has_body && declares_json(request.headers.get(CONTENT_TYPE));
    let texts = parameters.check(&Sources { query: &request.query, body: &request.variables, is_json })?;
    context.request.texts = texts;
    Ok(())
}

/// Stage: waits for the plugin's outcome and makes it a response.
pub(super) async fn await_outcome(
    mut awaited: Awaited,
    context: &mut ResponseContext,
) -> Result<Response<Body>, RequestError> {
    let TimedOutcome { outcome, times } = (&mut awaited).await;
    context.plugin_times = times;
    match outcome {
        Outcome::Reply(reply) => Ok(response(*reply)),
        Outcome::Failed(failure @ Failure::Overdue { limit }) => {
            let (plugin, limit) = (awaited.plugin().unwrap_or_default(), limit.as_secs_f64());
            tracing::error!(
                "plugin {plugin}: request {}: no answer within handler_time, {limit} s; it gets a 504",
                context.id
            );
            Err(RequestError::Failed(failure))
        }
        Outcome::Failed(failure) => Err(RequestError::Failed(failure)),
        Outcome::Rejected(rejection) => Err(rejection.into()),
        Outcome::File(sending) => Ok(Box::pin(off_thread(move || sending.respond())).await?),
        Outcome::Switched { headers, upgrade } => Ok(switching_protocols(headers, upgrade)),
    }
}

fn response(reply: Reply) -> Response<Body> {
    let mut response = Response::new(reply.body);
    *response.status_mut() = reply.status;
    if let Some(reason) = reply.reason {
        response.extensions_mut().insert(reason);
    }
    let headers = response.headers_mut();
    *headers = reply.headers;
    if let Some(content_type) = reply.content_type {
        headers.entry(CONTENT_TYPE).or_insert(content_type);
    }
    response
}

fn switching_protocols(headers: HeaderMap, upgrade: Upgrade) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    upgrade.attach_to(&mut response);
    response
}

/// Runs `work`, which may wait for the disk, on a blocking thread.
pub(super) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Rejection> + Send + 'static,
) -> Result<T, Rejection> {
    // It is lost only when the threads end, and with them this connection.
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Rejection::ShuttingDown))
}

/// What the response takes from the head of its request.
#[expect(clippy::struct_excessive_bools, reason = "none of them depends on another")]
pub(super) struct ResponseContext {
    id: RequestId,
    trace: TraceContext,
    /// When the head of the request was there.
    begun: Moment,
    method: CountedMethod,
    version: Version,
    /// Where it is counted.
    slot: Slot,
    /// How long it was with its plugin.
    plugin_times: Option<PluginTimes>,
    /// Where CORS has to be granted.
    origin: Option<HeaderValue>,
    /// CORS as the plugin has it, if it has origins of its own.
    cors: Option<Arc<Cors>>,
    /// What is said of tags, if the plugin's answer depends on them.
    tags: Option<Box<Tags>>,
    /// How what the plugin answers may be compressed.
    compression: Compression,
    is_head: bool,
    /// Whether the client uses TLS, as far as is known.
    secure: bool,
    /// Whether the client takes problems of RFC 9457.
    takes_problems: bool,
    /// Whether the client is on this machine, as far as is known.
    is_local: bool,
    /// Whether it is for the page, so that nothing may store it or show it in a frame.
    is_of_page: bool,
    /// The request for the access log and spans, if there are any.
    observed: Option<Arc<ObservedRequest>>,
}

impl ResponseContext {
    /// Keeps the response from being stored, or shown in a frame.
    pub(super) fn guard(&mut self) {
        self.is_of_page = true;
    }

    /// When the head of the request was there.
    pub(super) fn begun(&self) -> Moment {
        self.begun
    }

    /// Keeps what the response to `context` needs.
    pub(super) fn new(context: &RequestContext) -> Self {
        let request = &context.request;
        // The answer to OPTIONS is complete, a preflight's permission included.
        let adds_cors = context.flags.origin && request.method != Method::OPTIONS;
        Self {
            id: context.id.clone(),
            trace: request.trace,
            begun: turn_clock::now(),
            method: CountedMethod::of(&request.method),
            version: request.version,
            slot: Slot::NO_PLUGIN,
            plugin_times: None,
            origin: if adds_cors { request.headers.get(ORIGIN).cloned() } else { None },
            cors: None,
            tags: None,
            compression: Compression::Never,
            is_head: request.method == Method::HEAD,
            secure: request.secure,
            takes_problems: context.flags.problem,
            is_local: context.is_local,
            is_of_page: false,
            observed: context.observed.clone(),
        }
    }

    /// Goes by what holds for `endpoint`: its origins, if it has its own, and whether what it answers to the request is
    /// compressed and gets a tag.
    pub(super) fn go_by(&mut self, endpoint: &Endpoint, context: &RequestContext) {
        self.slot = endpoint.slot;
        if let Some(observed) = &self.observed {
            observed.note_plugin(endpoint.id());
        }
        self.cors.clone_from(&endpoint.cors);
        let (request, flags) = (&context.request, context.flags);
        let compresses = endpoint.settings.compression;
        self.compression = if compresses { Compression::Preferred(flags.coding) } else { Compression::Never };
        let adds_tags = endpoint.settings.etag && matches!(request.method, Method::GET | Method::HEAD);
        let asks = adds_tags || (compresses && flags.if_none_match);
        self.tags = asks.then(|| Box::new(Tags::of(&request.headers, adds_tags)));
    }

    fn rescue(&self, snapshot: &Snapshot, error: RequestError) -> Response<Body> {
        let format = ErrorFormat::new(&self.id, self.takes_problems);
        match error {
            RequestError::Rejected(rejection) => rejection.respond(&format, snapshot.legacy_status),
            RequestError::Failed(failure) => {
                failure.respond(&format, snapshot.legacy_status, snapshot.show_errors.shows_to(self.is_local))
            }
        }
    }

    /// Stage: the response as it is sent. Errors become responses, and a plugin's response is compressed, and each
    /// response gets the headers that depend on the request: its id if it failed, CORS, those of `[headers]`, and
    /// `Connection` if the request [leaves bytes](RequestBody::leaves_bytes).
    pub(super) fn complete(
        &self,
        snapshot: &Snapshot,
        answered: Result<Response<Body>, RequestError>,
        leaves_bytes: bool,
    ) -> Response<Body> {
        let mut refusal = None;
        let mut response = match answered {
            Ok(mut response) => {
                if response.status().is_client_error() || response.status().is_server_error() {
                    // A plugin that chose an id of its own keeps it.
                    response.headers_mut().entry(X_REQUEST_ID).or_insert_with(|| self.id.header());
                }
                match &self.tags {
                    Some(tags) => tags.apply(&mut response, self.compression),
                    None => self.compression.apply(&mut response),
                }
                response
            }
            Err(error) => {
                match &error {
                    RequestError::Rejected(rejection) => refusal = rejection.reason(),
                    RequestError::Failed(Failure::Exception { type_name, .. }) => {
                        thread::current().note_exception(self.slot, type_name);
                        if let Some(observed) = &self.observed {
                            observed.note_exception(type_name);
                        }
                    }
                    RequestError::Failed(_) => {}
                }
                self.rescue(snapshot, error)
            }
        };
        // hyper adds the lengths of all other bodies.
        let has_body =
            !matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED);
        if self.is_head && response.body().size_hint().exact() == Some(0) && has_body {
            response.headers_mut().entry(CONTENT_LENGTH).or_insert(HeaderValue::from_static("0"));
        }
        if let Some(cors) = self.cors.as_ref().or(snapshot.cors.as_ref()) {
            cors.decorate(self.origin.as_ref(), response.headers_mut());
        }
        if self.is_of_page {
            page::guard(response.headers_mut());
        }
        if let Some(added) = &snapshot.added_headers {
            added.add(response.headers_mut(), self.secure);
        }
        // A plugin that names a span of its own keeps it.
        response.headers_mut().entry(TRACEPARENT).or_insert_with(|| self.trace.header());
        if leaves_bytes {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let body_bytes = if self.is_head || !has_body { 0 } else { response.body_mut().count_for(self.slot) };
        let duration = turn_clock::now().since(self.begun);
        thread::current().note(&AnsweredRequest {
            slot: self.slot,
            method: self.method,
            version: Some(self.version),
            status: response.status(),
            duration: Some(duration),
            plugin_times: self.plugin_times,
            body_bytes,
            refusal,
        });
        if let Some(observed) = &self.observed {
            let (status, plugin_times) = (response.status(), self.plugin_times);
            let answered = Answered { status, refusal, plugin_times, bytes: body_bytes, total: duration };
            if self.is_head || !has_body {
                observed.end(&answered);
            } else {
                response.body_mut().observe(Arc::clone(observed), answered);
            }
        }
        response
    }
}
