//! Reads where `[network]` has the server listen: `bindto` with `port`, and `listen`.
//!
//! Called on the Python thread. Promise: each address is there once. Caveat: names are looked up, which may wait for a
//! name server.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};

use super::SectionReader;
use crate::edge::config::diagnostic::Diagnostics;
use crate::edge::config::fields::{self, InvalidValue, ParseResult};
use crate::edge::config::proxies::TrustedProxies;
use crate::edge::config::relative_paths::{absolute, to_write};
use crate::edge::config::resolved::ResolvedConfig;
use crate::edge::config::settings::{DEFAULT_ADDRESS, DEFAULT_PORT, ListenLine, NetworkSettings};
use crate::edge::config::socket_address::{SocketAddress, UNIX};
use crate::edge::config::value::Value;

/// How entries of `listen` are written.
const ENTRIES: &str =
    "write ADDRESS:PORT or unix:PATH, such as listen=list:127.0.0.1:9192 [::1]:9192 unix:/run/plugincore.sock";

/// The addresses to listen on. Where `listen` is set, `bindto` and `port` count only if one of them is set, too.
pub(super) fn listen(network: &mut SectionReader<'_>) -> (Vec<SocketAddress>, ListenLine) {
    let has_listen = network.item("listen").is_some();
    let has_bindto = network.item("bindto").is_some() || network.item("port").is_some();
    let port = network.read("port", DEFAULT_PORT, fields::port);
    let mut all = Vec::new();
    if has_bindto || !has_listen {
        let mut absent = Vec::new();
        let default = vec![SocketAddr::from((DEFAULT_ADDRESS, port))];
        let addresses = network.read("bindto", default, |value| of_bindto(value, port, &mut absent));
        all.extend(addresses.into_iter().map(SocketAddress::Ip));
        warn_of_absent(network, "bindto", &absent);
    }
    if has_listen {
        let mut absent = Vec::new();
        let (config, location) = (network.config, network.location("listen"));
        let locate = |path: &Path| absolute(&to_write(config, &location, path));
        all = network.read("listen", Vec::new(), |value| of_listen(value, all, &mut absent, locate));
        warn_of_absent(network, "listen", &absent);
    }
    let key = if has_listen { "listen" } else { "bindto" };
    let place = if has_listen || network.item("bindto").is_some() { key } else { "port" };
    (all, ListenLine { key, location: network.location(place) })
}

fn warn_of_absent(network: &mut SectionReader<'_>, key: &str, absent: &[SocketAddr]) {
    for address in absent {
        let message =
            format!("{} is not an address of this machine now; the others of its name are served", address.ip());
        network.warn(key, message, "name the addresses to serve, or correct what the name resolves to");
    }
}

/// Reports proxies that could not connect, since the PROXY protocol is for trusted ones.
pub(super) fn check_proxies(
    config: &ResolvedConfig,
    network: &NetworkSettings,
    trusted: &TrustedProxies,
    listen: &[SocketAddress],
    found: &mut Diagnostics,
) {
    if !network.proxy_protocol {
        return;
    }
    let mut reader = SectionReader::new(config, "network", found);
    if trusted.networks.is_empty() && !trusted.unix {
        let message = "is on, but only trusted proxies may connect then, and there are none";
        reader.invalid("proxy_protocol", InvalidValue::new(message, "name the proxies in [server] trusted_proxies"));
    } else if !trusted.unix && listen.iter().any(|address| matches!(address, SocketAddress::Unix(_))) {
        let message = "is on, so connections by Unix sockets are closed: they are not trusted";
        reader.warn("proxy_protocol", message, "add the word unix to [server] trusted_proxies");
    }
}

/// What `bindto` names. Addresses that a name has, but this machine has not, go to `absent`, unless it has none.
fn of_bindto(value: &Value, port: u16, absent: &mut Vec<SocketAddr>) -> ParseResult<Vec<SocketAddr>> {
    let remedy = "write an address of this machine, a host name, or * for all";
    let mut all = Vec::new();
    for host in fields::words(value)? {
        for address in resolve(&host, port, absent, remedy)? {
            if !all.contains(&address) {
                all.push(address);
            }
        }
    }
    if all.is_empty() { Err(InvalidValue::new("names no address", remedy)) } else { Ok(all) }
}

/// `all`, and what `listen` names; `locate` says where a path leads.
fn of_listen(
    value: &Value,
    mut all: Vec<SocketAddress>,
    absent: &mut Vec<SocketAddr>,
    locate: impl Fn(&Path) -> PathBuf,
) -> ParseResult<Vec<SocketAddress>> {
    let entries = fields::words(value)?;
    if entries.is_empty() {
        return Err(InvalidValue::new("names no address", ENTRIES));
    }
    for entry in entries {
        for address in of_entry(&entry, absent, &locate)? {
            if let Some(same) = all.iter().find(|other| address.overlaps(other)) {
                let message = if *same == address {
                    format!("{address} is there twice")
                } else {
                    format!("{address} and {same} cannot be had at the same time")
                };
                return Err(InvalidValue::new(message, "name it once, and leave it out of bindto and port"));
            }
            all.push(address);
        }
    }
    Ok(all)
}

/// Where one entry has the server listen.
fn of_entry(
    entry: &str,
    absent: &mut Vec<SocketAddr>,
    locate: impl Fn(&Path) -> PathBuf,
) -> ParseResult<Vec<SocketAddress>> {
    if let Some(path) = entry.strip_prefix(UNIX) {
        return match path.chars().next() {
            None => Err(InvalidValue::new(format!("{entry:?} has no path"), ENTRIES)),
            Some('@') => {
                let message = format!("{entry:?} would have no file, so that every program could connect");
                Err(InvalidValue::new(message, "write the path of a file; ./ in front of one that begins with @"))
            }
            Some(_) => Ok(vec![SocketAddress::Unix(locate(Path::new(path)).into())]),
        };
    }
    let Some((host, port)) = entry.rsplit_once(':').filter(|(host, _)| !host.is_empty() && is_one_host(host)) else {
        return Err(InvalidValue::new(format!("{entry:?} is no address with a port"), ENTRIES));
    };
    let port = port
        .parse()
        .map_err(|_| InvalidValue::new(format!("{entry:?} has no port from 0 to 65535 at its end"), ENTRIES))?;
    Ok(resolve(host, port, absent, ENTRIES)?.into_iter().map(SocketAddress::Ip).collect())
}

/// Whether what stands in front of a port is not a part of an IPv6 address, which needs brackets.
fn is_one_host(host: &str) -> bool {
    !host.contains(':') || (host.starts_with('[') && host.ends_with(']'))
}

/// The addresses of a host.
fn resolve(host: &str, port: u16, absent: &mut Vec<SocketAddr>, remedy: &str) -> ParseResult<Vec<SocketAddr>> {
    let name = if host == "*" { "0.0.0.0" } else { host.trim_start_matches('[').trim_end_matches(']') };
    let resolved = (name, port)
        .to_socket_addrs()
        .map_err(|error| InvalidValue::new(format!("{host:?} cannot be resolved: {error}"), remedy))?;
    let mut distinct = Vec::new();
    for address in resolved {
        if !distinct.contains(&address) {
            distinct.push(address);
        }
    }
    let (here, elsewhere) = present(distinct);
    absent.extend(elsewhere);
    Ok(here)
}

/// Splits the addresses of one name into those that this machine has and the rest, such as `::1` where IPv6 is off. If
/// it has none, or there is but one, they are all left for the start to fail with.
fn present(resolved: Vec<SocketAddr>) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
    let is_here = |address: &SocketAddr| match TcpListener::bind((address.ip(), 0)) {
        Ok(_) => true,
        Err(error) => {
            let no_family = error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error());
            !no_family && error.kind() != io::ErrorKind::AddrNotAvailable
        }
    };
    match resolved.iter().copied().partition::<Vec<_>, _>(is_here) {
        (here, _) if here.is_empty() => (resolved, Vec::new()),
        split => split,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{errors, good};
    use super::present;

    fn listen(text: &str) -> Vec<String> {
        let (settings, _) = good(&format!("[network]\n{text}\n[auth]\napikey=k"));
        settings.listen.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn of_a_names_addresses_those_that_the_machine_has_are_served() {
        let [here, elsewhere] = ["127.0.0.1:80", "198.51.100.1:80"].map(|address| address.parse().unwrap());
        assert_eq!(present(vec![elsewhere, here]), (vec![here], vec![elsewhere]));
        assert_eq!(present(vec![here]), (vec![here], vec![]));
        // The start fails with it, and says why.
        assert_eq!(present(vec![elsewhere]), (vec![elsewhere], vec![]));
    }

    #[test]
    fn listen_alone_names_all_addresses_and_bindto_and_port_add_theirs() {
        assert_eq!(listen("listen=list:127.0.0.1:80 [::1]:80 *:81"), ["127.0.0.1:80", "[::1]:80", "0.0.0.0:81"]);
        assert_eq!(listen("listen=unix:/run/x.sock 127.0.0.1:80"), ["unix:/run/x.sock", "127.0.0.1:80"]);
        assert_eq!(listen("listen=127.0.0.1:80\nport=81"), ["127.0.0.1:81", "127.0.0.1:80"]);
        assert_eq!(listen("listen=127.0.0.1:80\nbindto=127.0.0.2"), ["127.0.0.2:9192", "127.0.0.1:80"]);
        assert_eq!(listen("listen=127.0.0.1:0 127.0.0.2:0"), ["127.0.0.1:0", "127.0.0.2:0"]);
    }

    #[test]
    fn the_proxy_protocol_needs_proxies_that_are_trusted() {
        let seen = errors("[network]\nproxy_protocol=on\n[server]\ntrusted_proxies=none");
        assert!(seen[0].starts_with("t.ini:4: [network] proxy_protocol: is on, but only trusted proxies"), "{seen:#?}");
        let (settings, warnings) = good("[network]\nproxy_protocol=on\nlisten=unix:/x");
        assert!(settings.network.proxy_protocol);
        assert!(warnings[0].contains("connections by Unix sockets are closed"), "{warnings:#?}");
        let trusted = "[network]\nproxy_protocol=on\nlisten=unix:/x\n[server]\ntrusted_proxies=unix";
        assert_eq!(good(trusted).1, Vec::<String>::new());
    }

    #[test]
    fn an_entry_of_listen_that_cannot_be_served_is_named() {
        for (text, expected) in [
            ("listen=127.0.0.1", "\"127.0.0.1\" is no address with a port"),
            ("listen=::1:80", "\"::1:80\" is no address with a port"),
            ("listen=:80", "\":80\" is no address with a port"),
            ("listen=127.0.0.1:http", "\"127.0.0.1:http\" has no port from 0 to 65535 at its end"),
            ("listen=127.0.0.1:65536", "\"127.0.0.1:65536\" has no port from 0 to 65535 at its end"),
            ("listen=", "names no address"),
            ("listen=127.0.0.1:80 127.0.0.1:80", "127.0.0.1:80 is there twice"),
            ("listen=*:80 127.0.0.1:80", "127.0.0.1:80 and 0.0.0.0:80 cannot be had at the same time"),
            ("listen=127.0.0.1:80\nport=80", "127.0.0.1:80 is there twice"),
            ("listen=unix:/x unix:/x", "unix:/x is there twice"),
            ("listen=unix:", "\"unix:\" has no path"),
            ("listen=unix:@x", "\"unix:@x\" would have no file"),
        ] {
            let seen = errors(&format!("[network]\n{text}"));
            assert_eq!(seen.len(), 1, "{seen:#?}");
            assert!(seen[0].starts_with(&format!("t.ini:4: [network] listen: {expected}")), "{text}: {seen:#?}");
        }
    }
}
