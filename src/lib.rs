//! plugincore: a Rust HTTP server that hosts Python plugins in its own process.
//!
//! A request goes one way: socket → [`http`] → [`policy`] → [`routing`] → native handler ([`control`]) or
//! [`bridge`] → Python thread → plugin → response. Nothing later in that row is imported by anything
//! earlier; [`app`] is the one place that knows all of them. Caveat: everything left of the bridge runs on
//! I/O threads that never attach to the interpreter, so no `Py` object may appear there.

pub mod app;
pub mod bridge;
pub mod cli;
pub mod config;
pub mod control;
pub mod http;
pub mod observe;
pub mod plugins;
pub mod policy;
pub mod python;
pub mod routing;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub use python::core_module as _core;
