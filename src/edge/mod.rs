//! The native side: everything a request passes before and after Python.
//!
//! Runs on the I/O threads, which never attach to the interpreter. Promise: no Python object can be held here, because
//! nothing in this folder knows the `pyo3` crate, and there is no `unsafe` code. Caveat: [`config`] is read and
//! [`observe`] is written by all threads.

#![forbid(unsafe_code)]

pub(crate) mod config;
pub(crate) mod control;
pub(crate) mod files;
pub(crate) mod gateway;
pub(crate) mod http;
pub(crate) mod observe;
pub(crate) mod policy;
pub(crate) mod queue;
pub(crate) mod routing;
