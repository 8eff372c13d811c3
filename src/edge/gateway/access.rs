//! The stages that decide who may use a route, and how often: rates, keys, wrong keys.
//!
//! Run on the I/O threads. Promise: a key that was sent is compared at most once in the head and once in the body, and
//! not at all while its client is locked out; what is refused is logged with the client's address and, of keys, their
//! names. Caveat: rates and wrong keys are counted in [`ClientRecords`], which a reload keeps.

use std::sync::{Arc, OnceLock};

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::clients::ClientRecords;
use super::stages::{RequestContext, RequestError};
use super::state::Snapshot;
use crate::edge::config::keys::{KeyDigest, KeySources};
use crate::edge::config::rate::{RateLimit, RateSettings};
use crate::edge::http::request::BodyData;
use crate::edge::http::rescue::{Realm, Rejection};
use crate::edge::observe::line::Level;
use crate::edge::observe::repeats::LineKind;
use crate::edge::policy::credential::{AcceptedKey, Access, AuthPolicy, Credential, Refusal};
use crate::edge::policy::keys::Resource;
use crate::edge::policy::rate::retry_after;
use crate::edge::policy::wrong_keys::{LOCK, Verdict};
use crate::edge::policy::{own_host, session};
use crate::edge::queue::request_data::KeyCheck;
use crate::edge::routing::Endpoint;

static REFUSED: LineKind = LineKind::new(Level::Warn, "Not authorized");
static EXPIRED: LineKind = LineKind::new(Level::Warn, "Not authorized: a key has expired");
static OUT_OF_SCOPE: LineKind = LineKind::new(Level::Warn, "Not authorized: a key is not for it");

/// What the stages below go by, for one request.
#[derive(Clone, Copy)]
pub(super) struct Gate<'a> {
    pub(super) clients: &'a ClientRecords,
    pub(super) snapshot: &'a Snapshot,
    pub(super) context: &'a RequestContext,
}

impl Gate<'_> {
    /// Stage: the rate of the client's address, for `place`, which is a plugin's id or empty.
    pub(super) fn check_rate(&self, rates: &RateSettings, place: &str) -> Result<(), Rejection> {
        let Some(limit) = &rates.per_client else { return Ok(()) };
        let place = if rates.client_apart { place } else { "" };
        let taken = self.clients.rates.take(limit, place, self.context.request.client);
        taken.map_err(|wait| rate_exceeded("client", limit, retry_after(wait)))
    }

    /// Stage: the rate of the key that admitted the request.
    pub(super) fn check_key_rate(&self, rates: &RateSettings, place: &str, key: &AcceptedKey) -> Result<(), Rejection> {
        let Some(limit) = &rates.per_key else { return Ok(()) };
        let place = if rates.key_apart { place } else { "" };
        let taken = self.clients.rates.take_for_key(limit, place, key.number);
        taken.map_err(|wait| rate_exceeded("key", limit, retry_after(wait)))
    }

    /// Stage: the key in the head of the request, if that is where it has to be.
    pub(super) fn check_head(&self, policy: &AuthPolicy, resource: Resource<'_>) -> Result<Access, RequestError> {
        let request = &self.context.request;
        match policy.admits_head(&self.snapshot.keys, resource, &request.headers, &request.query) {
            Access::Granted(None) => Ok(Access::Granted(None)),
            Access::Granted(Some(key)) => {
                self.check_lock()?;
                Ok(Access::Granted(Some(key)))
            }
            Access::Refused(refusal) => Err(self.refuse(&refusal, resource)),
            access @ (Access::PluginDecides | Access::BodyDecides) => Ok(access),
        }
    }

    /// Stage: the key of a request for a plugin among the variables of its body, unless the head has decided already;
    /// and the rate of that key.
    pub(super) fn check_plugin(&self, endpoint: &Endpoint, access: Access) -> Result<KeyCheck, RequestError> {
        let plugin_decides = matches!(access, Access::PluginDecides);
        let key = match access {
            // Most requests: what the plugin goes by need not be looked up again.
            Access::Granted(key) => key,
            access => {
                let resource = Resource::Plugin(endpoint.id());
                endpoint
                    .by_policy(|policy| self.check_body(policy, resource, access, &self.context.request.variables))?
            }
        };
        if let Some(key) = &key {
            self.check_key_rate(&endpoint.settings.rates, endpoint.id(), key)?;
        }
        Ok(self.key_check(plugin_decides, key))
    }

    /// Stage: the key among the variables of the body, unless the head has decided already.
    pub(super) fn check_body(
        &self,
        policy: &AuthPolicy,
        resource: Resource<'_>,
        access: Access,
        variables: &BodyData,
    ) -> Result<Option<AcceptedKey>, RequestError> {
        match access {
            Access::Granted(key) => Ok(key),
            Access::PluginDecides => Ok(None),
            Access::Refused(refusal) => Err(self.refuse(&refusal, resource)),
            Access::BodyDecides => match policy.admits_body(&self.snapshot.keys, resource, variables) {
                Ok(key) => {
                    self.check_lock()?;
                    Ok(key)
                }
                Err(refusal) => Err(self.refuse(&refusal, resource)),
            },
        }
    }

    /// Stage: the key with which the browser has logged in, unless the request has a key itself. What changes something
    /// has to come from a page of this server, and as JSON if it has a method that changes something.
    pub(super) fn check_session(&self, resource: Resource<'_>, acts: bool) -> Result<Option<AcceptedKey>, Rejection> {
        let request = &self.context.request;
        let headers = &request.headers;
        let Some(token) = session::token(headers, &request.local) else { return Ok(None) };
        if Credential::from_head(self.snapshot.keys.sources, headers, &request.query).is_some() {
            return Ok(None);
        }
        let Some(digest) = self.clients.sessions.key(token) else { return Ok(None) };
        let key = self.snapshot.keys.get(&digest).filter(|key| key.is_for(resource) && !key.has_expired());
        let Some(key) = key else { return Ok(None) };
        self.check_name()?;
        let is_allowed = if acts || !request.method.is_safe() {
            own_host::is_same_origin(headers) && (request.method.is_safe() || is_json(headers))
        } else {
            !own_host::is_cross_origin(headers)
        };
        if !is_allowed {
            return Err(Rejection::SessionRefused);
        }
        key.note_use();
        Ok(Some(AcceptedKey { number: digest.number(), name: Some(Arc::clone(&key.name)), by_name: true }))
    }

    /// Stage: refuses a name that another site may have had point here.
    pub(super) fn check_name(&self) -> Result<(), Rejection> {
        let request = &self.context.request;
        let is_own = own_host::is_named_here(&request.uri, &request.headers, self.snapshot.hosts.as_ref());
        if is_own { Ok(()) } else { Err(Rejection::HostRefused) }
    }

    /// Stage: the key that a browser logs in with; a wrong one is counted like any other.
    pub(super) fn check_login(&self, key: &str) -> Result<(KeyDigest, Option<Arc<str>>), RequestError> {
        let Some(shown) = Credential::of_login(key) else {
            return Err(self.refuse(&Refusal::NoKey, Resource::Control));
        };
        match self.snapshot.control.admits(&self.snapshot.keys, Resource::Control, &shown) {
            Ok(key) => {
                self.check_lock()?;
                Ok((shown.digest(), key.and_then(|key| key.name)))
            }
            Err(refusal) => Err(self.refuse(&refusal, Resource::Control)),
        }
    }

    /// Refuses a request with a key whose client has sent too many wrong ones.
    fn check_lock(&self) -> Result<(), Rejection> {
        if self.snapshot.wrong_keys.is_none() {
            return Ok(());
        }
        match self.clients.wrong_keys.locked_for(self.context.request.client) {
            None => Ok(()),
            Some(left) => Err(Rejection::TooManyWrongKeys { retry_after: retry_after(left) }),
        }
    }

    /// Logs and counts a request without the right key, and refuses it.
    fn refuse(&self, refusal: &Refusal, resource: Resource<'_>) -> RequestError {
        let client = self.context.request.client;
        let (realm, what) = match resource {
            Resource::Plugin(id) => (Realm::Plugin, id),
            Resource::Control | Resource::Metrics | Resource::Description => {
                (Realm::Control, self.context.request.uri.path())
            }
        };
        if !matches!(refusal, Refusal::NoKey | Refusal::NotAdmissible)
            && let Err(locked) = self.check_lock()
        {
            return locked.into();
        }
        match refusal {
            Refusal::NoKey | Refusal::NotAdmissible | Refusal::WrongKey => {
                if REFUSED.admits(client.requester()) {
                    tracing::warn!("{client} - request for {what} - Not authorized");
                }
            }
            Refusal::Expired(key) => {
                if EXPIRED.admits(client.requester()) {
                    tracing::warn!("{client} - request for {what} - Not authorized: the key {} has expired", key.name);
                }
            }
            Refusal::OutOfScope(key) => {
                if OUT_OF_SCOPE.admits(client.requester()) {
                    tracing::warn!(
                        "{client} - request for {what} - Not authorized: the key {} is not for it",
                        key.name
                    );
                }
            }
        }
        if refusal.is_guess()
            && let Some(limit) = &self.snapshot.wrong_keys
            && let Verdict::Locked { anew } = self.clients.wrong_keys.count(limit, client)
        {
            let seconds = retry_after(LOCK);
            if anew {
                // packaging/fail2ban reads this line.
                tracing::warn!("{client} - too many wrong keys - requests with a key are refused for {seconds} s");
            }
            return Rejection::TooManyWrongKeys { retry_after: seconds }.into();
        }
        if matches!(refusal, Refusal::NoKey) && self.snapshot.challenge {
            return Rejection::KeyRequired.into();
        }
        let is_expired = matches!(refusal, Refusal::Expired(_));
        if is_expired { Rejection::KeyExpired(realm) } else { Rejection::Unauthorized(realm) }.into()
    }

    /// What a plugin gets to know of the key that admitted the request.
    fn key_check(&self, plugin_decides: bool, key: Option<AcceptedKey>) -> KeyCheck {
        let keys = &self.snapshot.keys;
        let by_name = key.as_ref().is_some_and(|key| key.by_name);
        // A plugin that handles requests by itself checks the key again, by the same rules.
        let is_of_use = plugin_decides || by_name || (key.is_some() && keys.sources != KeySources::default());
        KeyCheck {
            name: key.and_then(|key| key.name).map_or_else(OnceLock::new, OnceLock::from),
            by_name,
            keys: is_of_use.then(|| Arc::clone(keys)),
        }
    }
}

/// Whether the body is said to be JSON, which no form can say of its own.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let essence = headers.get(CONTENT_TYPE).and_then(|value| value.as_bytes().split(|&byte| byte == b';').next());
    essence.is_some_and(|essence| essence.trim_ascii().eq_ignore_ascii_case(b"application/json"))
}

fn rate_exceeded(policy: &'static str, limit: &RateLimit, retry_after: u32) -> Rejection {
    Rejection::RateExceeded { policy, quota: limit.rate.count, window: limit.rate.seconds, retry_after }
}
