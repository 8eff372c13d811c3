//! A request's bytes as typed values: path, query variables, body, methods.
//!
//! Everything here is a pure function of bytes already received. What cannot be understood is either refused by an error
//! ([`PathError`]) or left out (variables and bodies), as pluginserver did.
//! Caveat: nothing here limits sizes; the connection has done that before the bytes arrive.

mod body;
mod charset;
mod content_type;
mod disposition;
mod json;
mod method;
mod multipart;
mod path;
mod query;

pub use body::BodyData;
pub(crate) use body::classify;
pub(crate) use charset::Charset;
pub(crate) use json::json_key;
pub(crate) use method::MethodSet;
pub(crate) use multipart::Part;
pub(crate) use path::{DecodedPath, PathError, decode_path};
pub use query::Variables;
