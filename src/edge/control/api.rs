//! The addresses below `/-/api/`: one table of what there is, and the methods of each.
//!
//! Pure functions, called on the I/O threads. Promise: an address that is not in the table does not exist. Ids may
//! contain slashes, so the last segment of `plugins/<id>/<action>` is the action and all between is the id. Caveat: who
//! may use an address is decided by the gateway, for all of them in the same way.

use crate::edge::http::request::MethodSet;

/// What a request below `/-/api/` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ApiCall {
    /// The list of all plugins.
    Plugins,
    /// The list of all routes.
    Routes,
    /// A change of the plugin with this id.
    Plugin(PluginAction, String),
    /// A reload of everything.
    Reload,
    /// Readiness fails from now on.
    Drain,
    /// A stream of what happens.
    Events,
    /// The state of the server as a whole.
    Status,
    /// What a reload would change.
    Difference,
    /// A stop.
    Stop,
    /// A new process that takes over.
    Upgrade,
    /// Another level of the log.
    LogLevel,
    /// Figures of the last hour.
    History,
    /// The keys, without the keys themselves.
    Keys,
    /// The last lines of the log.
    Log,
    /// What the ini file says.
    Config,
    /// Whether the browser has logged in.
    Session,
    /// A session of the browser begins.
    Login,
    /// The session of the browser ends.
    Logout,
}

impl ApiCall {
    /// Whether it exists only for clients of the control socket: what it does may not depend on a key that goes over
    /// the network.
    pub(crate) fn needs_socket(&self) -> bool {
        matches!(self, Self::Stop | Self::Upgrade | Self::LogLevel)
    }
}

/// What can be done to one plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PluginAction {
    /// Its file is loaded anew.
    Reload,
    /// It is terminated, and not loaded any more.
    Disable,
    /// It is loaded again.
    Enable,
    /// What it was before the last change is loaded.
    Previous,
}

/// The addresses that concern the server as a whole.
const SERVER: [(&str, MethodSet, ApiCall); 17] = [
    ("plugins", MethodSet::READ_ONLY, ApiCall::Plugins),
    ("routes", MethodSet::READ_ONLY, ApiCall::Routes),
    ("reload", MethodSet::POST, ApiCall::Reload),
    ("drain", MethodSet::POST, ApiCall::Drain),
    ("status", MethodSet::READ_ONLY, ApiCall::Status),
    ("diff", MethodSet::READ_ONLY, ApiCall::Difference),
    ("stop", MethodSet::POST, ApiCall::Stop),
    ("upgrade", MethodSet::POST, ApiCall::Upgrade),
    ("log-level", MethodSet::POST, ApiCall::LogLevel),
    ("events", MethodSet::READ_ONLY, ApiCall::Events),
    ("history", MethodSet::READ_ONLY, ApiCall::History),
    ("keys", MethodSet::READ_ONLY, ApiCall::Keys),
    ("log", MethodSet::READ_ONLY, ApiCall::Log),
    ("config", MethodSet::READ_ONLY, ApiCall::Config),
    ("session", MethodSet::READ_ONLY, ApiCall::Session),
    ("login", MethodSet::POST, ApiCall::Login),
    ("logout", MethodSet::POST, ApiCall::Logout),
];

/// The last segments of `plugins/<id>/<action>`; all of them are for POST.
const ACTIONS: [(&str, PluginAction); 4] = [
    ("reload", PluginAction::Reload),
    ("disable", PluginAction::Disable),
    ("enable", PluginAction::Enable),
    ("previous", PluginAction::Previous),
];

impl ApiCall {
    /// What `path`, which follows `/-/api/`, asks for, and the methods that it answers.
    pub(crate) fn find(path: &str) -> Option<(Self, MethodSet)> {
        if let Some((_, methods, call)) = SERVER.iter().find(|(name, ..)| *name == path) {
            return Some((call.clone(), *methods));
        }
        let (id, action) = path.strip_prefix("plugins/")?.rsplit_once('/')?;
        let (_, action) = ACTIONS.iter().find(|(name, _)| *name == action)?;
        (!id.is_empty()).then(|| (Self::Plugin(*action, id.to_owned()), MethodSet::POST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_segment_is_the_action_and_the_rest_the_id() {
        for (path, id) in
            [("plugins/a/reload", "a"), ("plugins/a/b/reload", "a/b"), ("plugins/reload/reload", "reload")]
        {
            let found = ApiCall::find(path).map(|(call, _)| call);
            assert_eq!(found, Some(ApiCall::Plugin(PluginAction::Reload, id.to_owned())), "{path}");
        }
    }

    #[test]
    fn what_is_not_in_the_table_does_not_exist() {
        for path in ["", "plugins/", "plugins/a", "plugins//reload", "plugins/reload", "Plugins", "reload/", "x/reload"]
        {
            assert_eq!(ApiCall::find(path), None, "{path}");
        }
    }
}
