//! The only meeting point of tokio and asyncio.
//!
//! Runs on the Python thread; the I/O threads never attach to the interpreter and hold no Python object. A request goes
//! from an I/O thread through the [`submission_queue`] to the [`consumer`], to a plugin's handler, which a
//! [`request_coroutine`] steps if it is async, becomes an [`outcome`] and returns by the `responder`. What is sent
//! piece by piece goes through a [`channel`]. [`coroutine`] is for life-cycle code: Rust futures that asyncio runs.
//! Caveat: this module knows neither HTTP connections nor how plugins are loaded.

pub(crate) mod aiohttp;
pub(crate) mod call;
pub(crate) mod channel;
pub(crate) mod consumer;
pub(crate) mod context;
pub(crate) mod coroutine;
mod eager_tasks;
mod event_loop;
pub(crate) mod fork;
pub(crate) mod in_flight;
pub(crate) mod inside;
pub mod invoke;
mod lag;
pub(crate) mod locked;
pub(crate) mod missing_module;
pub(crate) mod outcome;
pub(crate) mod overdue;
pub(crate) mod reply;
pub(crate) mod request_coroutine;
pub(crate) mod request_scope;
pub(crate) mod running;
pub(crate) mod stack_sample;
pub(crate) mod stall;
pub mod step;
pub(crate) mod submission_queue;
pub(crate) mod time_limit;
