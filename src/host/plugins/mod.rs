//! The life of plugins: found, loaded, called, replaced, ended.
//!
//! [`discover`] → [`parameters`] → [`module`] → [`load`] → [`loaded_plugin`] in the [`registry`]; [`dispatch`] calls them,
//! [`terminate`] ends them, [`owner`] knows their background tasks, [`manager`] offers it to Python code. Promise:
//! whatever one plugin does, the others go on. Caveat: all of it runs on the Python thread.

pub(crate) mod discover;
pub(crate) mod dispatch;
pub(crate) mod environment;
pub(crate) mod failure;
pub(crate) mod load;
pub(crate) mod loaded_plugin;
pub(crate) mod manager;
pub(crate) mod module;
pub(crate) mod owner;
pub(crate) mod parameters;
pub(crate) mod registry;
pub(crate) mod signature;
pub(crate) mod slips;
pub(crate) mod terminate;
pub(crate) mod timeout;
pub(crate) mod watch;
