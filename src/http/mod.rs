//! http

pub mod request;
pub mod rescue;
pub mod response;
