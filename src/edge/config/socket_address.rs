//! Where a socket listens: an IP address with a port, or the file of a Unix socket.
//!
//! Plain data, written as `[network] listen` names it. Caveat: a Unix socket in the abstract namespace, which only the
//! service manager can pass, is shown with `@` in place of the null byte that its name begins with.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

/// What stands in front of the path of a Unix socket.
pub(crate) const UNIX: &str = "unix:";

/// Where a socket listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SocketAddress {
    /// By TCP.
    Ip(SocketAddr),
    /// At this path.
    Unix(Arc<Path>),
}

impl SocketAddress {
    /// The address of IP, if it is one.
    pub(crate) fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// Whether the system does not give both to different sockets.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let (Self::Ip(one), Self::Ip(two)) = (self, other) else { return self == other };
        let is_wildcard = one.ip().is_unspecified() || two.ip().is_unspecified();
        let is_same_family = one.is_ipv4() == two.is_ipv4();
        one == two || (one.port() != 0 && one.port() == two.port() && is_same_family && is_wildcard)
    }
}

impl From<SocketAddr> for SocketAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl fmt::Display for SocketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}
