//! The life of all plugins: load, reload, stop.
//!
//! Runs on the main thread. [`host`] takes commands from the [`mailbox`] one after the other, [`reload`] and [`stop`] are
//! the steps; [`reports`] installs the hooks for exceptions that no plugin catches.

pub mod host;
pub mod mailbox;
pub mod reload;
pub mod reports;
pub mod stop;
