//! Python's side: everything that touches the interpreter.
//!
//! Runs on the main thread, except where a module says otherwise. [`bridge`] runs handlers, [`python`] is what plugins
//! see, [`plugins`] is one plugin's life, [`lifecycle`] that of all of them, [`testing`] serves one plugin to its
//! tests.

pub(crate) mod bridge;
pub(crate) mod lifecycle;
pub(crate) mod plugins;
pub(crate) mod python;
pub(crate) mod testing;
