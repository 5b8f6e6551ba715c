//! Which address this machine is reached at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use ipnet::IpNet;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

/// The source address of the default route; without one, the first address of an interface that is up; without that, loopback.
pub fn detect() -> IpAddr {
    routed(false).or_else(first).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// One address of each family of the pods, those of `known` first: a node of a dual-stack cluster is reached by both.
pub fn complete(known: &[IpAddr], pods: &[IpNet]) -> Vec<IpAddr> {
    let mut ips = Vec::new();
    for v6 in pods.iter().map(|c| c.addr().is_ipv6()) {
        let ip = known.iter().copied().find(|ip| ip.is_ipv6() == v6).or_else(|| routed(v6));
        ips.extend(ip.filter(|ip| !ips.contains(ip)));
    }
    if ips.is_empty() { known.to_vec() } else { ips }
}

/// Connecting a UDP socket sends nothing but chooses a route. The addresses are ones that documentation is free to use.
fn routed(v6: bool) -> Option<IpAddr> {
    let (any, there): (IpAddr, IpAddr) = match v6 {
        false => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(203, 0, 113, 1).into()),
        true => (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((there, 9)).ok()?;
    socket.local_addr().ok().map(|a| a.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified() && !link_local(ip))
}

fn link_local(ip: &IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
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
