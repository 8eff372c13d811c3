//! The life of plugins: found, loaded, called, replaced, ended.
//!
//! [`discover`] → [`parameters`] → [`module`] → [`load`] → [`resident`] in the [`registry`]; [`dispatch`] calls them,
//! [`terminate`] ends them, [`owner`] knows their background tasks, [`manager`] offers it to Python code. Promise:
//! whatever one plugin does, the others go on. Caveat: all of it runs on the Python thread.

pub mod discover;
pub mod dispatch;
pub mod environment;
pub mod failure;
pub mod load;
pub mod manager;
pub mod module;
pub mod owner;
pub mod parameters;
pub mod registry;
pub mod resident;
pub mod signature;
pub mod slips;
pub mod terminate;
pub mod watch;
