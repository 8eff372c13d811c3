//! Decisions taken on a request before any Python runs, one file a policy.

pub mod address;
pub mod admission;
pub mod cors;
pub mod credential;
pub mod request_id;
