//! The request flow through the native stages.
//!
//! Runs on the I/O threads. Read [`service`] first: it calls the [`stages`] in their order, [`access`] for keys and
//! rates, [`builtin`] for what the server answers without a plugin, and [`representations`] for compression and tags of
//! what plugins answer; [`page`] decides who gets the page for browsers. [`state`] and [`clients`] are what they share with the Python thread, [`static_mount`] the folder
//! of static files, [`threads`] the threads themselves. Caveat: what a stage decides about is in `policy`.

mod access;
mod api;
mod builtin;
mod clients;
mod openapi;
mod page;
mod registry;
mod representations;
mod routes;
pub(crate) mod service;
mod stages;
pub(crate) mod state;
pub(crate) mod static_mount;
pub(crate) mod threads;

#[cfg(test)]
mod tests;
