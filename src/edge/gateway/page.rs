//! The page for browsers: who gets it, what is at `/` in its place, and how they log in.
//!
//! Runs on the I/O threads; nothing here needs Python. Promise: the page is shown on this machine, elsewhere only by
//! HTTPS and while there is a key of scope `control`, and never under a name that another site may have had point here.
//! Caveat: its files hold nothing secret; what it shows comes from `/-/api/…`, which asks for a key by itself.

use http::header::{ACCEPT, SET_COOKIE};
use http::{HeaderMap, Method, Response};

use super::access::{Gate, is_json};
use super::stages::{RequestBody, RequestContext, RequestError, allowed, check_method};
use super::state::Snapshot;
use crate::edge::config::socket_address::SocketAddress;
use crate::edge::control::{self, page};
use crate::edge::http::request::{MethodSet, json_key};
use crate::edge::http::rescue::Rejection;
use crate::edge::http::response::Body;
use crate::edge::policy::credential::AuthPolicy;
use crate::edge::policy::keys::Resource;
use crate::edge::policy::{own_host, session};

/// Whether this client gets the page.
fn check_access(gate: &Gate<'_>) -> Result<(), Rejection> {
    let Gate { snapshot, context, .. } = gate;
    if !snapshot.page || context.is_control() {
        return Err(Rejection::NotFound);
    }
    if is_shown(snapshot, context) { gate.check_name() } else { Err(Rejection::PageRefused) }
}

fn is_shown(snapshot: &Snapshot, context: &RequestContext) -> bool {
    let listens_here =
        matches!(&context.request.local, SocketAddress::Ip(local) if local.ip().to_canonical().is_loopback());
    let is_guarded = || context.request.secure && snapshot.keys.has_usable_key_for(Resource::Control);
    (listens_here && context.is_local()) || is_guarded()
}

/// Answers `/`: with a page that links to the other one, if the client is a browser.
pub(super) fn landing(gate: &Gate<'_>) -> Result<Response<Body>, Rejection> {
    let Gate { snapshot, context, .. } = gate;
    let reads = matches!(context.request.method, Method::GET | Method::HEAD);
    if !(snapshot.page && reads && wants_html(&context.request.headers)) {
        return Err(Rejection::NotFound);
    }
    Ok(page::landing(check_access(gate).is_ok()))
}

fn wants_html(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let types = lines.flat_map(|line| line.split(',')).filter_map(|kind| kind.split(';').next());
    types.map(str::trim).any(|kind| kind.eq_ignore_ascii_case("text/html"))
}

/// Answers `/-/` and what belongs to it; `name` is empty for the page itself.
pub(super) fn file(gate: &Gate<'_>, name: &str) -> Result<Response<Body>, Rejection> {
    let context = gate.context;
    if context.request.method == Method::OPTIONS {
        return Ok(allowed(MethodSet::READ_ONLY));
    }
    check_access(gate)?;
    check_method(context, MethodSet::READ_ONLY)?;
    page::file(name, &context.request.headers).ok_or(Rejection::NotFound)
}

/// Answers `/-/api/session`: whether a key is wanted, and with which one the browser has logged in.
pub(super) fn session(gate: &Gate<'_>) -> Result<Response<Body>, Rejection> {
    check_access(gate)?;
    let is_open = matches!(gate.snapshot.control, AuthPolicy::Open);
    let key = if is_open { None } else { gate.check_session(Resource::Control, false)?.and_then(|key| key.name) };
    Ok(control::session(!is_open, key.as_deref(), &gate.context.error_format()))
}

/// Answers `/-/api/login`: a right key begins a session.
pub(super) async fn login(gate: &Gate<'_>, body: &mut RequestBody) -> Result<Response<Body>, RequestError> {
    let Gate { clients, snapshot, context } = gate;
    check_access(gate)?;
    check_page_sent(context)?;
    gate.check_rate(&snapshot.general.rates, "")?;
    if matches!(snapshot.control, AuthPolicy::Open) {
        let reason = "there is no key of scope control, so no log-in is needed";
        return Err(Rejection::BadRequest(reason.to_owned()).into());
    }
    let request = &context.request;
    let text = body.read(snapshot, &snapshot.general, &request.headers).await?;
    let Some(key) = json_key(&text, "key") else {
        return Err(Rejection::BadRequest("a log-in is a JSON object with the text \"key\"".to_owned()).into());
    };
    let (digest, name) = gate.check_login(&key)?;
    let name = name.unwrap_or_default();
    let token = clients.sessions.open(digest).ok_or(Rejection::Overloaded)?;
    tracing::info!("{} - {} - with the key {name}", request.client, request.uri.path());
    let mut response = control::session(true, Some(&name), &context.error_format());
    response.headers_mut().insert(SET_COOKIE, session::cookie(&token, &request.local, request.secure));
    Ok(response)
}

/// Answers `/-/api/logout`: the session of the browser ends, if it has one.
pub(super) fn logout(gate: &Gate<'_>) -> Result<Response<Body>, Rejection> {
    let Gate { clients, context, .. } = gate;
    check_access(gate)?;
    check_page_sent(context)?;
    let request = &context.request;
    if let Some(token) = session::token(&request.headers, &request.local) {
        if let Ok(Some(key)) = gate.check_session(Resource::Control, true) {
            let name = key.name.unwrap_or_default();
            tracing::info!("{} - {} - with the key {name}", request.client, request.uri.path());
        }
        clients.sessions.close(token);
    }
    let required = !matches!(gate.snapshot.control, AuthPolicy::Open);
    let mut response = control::session(required, None, &context.error_format());
    response.headers_mut().insert(SET_COOKIE, session::cookie("", &request.local, request.secure));
    Ok(response)
}

/// Refuses what no page of this server has sent.
fn check_page_sent(context: &RequestContext) -> Result<(), Rejection> {
    let headers = &context.request.headers;
    if own_host::is_same_origin(headers) && is_json(headers) { Ok(()) } else { Err(Rejection::SessionRefused) }
}
