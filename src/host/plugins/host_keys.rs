//! What every request brings to a handler, by name.
//!
//! Pure data. Caveat: handlers rely on these names, so none of them can change.

/// The server's log.
pub(super) const LOG: &str = "log";
/// The headers.
pub(super) const REQUEST_HEADERS: &str = "request_headers";
/// The request.
pub(super) const REQUEST: &str = "request";
/// What follows the plugin's path.
pub(super) const SUBPATH: &str = "subpath";
/// The client's address.
pub(super) const CLIENT_IP: &str = "client_ip";

/// All of them.
pub(super) const ALWAYS: [&str; 5] = [LOG, REQUEST_HEADERS, REQUEST, SUBPATH, CLIENT_IP];

/// Names that no variable of a request can take: these, and what handlers call themselves by.
pub(super) const HOST_KEYS: [&str; 6] = [LOG, REQUEST_HEADERS, REQUEST, SUBPATH, CLIENT_IP, "self"];
