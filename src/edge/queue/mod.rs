//! What crosses between the I/O threads and the thread that runs the plugins, and how.
//!
//! A request goes [`submitter`] → [`inbox`] → the consumer of the host, its outcome back through an [`exchange`].
//! Promise: plain Rust data only. Caveat: both threads use this module; no lock is held longer than a move takes.

pub mod exchange;
pub mod inbox;
pub mod request_data;
pub mod submitter;
pub mod wake;
