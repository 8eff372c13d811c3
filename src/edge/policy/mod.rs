//! Decisions about a request before any Python runs, one file for each policy.
//!
//! On the I/O threads. Their order: [`address`], then for a known route preflights by [`cors`] (which end there,
//! without a key), the method, the client's [`rate`], then [`credential`] with the named [`keys`] and [`wrong_keys`]
//! or, for the server's own endpoints, [`session`] and [`own_host`], then the key's [`rate`] and [`admission`]. CORS
//! headers are added to every answer, refusals included, or browsers would hide it from scripts.

pub(crate) mod address;
pub(crate) mod admission;
pub(crate) mod cors;
pub(crate) mod credential;
pub(crate) mod hosts;
pub(crate) mod keys;
pub(crate) mod own_host;
pub(crate) mod parking;
pub(crate) mod rate;
pub(crate) mod session;
pub(crate) mod wrong_keys;
