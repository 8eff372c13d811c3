//! The one log stream of the process: every line, from Rust or from Python, is made by [`mod@line`] and written by
//! [`sink`].
//!
//! Used on all threads. Each record is one line, whatever its text contains, so that no text can forge a second one.
//! Caveat: nothing is masked here. The server keeps keys, bodies and query strings out of the log by never logging
//! them.

pub(crate) mod common_log;
pub(crate) mod line;
pub(crate) mod log_file;
pub(crate) mod metrics;
pub(crate) mod output;
pub(crate) mod recent;
pub(crate) mod repeats;
pub(crate) mod service_manager;
pub(crate) mod sink;
pub(crate) mod spans;
pub(crate) mod subscriber;
pub(crate) mod timestamp;
