//! The host names that the server answers to.
//!
//! Pure functions, called on the I/O threads. Promise: what no name was given for is refused, a request without a host
//! included. Caveat: names are compared as they are written, without port, case and a full stop at the end: an address
//! has to be listed, too, if requests may name it.

use http::HeaderValue;

/// `[network] hosts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hosts(Vec<String>);

impl Hosts {
    /// The hosts called `names`, of which each may have a port.
    pub(crate) fn new(names: &[impl AsRef<str>]) -> Self {
        Self(names.iter().map(|name| bare(name.as_ref()).to_ascii_lowercase()).collect())
    }

    /// Whether a request with this `Host` is for one of them.
    pub(crate) fn admit(&self, host: Option<&HeaderValue>) -> bool {
        let host = host.and_then(|host| host.to_str().ok()).map(bare);
        host.is_some_and(|host| self.0.iter().any(|name| name.eq_ignore_ascii_case(host)))
    }
}

/// A host without its port, brackets and a full stop at the end.
fn bare(host: &str) -> &str {
    if let Some(literal) = host.strip_prefix('[') {
        return literal.split(']').next().unwrap_or(literal);
    }
    let name = match host.split_once(':') {
        // More than one colon: an address of IPv6.
        Some((name, port)) if !port.contains(':') => name,
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_port_case_and_full_stop() {
        let hosts = Hosts::new(&["App.Example:443", "192.0.2.1", "[::1]", "2001:db8::1"]);
        for host in ["app.example", "APP.example:8080", "app.example.", "192.0.2.1:1", "[::1]:80", "[2001:db8::1]"] {
            assert!(hosts.admit(Some(&HeaderValue::from_static(host))), "{host}");
        }
        for host in ["", "example", "app.example.org", "xapp.example", "192.0.2.10", "[::2]", "app.example:80:80"] {
            assert!(!hosts.admit(Some(&HeaderValue::from_static(host))), "{host}");
        }
        assert!(!hosts.admit(None));
    }
}
