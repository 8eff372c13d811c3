//! The native HTTP edge: sockets, TLS, HTTP/1.1 conversations and what is refused before a request exists.
//!
//! A connection goes [`listener`] → [`tls`] → [`connection`] (hyper, with [`malformed`] around its socket) → a
//! [`connection::Service`]; [`body`] reads what the request carries, [`pipe`] carries what is sent or received piece by
//! piece, [`file`] what lies on the disk, [`upgrade`] leaves HTTP behind, [`timer`] ends what takes too long, [`forked`] keeps
//! children of the process from holding sockets, and
//! [`drain`] ends it all in order. Caveat: everything here lives on one I/O thread (a runtime for local tasks) and is not
//! `Send`.

pub mod body;
mod conformance;
pub mod connection;
pub mod content_coding;
pub mod departure;
pub mod drain;
pub mod file;
pub mod forked;
mod framing;
pub mod listener;
pub mod malformed;
pub mod pipe;
pub mod request;
pub mod rescue;
pub mod response;
mod timer;
pub mod tls;
pub mod upgrade;
mod websocket;

#[cfg(test)]
mod tests;
