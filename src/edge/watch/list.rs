//! What is to be watched, and where changes are reported.
//!
//! Plain data, made on the Python thread and used on the watcher's. Caveat: paths may lead through symbolic links,
//! which are followed again at each look.

use std::path::{Path, PathBuf};

use tokio::sync::oneshot;

use crate::edge::config::fields::WatchMode;
use crate::edge::control::{ReloadReport, ReloadTarget};

/// A file or folder, and what messages call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Where it is; absolute, perhaps by way of symbolic links, which are followed again at each look.
    pub on_disk: PathBuf,
    /// As the configuration names it.
    pub shown: PathBuf,
}

/// What is to be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WatchList {
    /// The folder of the plugins, with all that can be imported from it.
    pub folder: Place,
    /// The ini file, if there is one.
    pub ini: Option<Place>,
    /// The JSON files of parameters.
    pub parameters: Vec<Place>,
    /// How.
    pub mode: WatchMode,
}

/// The server, as the watcher uses it; called on the watcher's thread.
pub(crate) trait Reloads: Send + 'static {
    /// Has the server load again what `target` names, since `files` have changed, if that has not been reported before;
    /// does not wait for it.
    fn reload(&self, target: ReloadTarget, files: &[PathBuf]) -> oneshot::Receiver<ReloadReport>;
}

impl Place {
    /// What is at `way` inside of the folder.
    pub(super) fn join(&self, way: &Path) -> Self {
        // Joining the empty path would add a slash.
        if way.as_os_str().is_empty() {
            return self.clone();
        }
        Self { on_disk: self.on_disk.join(way), shown: self.shown.join(way) }
    }
}
