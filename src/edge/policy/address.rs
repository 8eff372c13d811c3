//! Client, scheme and host behind proxies.
//!
//! Pure functions, called on the I/O threads. What a request says of them is trusted only as far as trusted proxies
//! wrote it: entries are read from the right until one is not a trusted proxy. `Forwarded` (RFC 7239) counts alone if
//! it is there; else `X-Forwarded-For` with `-Proto` and `-Host`, and for the client, if that is missing, `X-Real-IP`.
//! Promise: a client behind a proxy that passes on no address in a header that it does send is unknown and never
//! mistaken for the proxy, which may be on this machine. Caveat: pluginserver used the first entry from any client, so
//! clients could choose their address.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::edge::config::proxies::TrustedProxies;
use crate::edge::http::conformance::{X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, X_REAL_IP, is_host};
use crate::edge::http::service::Peer;
use crate::edge::observe::repeats::Requester;

/// The client's address as the log and plugins see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// The client at this address.
    Known(IpAddr),
    /// A client of a Unix socket, which has no address.
    Unix,
    /// A client whose address a trusted proxy did not pass on.
    Unknown,
}

impl Client {
    /// The other end of a connection, without a proxy between. IPv4-mapped IPv6 comes out as IPv4.
    pub(crate) fn peer(peer: Peer) -> Self {
        match peer {
            Peer::Ip(address) => Self::Known(address.ip().to_canonical()),
            Peer::Unix => Self::Unix,
            Peer::Unknown => Self::Unknown,
        }
    }

    /// Whose lines in the log its own are counted with.
    pub(crate) fn requester(self) -> Requester {
        match self {
            Self::Known(address) => Requester::Address(address),
            Self::Unix => Requester::Unix,
            Self::Unknown => Requester::Unknown,
        }
    }

    /// Whether it is on this machine, as far as is known. Who uses a Unix socket may be a proxy that passes on no
    /// address, so that its clients are anywhere.
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Known(address) if address.is_loopback())
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// Whether what `client` says of other clients is believed. Of those who use a Unix socket, nothing is known but that
/// they may open its file, so they are believed only if the configuration says so.
pub(crate) fn is_trusted(client: Client, trusted: &TrustedProxies) -> bool {
    match client {
        Client::Known(address) => trusted.networks.iter().any(|network| network.contains(&address)),
        Client::Unix => trusted.unix,
        Client::Unknown => false,
    }
}

/// What a request was before it passed proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The client to log and to hand to plugins. IPv4-mapped IPv6 comes out as IPv4.
    pub client: Client,
    /// Whether the client used TLS, if a proxy says so.
    pub secure: Option<bool>,
    /// The host that it asked for, if a proxy says so.
    pub host: Option<HeaderValue>,
}

impl Origin {
    /// What `headers` say of a request that came from `peer`, the other end of the connection. When all addresses are
    /// trusted proxies the leftmost is the client. An entry that is no address, or a header without any entry, makes it
    /// unknown.
    pub(crate) fn of(peer: Peer, headers: &HeaderMap, trusted: &TrustedProxies) -> Self {
        let peer = Client::peer(peer);
        if !is_trusted(peer, trusted) {
            return Self { client: peer, secure: None, host: None };
        }
        let is_trusted = |address: &IpAddr| is_trusted(Client::Known(*address), trusted);
        if headers.contains_key(FORWARDED) {
            return Self::of_forwarded(headers, is_trusted);
        }
        let (client, proxies) = if headers.contains_key(X_FORWARDED_FOR) {
            client_of(entries(headers, &X_FORWARDED_FOR).map(parse), is_trusted)
        } else if let Some(address) = entries(headers, &X_REAL_IP).next() {
            (parse(address).map_or(Client::Unknown, Client::Known), 0)
        } else {
            (peer, 0)
        };
        // The entry of the proxy that the client talked to; a proxy that only passes the header on adds none.
        let forwarded = |name: &HeaderName| entries(headers, name).take(proxies + 1).last();
        let secure = forwarded(&X_FORWARDED_PROTO).and_then(is_https);
        Self { client, secure, host: forwarded(&X_FORWARDED_HOST).and_then(host) }
    }

    fn of_forwarded(headers: &HeaderMap, is_trusted: impl Fn(&IpAddr) -> bool) -> Self {
        let elements: Vec<_> = entries(headers, &FORWARDED).map(Element::parse).collect();
        let addresses = elements.iter().map(|element| element.client.as_deref().and_then(parse));
        let (client, proxies) = client_of(addresses, is_trusted);
        let element = elements.into_iter().nth(proxies).unwrap_or_default();
        let secure = element.proto.as_deref().and_then(is_https);
        Self { client, secure, host: element.host.as_deref().and_then(host) }
    }
}

/// The client among addresses from the nearest to the farthest, and how many proxies are nearer.
fn client_of(addresses: impl Iterator<Item = Option<IpAddr>>, is_trusted: impl Fn(&IpAddr) -> bool) -> (Client, usize) {
    let (mut client, mut proxies) = (Client::Unknown, 0);
    for (index, address) in addresses.enumerate() {
        proxies = index;
        let Some(address) = address else { return (Client::Unknown, proxies) };
        client = Client::Known(address);
        if !is_trusted(&address) {
            break;
        }
    }
    (client, proxies)
}

/// The entries of a header, over all of its lines, the last one first; empty ones do not count.
fn entries<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let lines = headers.get_all(name).into_iter().rev();
    let entries = lines.flat_map(|line| line.as_bytes().rsplit(|&byte| byte == b','));
    entries.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty())
}

/// What one proxy wrote into `Forwarded`.
#[derive(Debug, Default)]
struct Element {
    client: Option<Vec<u8>>,
    proto: Option<Vec<u8>>,
    host: Option<Vec<u8>>,
}

impl Element {
    /// `name=value;…`, values with or without quotation marks. Caveat: a comma or semicolon within quotation marks,
    /// which no address and no host has, is not understood.
    fn parse(text: &[u8]) -> Self {
        let mut element = Self::default();
        for pair in text.split(|&byte| byte == b';') {
            let Some(equals) = pair.iter().position(|&byte| byte == b'=') else { continue };
            let (name, value) = (pair[..equals].trim_ascii(), pair[equals + 1..].trim_ascii());
            let value = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value);
            match name.to_ascii_lowercase().as_slice() {
                b"for" => element.client = Some(value.to_vec()),
                b"proto" => element.proto = Some(value.to_vec()),
                b"host" => element.host = Some(value.to_vec()),
                _ => {}
            }
        }
        element
    }
}

fn is_https(scheme: &[u8]) -> Option<bool> {
    match scheme.to_ascii_lowercase().as_slice() {
        b"https" | b"wss" => Some(true),
        b"http" | b"ws" => Some(false),
        _ => None,
    }
}

fn host(text: &[u8]) -> Option<HeaderValue> {
    if is_host(text) { HeaderValue::from_bytes(text).ok() } else { None }
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

    fn proxies(networks: &[&str], unix: bool) -> TrustedProxies {
        TrustedProxies { networks: networks.iter().map(|network| network.parse().unwrap()).collect(), unix }
    }

    fn seen(peer: &str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        let trusted = proxies(&["127.0.0.0/8", "::1/128", "10.0.0.0/8"], false);
        Origin::of(Peer::Ip((peer.parse::<IpAddr>().unwrap(), 80).into()), &headers, &trusted).client.to_string()
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
        assert!(!Client::Unknown.is_local() && !Client::Unix.is_local());
    }

    #[test]
    fn a_unix_socket_is_a_proxy_only_if_that_is_said() {
        let mut headers = HeaderMap::new();
        let client =
            |headers: &HeaderMap, unix| Origin::of(Peer::Unix, headers, &proxies(&["10.0.0.0/8"], unix)).client;
        assert_eq!(client(&headers, true), Client::Unix);
        headers.insert(X_FORWARDED_FOR, HeaderValue::from_static("203.0.113.9, 10.0.0.2"));
        assert_eq!(client(&headers, true), Client::Known([203, 0, 113, 9].into()));
        assert_eq!(client(&headers, false), Client::Unix);
    }

    /// Client, scheme and host of a request from a trusted proxy on this machine.
    fn forwarded(lines: &[(&'static str, &str)]) -> (String, Option<bool>, String) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        let trusted = proxies(&["127.0.0.0/8", "10.0.0.0/8"], false);
        let origin = Origin::of(Peer::Ip(([127, 0, 0, 1], 80).into()), &headers, &trusted);
        let host = origin.host.map_or_else(String::new, |host| host.to_str().unwrap().to_owned());
        (origin.client.to_string(), origin.secure, host)
    }

    #[test]
    fn forwarded_counts_alone_and_is_read_up_to_the_client() {
        let all = [
            ("forwarded", "for=6.6.6.6;proto=http;host=evil, for=203.0.113.9;proto=https;host=a.example, for=10.0.0.2"),
            ("x-forwarded-for", "198.51.100.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "b.example"),
            ("x-real-ip", "198.51.100.2"),
        ];
        assert_eq!(forwarded(&all), ("203.0.113.9".to_owned(), Some(true), "a.example".to_owned()));
        let quoted = [("forwarded", "By=x; For=\"[2001:db8::1]:4711\" ;PROTO=http")];
        assert_eq!(forwarded(&quoted), ("2001:db8::1".to_owned(), Some(false), String::new()));
        for unknown in ["for=unknown", "for=_hidden", "proto=https", "nonsense", ""] {
            assert_eq!(forwarded(&[("forwarded", unknown)]).0, "unknown", "{unknown}");
        }
    }

    #[test]
    fn scheme_and_host_are_those_that_the_clients_proxy_wrote() {
        let chain = [
            ("x-forwarded-for", "6.6.6.6, 203.0.113.9, 10.0.0.2"),
            ("x-forwarded-proto", "ftp, https, http"),
            ("x-forwarded-host", "evil, a.example, b.example"),
        ];
        assert_eq!(forwarded(&chain), ("203.0.113.9".to_owned(), Some(true), "a.example".to_owned()));
        // The inner proxy passes on what the outer one wrote.
        let passed = [("x-forwarded-for", "203.0.113.9, 10.0.0.2"), ("x-forwarded-proto", "https")];
        assert_eq!(forwarded(&passed).1, Some(true));
        assert_eq!(forwarded(&[("x-forwarded-proto", "odd"), ("x-forwarded-host", "not a host")]).1, None);
        assert_eq!(forwarded(&[("x-forwarded-host", "a/b")]).2, "");
    }

    #[test]
    fn x_real_ip_is_the_client_where_nothing_else_names_one() {
        assert_eq!(forwarded(&[("x-real-ip", "203.0.113.9"), ("x-forwarded-proto", "https")]).0, "203.0.113.9");
        assert_eq!(forwarded(&[("x-real-ip", "203.0.113.9"), ("x-forwarded-for", "198.51.100.1")]).0, "198.51.100.1");
        assert_eq!(forwarded(&[("x-real-ip", "nobody")]).0, "unknown");
    }

    proptest! {
        #[test]
        fn nothing_left_of_the_first_untrusted_entry_is_ever_believed(left in "[0-9a-f.:, ]{0,40}") {
            prop_assert_eq!(seen("203.0.113.9", &[&left]), "203.0.113.9");
            prop_assert_eq!(seen("127.0.0.1", &[&format!("{left}, 203.0.113.9, 10.1.1.1")]), "203.0.113.9");
        }
    }
}
