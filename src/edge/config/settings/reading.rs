//! Makes [`Settings`] from a [`ResolvedConfig`], section by section; it continues after an error so that all are
//! reported.
//!
//! Called on the Python thread. Caveat: an item whose value could not be resolved counts as present here, since its
//! error has been recorded already.

mod access_log;
mod cors;
mod headers;
mod keys;
mod limits;
mod listen;
mod plugins;
mod static_files;
mod tls;
mod tracing;

use super::{NetworkSettings, ParameterLine, Paths, Secret, ServerSettings, Settings, UnixAccess};
use crate::edge::config::diagnostic::{ConfigErrors, Diagnostic, Diagnostics, Severity, SourceLocation};
use crate::edge::config::fields::{self, InvalidValue, ParseResult};
use crate::edge::config::keys::KeySources;
use crate::edge::config::places::PlaceSetting;
use crate::edge::config::proxies;
use crate::edge::config::relative_paths::absolute;
use crate::edge::config::resolved::{Item, ResolvedConfig, Section};
use crate::edge::config::schema::{
    GUARDS, HOST_SECTIONS, KEY_TOLERANCE, SECTION_TOLERANCE, is_nearly_of_plugin, is_of_certificate, nearest,
    plugin_of_section,
};
use crate::edge::config::shown;
use crate::edge::config::socket_address::SocketAddress;
use crate::edge::config::value::Value;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

pub(super) fn settings(config: &ResolvedConfig) -> (Result<Settings, ConfigErrors>, Vec<Diagnostic>) {
    let mut found = Diagnostics::default();
    found.extend(config.errors.iter().chain(&config.warnings).cloned());
    misspellings(config, &mut found);
    let mut reader = SectionReader::new(config, "network", &mut found);
    let (listen, listen_line) = listen::listen(&mut reader);
    let network = network(&mut reader);
    let paths = paths(&mut SectionReader::new(config, "paths", &mut found));
    let static_files = static_files::static_files(config, &mut found);
    let tls = tls::tls(config, network.http2, &mut found);
    let apikey = apikey(&mut SectionReader::new(config, "auth", &mut found), &listen);
    let keys = keys::keys(config, apikey.as_ref(), &mut found);
    let (key_sources, challenge) = how_keys_are_sent(&mut SectionReader::new(config, "auth", &mut found));
    let cors = cors::cors(&mut SectionReader::new(config, "cors", &mut found));
    let server = server(&mut SectionReader::new(config, "server", &mut found));
    listen::check_proxies(config, &network, &server.trusted_proxies, &listen, &mut found);
    let (limits, mut of_plugins) = limits::limits(config, &mut found);
    of_plugins.compression =
        SectionReader::new(config, "server", &mut found).switch("compression", of_plugins.compression);
    let plugins =
        Arc::new(plugins::sections(config, of_plugins, cors.as_ref(), keys::scopes(config, &keys), &mut found));
    let headers = headers::headers(config, &mut found);
    let openapi_public = SectionReader::new(config, "openapi", &mut found).switch("public", false);
    let (log_as_json, access_log) =
        (access_log::log_format(config, &mut found), access_log::access_log(config, &mut found));
    let tracing = tracing::tracing(config, &mut found);
    let legacy_status = SectionReader::new(config, "compat", &mut found).switch("legacy_status", false);
    let page = SectionReader::new(config, "page", &mut found).switch("enabled", true);
    let parameters = config.host_section("plugin_parms").map_or(&[][..], |section| &section.items);
    let parameters = parameters.iter().filter(|item| !item.inherited);
    let parameters = parameters.map(|item| ParameterLine {
        stem: item.key.clone(),
        location: item.location.clone(),
        missing: item.missing_reason(),
    });
    let parameters = parameters.collect();
    let (errors, warnings) = found.split();
    // A value with an error has been replaced by a default, which is not used.
    let settings = match errors {
        None => Ok(Settings {
            listen,
            listen_line,
            network,
            paths,
            static_files,
            tls,
            apikey,
            keys,
            key_sources,
            challenge,
            cors,
            server,
            limits,
            plugins,
            headers,
            log_as_json,
            access_log,
            tracing,
            legacy_status,
            page,
            shown: Arc::new(shown::shown(config)),
            openapi_public,
            parameters,
        }),
        Some(errors) => Err(errors),
    };
    (settings, warnings)
}

/// Reads no more than where the server listens to be controlled; what is wrong with the rest does not matter.
pub(super) fn control_socket(config: &ResolvedConfig) -> (PlaceSetting, Option<PathBuf>) {
    let mut ignored = Diagnostics::default();
    let setting =
        SectionReader::new(config, "server", &mut ignored).read("control_socket", PlaceSetting::Default, fields::place);
    let pidfile =
        SectionReader::new(config, "paths", &mut ignored).read("pidfile", None, |value| fields::path(value).map(Some));
    (setting, pidfile)
}

/// One host section being read.
struct SectionReader<'a> {
    config: &'a ResolvedConfig,
    name: &'a str,
    section: Option<&'a Section>,
    found: &'a mut Diagnostics,
}

impl<'a> SectionReader<'a> {
    fn new(config: &'a ResolvedConfig, name: &'static str, found: &'a mut Diagnostics) -> Self {
        Self { config, name, section: config.host_section(name), found }
    }

    /// The reader of a section that is there.
    fn of(config: &'a ResolvedConfig, section: &'a Section, found: &'a mut Diagnostics) -> Self {
        Self { config, name: &section.name, section: Some(section), found }
    }

    fn item(&self, key: &str) -> Option<&'a Item> {
        self.section.and_then(|section| section.item(key))
    }

    /// The value of `key`, or `default` if it is absent or wrong; a wrong one is reported.
    fn read<T>(&mut self, key: &str, default: T, fit: impl FnOnce(&Value) -> ParseResult<T>) -> T {
        let Some(item) = self.item(key) else { return default };
        match item.value.as_ref().map(fit) {
            Some(Ok(value)) => value,
            Some(Err(invalid)) => {
                self.invalid(key, invalid);
                default
            }
            None => default,
        }
    }

    /// Whether the switch `key` is on.
    fn switch(&mut self, key: &str, default: bool) -> bool {
        self.word(key, default, fields::switch)
    }

    /// What the word of `key` stands for. It has its default when it is absent, not when a variable that should set it
    /// is.
    fn word<T>(&mut self, key: &str, default: T, fit: impl FnOnce(&Value, &str) -> ParseResult<T>) -> T {
        let Some(item) = self.item(key) else { return default };
        self.read(key, default, |value| match item.missing_reason() {
            Some(reason) if item.text.trim().is_empty() => Err(InvalidValue::new(reason, "set it to on or off")),
            _ => fit(value, &item.text),
        })
    }

    fn location(&self, key: &str) -> SourceLocation {
        self.item(key)
            .map(|item| &item.location)
            .or(self.section.map(|section| &section.location))
            .cloned()
            .unwrap_or_else(|| SourceLocation::file(&self.config.path))
    }

    fn report(&mut self, key: &str, diagnostic: impl FnOnce(SourceLocation) -> Diagnostic) {
        let section = self.section.map_or(self.name, |section| section.name.as_str());
        self.found.push(diagnostic(self.location(key)).in_section(section).at_key(key));
    }

    /// Reports an error, with the text that was written.
    fn invalid(&mut self, key: &str, invalid: InvalidValue) {
        let InvalidValue { mut message, mut remedy } = invalid;
        if let Some(item) = self.item(key) {
            // This key holds a secret; of others that may, no message begins so.
            if message.starts_with("must") && key != "apikey" {
                message = format!("{message}, not {:?}", item.text);
            }
            if let Some(reason) = item.missing_reason().filter(|reason| *reason != message) {
                message = format!("{message}; {reason}");
            }
            remedy = fields::comment_in(&item.text).unwrap_or(remedy);
        }
        self.report(key, |location| Diagnostic::error(location, message).remedy(remedy));
    }

    fn warn(&mut self, key: &str, message: impl Into<String>, remedy: &str) {
        self.report(key, |location| Diagnostic::warning(location, message).remedy(remedy));
    }
}

fn network(network: &mut SectionReader<'_>) -> NetworkSettings {
    NetworkSettings {
        http2: network.switch("http2", NetworkSettings::default().http2),
        proxy_protocol: network.switch("proxy_protocol", NetworkSettings::default().proxy_protocol),
        hosts: network.read("hosts", None, |value| hosts(value).map(Some)),
        unix: UnixAccess {
            mode: network.read("unix_mode", UnixAccess::default().mode, fields::mode),
            group: network.read("unix_group", None, |value| fields::group(value).map(Some)),
        },
    }
}

/// Host names and addresses, with a port or not.
fn hosts(value: &Value) -> ParseResult<Vec<String>> {
    let remedy = "write host names as clients name the server, such as hosts=list:app.example www.app.example";
    let names = fields::words(value)?;
    match names.iter().find(|name| !is_host(name)) {
        Some(odd) => Err(InvalidValue::new(format!("{odd:?} is no host name"), remedy)),
        None if names.is_empty() => Err(InvalidValue::new("names no host", remedy)),
        None => Ok(names),
    }
}

fn is_host(name: &str) -> bool {
    let is_label = |text: &str| {
        let mut bytes = text.bytes();
        !text.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
    };
    let is_named = |host: &str| is_label(host) || host.parse::<IpAddr>().is_ok();
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let literal = |host: &str| host.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    let is_whole = |host: &str| is_named(host) || literal(host).is_some();
    is_whole(name) || name.rsplit_once(':').is_some_and(|(host, port)| is_whole(host) && is_port(port))
}

fn paths(paths: &mut SectionReader<'_>) -> Paths {
    let pidfile = paths.read("pidfile", None, |value| fields::path(value).map(Some));
    if paths.item("plugins").is_none() {
        let invalid = InvalidValue::new(
            "is missing; a configuration file must name the plugins' folder",
            "add plugins=./plugins",
        );
        paths.invalid("plugins", invalid);
    }
    let plugins = paths.read("plugins", PathBuf::new(), fields::path);
    if paths.item("plugins").is_some_and(|item| is_named(&item.location))
        && !plugins.as_os_str().is_empty()
        && let Err(error) = std::fs::read_dir(paths.config.base.join(&plugins))
    {
        let folder = absolute(&paths.config.base.join(&plugins));
        let remedy = "create the folder, or name another; relative paths begin at the ini file's folder if it has \
                      what they name, else where the server is started";
        let invalid = InvalidValue::new(format!("{} is not a folder of plugins: {error}", folder.display()), remedy);
        paths.invalid("plugins", invalid);
    }
    Paths { plugins, pidfile }
}

/// True if the file, a variable or an option names it; the folder that is the default may be missing.
fn is_named(location: &SourceLocation) -> bool {
    location.line().is_some() || matches!(location, SourceLocation::Variable(_) | SourceLocation::Option(_))
}

fn apikey(auth: &mut SectionReader<'_>, listen: &[SocketAddress]) -> Option<Secret> {
    let remedy = "set apikey in [auth]";
    let key = match auth.item("apikey") {
        None => {
            if !listen.iter().filter_map(SocketAddress::ip).all(|address| address.ip().is_loopback()) {
                let message = "is not set while the server listens beyond loopback; anyone may list the plugins";
                auth.warn("apikey", message, remedy);
            }
            return None;
        }
        Some(item) => match item.value.as_ref()? {
            // A server that is to have a key must not go without one, nor with half of one.
            _ if item.missing_reason().is_some() => {
                let reason = item.missing_reason().unwrap_or_default();
                auth.invalid("apikey", InvalidValue::new(reason, "set it, or take apikey out to serve without a key"));
                return None;
            }
            Value::Text(_) => item.text.trim().to_owned(),
            // As Python spells the number, since plugins with `auth_type=global` compare with that.
            Value::Int(number) => number.to_string(),
            Value::Float(_) | Value::Bool(_) | Value::List(_) => {
                auth.invalid("apikey", InvalidValue::new("must be text", "write one key without a type prefix"));
                return None;
            }
        },
    };
    if key.is_empty() {
        auth.warn("apikey", "is empty, which is the same as no key", remedy);
        return None;
    }
    Some(Secret::new(key))
}

/// `key_sources` and `challenge`.
fn how_keys_are_sent(auth: &mut SectionReader<'_>) -> (KeySources, bool) {
    let sources = |value: &Value| KeySources::named(&fields::words(value)?);
    (auth.read("key_sources", KeySources::default(), sources), auth.switch("challenge", false))
}

fn server(server: &mut SectionReader<'_>) -> ServerSettings {
    let default = ServerSettings::default();
    ServerSettings {
        io_threads: server.read("io_threads", default.io_threads, fields::count),
        event_loop: server.read("event_loop", default.event_loop, fields::event_loop),
        trusted_proxies: server.read("trusted_proxies", default.trusted_proxies, proxies::trusted_proxies),
        plugin_timeout: server.read("plugin_timeout", default.plugin_timeout, fields::duration),
        shutdown_timeout: server.read("shutdown_timeout", default.shutdown_timeout, fields::duration),
        drain_delay: server.read("drain_delay", default.drain_delay, fields::delay),
        control_socket: server.read("control_socket", default.control_socket, fields::place),
        state_dir: server.read("state_dir", default.state_dir, fields::place),
        crash_loop_guard: server.switch("crash_loop_guard", default.crash_loop_guard),
        stall_warn: server.read("stall_warn", default.stall_warn, limits::time),
        stall_unready: server.read("stall_unready", default.stall_unready, limits::time),
        watchdog_restart: server.switch("watchdog_restart", default.watchdog_restart),
        watch: server.word("watch", default.watch, fields::watch_mode),
        show_errors: server.word("show_errors", default.show_errors, fields::show_errors),
    }
}

/// Warns of names that the host does not know but probably should.
fn misspellings(config: &ResolvedConfig, found: &mut Diagnostics) {
    for section in &config.sections {
        let host = HOST_SECTIONS.iter().find(|(name, _)| name.eq_ignore_ascii_case(&section.name));
        let warn = |location: &SourceLocation, message: String| {
            Diagnostic::warning(location.clone(), message).in_section(&section.name)
        };
        if plugin_of_section(&section.name).is_some() || is_of_certificate(&section.name) {
            continue; // read, and its keys checked, in `plugins` and `tls`
        }
        let Some((name, keys)) = host else {
            if is_nearly_of_plugin(&section.name) {
                let message = "the server does not read it; is [plugin <id or file>] meant?".to_owned();
                found.push(warn(&section.location, message).remedy("rename it; if a plugin uses it, nothing is wrong"));
                continue;
            }
            let names = HOST_SECTIONS.iter().map(|(name, _)| *name);
            if let Some(near) = nearest(&section.name, names, SECTION_TOLERANCE) {
                let remedy = "rename it; if a plugin uses it, nothing is wrong";
                found.push(
                    warn(&section.location, format!("the server does not read it; is [{near}] meant?")).remedy(remedy),
                );
            }
            continue;
        };
        if let Some(used) = config.host_section(name).filter(|used| used.name != section.name) {
            let remedy = "put everything into one section";
            found.push(
                warn(&section.location, format!("is ignored by the server, which uses [{}]", used.name)).remedy(remedy),
            );
            continue;
        }
        let unknown = |item: &&Item| !keys.is_empty() && !item.inherited && !keys.contains(&item.key.as_str());
        for item in section.items.iter().filter(unknown) {
            let near = nearest(&item.key, keys.iter().copied(), KEY_TOLERANCE);
            let remedy =
                near.map_or_else(|| format!("known are {}", keys.join(", ")), |near| format!("is {near} meant?"));
            let mut diagnostic =
                warn(&item.location, "is not known to the server".into()).at_key(&item.key).remedy(remedy);
            if GUARDS.contains(name) && near.is_some_and(|near| section.item(near).is_none()) {
                diagnostic.severity = Severity::Error;
            }
            found.push(diagnostic);
        }
    }
}

#[cfg(test)]
mod tests;
