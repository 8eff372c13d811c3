//! The native side: everything that a request passes before and after Python.
//!
//! Runs on the I/O threads, which never attach to the interpreter; [`config`] is also read, and [`observe`] also
//! written, by all other threads. Promise: no Python object can be held here, because no file in this folder uses the
//! `pyo3` crate, and there is no `unsafe` code.

#![forbid(unsafe_code)]

pub(crate) mod config;
pub(crate) mod control;
pub(crate) mod files;
pub(crate) mod gateway;
pub(crate) mod http;
pub(crate) mod observe;
pub(crate) mod parameters;
pub(crate) mod policy;
pub(crate) mod queue;
pub(crate) mod routing;
pub(crate) mod watch;
