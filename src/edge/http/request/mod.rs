//! The bytes of a request as typed values: path, query variables, body, methods.
//!
//! Pure functions of bytes that have been received. Input that cannot be parsed is an error for the path
//! ([`PathError`]) and ignored for variables and bodies, as in pluginserver. Nothing here limits sizes, since the
//! connection has done so before the bytes arrive.

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
pub(crate) use body::{classify, declares_json};
pub(crate) use charset::Charset;
pub(crate) use json::json_key;
pub(crate) use method::MethodSet;
pub(crate) use multipart::Part;
pub(crate) use path::{DecodedPath, PathError, decode_path};
pub use query::Variables;
