//! A connection of a test that stays open, for `WebSockets`: bytes in both directions.
//!
//! Used on the Python thread. Promise: the bytes pass what those of a request pass, from the server's first look at them
//! on. Caveat: they come in pieces as the server writes them; who receives them makes messages of them.

use bytes::Bytes;
use pyo3::prelude::*;
use tokio::sync::mpsc;

use crate::host::bridge::locked::Locked;

/// The client's end of a connection. Use it through `plugincore.testing`.
#[pyclass(frozen, module = "plugincore._core")]
pub struct Connection {
    outgoing: Locked<Option<mpsc::UnboundedSender<Bytes>>>,
}

impl Connection {
    /// What is sent comes out of the receiver, which ends when the connection is closed.
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Bytes>) {
        let (outgoing, received) = mpsc::unbounded_channel();
        (Self { outgoing: Locked::new(Some(outgoing)) }, received)
    }
}

#[pymethods]
impl Connection {
    /// Send bytes; after `close` they are dropped.
    fn send(&self, data: Vec<u8>) {
        // A server that has closed it takes nothing any more, as with a socket.
        self.outgoing.with(|outgoing| outgoing.as_ref().map(|outgoing| outgoing.send(Bytes::from(data))));
    }

    /// End the connection.
    fn close(&self) {
        drop(self.outgoing.take());
    }
}
