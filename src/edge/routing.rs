//! Maps a path to an endpoint: an immutable table that is replaced as a whole when plugins change.
//!
//! Built on the Python thread, read on the I/O threads. `/id` and `/id/…` belong to a plugin; ids may contain slashes,
//! and the longest one wins; `/plugins`, `/reload/…` and `/-/…` belong to the server. The folder of static files is
//! found like a plugin that comes after all others. Ids are literal and must match exactly. The table does not decide
//! whether a method or a key is right.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::Value;

use crate::edge::config::settings::plugins::PluginSettings;
use crate::edge::http::request::DecodedPath;
pub(crate) use crate::edge::http::request::MethodSet;
use crate::edge::http::rescue::Rejection;
use crate::edge::observe::metrics::slots::Slot;
use crate::edge::parameters::Parameters;
use crate::edge::policy::admission::Entrance;
use crate::edge::policy::cors::Cors;
use crate::edge::policy::credential::AuthPolicy;

/// First segments that belong to the host.
const RESERVED: [&str; 3] = ["plugins", "reload", "-"];

/// A plugin as the I/O threads know it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    id: Arc<str>,
    /// The way into the instance that it leads to, with the number of requests that may be inside at one time.
    pub entrance: Arc<Entrance>,
    /// The methods it answers.
    pub methods: MethodSet,
    /// Who may use it; shared with the instance, which may change it at any time.
    pub auth: Arc<ArcSwap<AuthPolicy>>,
    /// What the ini file has for it: limits and the like.
    pub settings: Arc<PluginSettings>,
    /// The shortest of the times that its requests have, if any.
    pub shortest_time: Option<Duration>,
    /// CORS with the origins of its own, if it has those.
    pub cors: Option<Arc<Cors>>,
    /// Where its requests are counted.
    pub slot: Slot,
    /// What its handler takes, if its type hints say so.
    pub parameters: Option<Arc<Parameters>>,
    /// What the plugin says of itself: `about`, `summary`, `description`, a schema as `result`, and as `own` what
    /// replaces generated parts of its description.
    pub description: Arc<Value>,
    /// Whether it takes no requests; it stays so for good.
    disabled: Arc<AtomicBool>,
}

impl Endpoint {
    /// An endpoint named `name` (its `_plugin_id`), without leading slashes.
    ///
    /// # Errors
    /// When no request could reach such an id.
    pub(crate) fn new(
        name: &str,
        entrance: Arc<Entrance>,
        methods: MethodSet,
        auth: Arc<ArcSwap<AuthPolicy>>,
        settings: Arc<PluginSettings>,
    ) -> Result<Self, RouteError> {
        let (id, cors, disabled) = (Arc::from(endpoint_id(name)?), own_cors(&settings), Arc::default());
        let slot = Slot::of(&id);
        Ok(Self {
            id,
            entrance,
            methods,
            auth,
            shortest_time: settings.shortest_time(),
            settings,
            cors,
            slot,
            parameters: None,
            description: Arc::default(),
            disabled,
        })
    }

    /// The same endpoint with typed parameters, if there are any, and what the plugin says of itself.
    pub(crate) fn described(self, parameters: Option<Arc<Parameters>>, description: Arc<Value>) -> Self {
        Self { parameters, description, ..self }
    }

    /// The same endpoint, which goes by other `settings` from now on.
    pub(crate) fn with_settings(&self, settings: Arc<PluginSettings>) -> Self {
        Self {
            id: Arc::clone(&self.id),
            entrance: Arc::clone(&self.entrance),
            methods: self.methods,
            auth: Arc::clone(&self.auth),
            cors: own_cors(&settings),
            shortest_time: settings.shortest_time(),
            settings,
            slot: self.slot,
            parameters: self.parameters.clone(),
            description: Arc::clone(&self.description),
            disabled: Arc::clone(&self.disabled),
        }
    }

    /// What `decide` makes of who may use it now.
    pub(crate) fn by_policy<T>(&self, decide: impl FnOnce(&AuthPolicy) -> T) -> T {
        if self.settings.requires_key { decide(&AuthPolicy::Named) } else { decide(&self.auth.load()) }
    }

    /// Has it take no requests any more; for any thread.
    pub(crate) fn disable(&self) {
        self.disabled.store(true, Ordering::Relaxed);
    }

    /// Refuses requests to an endpoint that takes none.
    ///
    /// # Errors
    /// [`Rejection::PluginDisabled`].
    pub(crate) fn check_enabled(&self) -> Result<(), Rejection> {
        if self.disabled.load(Ordering::Relaxed) { Err(Rejection::PluginDisabled) } else { Ok(()) }
    }

    /// The id: what `/plugins` lists and `/reload/…` takes.
    pub(crate) fn id(&self) -> &Arc<str> {
        &self.id
    }
}

fn own_cors(settings: &PluginSettings) -> Option<Arc<Cors>> {
    settings.cors.as_ref().map(|cors| Arc::new(Cors::new(cors)))
}

/// Where a path leads.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    /// `/-/healthy`: the process serves.
    Healthy,
    /// `/-/ready`: plugins are loaded.
    Ready,
    /// `/-/metrics`: figures.
    Metrics,
    /// `/-/openapi.json`: the plugins as OpenAPI describes them.
    OpenApi,
    /// `/-/docs` and what belongs to that page: the name, empty for the page itself.
    Docs(String),
    /// `/plugins`: the list of ids.
    Plugins,
    /// `/reload/<id>`, or `/reload/all`; whether such a plugin exists is not yet known.
    Reload(String),
    /// `/`: where no plugin can be.
    Root,
    /// `/-/`, and what belongs to that page: what follows; whether there is such a file is not yet known.
    Page(String),
    /// `/-/api/…`: what follows that; whether there is such an address is not yet known.
    Api(String),
    /// A plugin.
    Plugin {
        /// Its endpoint.
        endpoint: Arc<Endpoint>,
        /// What follows its id: `None` for the bare id, empty for `/id/`, never beginning with a slash.
        subpath: Option<String>,
    },
    /// The folder of documents.
    StaticFile {
        /// What follows its path, as for a plugin.
        subpath: Option<String>,
    },
}

impl Route {
    /// What paths that lead there have in common; none for those of plugins and documents.
    pub(crate) fn pattern(&self) -> Option<&'static str> {
        match self {
            Self::Healthy => Some("/-/healthy"),
            Self::Ready => Some("/-/ready"),
            Self::Metrics => Some("/-/metrics"),
            Self::OpenApi => Some("/-/openapi.json"),
            Self::Docs(_) => Some("/-/docs"),
            Self::Plugins => Some("/plugins"),
            Self::Reload(_) => Some("/reload/{id}"),
            Self::Root => Some("/"),
            Self::Page(_) => Some("/-/"),
            Self::Api(_) => Some("/-/api/{call}"),
            Self::Plugin { .. } | Self::StaticFile { .. } => None,
        }
    }

    /// Whether the server itself answers it to programs, without plugins and files.
    pub(crate) fn is_of_server(&self) -> bool {
        match self {
            Self::Healthy
            | Self::Ready
            | Self::Metrics
            | Self::OpenApi
            | Self::Plugins
            | Self::Reload(_)
            | Self::Api(_) => true,
            Self::Root | Self::Page(_) | Self::Docs(_) | Self::Plugin { .. } | Self::StaticFile { .. } => false,
        }
    }
}

/// Why an id cannot be routed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RouteError {
    /// Nothing is left of the id.
    #[error("the plugin id is empty; set route_path in [plugin_parms]")]
    Empty,
    /// The id begins with a word of the host.
    #[error("the plugin id {0:?} belongs to the server; choose another route_path in [plugin_parms]")]
    Reserved(String),
    /// No request can have such a path.
    #[error("the plugin id {0:?} has a '..' segment or a NUL; choose another route_path in [plugin_parms]")]
    Unreachable(String),
    /// Another endpoint has the id; it stays.
    #[error("the plugin id {0:?} is taken by another plugin; choose another route_path in [plugin_parms]")]
    Taken(String),
}

fn endpoint_id(name: &str) -> Result<String, RouteError> {
    let id = name.trim_start_matches('/');
    let first = id.split('/').next().unwrap_or_default();
    if id.is_empty() {
        Err(RouteError::Empty)
    } else if RESERVED.contains(&first) {
        Err(RouteError::Reserved(id.to_owned()))
    } else if id.contains('\0') || id.split('/').any(|segment| segment == "..") {
        Err(RouteError::Unreachable(id.to_owned()))
    } else {
        Ok(id.to_owned())
    }
}

/// A map with the ids of plugins as keys.
pub(crate) type ById<T> = HashMap<Arc<str>, T, BuildHasherDefault<IdHasher>>;

/// Hashes ids by FNV-1a, which for texts as short as they are takes a fraction of the time of Rust's own hash. That one
/// is for keys that clients choose; ids come from plugin files, clients only look them up.
pub(crate) struct IdHasher(u64);

impl Default for IdHasher {
    fn default() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }
}

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The endpoints of one moment.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    /// In load order.
    endpoints: Vec<Arc<Endpoint>>,
    by_id: ById<Arc<Endpoint>>,
    /// Slashes in the id that has most: no look-up tries longer prefixes, however many segments a path has.
    max_slashes: usize,
    /// Where documents are served, unless an endpoint has that very id.
    static_files: Option<Arc<str>>,
}

impl RouteTable {
    /// Adds an endpoint behind those already there.
    ///
    /// # Errors
    /// [`RouteError::Taken`]; the table is then unchanged.
    pub(crate) fn insert(&mut self, endpoint: Arc<Endpoint>) -> Result<(), RouteError> {
        if self.by_id.contains_key(&endpoint.id) {
            return Err(RouteError::Taken(endpoint.id.to_string()));
        }
        self.max_slashes = self.max_slashes.max(endpoint.id.matches('/').count());
        self.by_id.insert(Arc::clone(&endpoint.id), Arc::clone(&endpoint));
        self.endpoints.push(endpoint);
        Ok(())
    }

    /// Reserves an id whose plugin is disabled, unless an endpoint has it; it is found, but not listed.
    pub(crate) fn insert_disabled(&mut self, endpoint: Arc<Endpoint>) {
        if !self.by_id.contains_key(&endpoint.id) {
            endpoint.disable();
            self.max_slashes = self.max_slashes.max(endpoint.id.matches('/').count());
            self.by_id.insert(Arc::clone(&endpoint.id), endpoint);
        }
    }

    /// Serves documents under `path`, wherever no plugin has this or a longer id.
    ///
    /// # Errors
    /// As for [`Endpoint::new`]; no documents are served then.
    pub(crate) fn serve_static_files(&mut self, path: &str) -> Result<(), RouteError> {
        self.static_files = Some(Arc::from(endpoint_id(path)?));
        Ok(())
    }

    /// All endpoints in load order.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.endpoints.iter()
    }

    /// The path of static files, without slashes at its ends, if some are served.
    pub(crate) fn static_files(&self) -> Option<&str> {
        self.static_files.as_deref()
    }

    /// All ids in load order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.endpoints.iter().map(|endpoint| &*endpoint.id)
    }

    /// The endpoint of that very id.
    pub(crate) fn get(&self, id: &str) -> Option<&Arc<Endpoint>> {
        self.by_id.get(id)
    }

    /// Where `path` leads.
    ///
    /// # Errors
    /// [`Rejection::NotFound`], or [`Rejection::BadRequest`] when what follows an id begins with a slash: joined to a
    /// folder it would name any file of the machine.
    pub(crate) fn lookup(&self, path: &DecodedPath<'_>) -> Result<Route, Rejection> {
        let path = path.as_str().strip_prefix('/').ok_or(Rejection::NotFound)?;
        // By bytes here and below: to prepare a search for a character takes longer than to search an id.
        let first_slash = path.bytes().position(|byte| byte == b'/');
        match first_slash.map(|at| (&path[..at], &path[at + 1..])) {
            Some(("reload", id)) if !id.is_empty() => Ok(Route::Reload(id.to_owned())),
            Some(("-", "healthy")) => Ok(Route::Healthy),
            Some(("-", "ready")) => Ok(Route::Ready),
            Some(("-", "metrics")) => Ok(Route::Metrics),
            Some(("-", "openapi.json")) => Ok(Route::OpenApi),
            Some(("-", "docs")) => Ok(Route::Docs(String::new())),
            Some(("-", rest)) if rest.len() > "docs/".len() && rest.starts_with("docs/") => {
                Ok(Route::Docs(rest["docs/".len()..].to_owned()))
            }
            Some(("-", rest)) if rest.starts_with("api/") => Ok(Route::Api(rest["api/".len()..].to_owned())),
            Some(("-", "")) => Ok(Route::Page(String::new())),
            Some(("-", rest)) if rest.starts_with("page/") => Ok(Route::Page(rest["page/".len()..].to_owned())),
            None if path == "plugins" => Ok(Route::Plugins),
            None if path.is_empty() => Ok(Route::Root),
            _ => self.plugin(path),
        }
    }

    fn plugin(&self, path: &str) -> Result<Route, Rejection> {
        // The ends of all prefixes that can be an id, shortest first; the whole path is one if it is short enough.
        let slashes = path.bytes().enumerate().filter(|(_, byte)| *byte == b'/').map(|(at, _)| at);
        let ends = slashes.chain([path.len()]).take(self.max_slashes + 1);
        let found = ends.filter_map(|end| self.by_id.get(&path[..end]).map(|endpoint| (endpoint, end))).last();
        let static_files = self.static_files.as_deref().filter(|id| {
            let longest = found.is_none_or(|(_, end)| id.len() > end);
            longest && path.strip_prefix(*id).is_some_and(|tail| tail.is_empty() || tail.starts_with('/'))
        });
        let end = static_files.map(str::len).or(found.map(|(_, end)| end)).ok_or(Rejection::NotFound)?;
        let subpath = path.get(end + 1..).map(str::to_owned);
        if subpath.as_deref().is_some_and(|tail| tail.starts_with('/')) {
            return Err(Rejection::BadRequest("the path after the plugin's name begins with a second slash".into()));
        }
        match found {
            Some((endpoint, _)) if static_files.is_none() => {
                Ok(Route::Plugin { endpoint: Arc::clone(endpoint), subpath })
            }
            _ => Ok(Route::StaticFile { subpath }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::http::request::decode_path;
    use crate::edge::policy::admission::Limit;

    fn endpoint(id: &str, max: usize) -> Arc<Endpoint> {
        let auth = Arc::new(ArcSwap::from_pointee(AuthPolicy::Open));
        let entrance = Entrance::new(Limit::new(max));
        Arc::new(Endpoint::new(id, entrance, MethodSet::DEFAULT, auth, Arc::default()).unwrap())
    }

    fn table(ids: &[&str]) -> RouteTable {
        let mut table = RouteTable::default();
        for id in ids {
            table.insert(endpoint(id, 1)).unwrap();
        }
        table
    }

    /// `id|subpath` of a plugin's route, else the other route or the status.
    fn lookup(table: &RouteTable, path: &str) -> String {
        match table.lookup(&decode_path(path).unwrap()) {
            Ok(Route::Plugin { endpoint, subpath }) => {
                format!("{}|{}", endpoint.id, subpath.as_deref().unwrap_or("None"))
            }
            Ok(Route::StaticFile { subpath }) => format!("documents|{}", subpath.as_deref().unwrap_or("None")),
            Ok(other) => format!("{other:?}"),
            Err(rejection) => rejection.status(false).as_u16().to_string(),
        }
    }

    #[test]
    fn a_plugin_answers_its_id_and_everything_below() {
        let table = table(&["docs"]);
        for (path, expected) in [
            ("/docs", "docs|None"),
            ("/docs/", "docs|"),
            ("/docs/a/b", "docs|a/b"),
            ("/docs/a//b/;v=1/", "docs|a//b/;v=1/"),
            ("/docs/a%2Fb%20c", "docs|a/b c"),
            ("/do%63s/a", "docs|a"),
        ] {
            assert_eq!(lookup(&table, path), expected, "{path}");
        }
    }

    #[test]
    fn ids_are_compared_to_the_letter() {
        let table = table(&["docs", "p{x}"]);
        for path in ["/Docs", "/doc", "/docsx", "//docs", "/pa"] {
            assert_eq!(lookup(&table, path), "404", "{path}");
        }
        assert_eq!(lookup(&table, "/p{x}/a"), "p{x}|a");
    }

    #[test]
    fn a_subpath_that_begins_with_a_slash_is_refused() {
        let table = table(&["docs"]);
        assert_eq!(lookup(&table, "/docs//etc/passwd"), "400");
        assert_eq!(lookup(&table, "/docs/%2Fetc/passwd"), "400");
    }

    #[test]
    fn the_longest_id_wins() {
        let table = table(&["a", "a/b/c", "x/y"]);
        for (path, expected) in [
            ("/a/b", "a|b"),
            ("/a/b/c", "a/b/c|None"),
            ("/a/b/c/", "a/b/c|"),
            ("/a/b/c/d/e", "a/b/c|d/e"),
            ("/a/b/cc", "a|b/cc"),
            ("/x", "404"),
            ("/x/y/z", "x/y|z"),
        ] {
            assert_eq!(lookup(&table, path), expected, "{path}");
        }
    }

    #[test]
    fn documents_stand_behind_a_plugin_of_the_same_id() {
        let mut table = table(&["a", "a/html/api", "docs"]);
        table.serve_static_files("a/html").unwrap();
        for (path, expected) in [
            ("/a/html", "documents|None"),
            ("/a/html/", "documents|"),
            ("/a/html/x/y", "documents|x/y"),
            ("/a/htmlx", "a|htmlx"),
            ("/a/html/api/x", "a/html/api|x"),
            ("/a/html//etc/passwd", "400"),
        ] {
            assert_eq!(lookup(&table, path), expected, "{path}");
        }
        table.serve_static_files("docs").unwrap();
        assert_eq!(lookup(&table, "/docs/x"), "docs|x");
        assert_eq!(table.serve_static_files("plugins"), Err(RouteError::Reserved("plugins".into())));
        assert!(table.serve_static_files("a/../b").is_err());
    }

    #[test]
    fn the_hosts_own_addresses_are_found() {
        let table = table(&["docs"]);
        for (path, expected) in [
            ("/plugins", "Plugins"),
            ("/plugins/", "404"),
            ("/reload/all", "Reload(\"all\")"),
            ("/reload/a/b", "Reload(\"a/b\")"),
            ("/reload", "404"),
            ("/reload/", "404"),
            ("/-/healthy", "Healthy"),
            ("/-/ready", "Ready"),
            ("/-/metrics", "Metrics"),
            ("/", "Root"),
            ("/-/", "Page(\"\")"),
            ("/-/page/app.js", "Page(\"app.js\")"),
            ("/-", "404"),
            ("/-/openapi.json", "OpenApi"),
            ("/-/docs", "Docs(\"\")"),
            ("/-/docs/start.js", "Docs(\"start.js\")"),
            ("/-/docs/", "404"),
            ("/-/x", "404"),
            ("/-/page", "404"),
            ("/-/api", "404"),
            ("/-/api/plugins/a/reload", "Api(\"plugins/a/reload\")"),
        ] {
            assert_eq!(lookup(&table, path), expected, "{path}");
        }
    }

    #[test]
    fn an_id_loses_its_leading_slash() {
        assert_eq!(endpoint_id("/a/b").unwrap(), "a/b");
        assert_eq!(lookup(&table(&["/docs"]), "/docs/x"), "docs|x");
    }

    #[test]
    fn ids_that_no_request_could_reach_are_refused() {
        assert_eq!(endpoint_id("/"), Err(RouteError::Empty));
        for id in ["plugins", "reload/x", "-", "/plugins"] {
            assert!(matches!(endpoint_id(id), Err(RouteError::Reserved(_))), "{id}");
        }
        assert!(matches!(endpoint_id("a/../b"), Err(RouteError::Unreachable(_))));
        assert_eq!(endpoint_id("plugins2").unwrap(), "plugins2");
    }

    #[test]
    fn the_first_of_two_equal_ids_stays() {
        let mut table = table(&["b", "a"]);
        let first = Arc::clone(table.get("a").unwrap());
        assert_eq!(table.insert(endpoint("a", 9)), Err(RouteError::Taken("a".into())));
        assert_eq!(table.ids().collect::<Vec<_>>(), ["b", "a"]);
        assert!(Arc::ptr_eq(table.get("a").unwrap(), &first));
    }

    #[test]
    fn a_disabled_id_is_found_and_refused_and_not_listed() {
        let mut table = table(&["a"]);
        table.insert_disabled(endpoint("a", 1));
        table.insert_disabled(endpoint("x/y", 1));
        assert_eq!(table.ids().collect::<Vec<_>>(), ["a"]);
        assert_eq!(lookup(&table, "/x/y/z"), "x/y|z");
        assert_eq!(table.get("a").unwrap().check_enabled(), Ok(()));
        assert_eq!(table.get("x/y").unwrap().check_enabled(), Err(Rejection::PluginDisabled));
    }

    #[test]
    fn an_endpoint_that_is_disabled_stays_so_with_other_settings() {
        let before = endpoint("a", 1);
        let after = before.with_settings(Arc::new(PluginSettings { body_size: 1, ..PluginSettings::default() }));
        assert_eq!((after.settings.body_size, after.check_enabled()), (1, Ok(())));
        before.disable();
        assert_eq!(after.check_enabled(), Err(Rejection::PluginDisabled));
    }

    #[test]
    fn an_endpoints_policy_can_be_changed_while_it_serves() {
        let table = table(&["a"]);
        table.get("a").unwrap().auth.store(Arc::new(AuthPolicy::Closed));
        assert!(matches!(**table.get("a").unwrap().auth.load(), AuthPolicy::Closed));
    }
}
