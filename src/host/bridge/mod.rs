//! The only meeting point of tokio and asyncio.
//!
//! The way of a request: an I/O thread → [`submission_queue`] → [`consumer`] on the Python thread → a plugin's handler,
//! driven by a [`driver`] if it is async → [`outcome`] → `responder` back to the I/O thread. What is sent piece by piece
//! goes through a [`channel`]. [`coroutine`] is for life-cycle code: Rust futures that asyncio drives. Promise: I/O threads never attach to the interpreter and
//! hold no Python object. Caveat: this module knows neither HTTP connections nor how plugins are loaded.

pub(crate) mod aiohttp;
pub(crate) mod call;
pub(crate) mod channel;
pub(crate) mod consumer;
pub(crate) mod context;
pub(crate) mod coroutine;
pub(crate) mod driver;
mod eager_tasks;
mod event_loop;
pub(crate) mod fork;
pub(crate) mod in_flight;
pub mod invoke;
pub(crate) mod locked;
pub(crate) mod missing_module;
pub(crate) mod outcome;
pub(crate) mod reply;
pub mod step;
pub(crate) mod submission_queue;
