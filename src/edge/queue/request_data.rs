//! A request as it crosses to the Python thread: plain Rust data, parsed and decoded.
//!
//! Made on the I/O threads, read on the Python thread. Caveat: nothing here derives `Debug`, because headers and bodies
//! carry keys that must not reach a log.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Uri, Version};

use crate::edge::config::socket_address::SocketAddress;
use crate::edge::http::request::{BodyData, Variables};
use crate::edge::http::request_id::RequestId;
use crate::edge::http::service::Peer;
use crate::edge::http::tls::ClientCertificate;
use crate::edge::http::trace::TraceContext;
use crate::edge::parameters::TextValues;
use crate::edge::policy::address::Client;
use crate::edge::policy::keys::Keys;

/// What the gateway has found out about the key of a request.
#[derive(Default)]
pub struct KeyCheck {
    /// The name of the key that admitted the request, if it has one; a plugin's own check may add it.
    pub name: OnceLock<Arc<str>>,
    /// Whether a named key was asked for.
    pub by_name: bool,
    /// What the plugin's own check goes by, if it is made.
    pub keys: Option<Arc<Keys>>,
}

/// One request, whole: head, body and the parts parsed from them.
pub struct RequestData {
    /// Its id.
    pub id: RequestId,
    /// The method, in upper case.
    pub method: Method,
    /// The address as the client sent it.
    pub uri: Uri,
    /// The path, percent-decoded once; `None` when there was nothing to decode.
    pub decoded_path: Option<String>,
    /// The variables of the query, decoded, in order and with repetitions.
    pub query: Variables,
    /// The headers, names in lower case as hyper keeps them.
    pub headers: HeaderMap,
    /// The version of HTTP that the client used.
    pub version: Version,
    /// Its place in a trace.
    pub trace: TraceContext,
    /// The other end of the socket: the client or the nearest proxy.
    pub remote: Peer,
    /// Our end of the socket.
    pub local: SocketAddress,
    /// The client's address, after what trusted proxies say has been read.
    pub client: Client,
    /// Whether the client used TLS, as trusted proxies or else the socket say.
    pub secure: bool,
    /// Whether the socket is encrypted.
    pub is_tls: bool,
    /// The client's certificate, if it has shown one.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// The key that admitted the request.
    pub key: KeyCheck,
    /// What follows the plugin's route and a slash, decoded; `None` when the path ends with the route.
    pub subpath: Option<String>,
    /// The body as it came; empty when there was none.
    pub body: Bytes,
    /// The body as variables, when it is a JSON object or a form.
    pub variables: BodyData,
    /// What came as text for parameters with types, as their types have it; of no use without the plugin's parameters.
    pub texts: TextValues,
}

impl RequestData {
    /// Path and query exactly as the client sent them, such as `/a%20b?x=1`.
    pub fn target(&self) -> &str {
        self.uri.path_and_query().map_or_else(|| self.path(), PathAndQuery::as_str)
    }

    /// The path, percent-decoded once.
    pub fn path(&self) -> &str {
        self.decoded_path.as_deref().unwrap_or_else(|| self.uri.path())
    }
}
