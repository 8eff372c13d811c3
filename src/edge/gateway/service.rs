//! The way of a request through the native stages.
//!
//! In this order: request id and client address, path, route, preflight, method, credential of the head, body within
//! its limit, credential of the body, admission, bridge. Promise: whatever is refused is refused here, without the
//! interpreter. Caveat: the order is part of the contract (a wrong method is told before a wrong key).

use std::rc::Rc;
use std::sync::Arc;

use arc_swap::Guard;
use bytes::Bytes;
use futures_util::future::{Either, Ready, ready};
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::sync::oneshot;

use super::state::{ServerState, Snapshot};
use crate::edge::control::{self, ReloadReport, ReloadTarget};
use crate::edge::files::response::FileRequest;
use crate::edge::files::static_files::ClientInfo;
use crate::edge::http::body::{self, BodyError};
use crate::edge::http::connection::{ConnectInfo, Service};
use crate::edge::http::content_coding::{ContentCoding, UnsupportedCoding};
use crate::edge::http::request::{BodyData, MethodSet, Variables, classify, decode_path};
use crate::edge::http::request_id::{RequestId, X_REQUEST_ID};
use crate::edge::http::rescue::{Failure, Realm, Rejection};
use crate::edge::http::response::Body;
use crate::edge::http::upgrade::Upgrade;
use crate::edge::policy::address::{Client, client_address};
use crate::edge::policy::admission::admit;
use crate::edge::policy::cors;
use crate::edge::policy::credential::{Access, AuthPolicy};
use crate::edge::policy::own_host;
use crate::edge::queue::request_data::RequestData;
use crate::edge::queue::responder::{CompletionQueue, Outcome, QueuedRequest, Reply, Responder};
use crate::edge::queue::submitter::Submitter;
use crate::edge::routing::{Endpoint, Route};

/// Answers the requests of one I/O thread.
pub(crate) struct AppService {
    state: Arc<ServerState>,
    submitter: Rc<Submitter>,
    completions: Arc<CompletionQueue>,
}

/// A request whose head has been read.
struct RequestContext {
    parts: Parts,
    query: Variables,
    client: Client,
    peer: Rc<ConnectInfo>,
    id: RequestId,
}

/// Why a request was not answered by what it asked for.
enum RequestError {
    Rejected(Rejection),
    Failed(Failure),
}

impl From<Rejection> for RequestError {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl Service for AppService {
    fn call(self: Rc<Self>, peer: Rc<ConnectInfo>, request: Request<Incoming>) -> impl Future<Output = Response<Body>> {
        // A thread that requests keep awake never comes to where it looks before it sleeps.
        self.completions.look();
        self.answer(peer, request)
    }
}

/// How an answer comes: now or later. What is answered now needs no future that keeps the request.
type Answer<F> = Either<Ready<Response<Body>>, F>;

impl AppService {
    /// A front for the thread that runs `submitter` and `completions`.
    pub(crate) fn new(
        state: Arc<ServerState>,
        submitter: Rc<Submitter>,
        completions: Arc<CompletionQueue>,
    ) -> Rc<Self> {
        Rc::new(Self { state, submitter, completions })
    }

    fn answer(
        self: Rc<Self>,
        peer: Rc<ConnectInfo>,
        request: Request<Incoming>,
    ) -> Answer<impl Future<Output = Response<Body>>> {
        let snapshot = self.state.snapshot.load();
        let (parts, body) = request.into_parts();
        let body = RequestBody { body: Some(body), broken: false };
        let id = RequestId::from_headers(&parts.headers);
        let client = client_address(peer.remote.ip(), &parts.headers, &snapshot.trusted_proxies);
        let query = parts.uri.query().map_or_else(Variables::default, Variables::from_query);
        // To OPTIONS the host itself says all that there is to say, a preflight's permission included.
        let is_options = parts.method == Method::OPTIONS;
        let origin = if snapshot.cors.is_some() && !is_options { parts.headers.get(ORIGIN).cloned() } else { None };
        let context = RequestContext { parts, query, client, peer, id: id.clone() };
        let answered = match self.begin(&snapshot, context, !body.is_absent()) {
            Ok(Progress::Answered(response)) => Ok(response),
            Err(refusal) => Err(refusal),
            Ok(Progress::Asked(outcome)) => {
                let snapshot = Guard::into_inner(snapshot);
                return Either::Right(Either::Left(async move {
                    let answered = await_outcome(outcome).await;
                    finish(&snapshot, answered, &id, origin.as_ref(), body)
                }));
            }
            Ok(Progress::Waits(deferred)) => {
                let (snapshot, mut body) = (Guard::into_inner(snapshot), body);
                return Either::Right(Either::Right(Box::pin(async move {
                    let answered = self.proceed(&snapshot, *deferred, &mut body).await;
                    finish(&snapshot, answered, &id, origin.as_ref(), body)
                })));
            }
        };
        Either::Left(ready(finish(&snapshot, answered, &id, origin.as_ref(), body)))
    }

    /// Goes as far as nothing has to be waited for.
    fn begin(&self, snapshot: &Snapshot, context: RequestContext, has_body: bool) -> Result<Progress, RequestError> {
        if context.parts.uri.path() == "*" {
            return Ok(Progress::Answered(allowed(MethodSet::ALL))); // only OPTIONS comes here with it
        }
        let path = decode_path(context.parts.uri.path()).map_err(Rejection::from)?;
        Ok(match snapshot.table.lookup(&path)? {
            Route::Healthy => Progress::Answered(builtin_endpoint(&context, MethodSet::READ_ONLY, control::healthy)?),
            Route::Ready => Progress::Answered(builtin_endpoint(&context, MethodSet::READ_ONLY, || {
                control::ready(self.state.is_ready(), context.id.header())
            })?),
            Route::Plugins => Progress::Waits(Box::new(Deferred::Plugins(context))),
            Route::Reload(name) => Progress::Waits(Box::new(Deferred::Reload(context, name))),
            Route::StaticFile { subpath } => Progress::Waits(Box::new(Deferred::StaticFile(context, subpath))),
            Route::Plugin { endpoint, subpath } => {
                if let Some(response) = options(snapshot, &context, endpoint.methods)? {
                    return Ok(Progress::Answered(response));
                }
                let access = admit_head(&endpoint, &context)?;
                let place = PluginPath { decoded: path.into_changed(), subpath };
                if has_body {
                    Progress::Waits(Box::new(Deferred::Body { endpoint, context, place }))
                } else {
                    Progress::Asked(self.ask(&endpoint, context, place, access, Bytes::new())?)
                }
            }
        })
    }

    /// Does what has to be waited for.
    async fn proceed(
        &self,
        snapshot: &Snapshot,
        deferred: Deferred,
        body: &mut RequestBody,
    ) -> Result<Response<Body>, RequestError> {
        match deferred {
            Deferred::Plugins(context) => {
                if let Some(response) = options(snapshot, &context, MethodSet::DEFAULT)? {
                    return Ok(response);
                }
                Self::admit_control(snapshot, &context, body).await?;
                Ok(control::plugins(snapshot.table.ids()))
            }
            Deferred::Reload(context, name) => {
                if let Some(response) = options(snapshot, &context, MethodSet::ACTING)? {
                    return Ok(response);
                }
                Self::admit_control(snapshot, &context, body).await?;
                let is_stranger = !context.client.is_local() || cors::is_cross_site(&context.parts.headers);
                if matches!(snapshot.control, AuthPolicy::Open) && is_stranger {
                    return Err(Rejection::ControlRefused.into());
                }
                let report = self.state.operator.reload(ReloadTarget::named(name)).await;
                Ok(control::reload(&report.unwrap_or(ReloadReport::Stopping), context.id.header()))
            }
            Deferred::StaticFile(context, tail) => static_file(snapshot, context, tail).await,
            Deferred::Body { endpoint, context, place } => {
                let bytes = body.read(snapshot, &context.parts.headers).await?;
                // While the body came, a reload may have put another version there, or another key: the one that
                // answers decides who may call it.
                let endpoint =
                    self.state.snapshot.load().table.get(endpoint.id()).cloned().ok_or(Rejection::NotFound)?;
                if !endpoint.methods.contains(&context.parts.method) {
                    return Err(Rejection::MethodNotAllowed { allow: endpoint.methods }.into());
                }
                let access = admit_head(&endpoint, &context)?;
                await_outcome(self.ask(&endpoint, context, place, access, bytes)?).await
            }
        }
    }

    /// Checks the server's own key; a key in the body counts for POST, as in pluginserver. Without one, whoever asks is
    /// admitted, but for web pages of others.
    async fn admit_control(
        snapshot: &Snapshot,
        context: &RequestContext,
        body: &mut RequestBody,
    ) -> Result<(), RequestError> {
        if matches!(snapshot.control, AuthPolicy::Open) {
            let is_friend = |origin: &HeaderValue| snapshot.cors.as_ref().is_some_and(|cors| cors.names(origin));
            let is_foreign = own_host::may_be_foreign(&context.parts.uri, &context.parts.headers, is_friend);
            return if is_foreign { Err(Rejection::ForeignRefused.into()) } else { Ok(()) };
        }
        let granted = match snapshot.control.admits_head(&context.parts.headers, &context.query) {
            Access::Granted => true,
            Access::Refused => false,
            Access::BodyDecides => {
                let bytes = body.read(snapshot, &context.parts.headers).await?;
                snapshot.control.admits_body(&variables(context, &bytes))
            }
        };
        if granted { Ok(()) } else { Err(refused(context, Realm::Control, context.parts.uri.path())) }
    }

    /// Hands the request to its plugin.
    fn ask(
        &self,
        endpoint: &Endpoint,
        context: RequestContext,
        place: PluginPath,
        access: Access,
        body: Bytes,
    ) -> Result<oneshot::Receiver<Outcome>, RequestError> {
        let variables = variables(&context, &body);
        if access == Access::BodyDecides && !endpoint.auth.load().admits_body(&variables) {
            return Err(refused(&context, Realm::Plugin, endpoint.id()));
        }
        let permit = admit(&self.state.total, &endpoint.limit).ok_or(Rejection::Overloaded)?;
        let (responder, outcome) = Responder::open(Arc::clone(&self.completions), permit, context.id.clone());
        let request = request_data(context, place, body, variables);
        self.submitter.submit(QueuedRequest { plugin: Arc::clone(endpoint.id()), request, responder });
        Ok(outcome)
    }
}

/// What a plugin's policy says to the head of a request.
fn admit_head(endpoint: &Endpoint, context: &RequestContext) -> Result<Access, RequestError> {
    match endpoint.auth.load().admits_head(&context.parts.headers, &context.query) {
        Access::Refused => Err(refused(context, Realm::Plugin, endpoint.id())),
        access => Ok(access),
    }
}

/// Turns what came of a request into its answer.
fn finish(
    snapshot: &Snapshot,
    answered: Result<Response<Body>, RequestError>,
    id: &RequestId,
    origin: Option<&HeaderValue>,
    body: RequestBody,
) -> Response<Body> {
    let mut response = match answered {
        Ok(mut response) => {
            if response.status().is_client_error() || response.status().is_server_error() {
                // A plugin that chose an id of its own keeps it.
                response.headers_mut().entry(X_REQUEST_ID).or_insert_with(|| id.header());
            }
            response
        }
        Err(RequestError::Rejected(rejection)) => rejection.respond(id.header(), snapshot.legacy_status),
        Err(RequestError::Failed(failure)) => failure.respond(id.header(), snapshot.legacy_status),
    };
    if let Some(cors) = &snapshot.cors {
        cors.decorate(origin, response.headers_mut());
    }
    if body.leaves_bytes() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// How far a request came without waiting.
enum Progress {
    /// To its end.
    Answered(Response<Body>),
    /// To a plugin.
    Asked(oneshot::Receiver<Outcome>),
    /// To something that has to be waited for; boxed, because most requests do not and would carry the room for it.
    Waits(Box<Deferred>),
}

/// What has to wait: for a body, for the disk, or for the Python thread to reload.
enum Deferred {
    Plugins(RequestContext),
    Reload(RequestContext, String),
    StaticFile(RequestContext, Option<String>),
    Body { endpoint: Arc<Endpoint>, context: RequestContext, place: PluginPath },
}

/// Waits for what a plugin makes of a request.
async fn await_outcome(outcome: oneshot::Receiver<Outcome>) -> Result<Response<Body>, RequestError> {
    // The sender answers even when it is dropped; an error is left only when this thread itself ends.
    match outcome.await.unwrap_or(Outcome::Rejected(Rejection::ShuttingDown)) {
        Outcome::Reply(reply) => Ok(response(reply)),
        Outcome::Failed(failure) => Err(RequestError::Failed(failure)),
        Outcome::Rejected(rejection) => Err(rejection.into()),
        Outcome::File(sending) => Ok(Box::pin(off_thread(move || sending.respond())).await?),
        Outcome::Switched { headers, upgrade } => Ok(switching_protocols(headers, upgrade)),
    }
}

/// Answers with a file of the documents' folder, and notes it in the access log.
async fn static_file(
    snapshot: &Snapshot,
    context: RequestContext,
    tail: Option<String>,
) -> Result<Response<Body>, RequestError> {
    let Some(documents) = snapshot.static_files.clone() else { return Err(Rejection::NotFound.into()) };
    let answered = options(snapshot, &context, MethodSet::READ_ONLY).transpose();
    let RequestContext { parts, client, .. } = context;
    let from = ClientInfo { client, version: parts.version };
    let asked = FileRequest { method: parts.method, headers: parts.headers };
    let work = move || {
        let answered = answered.unwrap_or_else(|| documents.answer(tail.as_deref(), &parts.uri, &asked));
        documents.note(&asked, &parts.uri, &from, &answered);
        answered
    };
    Ok(off_thread(work).await?)
}

/// Runs what may wait for the disk on a thread for that.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Rejection> + Send + 'static,
) -> Result<T, Rejection> {
    // It is lost only when the threads end, and with them this connection.
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Rejection::ShuttingDown))
}

/// A body that nobody has asked for yet.
struct RequestBody {
    body: Option<Incoming>,
    broken: bool,
}

impl RequestBody {
    async fn read(&mut self, snapshot: &Snapshot, headers: &HeaderMap) -> Result<Bytes, Rejection> {
        let coding = ContentCoding::from_headers(headers).map_err(|UnsupportedCoding| Rejection::UnsupportedCoding)?;
        let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) else { return Ok(Bytes::new()) };
        let read = body::read(body, coding, snapshot.body_limit, snapshot.read_timeout).await;
        self.broken = read.is_err();
        read.map_err(|error| match error {
            BodyError::TooLarge { limit } => Rejection::BodyTooLarge { limit },
            BodyError::Timeout { .. } => Rejection::BodyTimeout,
            BodyError::Malformed | BodyError::Undecodable | BodyError::Disconnected => {
                Rejection::BadRequest(error.to_string())
            }
        })
    }

    /// True if the request has none.
    fn is_absent(&self) -> bool {
        self.body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    /// True if bytes of it may still be on their way, so that the connection cannot be used again. They are discarded,
    /// because a client that is still sending must be able to read its answer.
    fn leaves_bytes(self) -> bool {
        match self.body.filter(|body| !body.is_end_stream()) {
            Some(body) => {
                body::discard(body);
                true
            }
            None => self.broken,
        }
    }
}

/// Where in the plugin's tree of paths a request goes.
struct PluginPath {
    /// The path, if decoding changed it.
    decoded: Option<String>,
    subpath: Option<String>,
}

/// Answers one of the host's own read-only addresses.
fn builtin_endpoint(
    context: &RequestContext,
    methods: MethodSet,
    answer: impl FnOnce() -> Response<Body>,
) -> Result<Response<Body>, RequestError> {
    if context.parts.method == Method::OPTIONS {
        return Ok(allowed(methods));
    }
    if methods.contains(&context.parts.method) {
        Ok(answer())
    } else {
        Err(Rejection::MethodNotAllowed { allow: methods }.into())
    }
}

/// Answers OPTIONS, preflights included, and refuses methods that the route does not have.
fn options(
    snapshot: &Snapshot,
    context: &RequestContext,
    methods: MethodSet,
) -> Result<Option<Response<Body>>, Rejection> {
    let (method, headers) = (&context.parts.method, &context.parts.headers);
    if *method == Method::OPTIONS {
        return match &snapshot.cors {
            Some(cors) if cors::is_preflight(method, headers) => Ok(Some(cors.preflight(headers, methods)?)),
            _ => Ok(Some(allowed(methods))),
        };
    }
    if methods.contains(method) { Ok(None) } else { Err(Rejection::MethodNotAllowed { allow: methods }) }
}

fn allowed(methods: MethodSet) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(ALLOW, methods.allow());
    response
}

/// What the body adds to the variables; nothing for GET and HEAD, whose bodies are only there for `request.read()`.
fn variables(context: &RequestContext, body: &Bytes) -> BodyData {
    let parts = &context.parts;
    if parts.method == Method::GET || parts.method == Method::HEAD {
        return BodyData::None;
    }
    classify(parts.headers.get(CONTENT_TYPE), body.clone()).unwrap_or_else(|trouble| {
        let (client, path) = (context.client, parts.uri.path());
        tracing::warn!("{client} - {} {path} - the form in the body is not read: {trouble}", parts.method);
        BodyData::None
    })
}

fn refused(context: &RequestContext, realm: Realm, what: &str) -> RequestError {
    tracing::warn!("{} - request for {what} - Not authorized", context.client);
    Rejection::Unauthorized(realm).into()
}

fn request_data(context: RequestContext, place: PluginPath, body: Bytes, variables: BodyData) -> Box<RequestData> {
    let RequestContext { parts, query, client, peer, .. } = context;
    Box::new(RequestData {
        method: parts.method,
        uri: parts.uri,
        decoded_path: place.decoded,
        query,
        headers: parts.headers,
        version: parts.version,
        remote: peer.remote,
        local: peer.local,
        client,
        secure: peer.secure,
        subpath: place.subpath,
        body,
        variables,
    })
}

fn switching_protocols(headers: HeaderMap, upgrade: Upgrade) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    upgrade.attach_to(&mut response);
    response
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
