//! The one log stream of the process: every line, from Rust or from Python, is made by [`mod@line`] and leaves by [`sink`].
//!
//! One record is one line, whatever its text holds, so nobody can forge a second one. Caveat: nothing is masked here.
//! The host keeps keys, bodies and query strings out of the log by never passing them to it.

pub(crate) mod common_log;
pub(crate) mod line;
pub(crate) mod log_file;
pub(crate) mod output;
pub(crate) mod sink;
pub(crate) mod subscriber;
