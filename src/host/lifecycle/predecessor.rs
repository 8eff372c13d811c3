//! What a start does differently if it is to replace a process that serves.
//!
//! Called on the Python thread. Promise: the host serves only if the [`Predecessor`] agrees to what has been loaded.
//! Caveat: [`Predecessor::agrees`] blocks until the other process has decided.

use std::path::Path;

/// Why a plugin is not there.
pub(crate) struct Failure {
    /// The reason, with file and line.
    pub text: String,
    /// Whether the plugin itself refused to serve.
    pub of_self_check: bool,
}

/// A process that serves until this one does.
pub(crate) trait Predecessor: Send + Sync {
    /// `file` has been dealt with.
    fn loaded(&self, file: &Path, failures: Vec<Failure>);

    /// Whether the plugins `ids` may serve in the place of its own.
    fn agrees(&self, ids: Vec<String>) -> bool;

    /// This process accepts connections; `handed_over` is called, on another thread, when the other one does not.
    fn serving(&self, handed_over: Box<dyn FnOnce() + Send>);
}
