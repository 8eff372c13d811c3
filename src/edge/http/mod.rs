//! The native HTTP edge: sockets, TLS, HTTP/1.1 conversations and what is refused before a request exists.
//!
//! A connection goes [`listener`] → [`tls`] → [`connection`] (hyper, with [`malformed`] around its socket) → a
//! [`connection::Service`]; [`body`] reads what the request carries, [`pipe`] carries what is sent or received piece by
//! piece, [`mod@file`] what lies on the disk, [`upgrade`] leaves HTTP behind, [`timer`] ends what takes too long, [`forked`] keeps
//! children of the process from holding sockets, and
//! [`drain`] ends it all in order. Caveat: everything here lives on one I/O thread (a runtime for local tasks) and is not
//! `Send`.

pub(crate) mod body;
mod conformance;
pub(crate) mod connection;
pub(crate) mod content_coding;
pub(crate) mod departure;
pub(crate) mod drain;
pub(crate) mod file;
pub(crate) mod forked;
mod framing;
pub(crate) mod listener;
pub(crate) mod malformed;
pub(crate) mod pipe;
pub(crate) mod request;
pub(crate) mod request_id;
pub(crate) mod rescue;
pub(crate) mod response;
mod timer;
pub(crate) mod tls;
pub(crate) mod upgrade;
mod websocket;

#[cfg(test)]
mod tests;
