//! What the server goes by for one plugin: `[plugin x]`, and `[limits]` and others where that says nothing.
//!
//! Plain data, made on the Python thread, read by all threads. Promise: the values are merged when the file is read, so
//! that a request reads its plugin's value and nothing else. Caveat: [`PluginSections::of`] wants the plugin's id,
//! which is known only once the plugin is loaded.

use std::sync::Arc;
use std::time::Duration;

use crate::edge::config::diagnostic::{Diagnostic, SourceLocation};
use crate::edge::config::rate::RateSettings;
use crate::edge::config::schema::{KEY_TOLERANCE, KEYS, nearest};
use crate::edge::config::settings::cors::CorsSettings;

/// What holds for the requests to one plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "most are keys that are on or off")]
pub(crate) struct PluginSettings {
    /// `body_size`: bytes of a request body (default 1 MiB); more is 413.
    pub body_size: usize,
    /// `in_flight`: requests inside the plugin at one time (default `[limits] in_flight_per_plugin`, 512); more is 503.
    pub in_flight: usize,
    /// Whether `in_flight` stands in the plugin's own section: its requests then take no places of `[limits]
    /// in_flight`.
    pub counts_apart: bool,
    /// `queue_time`: longest wait for the Python thread (default 5 s); then it is 503, and the handler is not called.
    pub queue_time: Option<Duration>,
    /// `handler_time`: longest time of a handler until it answers (default none); then it is 504.
    pub handler_time: Option<Duration>,
    /// `rate` and others: how often each client and each key may make a request (default without limit); more is 429.
    pub rates: RateSettings,
    /// `auth = key`: whether a key of `[keys]` is required, whatever the plugin asks for.
    pub requires_key: bool,
    /// `[cors]` with the plugin's own `origin_url`, if it has that and CORS is enabled.
    pub cors: Option<Arc<CorsSettings>>,
    /// `park_after`: how many failures within which time have the plugin left alone for a while (default never).
    pub park_after: Option<ParkAfter>,
    /// `compression`: whether what the plugin answers is compressed (default `[server] compression`, on).
    pub compression: bool,
    /// `etag`: whether JSON that the plugin answers to GET has an `ETag` (default off).
    pub etag: bool,
    /// `threads`: how many threads of its own its plain handlers run in (default 0: the Python thread).
    pub threads: usize,
}

/// So many failures within such a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ParkAfter {
    /// Their number, at least 1.
    pub failures: usize,
    /// The time.
    pub within: Duration,
}

impl Default for PluginSettings {
    fn default() -> Self {
        Self {
            body_size: 1024 * 1024,
            in_flight: 512,
            counts_apart: false,
            queue_time: Some(Duration::from_secs(5)),
            handler_time: None,
            rates: RateSettings::default(),
            requires_key: false,
            cors: None,
            park_after: None,
            compression: true,
            etag: false,
            threads: 0,
        }
    }
}

impl PluginSettings {
    /// The shortest of the times that a request has until it is answered, if any.
    pub(crate) fn shortest_time(&self) -> Option<Duration> {
        [self.queue_time, self.handler_time].into_iter().flatten().min()
    }
}

/// A section for one plugin.
#[derive(Clone, Debug)]
pub(crate) struct PluginSection {
    /// Its name as written.
    pub name: String,
    /// The plugin's id, or the stem of its file.
    pub plugin: String,
    /// Where it stands.
    pub location: SourceLocation,
    /// What it says, and what holds in general where it says nothing.
    pub settings: Arc<PluginSettings>,
}

/// The sections for plugins of one reading of the ini file.
#[derive(Clone, Debug, Default)]
pub(crate) struct PluginSections {
    /// What holds for a plugin without a section.
    pub general: Arc<PluginSettings>,
    /// In file order.
    pub sections: Vec<PluginSection>,
    /// The plugins that keys are for, in file order.
    pub scopes: Vec<PluginScope>,
}

/// A scope of a key of `[keys]` that names a plugin.
#[derive(Clone, Debug)]
pub(crate) struct PluginScope {
    /// The name of the key.
    pub key: String,
    /// The plugin's id.
    pub plugin: String,
    /// Where the key stands.
    pub location: SourceLocation,
}

impl PluginSections {
    /// What holds for the plugin called `id` of the file called `stem`: the section of this id counts, else that of the
    /// file, whose case does not matter.
    pub(crate) fn of(&self, id: &str, stem: &str) -> &Arc<PluginSettings> {
        let with = |fits: &dyn Fn(&str) -> bool| self.sections.iter().find(|section| fits(&section.plugin));
        let found = with(&|name| name == id)
            .or_else(|| with(&|name| name == stem))
            .or_else(|| with(&|name| name.to_lowercase() == stem.to_lowercase()));
        found.map_or(&self.general, |section| &section.settings)
    }

    /// Warnings of the sections and scopes that fit none of the `names`, which are the ids and stems that there are.
    pub(crate) fn strays(&self, names: &[&str]) -> Vec<Diagnostic> {
        let is_stray = |plugin: &str| !names.iter().any(|name| name.to_lowercase() == plugin.to_lowercase());
        let near = |plugin: &str| nearest(plugin, names.iter().copied(), KEY_TOLERANCE);
        let of_section = |section: &PluginSection| {
            let remedy = near(&section.plugin).map_or_else(
                || "write a plugin's id or the name of its file without .py, or remove the section".to_owned(),
                |near| format!("is [plugin {near}] meant?"),
            );
            let stray =
                Diagnostic::warning(section.location.clone(), "no plugin has this id or file, so it has no effect");
            stray.in_section(&section.name).remedy(remedy)
        };
        let of_scope = |scope: &PluginScope| {
            let message = format!("no plugin has the id {}, so this scope opens nothing", scope.plugin);
            let remedy = near(&scope.plugin).map_or_else(
                || "write a plugin's id, or remove the scope".to_owned(),
                |near| format!("is {near} meant?"),
            );
            let stray = Diagnostic::warning(scope.location.clone(), message);
            stray.in_section(KEYS).at_key(&scope.key).remedy(remedy)
        };
        let sections = self.sections.iter().filter(|section| is_stray(&section.plugin)).map(of_section);
        sections.chain(self.scopes.iter().filter(|scope| is_stray(&scope.plugin)).map(of_scope)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn sections(names: &[&str]) -> PluginSections {
        let section = |(number, name): (usize, &&str)| PluginSection {
            name: format!("plugin {name}"),
            plugin: (*name).to_owned(),
            location: SourceLocation::at(Path::new("t.ini"), number + 1),
            settings: Arc::new(PluginSettings { body_size: number, ..PluginSettings::default() }),
        };
        PluginSections { sections: names.iter().enumerate().map(section).collect(), ..PluginSections::default() }
    }

    #[test]
    fn the_id_comes_before_the_file() {
        let sections = sections(&["shop", "shop/cart", "SHOP_FILE"]);
        assert_eq!(sections.of("shop/cart", "shop").body_size, 1);
        assert_eq!(sections.of("other", "shop").body_size, 0);
        assert_eq!(sections.of("other", "shop_file").body_size, 2);
        assert_eq!(*sections.of("SHOP", "none"), sections.general);
    }

    #[test]
    fn sections_for_no_plugin_are_named_with_what_may_be_meant() {
        let seen = sections(&["shop", "gret", "x"]).strays(&["shop", "greet"]);
        let seen: Vec<_> = seen.iter().map(ToString::to_string).collect();
        assert_eq!(seen.len(), 2, "{seen:#?}");
        assert!(seen[0].starts_with("t.ini:2: [plugin gret]: no plugin has"), "{seen:#?}");
        assert!(seen[0].ends_with("(is [plugin greet] meant?)"), "{seen:#?}");
    }
}
