//! The client's address behind proxies.
//!
//! `X-Forwarded-For` is believed only as far as trusted proxies wrote it: from the right, entry by entry, until one is
//! not a trusted proxy. Caveat: pluginserver took the first entry from anybody, so any client could choose its address.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address to log and to hand to plugins. IPv4-mapped IPv6 comes out as IPv4.
///
/// `peer` is the other end of the connection, `trusted` the networks of proxies. When all entries are trusted proxies
/// the leftmost is the client. An entry that is no address ends the walk at the proxy that passed it on.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer.to_canonical();
    if !is_trusted(&client) {
        return client;
    }
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    let entries = lines.flat_map(|line| line.as_bytes().rsplit(|&byte| byte == b','));
    for entry in entries.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty()) {
        match parse(entry) {
            Some(address) => client = address,
            None => break,
        }
        if !is_trusted(&client) {
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
    fn garbage_ends_the_walk_at_the_proxy_that_passed_it_on() {
        for garbage in ["unknown", "_hidden", "1.2.3", "é", "[", "\"1.1.1.1\""] {
            assert_eq!(seen("127.0.0.1", &[&format!("1.1.1.1, {garbage}, 10.0.0.2")]), "10.0.0.2", "{garbage}");
        }
    }

    proptest! {
        #[test]
        fn nothing_left_of_the_first_untrusted_entry_is_ever_believed(left in "[0-9a-f.:, ]{0,40}") {
            prop_assert_eq!(seen("203.0.113.9", &[&left]), "203.0.113.9");
            prop_assert_eq!(seen("127.0.0.1", &[&format!("{left}, 203.0.113.9, 10.1.1.1")]), "203.0.113.9");
        }
    }
}
