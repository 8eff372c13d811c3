//! The life of one plugin: found, loaded, called, replaced, ended.
//!
//! Runs on the Python thread. [`discover`] → [`parameters`] → [`module`] → [`load`] → [`loaded_plugin`] in the
//! [`registry`]; [`dispatch`] calls them, [`terminate`] ends them, [`task_scope`] tracks their background tasks,
//! [`manager`] offers it to Python code. Promise: a plugin cannot keep the others from working, except by blocking the
//! thread.

pub(crate) mod discover;
pub(crate) mod dispatch;
pub(crate) mod environment;
pub(crate) mod failure;
pub(crate) mod handler_pool;
pub(crate) mod host_keys;
pub(crate) mod load;
pub(crate) mod loaded_plugin;
pub(crate) mod manager;
pub(crate) mod module;
pub(crate) mod parameters;
pub(crate) mod registry;
pub(crate) mod signature;
pub(crate) mod slips;
pub(crate) mod state;
pub(crate) mod task_scope;
pub(crate) mod terminate;
pub(crate) mod timeout;
pub(crate) mod typed;
pub(crate) mod watch;
