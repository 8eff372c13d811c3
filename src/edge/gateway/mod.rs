//! The request's way through the native stages.
//!
//! Runs on the I/O threads. [`state`] is what they share with the Python thread, [`service`] the stages, [`static_mount`]
//! the folder of static files, [`threads`] the threads themselves. Caveat: what a stage decides is in `policy`.

pub(crate) mod service;
pub(crate) mod state;
pub(crate) mod static_mount;
pub(crate) mod threads;
