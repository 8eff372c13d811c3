//! What the I/O threads and the Python thread share.
//!
//! Read on the I/O threads, replaced on the Python thread. Promise: what a reload can change is in [`Snapshot`], which
//! is immutable and replaced whole; a request reads it once and is decided by that one reading. Caveat: sizes and
//! timings of a connection are those of the moment in which it was accepted.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use jiff::Timestamp;

use super::clients::ClientRecords;
use super::registry::RegistryTexts;
use super::static_mount::StaticMount;
use crate::edge::config::fields::{ShowErrors, UNLIMITED};
use crate::edge::config::proxies::TrustedProxies;
use crate::edge::config::rate::RateLimit;
use crate::edge::config::settings::Settings;
use crate::edge::config::settings::limits::{BodyTimes, LimitSettings};
use crate::edge::config::settings::plugins::PluginSettings;
use crate::edge::config::socket_address::SocketAddress;
use crate::edge::control::events::Events;
use crate::edge::control::history::History;
use crate::edge::control::kept::KeptState;
use crate::edge::control::process::ProcessRequests;
use crate::edge::control::stalls::Stalls;
use crate::edge::control::status::Statuses;
use crate::edge::files::static_files::StaticFiles;
use crate::edge::http::added_headers::AddedHeaders;
use crate::edge::http::connection_count::ConnectionCount;
use crate::edge::http::observed::Observers;
use crate::edge::http::params::ConnectionParams;
use crate::edge::http::tls::Tls;
use crate::edge::policy::admission::{ClientPlaces, Limit};
use crate::edge::policy::cors::Cors;
use crate::edge::policy::credential::AuthPolicy;
use crate::edge::policy::hosts::Hosts;
use crate::edge::policy::keys::{Keys, Resource};
use crate::edge::routing::RouteTable;

/// Who may read `/-/openapi.json`.
pub(crate) enum DescriptionPolicy {
    /// Every client, under whatever name and from whatever page.
    Public,
    /// Clients with any key, or if there is none all but pages of other sites.
    ByKey(AuthPolicy),
}

/// What a reload replaces.
pub(crate) struct Snapshot {
    /// The endpoints.
    pub table: RouteTable,
    /// The folder of static files, if one is served.
    pub static_files: Option<Arc<StaticFiles>>,
    /// The named keys, and where clients may send keys of all kinds.
    pub keys: Arc<Keys>,
    /// Who may use `/plugins`, `/reload/…` and `/-/api/…`; open if there is no key for them.
    pub control: AuthPolicy,
    /// Who may use `/-/metrics`; open if there are no keys.
    pub metrics: AuthPolicy,
    /// Who may read the description of the plugins.
    pub description: DescriptionPolicy,
    /// Whether requests without a key are answered 401.
    pub challenge: bool,
    /// How many wrong keys a client may send.
    pub wrong_keys: Option<RateLimit>,
    /// CORS, if it is enabled.
    pub cors: Option<Arc<Cors>>,
    /// The hosts that are answered to, if not all are.
    pub hosts: Option<Hosts>,
    /// The proxies that are trusted in what they say of clients.
    pub trusted_proxies: TrustedProxies,
    /// What holds for the server's own endpoints, and for plugins in general.
    pub general: Arc<PluginSettings>,
    /// How long a request body may take.
    pub body_times: BodyTimes,
    /// Limits and timings of new connections.
    pub connection: ConnectionParams,
    /// The access log and what sends spans, if there are any.
    pub observers: Option<Arc<Observers>>,
    /// `[headers]`, if there are any.
    pub added_headers: Option<Arc<AddedHeaders>>,
    /// `[compat] legacy_status`.
    pub legacy_status: bool,
    /// `[page] enabled`.
    pub page: bool,
    /// What the ini file says, without secrets.
    pub config: Arc<serde_json::Value>,
    /// `[server] show_errors`.
    pub show_errors: ShowErrors,
    /// What new connections speak TLS with, if they do.
    pub tls: Option<Arc<Tls>>,
}

impl Snapshot {
    /// What `settings` say, for the endpoints in `table`, for `static_mount`, with the certificates and the observers of
    /// requests that they name.
    pub(crate) fn new(
        settings: &Settings,
        mut table: RouteTable,
        static_mount: Option<&StaticMount>,
        tls: Option<Arc<Tls>>,
        observers: Option<Arc<Observers>>,
    ) -> Self {
        let static_mount = static_mount.filter(|mount| table.serve_static_files(mount.route()).is_ok());
        let keys = Keys::of(settings);
        let added_headers = AddedHeaders::new(&settings.headers).map(Arc::new);
        Self {
            static_files: static_mount.map(|mount| Arc::clone(&mount.files)),
            table,
            control: if keys.has_key_for(Resource::Control) { AuthPolicy::Named } else { AuthPolicy::Open },
            metrics: if keys.is_empty() { AuthPolicy::Open } else { AuthPolicy::Named },
            description: if settings.openapi_public {
                DescriptionPolicy::Public
            } else {
                DescriptionPolicy::ByKey(if keys.is_empty() { AuthPolicy::Open } else { AuthPolicy::Named })
            },
            keys: Arc::new(keys),
            challenge: settings.challenge,
            wrong_keys: settings.limits.wrong_keys.map(|rate| RateLimit::new(rate, None)),
            cors: settings.cors.as_ref().map(Cors::new).map(Arc::new),
            hosts: settings.network.hosts.as_deref().map(Hosts::new),
            trusted_proxies: settings.server.trusted_proxies.clone(),
            general: Arc::clone(&settings.plugins.general),
            body_times: settings.limits.body,
            connection: ConnectionParams {
                observers: observers.clone(),
                ..ConnectionParams::new(&settings.limits, &settings.network, added_headers.clone())
            },
            observers,
            added_headers,
            legacy_status: settings.legacy_status,
            page: settings.page,
            config: Arc::clone(&settings.shown),
            show_errors: settings.server.show_errors,
            tls,
        }
    }
}

/// One for the process; `B` is the [`Backend`](crate::edge::queue::backend::Backend) that runs its plugins.
pub(crate) struct ServerState<B> {
    /// What a request is decided by; replaced by reloads.
    pub snapshot: ArcSwap<Snapshot>,
    /// Runs the plugins.
    pub backend: Arc<B>,
    /// Requests in flight over all plugins, but for those that count apart.
    pub total: Arc<Limit>,
    /// Requests in flight in plugins that have a limit of their own; without a limit over all of them.
    pub apart: Arc<Limit>,
    /// Requests in flight of each client.
    pub client_places: Arc<ClientPlaces>,
    /// The connections.
    pub connections: Arc<ConnectionCount>,
    /// What clients have done so far; kept by reloads.
    pub clients: ClientRecords,
    /// What is kept of the plugins over restarts.
    pub kept: Arc<KeptState>,
    /// What is shown of the plugins.
    pub statuses: Statuses,
    /// When the server was started.
    pub started_at: Timestamp,
    /// The version of Python that plugins run on, once that is known.
    pub python: OnceLock<String>,
    /// Where it listens, as the log says it.
    pub listening: ArcSwap<Vec<String>>,
    /// Where requests to the process go; nothing for a server without a process of its own.
    pub process: OnceLock<ProcessRequests>,
    /// What happens is published here.
    pub events: Arc<Events>,
    /// How plugins hold up the Python thread.
    pub stalls: Arc<Stalls>,
    /// Figures of the last hour.
    pub history: History,
    /// What plugins keep with the package `prometheus_client`.
    pub registry: RegistryTexts,
    ready: AtomicBool,
    upgrading: AtomicBool,
}

impl<B> ServerState<B> {
    /// The state of a server that is not ready yet.
    pub(crate) fn new(snapshot: Snapshot, backend: Arc<B>, limits: &LimitSettings, kept: KeptState) -> Arc<Self> {
        Arc::new(Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            backend,
            total: Limit::new(limits.in_flight),
            apart: Limit::new(UNLIMITED),
            client_places: ClientPlaces::new(limits.in_flight_per_client),
            connections: ConnectionCount::new(limits),
            clients: ClientRecords::default(),
            kept: Arc::new(kept),
            statuses: Statuses::default(),
            started_at: Timestamp::now(),
            python: OnceLock::new(),
            listening: ArcSwap::default(),
            process: OnceLock::new(),
            events: Arc::default(),
            stalls: Arc::default(),
            history: History::default(),
            registry: RegistryTexts::default(),
            ready: AtomicBool::new(false),
            upgrading: AtomicBool::new(false),
        })
    }

    /// How many requests are inside plugins.
    pub(crate) fn in_flight(&self) -> usize {
        self.total.taken() + self.apart.taken()
    }

    /// True while plugins are loaded, no stop has begun and Python is not blocked for too long; `/-/ready` reports it.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed) && !self.stalls.is_unready()
    }

    /// True while a new process is about to take over, which would not know of changes to plugins.
    pub(crate) fn is_upgrading(&self) -> bool {
        self.upgrading.load(Ordering::Acquire)
    }

    /// Sets what [`Self::is_upgrading`] returns.
    pub(crate) fn set_upgrading(&self, upgrading: bool) {
        self.upgrading.store(upgrading, Ordering::Release);
    }

    /// Sets what [`Self::is_ready`] returns.
    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }
}

/// The URL by which a browser on this machine reaches `address`, such as `http://127.0.0.1:9192`; for a Unix socket,
/// what nginx calls it: `http://unix:/run/plugincore.sock:`.
pub(crate) fn url(address: &SocketAddress, secure: bool) -> String {
    let address = match address {
        SocketAddress::Ip(address) => *address,
        SocketAddress::Unix(_) => return format!("http://{address}:"),
    };
    let scheme = if secure { "https" } else { "http" };
    let host = match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => "127.0.0.1".to_owned(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => "[::1]".to_owned(),
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    };
    format!("{scheme}://{host}:{}", address.port())
}
