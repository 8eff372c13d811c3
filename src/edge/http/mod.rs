//! Sockets, TLS, HTTP/1.1 and HTTP/2 connections, and everything that is refused before there is a request.
//!
//! Runs on the I/O threads; a connection stays on one of them and is not `Send`. A connection passes [`listener`],
//! [`handshake`], [`http1`] (hyper, with [`malformed`] between it and the socket) or [`http2`], and a
//! [`service::Service`].
//! [`body`] reads request bodies, [`pipe`] carries bytes of streams between threads, [`mod@file`] sends files,
//! [`upgrade`] handles connections that leave HTTP, [`timer`] makes timeouts cheap, [`forked`] keeps forked children
//! from holding sockets, and [`drain`] shuts everything down in order.

pub(crate) mod accept_encoding;
pub(crate) mod access_log;
pub(crate) mod added_headers;
pub(crate) mod body;
pub(crate) mod compressed;
pub(crate) mod compression;
pub(crate) mod conformance;
pub(crate) mod connection;
pub(crate) mod connection_count;
pub(crate) mod content_coding;
pub(crate) mod control_socket;
mod date;
pub(crate) mod departure;
pub(crate) mod drain;
pub(crate) mod entity_tag;
pub(crate) mod file;
pub(crate) mod forked;
pub(crate) mod framing;
mod handshake;
mod hexadecimal;
mod http1;
mod http2;
pub(crate) mod incoming;
pub(crate) mod listener;
mod malformed;
pub(crate) mod observed;
pub(crate) mod params;
pub(crate) mod pipe;
pub(crate) mod problem;
mod proxied;
pub(crate) mod proxy_header;
pub(crate) mod request;
pub(crate) mod request_id;
mod request_spans;
pub(crate) mod rescue;
pub(crate) mod response;
pub(crate) mod service;
pub(crate) mod socket_file;
mod stall;
pub(crate) mod streamed;
mod timer;
pub(crate) mod tls;
pub(crate) mod trace;
pub(crate) mod transport;
pub(crate) mod upgrade;
pub(crate) mod vary;
mod websocket;

#[cfg(test)]
mod tests;
