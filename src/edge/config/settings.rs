//! What the server itself uses of the ini file, with all defaults.
//!
//! Made on the Python thread, then read by all threads. Caveat: making settings resolves host names and opens
//! certificate files, so it may wait for a name server.

pub(crate) mod access_log;
pub(crate) mod cors;
pub(crate) mod limits;
pub(crate) mod plugins;
mod reading;
pub(crate) mod tls;
pub(crate) mod tracing;

use self::access_log::AccessLogSettings;
use self::cors::CorsSettings;
use self::limits::LimitSettings;
use self::plugins::PluginSections;
use self::tls::TlsSettings;
use self::tracing::TracingSettings;
use super::diagnostic::{ConfigErrors, Diagnostic, SourceLocation};
use super::fields::{EventLoop, ShowErrors, WatchMode};
use super::keys::{KeySettings, KeySources};
use super::places::PlaceSetting;
use super::proxies::TrustedProxies;
use super::resolved::ResolvedConfig;
use super::socket_address::SocketAddress;
use http::{HeaderName, HeaderValue};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Everything the host needs to run, checked and ready to use.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the ini file")]
pub(crate) struct Settings {
    /// Addresses to listen on: `[network] bindto` (default `127.0.0.1`) with `[network] port` (default 9192), and those
    /// of `[network] listen`.
    pub listen: Vec<SocketAddress>,
    /// The line that names them.
    pub listen_line: ListenLine,
    /// `[network]`, besides the addresses.
    pub network: NetworkSettings,
    /// `[paths]`.
    pub paths: Paths,
    /// `documents` of `[file_server]`, else of `[paths]`.
    pub static_files: Option<StaticFilesSettings>,
    /// `[SSL]`, when it is enabled.
    pub tls: Option<TlsSettings>,
    /// `[auth] apikey`, as text; `None` when absent or empty.
    pub apikey: Option<Secret>,
    /// `[keys]`.
    pub keys: Vec<KeySettings>,
    /// `[auth] key_sources`: the parts of a request that may hold a key (default all).
    pub key_sources: KeySources,
    /// `[auth] challenge`: whether a request without a key is answered 401 (default 403).
    pub challenge: bool,
    /// `[cors]`, when it is enabled.
    pub cors: Option<CorsSettings>,
    /// `[server]`: limits and timings.
    pub server: ServerSettings,
    /// `[limits]`, but for what may differ from plugin to plugin.
    pub limits: LimitSettings,
    /// `[plugin x]`, and what `[limits]` has for all plugins.
    pub plugins: Arc<PluginSections>,
    /// `[headers]`: what all responses have, unless they have it already.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// `[log] format`: whether the server's log is written as JSON.
    pub log_as_json: bool,
    /// `[access_log]`, if it has a destination.
    pub access_log: Option<AccessLogSettings>,
    /// `[tracing]`, if it has an endpoint.
    pub tracing: Option<TracingSettings>,
    /// `[compat] legacy_status`: answer 200 where the original did, whatever the handler's code.
    pub legacy_status: bool,
    /// `[page] enabled`: whether there is a page for browsers at `/-/` (default true).
    pub page: bool,
    /// What the file has of the host's sections, without secrets, for those who control the server.
    pub shown: Arc<serde_json::Value>,
    /// `[openapi] public`: whether `/-/openapi.json` needs no key although there are keys (default off).
    pub openapi_public: bool,
    /// The lines of `[plugin_parms]`, to name the place of a parameter that a plugin cannot use.
    pub parameters: Vec<ParameterLine>,
}

/// The line of `[network]` that names addresses to listen on.
#[derive(Clone, Debug)]
pub(crate) struct ListenLine {
    /// `listen`, else `bindto`.
    pub key: &'static str,
    /// Where that, or else `port`, stands.
    pub location: SourceLocation,
}

/// Where the parameters of a plugin file stand.
#[derive(Clone, Debug)]
pub(crate) struct ParameterLine {
    /// The key: the file's stem, in whatever case.
    pub stem: String,
    /// Where it stands.
    pub location: SourceLocation,
    /// The environment variables that it refers to and that gave nothing, as half a sentence.
    pub missing: Option<String>,
}

/// `[network] bindto` when the file does not say.
pub(crate) const DEFAULT_ADDRESS: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// `[network] port` when the file does not say.
pub(crate) const DEFAULT_PORT: u16 = 9192;

impl Settings {
    /// Reads the host's sections, with every error there is, those of the document included, and all warnings.
    pub(crate) fn from_config(config: &ResolvedConfig) -> (Result<Self, ConfigErrors>, Vec<Diagnostic>) {
        reading::settings(config)
    }

    /// `[server] control_socket` and `[paths] pidfile`, whatever is wrong with the rest of the file.
    pub(crate) fn control_socket(config: &ResolvedConfig) -> (PlaceSetting, Option<PathBuf>) {
        reading::control_socket(config)
    }

    /// The options that differ from `before` and count only after a restart.
    pub(crate) fn needing_restart(&self, before: &Self) -> Vec<&'static str> {
        let (now, then) = (&self.server, &before.server);
        let options = [
            ("[network] unix_mode", self.network.unix.mode != before.network.unix.mode),
            ("[network] unix_group", self.network.unix.group != before.network.unix.group),
            ("[paths] pidfile", self.paths.pidfile != before.paths.pidfile),
            ("[server] io_threads", now.io_threads != then.io_threads),
            ("[server] event_loop", now.event_loop != then.event_loop),
            ("[server] control_socket", now.control_socket != then.control_socket),
            ("[server] state_dir", now.state_dir != then.state_dir),
            ("[server] crash_loop_guard", now.crash_loop_guard != then.crash_loop_guard),
        ];
        options.into_iter().filter(|(_, changed)| *changed).map(|(option, _)| option).collect()
    }
}

/// `[paths]`, relative ones taken from the working directory, as the original did.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    /// Folder of the plugin files.
    pub plugins: PathBuf,
    /// Where the process id is written while the server runs.
    pub pidfile: Option<PathBuf>,
}

/// A folder of documents that the server itself serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StaticFilesSettings {
    /// The section that named it.
    pub section: &'static str,
    /// Where it was named.
    pub location: SourceLocation,
    /// The request path without slashes at its ends, for example `docs`.
    pub route: String,
    /// The folder; a relative one is taken from the working directory at the start.
    pub folder: PathBuf,
    /// `indexfile` of the same section: what answers for a folder (default `index.html`).
    pub index: String,
    /// `[file_server] common_log`: an access log in the Common Log Format.
    pub common_log: Option<PathBuf>,
}

impl StaticFilesSettings {
    /// A warning about `documents`.
    pub(crate) fn warning(&self, message: impl Into<String>, remedy: &str) -> Diagnostic {
        let warning = Diagnostic::warning(self.location.clone(), message);
        warning.in_section(self.section).at_key("documents").remedy(remedy)
    }
}

/// `[network]`, besides the addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NetworkSettings {
    /// `http2`: whether HTTP/2 is spoken beside HTTP/1.1 (default true).
    pub http2: bool,
    /// `proxy_protocol`: whether connections begin with a header of the PROXY protocol (default false).
    pub proxy_protocol: bool,
    /// `hosts`: the hosts that are answered to (default: all).
    pub hosts: Option<Vec<String>>,
    /// `unix_mode` and `unix_group`: who may connect to Unix sockets.
    pub unix: UnixAccess,
}

/// Who may connect to a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnixAccess {
    /// The mode of its file (default 0660).
    pub mode: u32,
    /// The group of its file (default: that of the server).
    pub group: Option<u32>,
}

impl Default for UnixAccess {
    fn default() -> Self {
        Self { mode: 0o660, group: None }
    }
}

impl Default for NetworkSettings {
    fn default() -> Self {
        Self { http2: true, proxy_protocol: false, hosts: None, unix: UnixAccess::default() }
    }
}

/// `[server]`: limits and timings, all with safe defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerSettings {
    /// `io_threads`: native threads that serve sockets (default 1).
    pub io_threads: usize,
    /// `trusted_proxies`: the proxies that are trusted in what they say of clients (default loopback).
    pub trusted_proxies: TrustedProxies,
    /// `plugin_timeout`: seconds for an async `initialize` (default 60).
    pub plugin_timeout: Duration,
    /// `event_loop`: what plugins run on (default asyncio).
    pub event_loop: EventLoop,
    /// `shutdown_timeout`: seconds for the requests in flight and again for `terminate_plugin`, when the server stops
    /// or a plugin is replaced (default 10).
    pub shutdown_timeout: Duration,
    /// `drain_delay`: how long requests are still served at a stop after `/-/ready` has begun to fail.
    pub drain_delay: Duration,
    /// `control_socket`: where `plugincore ctl` finds the server.
    pub control_socket: PlaceSetting,
    /// `state_dir`: where the server keeps which plugins are disabled.
    pub state_dir: PlaceSetting,
    /// `crash_loop_guard`: whether a plugin that ends the process again and again is left out.
    pub crash_loop_guard: bool,
    /// `watchdog_restart`: whether the service manager restarts a server whose Python thread is blocked.
    pub watchdog_restart: bool,
    /// `stall_warn`: from when on a plugin that blocks Python is reported (default 250 ms); `None` for never.
    pub stall_warn: Option<Duration>,
    /// `stall_unready`: from when on `/-/ready` answers 503 then; `None`, the default, for never.
    pub stall_unready: Option<Duration>,
    /// `watch`: whether changed plugin files are loaded by themselves (default off).
    pub watch: WatchMode,
    /// `show_errors`: which clients get to know what went wrong inside a plugin (default those on this machine).
    pub show_errors: ShowErrors,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            io_threads: 1,
            event_loop: EventLoop::Asyncio,
            trusted_proxies: TrustedProxies::default(),
            plugin_timeout: Duration::from_secs(60),
            shutdown_timeout: Duration::from_secs(10),
            drain_delay: Duration::ZERO,
            control_socket: PlaceSetting::Default,
            state_dir: PlaceSetting::Default,
            crash_loop_guard: true,
            watchdog_restart: true,
            stall_warn: Some(Duration::from_millis(250)),
            stall_unready: None,
            watch: WatchMode::Off,
            show_errors: ShowErrors::Local,
        }
    }
}

/// A text that never shows in logs or debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a key.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The key itself; for comparing and for handing to plugins, never for printing.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}
