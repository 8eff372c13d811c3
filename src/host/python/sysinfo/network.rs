//! Network interfaces: traffic, addresses, link state.
//!
//! Runs on any Python thread. Caveat: `sysinfo` gives 0 where `/sys` is not mounted, and a link that is down publishes
//! neither speed nor duplex.

use std::collections::{BTreeMap, HashMap};

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{SockaddrLike, SockaddrStorage};
use pyo3::prelude::*;
use sysinfo::Networks;

/// Bytes sent, bytes received, packets sent, packets received, errors in, errors out, dropped in, dropped out, since
/// the interface came up, by interface. The last two are 0 off Linux.
///
/// # Errors
/// `OSError` when `/proc/net/dev` cannot be read.
#[pyfunction]
pub(crate) fn net_io_counters() -> PyResult<BTreeMap<String, [u64; 8]>> {
    let dropped = dropped_packets()?;
    let networks = Networks::new_with_refreshed_list();
    let rows = networks.iter().map(|(name, data)| {
        let (dropped_in, dropped_out) = dropped.get(name).copied().unwrap_or_default();
        let row = [
            data.total_transmitted(),
            data.total_received(),
            data.total_packets_transmitted(),
            data.total_packets_received(),
            data.total_errors_on_received(),
            data.total_errors_on_transmitted(),
            dropped_in,
            dropped_out,
        ];
        (name.clone(), row)
    });
    Ok(rows.collect())
}

/// Packets dropped on the way in and out, by interface.
#[cfg(target_os = "linux")]
fn dropped_packets() -> PyResult<HashMap<String, (u64, u64)>> {
    let devices = procfs::net::dev_status().map_err(super::unreadable)?;
    Ok(devices.into_iter().map(|(name, device)| (name, (device.recv_drop, device.sent_drop))).collect())
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "one signature on all platforms")]
fn dropped_packets() -> PyResult<HashMap<String, (u64, u64)>> {
    Ok(HashMap::new())
}

/// An address of an interface: name, family's number, address, netmask, broadcast, far end of a point-to-point link.
type Address = (String, i32, String, Option<String>, Option<String>, Option<String>);

/// Every address of every interface, in the kernel's order: IPv4, IPv6 (with its scope) and hardware addresses.
///
/// # Errors
/// The `OSError` of `getifaddrs`.
#[pyfunction]
pub(crate) fn net_if_addrs() -> PyResult<Vec<Address>> {
    Ok(interface_addresses()?.filter_map(|entry| describe(&entry)).collect())
}

fn interface_addresses() -> PyResult<impl Iterator<Item = InterfaceAddress>> {
    Ok(getifaddrs().map_err(std::io::Error::from)?)
}

fn describe(entry: &InterfaceAddress) -> Option<Address> {
    let name = &entry.interface_name;
    let address = entry.address.as_ref()?;
    let text = |address: &Option<SockaddrStorage>| address.as_ref().and_then(|address| numeric(address, name));
    Some((
        name.clone(),
        address.family()? as i32,
        numeric(address, name)?,
        text(&entry.netmask),
        text(&entry.broadcast),
        text(&entry.destination),
    ))
}

/// The address as `getnameinfo` writes it; `None` for families without a text of their own.
fn numeric(address: &SockaddrStorage, interface: &str) -> Option<String> {
    if let Some(v4) = address.as_sockaddr_in() {
        Some(v4.ip().to_string())
    } else if let Some(v6) = address.as_sockaddr_in6() {
        let scope = if v6.scope_id() == 0 { String::new() } else { format!("%{interface}") };
        Some(format!("{}{scope}", v6.ip()))
    } else {
        let link = address.as_link_addr()?;
        // A tunnel has a link without a hardware address.
        #[cfg(target_os = "linux")]
        let link = (link.halen() > 0).then_some(link)?;
        let octets: Vec<_> = link.addr()?.iter().map(|octet| format!("{octet:02x}")).collect();
        Some(octets.join(":"))
    }
}

/// Link state: running, duplex (0 unknown, 1 half, 2 full), Mbit/s (0 unknown), MTU, names of the flags.
type Link = (bool, u8, u32, u64, Vec<String>);

/// The link state of every interface.
///
/// # Errors
/// The `OSError` of `getifaddrs`.
#[pyfunction]
pub(crate) fn net_if_stats() -> PyResult<BTreeMap<String, Link>> {
    // One entry an address, all with the same flags.
    let flags: HashMap<_, _> = interface_addresses()?.map(|entry| (entry.interface_name, entry.flags)).collect();
    let networks = Networks::new_with_refreshed_list();
    let links = networks.iter().filter_map(|(name, data)| {
        let flags = *flags.get(name)?;
        let running = flags.contains(InterfaceFlags::IFF_RUNNING);
        Some((name.clone(), (running, duplex(name), speed(name), data.mtu(), flag_names(flags))))
    });
    Ok(links.collect())
}

/// `IFF_UP` as `up`, in the order of the bits. Only the 16 bits of the `SIOCGIFFLAGS` call: `lower_up` and what
/// follows it are not in psutil's list.
fn flag_names(flags: InterfaceFlags) -> Vec<String> {
    let classic = InterfaceFlags::from_bits_truncate(flags.bits() & 0xffff);
    classic.iter_names().map(|(name, _)| name.trim_start_matches("IFF_").to_ascii_lowercase()).collect()
}

#[cfg(target_os = "linux")]
fn duplex(interface: &str) -> u8 {
    match super::read_attribute(format!("/sys/class/net/{interface}/duplex")).as_deref() {
        Some("half") => 1,
        Some("full") => 2,
        _ => 0,
    }
}

#[cfg(target_os = "linux")]
fn speed(interface: &str) -> u32 {
    // -1 when the driver does not know it.
    super::read_attribute(format!("/sys/class/net/{interface}/speed")).and_then(|mbit| mbit.parse().ok()).unwrap_or(0)
}

#[cfg(not(target_os = "linux"))]
fn duplex(_interface: &str) -> u8 {
    0
}

#[cfg(not(target_os = "linux"))]
fn speed(_interface: &str) -> u32 {
    0
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, SocketAddrV6};

    use super::*;

    #[test]
    fn a_flag_beyond_the_classic_sixteen_is_left_out() {
        let flags = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_MULTICAST | InterfaceFlags::IFF_RUNNING;
        assert_eq!(flag_names(flags), ["up", "running", "multicast"]);
        #[cfg(target_os = "linux")]
        assert_eq!(flag_names(flags | InterfaceFlags::IFF_LOWER_UP), ["up", "running", "multicast"]);
    }

    #[test]
    fn a_link_local_address_names_its_interface() {
        let scoped = SockaddrStorage::from(SocketAddrV6::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), 0, 0, 4));
        assert_eq!(numeric(&scoped, "eth0").as_deref(), Some("fe80::1%eth0"));
        let global = SockaddrStorage::from(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 0, 0, 0));
        assert_eq!(numeric(&global, "lo").as_deref(), Some("::1"));
    }
}
