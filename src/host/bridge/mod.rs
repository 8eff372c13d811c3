//! The only meeting point of tokio and asyncio.
//!
//! The way of a request: an I/O thread [`submitter`] → [`inbox`] → [`consumer`] on the Python thread → a plugin's
//! handler, driven by a [`driver`] if it is async → [`outcome`] → [`exchange`] back to the I/O thread. What is sent piece
//! by piece goes through a [`channel`]. [`coroutine`]
//! is for life-cycle code: Rust futures that asyncio drives. Promise: I/O threads never attach to the interpreter and
//! hold no Python object. Caveat: this module knows neither HTTP connections nor how plugins are loaded.

pub mod aiohttp;
pub mod call;
pub mod channel;
pub mod consumer;
pub mod context;
pub mod coroutine;
pub mod driver;
pub mod fork;
pub mod invoke;
pub mod locked;
pub mod missing_module;
pub mod outcome;
mod starter;
pub mod step;
