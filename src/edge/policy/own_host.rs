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

use super::hosts::Hosts;

/// True if a browser may have sent it for a page of another site; `allowed` are the origins that were named as friends.
pub(crate) fn may_be_foreign(
    uri: &Uri,
    headers: &HeaderMap,
    hosts: Option<&Hosts>,
    allowed: impl Fn(&HeaderValue) -> bool,
) -> bool {
    let origin = headers.get(ORIGIN);
    let own_origin = origin.is_none_or(|origin| is_origin_of(origin, headers.get(HOST)) || allowed(origin));
    !(is_named_here(uri, headers, hosts) && own_origin)
}

/// True if the host that is asked for is an address, `localhost`, or one of the `hosts` that the server answers to, so
/// that no other site can have had its name point here.
pub(crate) fn is_named_here(uri: &Uri, headers: &HeaderMap, hosts: Option<&Hosts>) -> bool {
    let host = headers.get(HOST);
    let is_listed = || hosts.is_some_and(|hosts| hosts.admit(host));
    let named_here = host.is_none_or(|host| authority(host.as_bytes()).is_some_and(|host| is_own(&host)));
    let asked_here =
        uri.authority().is_none_or(|asked| is_own(asked) || host.is_some_and(|host| host == asked.as_str()));
    (named_here || is_listed()) && asked_here
}

/// True if a browser says that a page of this very origin made the request; clients that say nothing of it did not.
pub(crate) fn is_same_origin(headers: &HeaderMap) -> bool {
    match (headers.get("sec-fetch-site"), headers.get(ORIGIN)) {
        (Some(site), None) => site == "same-origin",
        (Some(site), Some(origin)) => site == "same-origin" && is_origin_of(origin, headers.get(HOST)),
        (None, Some(origin)) => is_origin_of(origin, headers.get(HOST)),
        (None, None) => false,
    }
}

/// True if a browser says that a page of another origin, though perhaps of the same site, made the request.
pub(crate) fn is_cross_origin(headers: &HeaderMap) -> bool {
    let by_site = headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none");
    by_site || headers.get(ORIGIN).is_some_and(|origin| !is_origin_of(origin, headers.get(HOST)))
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
        may_be_foreign(&target.parse().unwrap(), &headers, None, |origin| origin == "https://friend.example")
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
    fn a_host_that_the_server_answers_to_is_its_own() {
        let hosts = Hosts::new(&["app.example"]);
        let named = |target: &str, host: &'static str| {
            let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]);
            is_named_here(&target.parse().unwrap(), &headers, Some(&hosts))
        };
        assert!(named("/-/", "app.example:8080") && named("https://app.example/-/", "app.example"));
        assert!(!named("/-/", "evil.example") && !named("https://evil.example/-/", "app.example"));
    }

    #[test]
    fn only_what_a_browser_says_is_of_the_same_origin_is() {
        let of = |lines: &[(&'static str, &'static str)]| {
            let headers: HeaderMap = lines
                .iter()
                .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            (is_same_origin(&headers), is_cross_origin(&headers))
        };
        let host = ("host", "127.0.0.1:1");
        assert_eq!((false, false), of(&[host]));
        assert_eq!((true, false), of(&[host, ("sec-fetch-site", "same-origin")]));
        assert_eq!((true, false), of(&[host, ("origin", "http://127.0.0.1:1")]));
        assert_eq!((false, false), of(&[host, ("sec-fetch-site", "none")]));
        for site in ["same-site", "cross-site", "odd"] {
            assert_eq!(
                (false, true),
                of(&[host, ("sec-fetch-site", site), ("origin", "http://127.0.0.1:1")]),
                "{site}"
            );
        }
        for origin in ["http://127.0.0.1:2", "null", ""] {
            assert_eq!((false, true), of(&[host, ("sec-fetch-site", "same-origin"), ("origin", origin)]), "{origin}");
        }
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
