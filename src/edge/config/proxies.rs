//! Which proxies are trusted in what they say of clients: `[server] trusted_proxies`.
//!
//! Plain data. Caveat: of a Unix socket it is not known who has opened it, so all who may open one are trusted or none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::fields::{InvalidValue, ParseResult, words};
use super::value::Value;

/// The proxies that are trusted in what they say of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrustedProxies {
    /// Their networks.
    pub networks: Vec<IpNet>,
    /// Whether all clients of Unix sockets are.
    pub unix: bool,
}

impl Default for TrustedProxies {
    fn default() -> Self {
        let networks = vec![
            Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8).into(),
            Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128).into(),
        ];
        Self { networks, unix: false }
    }
}

/// The word for clients of Unix sockets among trusted proxies.
const UNIX: &str = "unix";

/// Networks as addresses or CIDR, and `unix`; `none` alone is no proxy at all.
pub(crate) fn trusted_proxies(value: &Value) -> ParseResult<TrustedProxies> {
    let words = words(value)?;
    if words == ["none"] {
        return Ok(TrustedProxies { networks: Vec::new(), unix: false });
    }
    let network = |word: &String| {
        word.parse::<IpNet>().or_else(|_| word.parse::<IpAddr>().map(IpNet::from)).map_err(|_| {
            let remedy = "write addresses like 10.0.0.7, networks like 10.0.0.0/8, or unix; or none alone";
            InvalidValue::new(format!("{word:?} is neither an address nor a network"), remedy)
        })
    };
    if words.is_empty() {
        return Err(InvalidValue::new(
            "names no proxy",
            "write none to trust no proxy, or leave the key out for loopback",
        ));
    }
    let networks = words.iter().filter(|word| *word != UNIX).map(network).collect::<Result<_, _>>()?;
    Ok(TrustedProxies { networks, unix: words.iter().any(|word| word == UNIX) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(t: &str) -> Value {
        Value::Text(t.into())
    }

    #[test]
    fn proxies_are_addresses_cidr_unix_or_none() {
        let list = Value::List(vec![text("10.0.0.0/8"), text("unix"), text("::1")]);
        assert_eq!(trusted_proxies(&list).map(|proxies| (proxies.networks.len(), proxies.unix)), Ok((2, true)));
        let none = TrustedProxies { networks: vec![], unix: false };
        assert_eq!(trusted_proxies(&text("none")), Ok(none));
        assert_eq!(trusted_proxies(&text("10.0.0.1")).map(|proxies| proxies.unix), Ok(false));
        for bad in ["proxy.example", "", "none unix", "Unix"] {
            assert!(trusted_proxies(&text(bad)).is_err(), "{bad}");
        }
    }
}
