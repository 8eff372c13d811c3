//! The header of the PROXY protocol, versions 1 and 2: who a proxy connects for, in front of everything else.
//!
//! Pure functions over bytes. Promise: a header is found with its exact length, however its bytes are cut into pieces,
//! and what cannot become a header is refused at its first wrong byte or field. Caveat: what a header holds beside the
//! two addresses, such as TLVs, is skipped, and its checksum is not compared.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// What a header of version 2 begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What one of version 1 begins with.
const WORD: &[u8] = b"PROXY ";

/// Longest line of version 1, with its end.
const LONGEST_LINE: usize = 107;

/// Bytes in front of the addresses of version 2.
const FIXED: usize = 16;

/// Most bytes that may follow those: addresses, and TLVs such as a client's certificate.
const LONGEST_REST: usize = 8 * 1024;

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProxyHeader {
    /// Its bytes; what follows belongs to the client.
    pub length: usize,
    /// For whom the proxy connects.
    pub source: Source,
}

/// For whom a proxy connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A client, which has connected to `server`.
    Client {
        /// The client's address.
        client: SocketAddr,
        /// The address that it has connected to.
        server: SocketAddr,
    },
    /// A client that has no IP address, or one that the proxy does not know.
    Unknown,
    /// Nobody: the proxy itself is the client, as for a health check.
    Proxy,
}

/// Bytes that no header begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoHeader {
    /// Neither of the two versions.
    #[error("no PROXY header")]
    Absent,
    /// It begins like a header.
    #[error("a PROXY header that is not valid")]
    Invalid,
    /// It is longer than any header needs to be.
    #[error("a PROXY header that is too long")]
    TooLong,
}

/// The header that `bytes` begin with; `None` if they are all of a header whose end has not come yet.
///
/// # Errors
/// When they are no header, and cannot become one.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<ProxyHeader>, NoHeader> {
    if begins_like(bytes, SIGNATURE) {
        version_2(bytes)
    } else if begins_like(bytes, WORD) {
        version_1(bytes)
    } else {
        Err(NoHeader::Absent)
    }
}

/// Whether the bytes are a part of `start`, or go on behind it.
fn begins_like(bytes: &[u8], start: &[u8]) -> bool {
    let shared = bytes.len().min(start.len());
    bytes[..shared] == start[..shared]
}

fn version_1(bytes: &[u8]) -> Result<Option<ProxyHeader>, NoHeader> {
    let first = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = memchr::memchr(b'\n', first) else {
        return if bytes.len() < LONGEST_LINE { Ok(None) } else { Err(NoHeader::TooLong) };
    };
    let line = first[..end].strip_suffix(b"\r").ok_or(NoHeader::Invalid)?;
    let line = std::str::from_utf8(line).map_err(|_| NoHeader::Invalid)?;
    let source = of_line(line).ok_or(NoHeader::Invalid)?;
    Ok(Some(ProxyHeader { length: end + 1, source }))
}

/// What the line says, without its end.
fn of_line(line: &str) -> Option<Source> {
    let mut words = line.split(' ').skip(1);
    let mut next = || words.next();
    let source = match next()? {
        // Whatever else is in such a line is to be ignored.
        "UNKNOWN" => return Some(Source::Unknown),
        "TCP4" => of_words::<Ipv4Addr>([next()?, next()?, next()?, next()?]),
        "TCP6" => of_words::<Ipv6Addr>([next()?, next()?, next()?, next()?]),
        _ => None,
    };
    source.filter(|_| next().is_none())
}

fn of_words<A: FromStr + Into<IpAddr>>([client, server, client_port, server_port]: [&str; 4]) -> Option<Source> {
    let address = |ip: &str, port: &str| {
        let is_number = port.bytes().all(|byte| byte.is_ascii_digit()) && (port == "0" || !port.starts_with('0'));
        let port = port.parse().ok().filter(|_| is_number)?;
        Some(SocketAddr::new(ip.parse::<A>().ok()?.into(), port))
    };
    Some(Source::Client { client: address(client, client_port)?, server: address(server, server_port)? })
}

fn version_2(bytes: &[u8]) -> Result<Option<ProxyHeader>, NoHeader> {
    let Some((fixed, rest)) = bytes.split_at_checked(FIXED) else {
        // Wrong bytes are noticed before the rest has come.
        let command = bytes.get(SIGNATURE.len()).is_none_or(|byte| is_command(*byte));
        return if command { Ok(None) } else { Err(NoHeader::Invalid) };
    };
    let [command, family, high, low] = [fixed[12], fixed[13], fixed[14], fixed[15]];
    if !is_command(command) {
        return Err(NoHeader::Invalid);
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST_REST {
        return Err(NoHeader::TooLong);
    }
    let needed = match family {
        TCP4 => 12,
        TCP6 => 36,
        _ => 0,
    };
    if command == PROXY && length < needed {
        return Err(NoHeader::Invalid);
    }
    let Some(block) = rest.get(..length) else { return Ok(None) };
    let source = match (command, family) {
        // The family does not count then.
        (LOCAL, _) => Source::Proxy,
        (_, TCP4) => of_block::<4>(block).ok_or(NoHeader::Invalid)?,
        (_, TCP6) => of_block::<16>(block).ok_or(NoHeader::Invalid)?,
        (_, UNSPECIFIED | UNIX) => Source::Unknown,
        // Datagrams, and what is not defined.
        _ => return Err(NoHeader::Invalid),
    };
    Ok(Some(ProxyHeader { length: FIXED + length, source }))
}

/// Version 2 and what the proxy does it for.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

/// Address family and protocol.
const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const UNIX: u8 = 0x31;

fn is_command(byte: u8) -> bool {
    matches!(byte, LOCAL | PROXY)
}

/// Two addresses of `N` bytes, and their ports.
fn of_block<const N: usize>(block: &[u8]) -> Option<Source>
where
    IpAddr: From<[u8; N]>,
{
    let (client, rest) = block.split_first_chunk::<N>()?;
    let (server, rest) = rest.split_first_chunk::<N>()?;
    let (client_port, rest) = rest.split_first_chunk::<2>()?;
    let server_port = rest.first_chunk::<2>()?;
    let address = |ip: &[u8; N], port: &[u8; 2]| SocketAddr::new(IpAddr::from(*ip), u16::from_be_bytes(*port));
    Some(Source::Client { client: address(client, client_port), server: address(server, server_port) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(client: &str, server: &str) -> Source {
        Source::Client { client: client.parse().unwrap(), server: server.parse().unwrap() }
    }

    /// The header of version 2 with these bytes behind the signature, and its length in place of the two zeros.
    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest].concat()
    }

    fn source(bytes: &[u8]) -> Result<Source, NoHeader> {
        let found = parse(bytes)?.expect("the header is whole");
        assert_eq!(bytes.len(), found.length);
        let followed = [bytes, b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(Ok(Some(found)), parse(&followed), "what follows does not matter");
        for end in 0..bytes.len() {
            assert_eq!(Ok(None), parse(&bytes[..end]), "the first {end} bytes");
        }
        Ok(found.source)
    }

    #[test]
    fn lines_of_version_1_name_the_client() {
        let expected = client("203.0.113.9:4711", "192.0.2.1:443");
        assert_eq!(Ok(expected), source(b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n"));
        let expected = client("[2001:db8::9]:0", "[::1]:65535");
        assert_eq!(Ok(expected), source(b"PROXY TCP6 2001:db8::9 ::1 0 65535\r\n"));
        assert_eq!(Ok(Source::Unknown), source(b"PROXY UNKNOWN\r\n"));
        assert_eq!(Ok(Source::Unknown), source(b"PROXY UNKNOWN ff ff 1 2 and more\r\n"));
    }

    #[test]
    fn blocks_of_version_2_name_the_client_and_tlvs_are_skipped() {
        let block = [&[203, 0, 113, 9], &[192, 0, 2, 1], &4711_u16.to_be_bytes()[..], &443_u16.to_be_bytes()].concat();
        let expected = client("203.0.113.9:4711", "192.0.2.1:443");
        assert_eq!(Ok(expected), source(&binary(PROXY, TCP4, &block)));
        let with_tlv = [&block[..], &[4, 0, 1, 0xff]].concat();
        assert_eq!(Ok(expected), source(&binary(PROXY, TCP4, &with_tlv)));
        let [ip, here] = ["2001:db8::9", "::1"].map(|ip| ip.parse::<Ipv6Addr>().unwrap().octets());
        let block = [&ip[..], &here, &[0, 80], &[1, 187]].concat();
        assert_eq!(Ok(client("[2001:db8::9]:80", "[::1]:443")), source(&binary(PROXY, TCP6, &block)));
        assert_eq!(Ok(Source::Unknown), source(&binary(PROXY, UNSPECIFIED, &[])));
        assert_eq!(Ok(Source::Unknown), source(&binary(PROXY, UNIX, &[0; 216])));
    }

    #[test]
    fn a_local_command_is_of_the_proxy_whatever_its_family_is() {
        for family in [UNSPECIFIED, TCP4, TCP6, 0xff] {
            assert_eq!(Ok(Source::Proxy), source(&binary(LOCAL, family, &[])));
        }
        assert_eq!(Ok(Source::Proxy), source(&binary(LOCAL, TCP4, &[0; 12])));
    }

    #[test]
    fn what_is_no_header_is_refused_at_once() {
        for bytes in [&b"G"[..], b"GET / HTTP/1.1\r\n", b"PROXX", b"\r\n\r\nX", b"\x16\x03\x01"] {
            assert_eq!(Err(NoHeader::Absent), parse(bytes));
        }
        for line in [
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
            "PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY \r\n",
        ] {
            assert_eq!(Err(NoHeader::Invalid), parse(line.as_bytes()), "{line:?}");
        }
        for (command, family, length) in [(0x22, TCP4, 12), (0x11, TCP4, 12), (PROXY, 0x12, 12), (PROXY, TCP6, 35)] {
            assert_eq!(Err(NoHeader::Invalid), parse(&binary(command, family, &vec![0; length])));
        }
        assert_eq!(Err(NoHeader::Invalid), parse(&binary(0x31, 0, &[])[..13]));
    }

    #[test]
    fn the_length_of_a_header_is_bounded() {
        assert_eq!(Err(NoHeader::TooLong), parse(format!("PROXY UNKNOWN {}", "x".repeat(93)).as_bytes()));
        let long = binary(PROXY, UNSPECIFIED, &vec![0; LONGEST_REST + 1]);
        assert_eq!(Err(NoHeader::TooLong), parse(&long[..FIXED]));
        assert_eq!(
            Ok(Source::Unknown),
            parse(&binary(PROXY, UNSPECIFIED, &vec![0; LONGEST_REST])).map(|header| header.unwrap().source)
        );
    }
}
