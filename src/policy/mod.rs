//! Decisions taken on a request before any Python runs, one file a policy.
//!
//! Their order: [`request_id`], [`address`], then for a known route [`cors`] (a preflight ends there, without a key),
//! the method, [`credential`]. Caveat: CORS headers also go onto refusals of such a route, else browsers hide them from
//! scripts.

pub mod address;
pub mod admission;
pub mod cors;
pub mod credential;
pub mod request_id;
