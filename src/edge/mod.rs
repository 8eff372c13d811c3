//! The native side: everything a request passes before and after Python.
//!
//! Runs on the I/O threads, which never attach to the interpreter. Promise: no Python object can be held here, because
//! nothing in this folder knows the `pyo3` crate, and there is no `unsafe` code. Caveat: [`config`] is read and
//! [`observe`] is written by all threads.

#![forbid(unsafe_code)]

pub mod config;
pub mod control;
pub mod files;
pub mod gateway;
pub mod http;
pub mod observe;
pub mod policy;
pub mod queue;
pub mod routing;
