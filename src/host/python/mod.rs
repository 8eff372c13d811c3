//! What Python sees of the host, and the interpreter itself.
//!
//! Promise: every class and function that plugins use is here, one module each; names are pluginserver's and
//! aiohttp's to the letter. Caveat: everything runs on the Python thread.

pub mod answer;
pub mod baseplugin;
pub mod config;
pub mod embed;
pub mod header_templates;
pub mod headers;
pub mod interpreter;
pub mod logjam;
pub mod multidict;
pub mod ready;
pub mod request;
pub mod stdio;
pub mod sysinfo;
