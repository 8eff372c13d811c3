//! `request.transport`: what plugins ask an asyncio transport about the connection.
//!
//! Runs on the Python thread. Caveat: the socket belongs to an I/O thread; there is nothing here to write to or to
//! close.

use std::net::SocketAddr;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

use crate::edge::config::socket_address::SocketAddress;
use crate::edge::http::service::Peer;
use crate::edge::http::tls::ClientCertificate;
use crate::host::bridge::locked::made_once;

/// The connection that the request came over.
#[pyclass(frozen, module = "plugincore")]
pub struct Transport {
    /// The other end.
    pub(super) peer: Peer,
    /// Our end.
    pub(super) local: SocketAddress,
    /// Whether it is encrypted.
    pub(super) secure: bool,
}

#[pymethods]
impl Transport {
    /// Return `peername` or `sockname` as a socket address tuple or, of a Unix socket, a path; `sslcontext` as `True`
    /// on an encrypted connection; for anything else `default`.
    #[pyo3(signature = (name, default = None))]
    fn get_extra_info<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        match name {
            "peername" => match self.peer {
                Peer::Ip(peer) => address(py, peer).map(Some),
                // As for asyncio: the client's socket has no name.
                Peer::Unix => Ok(Some(PyString::new(py, "").into_any())),
                Peer::Unknown => Ok(default),
            },
            "sockname" => match &self.local {
                SocketAddress::Ip(local) => address(py, *local).map(Some),
                SocketAddress::Unix(path) => Ok(Some(PyString::new(py, &path.to_string_lossy()).into_any())),
            },
            // Plugins test it for truth only; the real context is rustls's and has no Python form.
            "sslcontext" if self.secure => Ok(Some(true.into_pyobject(py)?.to_owned().into_any())),
            _ => Ok(default),
        }
    }

    /// Return `False`: a request whose client has gone does not reach a plugin.
    fn is_closing(&self) -> bool {
        false
    }
}

/// The tuple that Python's `socket` module has for an address: two items for IPv4, four for IPv6.
fn address(py: Python<'_>, address: SocketAddr) -> PyResult<Bound<'_, PyAny>> {
    let ip = address.ip().to_string();
    let tuple = match address {
        SocketAddr::V4(v4) => (ip, v4.port()).into_pyobject(py)?,
        SocketAddr::V6(v6) => (ip, v6.port(), v6.flowinfo(), v6.scope_id()).into_pyobject(py)?,
    };
    Ok(tuple.into_any())
}

/// A client's certificate as a named tuple of `subject` and `fingerprint`.
pub(super) fn of_certificate<'py>(py: Python<'py>, certificate: &ClientCertificate) -> PyResult<Bound<'py, PyAny>> {
    static CLIENT_CERTIFICATE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let class = made_once(py, &CLIENT_CERTIFICATE, || {
        let namedtuple = py.import("collections")?.getattr("namedtuple")?;
        namedtuple.call1(("ClientCertificate", ("subject", "fingerprint"))).map(Bound::unbind)
    })?;
    class.bind(py).call1((&certificate.subject, &certificate.fingerprint))
}
