//! The life of all plugins: load, reload, stop.
//!
//! Runs on the main thread, but for the [`backend`]. [`host`] takes commands from the [`mailbox`] one after the other,
//! [`reload`] and [`stop`] are the steps, [`status`] tells of the plugins; [`reports`] installs the hooks for
//! exceptions that no plugin catches. A process that is to replace another knows it as its [`predecessor`].

mod backend;
mod browser;
mod crash_guard;
mod difference;
mod disable;
pub(crate) mod environment;
pub(crate) mod generation;
pub(crate) mod handle;
pub(crate) mod host;
mod listeners;
pub(crate) mod mailbox;
pub(crate) mod predecessor;
pub(crate) mod reload;
mod reload_span;
pub(crate) mod reports;
mod startup;
mod status;
pub(crate) mod stop;
mod watching;
