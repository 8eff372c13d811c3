//! The request flow: each stage is one function, and [`AppService::handle`] calls them in the order of the contract.
//!
//! Runs on the I/O threads. Promise: a refused request is refused here, without the interpreter. The stages themselves
//! are in [`stages`](super::stages), what the server answers without a plugin in [`builtin`]. Caveat: the order can be
//! observed from outside (a wrong method is a 405 whatever the key is), so clients rely on it.

use std::ptr;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::Guard;
use bytes::Bytes;
use futures_util::future::{Either, ready};
use http::{Request, Response};
use tokio::task::spawn_local;

use super::access::Gate;
use super::stages::{
    RequestBody, RequestContext, RequestError, ResponseContext, allowed, answer_options, await_outcome, body_variables,
    check_host, check_method, check_parameters, route,
};
use super::state::{ServerState, Snapshot};
use super::{api, builtin, page};
use crate::edge::http::conformance::HeaderFlags;
use crate::edge::http::incoming::Incoming;
use crate::edge::http::request::MethodSet;
use crate::edge::http::rescue::Rejection;
use crate::edge::http::response::Body;
use crate::edge::http::service::{ConnectInfo, ResponseFuture, Service};
use crate::edge::policy::admission::{NoPlace, Permit, admit_unless_parked};
use crate::edge::policy::credential::Access;
use crate::edge::policy::keys::Resource;
use crate::edge::queue::backend::Backend;
use crate::edge::queue::outstanding::{Awaited, Outstanding};
use crate::edge::queue::responder::{CompletionQueue, QueuedRequest, Responder};
use crate::edge::queue::submitter::Submitter;
use crate::edge::queue::turn_clock::{self, Moment};
use crate::edge::routing::{Endpoint, Route};

/// Answers the requests of one I/O thread.
pub(crate) struct AppService<B> {
    state: Arc<ServerState<B>>,
    submitter: Rc<Submitter<B>>,
    completions: Arc<CompletionQueue>,
    outstanding: Rc<Outstanding>,
}

impl<B: Backend> Service for AppService<B> {
    fn call(
        self: Rc<Self>,
        peer: Rc<ConnectInfo>,
        request: Request<Incoming>,
        flags: HeaderFlags,
    ) -> ResponseFuture<impl Future<Output = Response<Body>>> {
        // A thread that requests keep awake never gets to the look that it takes before it sleeps.
        self.completions.look();
        self.answer(peer, request, flags)
    }
}

/// How far a request came without waiting.
enum Progress {
    /// To its response.
    Answered(Response<Body>),
    /// Into the queue to its plugin.
    Queued(Awaited),
    /// Nowhere: a reload has just replaced what it was judged by, so it begins anew.
    Outdated(RequestContext),
    /// To something that has to be awaited; boxed, because most requests do not and would carry the room for it.
    Waits(Box<Waiting>),
}

/// A request that has to wait: for its body, for the disk, or for the Python thread to reload.
enum Waiting {
    Plugins(RequestContext),
    Metrics(RequestContext),
    OpenApi(RequestContext),
    Reload(RequestContext, String),
    Api(RequestContext, String),
    StaticFile(RequestContext, Option<String>),
    PluginBody { endpoint: Arc<Endpoint>, context: RequestContext },
}

impl<B: Backend> AppService<B> {
    /// A service for the current thread, and the local tasks that hand its requests over, look after their times, and
    /// deliver the outcomes that come by `completions`. To be called where local tasks can be spawned; they run as long
    /// as the thread serves.
    pub(crate) fn start(state: Arc<ServerState<B>>, completions: Arc<CompletionQueue>) -> Rc<Self> {
        let submitter = Submitter::new(Arc::clone(&state.backend));
        let outstanding = Outstanding::new(Arc::clone(&completions));
        let (times, backend) = (Rc::clone(&outstanding), Arc::clone(&state.backend));
        spawn_local(async move { times.run(&*backend).await });
        let service = Rc::new(Self { state, submitter, completions, outstanding });
        let (submitter, completions) = (Rc::clone(&service.submitter), Arc::clone(&service.completions));
        spawn_local(async move { submitter.run().await });
        spawn_local(async move { completions.run().await });
        service
    }

    /// The whole of a request: reads its head, takes it through the stages of one [`Snapshot`], completes the response.
    fn answer(
        self: Rc<Self>,
        peer: Rc<ConnectInfo>,
        request: Request<Incoming>,
        flags: HeaderFlags,
    ) -> ResponseFuture<impl Future<Output = Response<Body>>> {
        let mut snapshot = self.state.snapshot.load();
        let (parts, body) = request.into_parts();
        let mut body = RequestBody::new(body);
        let mut context = RequestContext::new(&snapshot, peer, parts, flags);
        let mut response = ResponseContext::new(&context);
        let answered = loop {
            match self.handle(&snapshot, context, &body, &mut response) {
                Ok(Progress::Answered(response)) => break Ok(response),
                Err(error) => break Err(error),
                Ok(Progress::Outdated(earlier)) => {
                    snapshot = self.state.snapshot.load();
                    context = earlier.again(&snapshot);
                }
                Ok(Progress::Queued(outcome)) => {
                    let snapshot = Guard::into_inner(snapshot);
                    // It has no body, or would have waited for that.
                    return Either::Right(Either::Left(async move {
                        let answered = await_outcome(outcome, &mut response).await;
                        response.complete(&snapshot, answered, false)
                    }));
                }
                Ok(Progress::Waits(waiting)) => {
                    let mut snapshot = Guard::into_inner(snapshot);
                    return Either::Right(Either::Right(Box::pin(async move {
                        let answered = self.resume(&mut snapshot, *waiting, &mut body, &mut response).await;
                        response.complete(&snapshot, answered, body.leaves_bytes())
                    })));
                }
            }
        };
        Either::Left(ready(response.complete(&snapshot, answered, body.leaves_bytes())))
    }

    /// The stages of a request for a plugin, in order. It goes as far as nothing has to be awaited; [`Self::resume`]
    /// takes it up again when its body is there.
    fn handle(
        &self,
        snapshot: &Snapshot,
        mut context: RequestContext,
        body: &RequestBody,
        response: &mut ResponseContext,
    ) -> Result<Progress, RequestError> {
        if context.is_for_whole_server() {
            return Ok(Progress::Answered(allowed(MethodSet::ALL))); // hyper lets only OPTIONS come here with it
        }
        let routed = route(snapshot, &context);
        check_host(snapshot, &context, routed.as_ref().map(|(route, _)| route))?;
        let (route, decoded) = routed?;
        if let Some(observed) = &context.observed {
            observed.note_route(route.pattern());
        }
        let endpoint = match route {
            Route::Plugin { endpoint, subpath } => {
                (context.request.decoded_path, context.request.subpath) = (decoded, subpath);
                endpoint
            }
            Route::Healthy => return Ok(Progress::Answered(builtin::healthy(&context)?)),
            Route::Ready => return Ok(Progress::Answered(builtin::ready(&context, self.state.is_ready())?)),
            Route::Plugins => return Ok(Progress::Waits(Box::new(Waiting::Plugins(context)))),
            Route::Metrics => return Ok(Progress::Waits(Box::new(Waiting::Metrics(context)))),
            Route::Docs(name) => return Ok(Progress::Answered(builtin::docs(&self.gate(snapshot, &context), &name)?)),
            Route::OpenApi => return Ok(Progress::Waits(Box::new(Waiting::OpenApi(context)))),
            Route::Reload(name) => return Ok(Progress::Waits(Box::new(Waiting::Reload(context, name)))),
            Route::Api(path) => {
                response.guard();
                return Ok(Progress::Waits(Box::new(Waiting::Api(context, path))));
            }
            Route::Root => return Ok(Progress::Answered(page::landing(&self.gate(snapshot, &context))?)),
            Route::Page(name) => {
                response.guard();
                return Ok(Progress::Answered(page::file(&self.gate(snapshot, &context), &name)?));
            }
            Route::StaticFile { subpath } => {
                return Ok(Progress::Waits(Box::new(Waiting::StaticFile(context, subpath))));
            }
        };
        response.go_by(&endpoint, &context);
        let cors = endpoint.cors.as_ref().or(snapshot.cors.as_ref());
        if let Some(response) = answer_options(cors, &context, endpoint.methods)? {
            return Ok(Progress::Answered(response));
        }
        endpoint.check_enabled()?;
        check_method(&context, endpoint.methods)?;
        let gate = self.gate(snapshot, &context);
        gate.check_rate(&endpoint.settings.rates, endpoint.id())?;
        let resource = Resource::Plugin(endpoint.id());
        let access = endpoint.by_policy(|policy| gate.check_head(policy, resource))?;
        if body.is_expected() {
            return Ok(Progress::Waits(Box::new(Waiting::PluginBody { endpoint, context })));
        }
        context.request.variables = body_variables(&context, &Bytes::new());
        match self.admit(snapshot, &endpoint, &mut context, access)? {
            Some(permit) => Ok(Progress::Queued(self.enqueue(endpoint, context, permit, response.begun()))),
            None => Ok(Progress::Outdated(context)),
        }
    }

    /// The stages behind the body: a key among its variables, parameters, admission. Nothing if a reload has put another
    /// snapshot in the place of this one: the reload that ends the instance behind `endpoint` may not have seen the
    /// request.
    fn admit(
        &self,
        snapshot: &Snapshot,
        endpoint: &Endpoint,
        context: &mut RequestContext,
        access: Access,
    ) -> Result<Option<Permit>, RequestError> {
        context.request.key = self.gate(snapshot, context).check_plugin(endpoint, access)?;
        if let Some(observed) = &context.observed {
            observed.note_access(context.request.key.name.get());
        }
        if let Some(parameters) = &endpoint.parameters {
            check_parameters(context, parameters)?;
        }
        let total = if endpoint.settings.counts_apart { &self.state.apart } else { &self.state.total };
        let client = self.state.client_places.enter(context.request.client).map_err(|NoPlace| {
            endpoint.entrance.limit.note_refusal();
            Rejection::Overloaded
        })?;
        let mut permit = admit_unless_parked(total, &endpoint.entrance)?;
        permit.keep(client);
        let is_current = ptr::eq(&raw const **self.state.snapshot.load(), snapshot);
        Ok(is_current.then_some(permit))
    }

    /// What the stages that decide about access go by.
    fn gate<'a>(&'a self, snapshot: &'a Snapshot, context: &'a RequestContext) -> Gate<'a> {
        Gate { clients: &self.state.clients, snapshot, context }
    }

    /// The last stage: the queue, for a request that waits `since` then. Gives what the outcome is awaited by.
    fn enqueue(&self, endpoint: Arc<Endpoint>, context: RequestContext, permit: Permit, since: Moment) -> Awaited {
        let RequestContext { request, id, .. } = context;
        let plugin = Arc::clone(endpoint.id());
        let place = self.outstanding.enter(endpoint);
        let ticket = place.as_ref().map(|place| place.ticket);
        let (responder, outcome) = Responder::open(Arc::clone(&self.completions), permit, id, ticket, since);
        self.submitter.submit(QueuedRequest { plugin, request, responder });
        Awaited::new(outcome, place)
    }

    /// Awaits what a request waits for, and takes it through the stages that are left.
    async fn resume(
        &self,
        snapshot: &mut Arc<Snapshot>,
        waiting: Waiting,
        body: &mut RequestBody,
        response: &mut ResponseContext,
    ) -> Result<Response<Body>, RequestError> {
        match waiting {
            Waiting::Plugins(context) => builtin::plugins(&self.gate(snapshot, &context), body).await,
            Waiting::OpenApi(context) => builtin::openapi(snapshot, &self.gate(snapshot, &context)).await,
            Waiting::Metrics(context) => builtin::metrics(&self.state, &self.gate(snapshot, &context), body).await,
            Waiting::Reload(context, name) => {
                builtin::reload(&*self.state.backend, &self.gate(snapshot, &context), body, name).await
            }
            Waiting::Api(context, path) => api::answer(&self.state, snapshot, &context, body, &path).await,
            Waiting::StaticFile(context, subpath) => {
                builtin::static_file(&self.state.clients, snapshot, context, subpath).await
            }
            Waiting::PluginBody { endpoint, mut context } => {
                let bytes = body.read(snapshot, &endpoint.settings, &context.request.headers).await?;
                context.request.variables = body_variables(&context, &bytes);
                context.request.body = bytes;
                // While the body came, a reload may have put another version there, or another key: the plugin that
                // answers decides who may call it, and the response is completed as it has it now.
                let (endpoint, permit) = loop {
                    *snapshot = self.state.snapshot.load_full();
                    let endpoint = snapshot.table.get(endpoint.id()).cloned().ok_or(Rejection::NotFound)?;
                    response.go_by(&endpoint, &context);
                    endpoint.check_enabled()?;
                    check_method(&context, endpoint.methods)?;
                    let (gate, resource) = (self.gate(snapshot, &context), Resource::Plugin(endpoint.id()));
                    let access = endpoint.by_policy(|policy| gate.check_head(policy, resource))?;
                    if let Some(permit) = self.admit(snapshot, &endpoint, &mut context, access)? {
                        break (endpoint, permit);
                    }
                };
                await_outcome(self.enqueue(endpoint, context, permit, turn_clock::read()), response).await
            }
        }
    }
}
