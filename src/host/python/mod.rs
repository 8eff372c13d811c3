//! What Python sees of the host, and the interpreter itself.
//!
//! Promise: every class and function that plugins use is here, one module each; names are pluginserver's and
//! aiohttp's to the letter. Caveat: everything runs on the Python thread.

pub(crate) mod answer;
pub(crate) mod baseplugin;
pub(crate) mod config;
pub(crate) mod embed;
pub(crate) mod fallback;
pub(crate) mod header_cache;
pub(crate) mod headers;
pub(crate) mod interpreter;
pub(crate) mod logjam;
pub(crate) mod multidict;
pub(crate) mod ready;
pub(crate) mod request;
pub(crate) mod stdio;
pub(crate) mod sysinfo;
