//! The client's address behind proxies.
//!
//! Pure functions, called on the I/O threads. `X-Forwarded-For` is trusted only as far as trusted proxies wrote it:
//! entries are read from the right until one is not a trusted proxy. Promise: a client behind a proxy that passes on
//! no address is unknown and never mistaken for the proxy, which may be on this machine. Caveat: pluginserver used the
//! first entry from any client, so clients could choose their address.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

use crate::edge::http::conformance::X_FORWARDED_FOR;

/// The client's address as the log and plugins see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// The client at this address.
    Known(IpAddr),
    /// A client whose address a trusted proxy did not pass on.
    Unknown,
}

impl Client {
    /// The other end of a connection, without a proxy between. IPv4-mapped IPv6 comes out as IPv4.
    pub(crate) fn peer(address: IpAddr) -> Self {
        Self::Known(address.to_canonical())
    }

    /// Whether it is on this machine, as far as is known.
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Known(address) if address.is_loopback())
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(address) => address.fmt(f),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// The client to log and to hand to plugins. IPv4-mapped IPv6 comes out as IPv4.
///
/// `peer` is the other end of the connection, `trusted` the networks of proxies. When all entries are trusted proxies
/// the leftmost is the client. An entry that is no address, or a header without any entry, makes it a stranger.
pub(crate) fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Client {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let peer = peer.to_canonical();
    if !is_trusted(&peer) || !headers.contains_key(X_FORWARDED_FOR) {
        return Client::Known(peer);
    }
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    let entries = lines.flat_map(|line| line.as_bytes().rsplit(|&byte| byte == b','));
    let mut client = Client::Unknown;
    for entry in entries.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty()) {
        let Some(address) = parse(entry) else { return Client::Unknown };
        client = Client::Known(address);
        if !is_trusted(&address) {
            break;
        }
    }
    client
}

/// `address`, `address:port`, `[address]` or `[address]:port`.
fn parse(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip())).ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn seen(peer: &str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        let trusted = ["127.0.0.0/8", "::1/128", "10.0.0.0/8"].map(|network| network.parse().unwrap());
        client_address(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn without_the_header_the_peer_is_the_client() {
        assert_eq!(seen("127.0.0.1", &[]), "127.0.0.1");
        assert_eq!(seen("::ffff:203.0.113.9", &[]), "203.0.113.9");
    }

    #[test]
    fn an_untrusted_peer_cannot_choose_its_address() {
        assert_eq!(seen("203.0.113.9", &["1.2.3.4"]), "203.0.113.9");
    }

    #[test]
    fn the_rightmost_untrusted_entry_is_the_client() {
        assert_eq!(seen("127.0.0.1", &["1.1.1.1, 203.0.113.9, 10.0.0.2"]), "203.0.113.9");
        assert_eq!(seen("::ffff:127.0.0.1", &["203.0.113.9"]), "203.0.113.9");
    }

    #[test]
    fn when_all_are_trusted_the_leftmost_is_the_client() {
        assert_eq!(seen("127.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
    }

    #[test]
    fn several_header_lines_are_one_list() {
        assert_eq!(seen("127.0.0.1", &["1.1.1.1, 203.0.113.9", "10.0.0.2"]), "203.0.113.9");
    }

    #[test]
    fn ports_brackets_and_empty_entries_are_understood() {
        for entry in ["203.0.113.9:4711", " 203.0.113.9 ", "203.0.113.9,,", "::ffff:203.0.113.9"] {
            assert_eq!(seen("127.0.0.1", &[entry]), "203.0.113.9", "{entry}");
        }
        for entry in ["2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:443"] {
            assert_eq!(seen("::1", &[entry]), "2001:db8::1", "{entry}");
        }
    }

    #[test]
    fn an_entry_that_is_no_address_is_a_stranger() {
        for garbage in
            ["unknown", "_hidden", "1.2.3", "é", "[", "\"1.1.1.1\"", "localhost", "127.0.0.1:x", "fe80::1%lo"]
        {
            for lines in [vec![garbage.to_owned()], vec![format!("1.1.1.1, {garbage}, 10.0.0.2")]] {
                let lines: Vec<_> = lines.iter().map(String::as_str).collect();
                assert_eq!(seen("127.0.0.1", &lines), "unknown", "{garbage}");
            }
            assert_eq!(seen("127.0.0.1", &[&format!("{garbage}, 203.0.113.9")]), "203.0.113.9", "{garbage}");
        }
    }

    #[test]
    fn a_header_that_says_nothing_is_a_stranger() {
        for empty in ["", " ", ",", " , ,"] {
            assert_eq!(seen("127.0.0.1", &[empty]), "unknown", "{empty:?}");
            assert_eq!(seen("203.0.113.9", &[empty]), "203.0.113.9", "{empty:?}");
        }
    }

    #[test]
    fn a_stranger_is_never_on_this_machine() {
        assert!(Client::Known([127, 0, 0, 1].into()).is_local() && !Client::Known([192, 0, 2, 7].into()).is_local());
        assert!(!Client::Unknown.is_local());
    }

    proptest! {
        #[test]
        fn nothing_left_of_the_first_untrusted_entry_is_ever_believed(left in "[0-9a-f.:, ]{0,40}") {
            prop_assert_eq!(seen("203.0.113.9", &[&left]), "203.0.113.9");
            prop_assert_eq!(seen("127.0.0.1", &[&format!("{left}, 203.0.113.9, 10.1.1.1")]), "203.0.113.9");
        }
    }
}
