//! Which address this machine is reached at.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

/// The source address of the default route; without one, the first address of an interface that is up; without that, loopback.
pub fn detect() -> IpAddr {
    routed().or_else(first).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// Connecting a UDP socket sends nothing but chooses a route. The address is one that documentation is free to use.
fn routed() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(203, 0, 113, 1), 9)).ok()?;
    socket.local_addr().ok().map(|a| a.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

fn first() -> Option<IpAddr> {
    let up = InterfaceFlags::IFF_UP;
    getifaddrs()
        .ok()?
        .filter(|i| i.flags.contains(up) && !i.flags.contains(InterfaceFlags::IFF_LOOPBACK))
        // our own bridge from an earlier run is not the machine's address
        .filter(|i| !i.interface_name.starts_with("skiff"))
        .find_map(|i| Some(IpAddr::V4(i.address?.as_sockaddr_in()?.ip())))
}

/// The addresses of an interface, or the one that is given instead of its name: the first of each family that is not only
/// for the link.
pub fn of(interface: &str) -> Option<Vec<IpAddr>> {
    if let Ok(ip) = interface.parse() {
        return Some(vec![ip]);
    }
    let all: Vec<IpAddr> = getifaddrs()
        .ok()?
        .filter(|i| i.interface_name == interface)
        .filter_map(|i| {
            let address = i.address?;
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            v4.or_else(|| {
                address.as_sockaddr_in6().map(|a| a.ip()).filter(|a| !a.is_unicast_link_local()).map(IpAddr::V6)
            })
        })
        .collect();
    let first = |v6: bool| all.iter().find(|ip| ip.is_ipv6() == v6).copied();
    let found: Vec<IpAddr> = first(false).into_iter().chain(first(true)).collect();
    (!found.is_empty()).then_some(found)
}
