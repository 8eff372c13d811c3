//! Decisions taken on a request before any Python runs, one file a policy.
//!
//! Their order: [`address`], then for a known route preflights by [`cors`] (which end there, without a
//! key), the method, [`credential`] or, for the server's own answers without a key, [`own_host`], then [`admission`]. Caveat: CORS headers go onto every answer, refusals included, else
//! browsers hide them from scripts.

pub(crate) mod address;
pub(crate) mod admission;
pub(crate) mod cors;
pub(crate) mod credential;
pub(crate) mod own_host;
