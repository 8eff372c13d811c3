//! Decisions about a request before any Python runs, one file for each policy.
//!
//! Pure functions on the I/O threads. Their order: [`address`], then for a known route preflights by [`cors`] (which
//! end there, without a key), the method, [`credential`] or, for the server's own endpoints without a key,
//! [`own_host`], then [`admission`]. CORS headers are added to every answer, refusals included, or browsers would hide
//! it from scripts.

pub(crate) mod address;
pub(crate) mod admission;
pub(crate) mod cors;
pub(crate) mod credential;
pub(crate) mod own_host;
