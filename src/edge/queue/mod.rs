//! What crosses between the I/O threads and the thread that runs the plugins, and how.
//!
//! A request goes [`submitter`] → [`submission_queue`] → the consumer of the host, its outcome back through an [`responder`].
//! Promise: plain Rust data only. Caveat: both threads use this module; no lock is held longer than a move takes.

pub(crate) mod request_data;
pub(crate) mod responder;
pub(crate) mod submission_queue;
pub(crate) mod submitter;
pub(crate) mod wake;
