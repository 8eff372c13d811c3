//! What crosses between the I/O threads and the thread that runs the plugins, and how.
//!
//! A request goes [`submitter`] → [`inbox`] → the consumer of the host, its outcome back through an [`exchange`].
//! Promise: plain Rust data only. Caveat: both threads use this module; no lock is held longer than a move takes.

pub(crate) mod exchange;
pub(crate) mod inbox;
pub(crate) mod request_data;
pub(crate) mod submitter;
pub(crate) mod wake;
