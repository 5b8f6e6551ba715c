//! The kernel's tables: what is in them of ours, and one entry after the other into or out of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol};
use rtnetlink::{Handle, RouteMessageBuilder};

use super::plan::{Mac, Plan};
use crate::Error;
use crate::error::Context;

/// One node's view of the kernel.
#[derive(Clone)]
pub struct Kernel {
    pub netlink: Handle,
    /// Our mark on routes.
    pub protocol: u8,
    /// The tunnel's device, if there is one: routes go through it, neighbours and forwarding entries are its.
    pub device: Option<u32>,
}

impl Kernel {
    /// What there is of ours.
    pub async fn read(&self) -> Result<Plan, Error> {
        let mut plan = Plan::default();
        for v6 in [false, true] {
            let routes = route_dump(&self.netlink, v6).await?;
            plan.routes.extend(routes.iter().filter(|r| self.is_ours(r)).filter_map(parse_route));
        }
        let Some(device) = self.device else { return Ok(plan) };
        for family in [AddressFamily::Inet, AddressFamily::Inet6, AddressFamily::Bridge] {
            let request = self.netlink.neighbours().get().set_address_family(family).execute();
            let mut all = Box::pin(request);
            while let Some(entry) = all.try_next().await.what(|| "list neighbours".into())? {
                if entry.header.ifindex != device || entry.header.state != NeighbourState::Permanent {
                    continue;
                }
                match parse_neighbour(&entry) {
                    Some((ip, mac)) if family == AddressFamily::Bridge => drop(plan.forwarding.insert(mac, ip)),
                    Some((ip, mac)) => drop(plan.neighbours.insert(ip, mac)),
                    None => {}
                }
            }
        }
        Ok(plan)
    }

    fn is_ours(&self, route: &RouteMessage) -> bool {
        route.header.protocol == RouteProtocol::from(self.protocol)
    }

    /// Brings the kernel from `have` to `want`. `have` follows what succeeds; the answer is what failed.
    pub async fn apply(&self, have: &mut Plan, want: &Plan) -> Vec<Error> {
        let mut failed = Vec::new();
        // a route comes after what it needs, and goes before it
        let (fresh, stale) = (want.without(have), have.without(want));
        if let Some(device) = self.device {
            for (mac, ip) in fresh.forwarding {
                match self.forward(device, mac, ip).await {
                    Ok(()) => drop(have.forwarding.insert(mac, ip)),
                    Err(e) => failed.push(e),
                }
            }
            for (ip, mac) in fresh.neighbours {
                match self.neighbour(device, ip, mac).await {
                    Ok(()) => drop(have.neighbours.insert(ip, mac)),
                    Err(e) => failed.push(e),
                }
            }
        }
        for (cidr, gateway) in fresh.routes {
            let added = self.netlink.route().add(self.route(cidr, Some(gateway))).replace().execute().await;
            match added.what(|| format!("route {cidr} by {gateway}")) {
                Ok(()) => drop(have.routes.insert(cidr, gateway)),
                Err(e) => failed.push(e),
            }
        }
        for cidr in stale.routes.into_keys().filter(|c| !want.routes.contains_key(c)) {
            match gone(self.netlink.route().del(self.route(cidr, None)).execute().await) {
                Ok(()) => drop(have.routes.remove(&cidr)),
                Err(source) => failed.push(Error::Netlink { what: format!("delete route {cidr}"), source }),
            }
        }
        let Some(device) = self.device else { return failed };
        for ip in stale.neighbours.into_keys().filter(|ip| !want.neighbours.contains_key(ip)) {
            let mut entry = entry(device, if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 });
            entry.attributes.push(NeighbourAttribute::Destination(ip.into()));
            match gone(self.netlink.neighbours().del(entry).execute().await) {
                Ok(()) => drop(have.neighbours.remove(&ip)),
                Err(source) => failed.push(Error::Netlink { what: format!("delete neighbour {ip}"), source }),
            }
        }
        for (mac, ip) in stale.forwarding.into_iter().filter(|(mac, _)| !want.forwarding.contains_key(mac)) {
            let mut entry = entry(device, AddressFamily::Bridge);
            entry.header.flags = NeighbourFlags::Own;
            entry.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
            entry.attributes.push(NeighbourAttribute::Destination(ip.into()));
            match gone(self.netlink.neighbours().del(entry).execute().await) {
                Ok(()) => drop(have.forwarding.remove(&mac)),
                Err(source) => failed.push(Error::Netlink { what: format!("delete forwarding to {ip}"), source }),
            }
        }
        failed
    }

    async fn forward(&self, device: u32, mac: Mac, ip: IpAddr) -> Result<(), Error> {
        let add = self.netlink.neighbours().add_bridge(device, &mac).destination(ip).flags(NeighbourFlags::Own);
        add.replace().execute().await.what(|| format!("forward to {ip}"))
    }

    async fn neighbour(&self, device: u32, ip: IpAddr, mac: Mac) -> Result<(), Error> {
        let add = self.netlink.neighbours().add(device, ip).link_layer_address(&mac);
        add.replace().execute().await.what(|| format!("neighbour {ip}"))
    }

    /// Without a gateway it names the route of ours whatever its gateway is.
    fn route(&self, cidr: IpNet, gateway: Option<IpAddr>) -> RouteMessage {
        let protocol = RouteProtocol::from(self.protocol);
        let device = self.device.filter(|_| gateway.is_some());
        let mut message = match (cidr, gateway) {
            (IpNet::V4(c), gateway) => {
                let r = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(c.network(), c.prefix_len());
                match gateway {
                    Some(IpAddr::V4(g)) => r.gateway(g).protocol(protocol).build(),
                    _ => r.protocol(protocol).build(),
                }
            }
            (IpNet::V6(c), gateway) => {
                let r = RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(c.network(), c.prefix_len());
                match gateway {
                    Some(IpAddr::V6(g)) => r.gateway(g).protocol(protocol).build(),
                    _ => r.protocol(protocol).build(),
                }
            }
        };
        if let Some(device) = device {
            message.attributes.push(RouteAttribute::Oif(device));
            message.header.flags |= rtnetlink::packet_route::route::RouteFlags::Onlink;
        }
        message
    }
}

/// What is gone already is gone.
fn gone(result: Result<(), rtnetlink::Error>) -> Result<(), rtnetlink::Error> {
    match result {
        Err(rtnetlink::Error::NetlinkError(e)) if [-nix::libc::ESRCH, -nix::libc::ENOENT].contains(&e.raw_code()) => {
            Ok(())
        }
        other => other,
    }
}

fn entry(device: u32, family: AddressFamily) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family;
    message.header.ifindex = device;
    message
}

/// The routes of a family, those of the kernel included.
pub async fn route_dump(netlink: &Handle, v6: bool) -> Result<Vec<RouteMessage>, Error> {
    let message = match v6 {
        false => RouteMessageBuilder::<Ipv4Addr>::new().build(),
        true => RouteMessageBuilder::<Ipv6Addr>::new().build(),
    };
    netlink.route().get(message).execute().try_collect().await.what(|| "list routes".into())
}

/// Where to and by whom; `None` for a route to a pod here, which is by nobody.
fn parse_route(route: &RouteMessage) -> Option<(IpNet, IpAddr)> {
    let address = |a: &RouteAddress| match a {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    };
    let (mut to, mut by) = (None, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(a) => to = address(a),
            RouteAttribute::Gateway(a) => by = address(a),
            _ => {}
        }
    }
    Some((IpNet::new(to?, route.header.destination_prefix_length).ok()?, by?))
}

fn parse_neighbour(entry: &NeighbourMessage) -> Option<(IpAddr, Mac)> {
    let (mut ip, mut mac) = (None, None);
    for attribute in &entry.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(a)) => ip = Some(IpAddr::V4(*a)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(a)) => ip = Some(IpAddr::V6(*a)),
            // a forwarding entry does not say of which family its destination is
            NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
                let four = <[u8; 4]>::try_from(bytes.as_slice()).map(IpAddr::from).ok();
                ip = four.or_else(|| <[u8; 16]>::try_from(bytes.as_slice()).map(IpAddr::from).ok());
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = Mac::try_from(bytes.as_slice()).ok(),
            _ => {}
        }
    }
    Some((ip?, mac?))
}
