//! What goes wrong in plugins beside their requests: warnings of Python, and exceptions that no code catches.
//!
//! Counted on any thread, read where figures are shown. Promise: there is one figure for each plugin and kind. Caveat:
//! what belongs to no plugin is counted under the name that stands for none.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::slots::NO_PLUGIN;

/// The kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Incident {
    /// A warning of Python that was logged.
    Warning,
    /// An exception in a task, a thread or a callback.
    Exception,
}

static COUNTED: Mutex<BTreeMap<(Incident, String), u64>> = Mutex::new(BTreeMap::new());

/// Counts one of `plugin`, or of none if that is empty.
pub(crate) fn count(incident: Incident, plugin: &str) {
    let plugin = if plugin.is_empty() { NO_PLUGIN } else { plugin };
    // Numbers are only added under this lock, so a panic elsewhere leaves them whole.
    let mut counted = COUNTED.lock().unwrap_or_else(PoisonError::into_inner);
    *counted.entry((incident, plugin.to_owned())).or_insert(0) += 1;
}

/// The figures of one kind, by plugin.
pub(crate) fn counted(incident: Incident) -> Vec<(String, u64)> {
    let counted = COUNTED.lock().unwrap_or_else(PoisonError::into_inner);
    let of_kind = counted.iter().filter(|((kind, _), _)| *kind == incident);
    of_kind.map(|((_, plugin), number)| (plugin.clone(), *number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incidents_are_counted_by_plugin_and_kind() {
        count(Incident::Warning, "incidents/a");
        count(Incident::Warning, "incidents/a");
        count(Incident::Exception, "incidents/a");
        count(Incident::Exception, "");
        let of = |incident, plugin: &str| counted(incident).iter().find(|(id, _)| id == plugin).map(|(_, n)| *n);
        assert_eq!((Some(2), Some(1)), (of(Incident::Warning, "incidents/a"), of(Incident::Exception, "incidents/a")));
        assert!(of(Incident::Exception, NO_PLUGIN) >= Some(1) && of(Incident::Warning, "incidents/b").is_none());
    }
}
