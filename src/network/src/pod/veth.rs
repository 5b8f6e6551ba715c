//! A pod's interface: a veth, routed at both ends. Each end knows the other's hardware address, so that nobody asks for it:
//! a pod's first packet waits for nothing, and no bridge is between it and the host's routing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;

use futures::TryStreamExt;
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::route::{RouteMessage, RouteProtocol, RouteScope};
use rtnetlink::{Handle, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::bridge::index;
use super::ipam::Record;
use super::netns;
use crate::error::Context;
use crate::{Error, sysctl};

/// What a pod is plugged into.
pub struct Socket<'a> {
    pub netlink: &'a Handle,
    pub mtu: u32,
    /// The node's own address of each family of the pod network.
    pub gateways: Vec<IpAddr>,
    /// Our mark on routes.
    pub protocol: u8,
}

impl Socket<'_> {
    /// Makes the interface, or sees that what there is of it still leads here.
    pub async fn plug(&self, record: &Record, namespace: &std::fs::File) -> Result<(), Error> {
        let host = record.veth.as_str();
        if netns::has_eth0(namespace, &record.ips).await? {
            // a port of the bridge is one that an earlier version has made: it is reached through that
            return match self.unbridged(host).await {
                Some(host) => self.lead(host, record).await,
                None => Ok(()),
            };
        }
        // a leftover of an attempt that did not get through
        if let Some(index) = index(self.netlink, host).await {
            self.netlink.link().del(index).execute().await.what(|| format!("delete {host}"))?;
        }
        let peer = format!("{host}p");
        let veth = LinkVeth::new(host, &peer).mtu(self.mtu).address(self.mac()).up().build();
        self.netlink.link().add(veth).execute().await.what(|| format!("add {host}"))?;
        let there = LinkUnspec::new_with_name(&peer).address(mac(record.ips[0])).setns_by_fd(namespace.as_raw_fd());
        self.netlink.link().set(there.build()).execute().await.what(|| format!("move {peer}"))?;
        let gateways = self.gateways.clone();
        netns::configure(namespace, peer, record.ips.clone(), gateways, self.mac(), self.mtu).await?;
        let index = index(self.netlink, host).await.ok_or_else(|| Error::NoInterface(host.to_owned()))?;
        // a NodePort answers on 127.0.0.1 too; the proxy's `raw_prerouting` chain keeps others out
        sysctl::set(&format!("ipv4/conf/{host}/route_localnet"), "1");
        // a pod that is turned round to itself is told of no shorter way
        sysctl::set(&format!("ipv4/conf/{host}/send_redirects"), "0");
        self.lead(index, record).await
    }

    /// The host's end, if no bridge has it.
    async fn unbridged(&self, host: &str) -> Option<u32> {
        let links = self.netlink.link().get().match_name(host.to_owned()).execute();
        let link = Box::pin(links).try_next().await.ok().flatten()?;
        let bridged = link.attributes.iter().any(|a| matches!(a, LinkAttribute::Controller(_)));
        (!bridged).then_some(link.header.index)
    }

    /// The way from the host to the pod.
    async fn lead(&self, host: u32, record: &Record) -> Result<(), Error> {
        for ip in &record.ips {
            let neighbour = self.netlink.neighbours().add(host, *ip).link_layer_address(&mac(record.ips[0]));
            neighbour.replace().execute().await.what(|| format!("neighbour {ip}"))?;
            let route = self.netlink.route().add(self.route(host, *ip)).replace();
            route.execute().await.what(|| format!("route to {ip}"))?;
        }
        Ok(())
    }

    fn route(&self, host: u32, ip: IpAddr) -> RouteMessage {
        let protocol = RouteProtocol::from(self.protocol);
        let source = self.gateways.iter().find(|g| g.is_ipv4() == ip.is_ipv4());
        match ip {
            IpAddr::V4(ip) => {
                let route = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(ip, 32).output_interface(host);
                let route = route.scope(RouteScope::Link).protocol(protocol);
                match source {
                    Some(IpAddr::V4(source)) => route.pref_source(*source).build(),
                    _ => route.build(),
                }
            }
            IpAddr::V6(ip) => {
                let route = RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(ip, 128).output_interface(host);
                let route = route.protocol(protocol);
                match source {
                    Some(IpAddr::V6(source)) => route.pref_source(*source).build(),
                    _ => route.build(),
                }
            }
        }
    }

    /// Of all the host's ends.
    fn mac(&self) -> Vec<u8> {
        mac(self.gateways[0])
    }
}

/// `0a:58` and the IPv4 address, as the CNI plugins do.
pub fn mac(ip: IpAddr) -> Vec<u8> {
    let tail: [u8; 4] = match ip {
        IpAddr::V4(a) => a.octets(),
        IpAddr::V6(a) => {
            let o = a.octets();
            [o[2], o[3], o[14], o[15]]
        }
    };
    [vec![0x0a, 0x58], tail.to_vec()].concat()
}
