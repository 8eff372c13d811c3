//! Whether a request without a key may have been sent by a page of another site.
//!
//! Pure functions, called on the I/O threads. Without a key, the server's own endpoints are open to all clients that
//! can reach it. A browser may reach it on behalf of any page that it shows: by a host name that the page's owner has
//! pointed here (DNS rebinding), or across origins. Promise: such a request is recognised by its host, which is
//! neither an address nor `localhost`, or by its `Origin`. Caveat: programs other than browsers can set both as they
//! like; for them, the address of the client is checked.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Uri};

/// True if a browser may have sent it for a page of another site; `allowed` are the origins that were named as friends.
pub(crate) fn may_be_foreign(uri: &Uri, headers: &HeaderMap, allowed: impl Fn(&HeaderValue) -> bool) -> bool {
    let host = headers.get(HOST);
    let named_here = host.is_none_or(|host| authority(host.as_bytes()).is_some_and(|host| is_own(&host)));
    let asked_here = uri.authority().is_none_or(is_own);
    let own_origin = headers.get(ORIGIN).is_none_or(|origin| is_origin_of(origin, host) || allowed(origin));
    !(named_here && asked_here && own_origin)
}

/// An address, or the one name that no other site can have.
fn is_own(authority: &Authority) -> bool {
    let host = authority.host();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

fn authority(text: &[u8]) -> Option<Authority> {
    Authority::try_from(text.trim_ascii()).ok()
}

/// Whether `origin` is the one of pages that `host` itself has; the scheme does not matter.
fn is_origin_of(origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let origin = origin.as_bytes();
    let origin = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    origin.zip(host).is_some_and(|(origin, host)| origin.eq_ignore_ascii_case(host.as_bytes().trim_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foreign(target: &str, host: Option<&str>, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in [(HOST, host), (ORIGIN, origin)] {
            if let Some(value) = value {
                headers.insert(name, HeaderValue::from_str(value).unwrap());
            }
        }
        may_be_foreign(&target.parse().unwrap(), &headers, |origin| origin == "https://friend.example")
    }

    #[test]
    fn addresses_and_localhost_are_the_servers_own_names() {
        for host in ["127.0.0.1", "127.0.0.1:9192", "[::1]:9192", "[::1]", "localhost", "LocalHost:80", "192.0.2.7:1"] {
            assert!(!foreign("/plugins", Some(host), None), "{host}");
        }
        assert!(!foreign("/plugins", None, None), "HTTP/1.0 has no names, and browsers do not speak it");
    }

    #[test]
    fn every_other_name_may_be_another_sites() {
        for host in ["evil.example", "evil.example:9192", "127.0.0.1.evil.example", "localhost.evil.example", "", "a b"]
        {
            assert!(foreign("/plugins", Some(host), None), "{host}");
        }
        for host in ["user@evil.example", "127.0.0.1@evil.example", "evil.example@", "1.2.3", "::1", "localhost:x:y"] {
            assert!(foreign("/plugins", Some(host), None), "{host}");
        }
        assert!(foreign("http://evil.example/plugins", Some("127.0.0.1"), None));
    }

    #[test]
    fn an_origin_is_the_servers_own_or_a_named_one() {
        let host = Some("127.0.0.1:9192");
        for own in ["http://127.0.0.1:9192", "https://127.0.0.1:9192", "https://friend.example"] {
            assert!(!foreign("/plugins", host, Some(own)), "{own}");
        }
        for other in ["null", "http://127.0.0.1", "http://localhost:9192", "https://evil.example", "", "127.0.0.1:9192"]
        {
            assert!(foreign("/plugins", host, Some(other)), "{other}");
        }
    }
}
