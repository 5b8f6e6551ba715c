//! The interface by which this node reaches the others: its address is the tunnel's end, its MTU bounds the pods'.

use std::net::IpAddr;

use futures::TryStreamExt;
use rtnetlink::Handle;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags};
use rtnetlink::packet_route::route::RouteAttribute;

use crate::error::Context;
use crate::overlay::route_dump;
use crate::{Config, Error};

/// Where nothing is known: Ethernet's.
const MTU: u32 = 1500;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    pub index: u32,
    pub name: String,
    /// Of the pods: what is left after the tunnel's headers.
    pub pod_mtu: u32,
    /// The source of tunnelled packets.
    pub local: Option<IpAddr>,
}

struct Link {
    index: u32,
    name: String,
    mtu: u32,
    loopback: bool,
    up: bool,
    addresses: Vec<IpAddr>,
}

/// The named interface, or the one with the node's address, or that of the default route, or any that is up.
pub async fn find(netlink: &Handle, config: &Config) -> Result<Uplink, Error> {
    let links = links(netlink, config).await?;
    let holds = |l: &&Link| config.node_ips.iter().any(|ip| l.addresses.contains(ip));
    let chosen = match &config.interface {
        Some(name) => {
            let named = |l: &&Link| l.name == *name || name.parse().is_ok_and(|ip| l.addresses.contains(&ip));
            Some(links.iter().find(named).ok_or_else(|| Error::NoInterface(name.clone()))?)
        }
        None => match links.iter().find(holds) {
            Some(link) => Some(link),
            None => {
                let default = default_route(netlink).await;
                let by_route = links.iter().find(|l| Some(l.index) == default);
                by_route.or_else(|| links.iter().find(|l| l.up && !l.loopback && !l.addresses.is_empty()))
            }
        },
    };
    Ok(choose(chosen, config))
}

fn choose(link: Option<&Link>, config: &Config) -> Uplink {
    let Some(link) = link else {
        let pod_mtu = config.mtu.unwrap_or(MTU - config.backend.overhead(false));
        return Uplink { index: 0, name: String::new(), pod_mtu, local: None };
    };
    let v6 = config.node_ips.first().is_some_and(IpAddr::is_ipv6);
    let of_node = config.node_ips.iter().find(|ip| link.addresses.contains(ip));
    let local = of_node.or_else(|| link.addresses.iter().find(|ip| ip.is_ipv6() == v6)).copied();
    let overhead = config.backend.overhead(local.is_some_and(|ip| ip.is_ipv6()));
    // the loopback's is no network's
    let mtu = if link.loopback { MTU } else { link.mtu };
    let pod_mtu = config.mtu.unwrap_or_else(|| mtu.saturating_sub(overhead));
    Uplink { index: link.index, name: link.name.clone(), pod_mtu, local }
}

async fn links(netlink: &Handle, config: &Config) -> Result<Vec<Link>, Error> {
    let mut links = Vec::new();
    let mut all = Box::pin(netlink.link().get().execute());
    while let Some(message) = all.try_next().await.what(|| "list links".into())? {
        let mut link = Link {
            index: message.header.index,
            name: String::new(),
            mtu: MTU,
            loopback: message.header.flags.contains(LinkFlags::Loopback),
            up: message.header.flags.contains(LinkFlags::Up),
            addresses: Vec::new(),
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                _ => {}
            }
        }
        if link.name != config.bridge && link.name != config.tunnel() {
            links.push(link);
        }
    }
    let mut all = Box::pin(netlink.address().get().execute());
    while let Some(message) = all.try_next().await.what(|| "list addresses".into())? {
        let Some(link) = links.iter_mut().find(|l| l.index == message.header.index) else { continue };
        // a point-to-point link has its own end in `Local`, the other's in `Address`
        let of = |local: bool| {
            message.attributes.iter().find_map(|a| match a {
                AddressAttribute::Local(ip) if local => Some(*ip),
                AddressAttribute::Address(ip) if !local => Some(*ip),
                _ => None,
            })
        };
        link.addresses.extend(of(true).or_else(|| of(false)).filter(|ip| !link_local(ip)));
    }
    Ok(links)
}

fn link_local(ip: &IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// The interface of the default route with the best metric, IPv4 first.
async fn default_route(netlink: &Handle) -> Option<u32> {
    let mut best: Option<(bool, u32, u32)> = None;
    for v6 in [false, true] {
        for route in route_dump(netlink, v6).await.ok()? {
            if route.header.destination_prefix_length != 0 {
                continue;
            }
            let (mut metric, mut oif) = (0, None);
            for attribute in &route.attributes {
                match attribute {
                    RouteAttribute::Priority(p) => metric = *p,
                    RouteAttribute::Oif(i) => oif = Some(*i),
                    _ => {}
                }
            }
            if let Some(oif) = oif
                && best.is_none_or(|(v, m, _)| (v6, metric) < (v, m))
            {
                best = Some((v6, metric, oif));
            }
        }
    }
    best.map(|(_, _, oif)| oif)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Backend;

    #[test]
    fn the_tunnels_headers_come_off_the_mtu() {
        let ip = |s: &str| s.parse::<IpAddr>().unwrap();
        let link = |mtu, loopback| Link {
            index: 2,
            name: "eth0".into(),
            mtu,
            loopback,
            up: true,
            addresses: vec![ip("192.0.2.7"), ip("2001:db8::7")],
        };
        let of = |link: &Link, node: &str, backend: &str, mtu| {
            let config = Config {
                node_ips: vec![ip(node)],
                backend: backend.parse::<Backend>().unwrap(),
                mtu,
                ..Config::default()
            };
            let u = choose(Some(link), &config);
            (u.pod_mtu, u.local.unwrap().to_string())
        };
        assert_eq!(of(&link(1500, false), "192.0.2.7", "vxlan", None), (1450, "192.0.2.7".into()));
        assert_eq!(of(&link(9000, false), "192.0.2.7", "host-gw", None), (9000, "192.0.2.7".into()));
        assert_eq!(of(&link(1500, false), "2001:db8::7", "vxlan", None), (1430, "2001:db8::7".into()));
        assert_eq!(of(&link(65536, true), "127.0.0.1", "vxlan", None), (1450, "192.0.2.7".into()));
        assert_eq!(
            of(&link(1500, false), "203.0.113.1", "vxlan", Some(1280)),
            (1280, "192.0.2.7".into()),
            "behind NAT"
        );
    }
}
