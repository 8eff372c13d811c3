//! What crosses between the I/O threads and the thread that runs the plugins, and how.
//!
//! A request goes through a [`submitter`] to the [`backend`], its outcome back through a [`responder`]. Promise: plain
//! Rust data only. Caveat: both threads use this module; no lock is held longer than a move takes.

pub(crate) mod backend;
pub(crate) mod board;
pub(crate) mod outstanding;
pub(crate) mod request_data;
pub(crate) mod responder;
pub(crate) mod submitter;
pub(crate) mod turn_clock;
