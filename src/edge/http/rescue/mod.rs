//! The one place where refusals and failures become status, headers and JSON body.
//!
//! Pure functions, called on the I/O threads. Every answer made here has a content type, `X-Request-Id` and a body with
//! `error`, `code` and `request_id`, so that a client's report can be found in the log; every 503 has `Retry-After`. There is one file for each kind of error:
//! [`rejection`] before a handler runs, [`failure`] in a handler, [`control`] in an endpoint of the server,
//! [`unserved`] before there is a request. Caveat: clients see these bodies, so the texts of errors must not contain
//! keys, paths or tracebacks.

mod answer;
mod code;
mod control;
mod failure;
mod reason;
mod rejection;
mod unserved;

pub(crate) use answer::{ErrorFormat, unwritable};
pub(crate) use code::ErrorCode;
pub(crate) use control::ControlError;
pub(crate) use failure::{Failure, RaisedError};
pub(crate) use rejection::{InvalidValue, Realm, Rejection};
pub(crate) use unserved::HeadError;

#[cfg(test)]
mod tests;
