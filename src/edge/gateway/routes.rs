//! The routes of plugins and static files as `/-/api/routes` shows them.
//!
//! Pure functions, called on the I/O threads. Promise: what is shown is what requests are decided by: the routes of one
//! snapshot. Caveat: who may use a plugin may change at any moment, and is that of the moment.

use std::time::Duration;

use serde_json::{Value, json};

use super::state::Snapshot;
use crate::edge::config::fields::UNLIMITED;
use crate::edge::config::keys::DEFAULT_KEY;
use crate::edge::config::settings::plugins::PluginSettings;
use crate::edge::control::status::PluginStatus;
use crate::edge::http::request::MethodSet;
use crate::edge::policy::credential::AuthPolicy;
use crate::edge::routing::Endpoint;

/// All routes, those of plugins in load order, static files last.
pub(super) fn routes(snapshot: &Snapshot, plugins: &[PluginStatus]) -> Vec<Value> {
    let of_plugin = |endpoint: &std::sync::Arc<Endpoint>| {
        let id = endpoint.id();
        let file = plugins.iter().find(|plugin| plugin.id == *id).map(|plugin| plugin.file.as_str());
        json!({
            "path": format!("/{id}"),
            "methods": endpoint.methods.names(),
            "plugin": &**id,
            "file": file,
            "auth": endpoint.by_policy(|policy| auth(policy, snapshot)),
            "limits": limits(&endpoint.settings),
        })
    };
    let of_files = snapshot.table.static_files().zip(snapshot.static_files.as_ref()).map(|(path, files)| {
        json!({
            "path": format!("/{path}/"),
            "methods": MethodSet::READ_ONLY.names(),
            "plugin": null,
            "file": files.folder().display().to_string(),
            "auth": "open",
            "limits": { "rate": rate(&snapshot.general, false) },
        })
    });
    snapshot.table.endpoints().map(of_plugin).chain(of_files).collect()
}

/// Who may use it, in a word or two.
fn auth(policy: &AuthPolicy, snapshot: &Snapshot) -> &'static str {
    match policy {
        AuthPolicy::Open => "open",
        AuthPolicy::ByPlugin => "its own check",
        AuthPolicy::Named => "named keys",
        AuthPolicy::Closed => "closed",
        AuthPolicy::Key(digest) => match snapshot.keys.get(digest) {
            Some(key) if &*key.name == DEFAULT_KEY => "server key",
            _ => "own key",
        },
    }
}

fn limits(settings: &PluginSettings) -> Value {
    let number = |number: usize| (number != UNLIMITED).then_some(number);
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    json!({
        "body_size": number(settings.body_size),
        "in_flight": number(settings.in_flight),
        "queue_time": seconds(settings.queue_time),
        "handler_time": seconds(settings.handler_time),
        "rate": rate(settings, false),
        "rate_per_key": rate(settings, true),
    })
}

fn rate(settings: &PluginSettings, per_key: bool) -> Option<String> {
    let rate = if per_key { settings.rates.per_key } else { settings.rates.per_client };
    rate.map(|limit| limit.rate.to_string())
}
