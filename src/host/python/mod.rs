//! What Python sees of the host, and the interpreter itself.
//!
//! Runs on the Python thread, unless a module says otherwise. Promise: every class and function that plugins use is
//! here, one module each; names are exactly those of pluginserver and aiohttp. Caveat: what plugins rely on is in the
//! documentation of the Python package.

pub(crate) mod baseplugin;
pub(crate) mod completed_coroutine;
pub(crate) mod config;
pub(crate) mod embed;
pub(crate) mod fallback;
pub(crate) mod header_cache;
pub(crate) mod headers;
pub(crate) mod imports;
pub(crate) mod interpreter;
pub(crate) mod logjam;
pub(crate) mod metrics;
pub(crate) mod multidict;
pub(crate) mod registry_text;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod stdio;
pub(crate) mod sysinfo;
