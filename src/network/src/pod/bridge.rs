//! The bridge: the home of the gateway's and the cluster DNS addresses. Pods' interfaces are routed and not its ports; it has
//! none, and is here because every kernel has bridges.

use std::net::IpAddr;

use futures::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags};
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::{Handle, LinkBridge, LinkUnspec, RouteMessageBuilder};

use super::ipam::nth;
use super::veth::mac;
use crate::error::Context;
use crate::uplink::Uplink;
use crate::{Config, Error, sysctl};

/// Makes or adopts the bridge with its addresses, routes and settings.
pub async fn ensure(netlink: &Handle, config: &Config, uplink: &Uplink, pod_cidrs: &[IpNet]) -> Result<(), Error> {
    let name = config.bridge.as_str();
    let gateways: Vec<IpNet> = pod_cidrs
        .iter()
        .map(|c| IpNet::new(nth(c, 1), c.prefix_len()).expect("a prefix length of the same family fits"))
        .collect();
    let index = match index(netlink, name).await {
        Some(index) => index,
        None => {
            // without an address of its own a bridge takes its lowest port's: pods of earlier versions are ports
            let bridge = LinkBridge::new(name).address(mac(gateways[0].addr())).build();
            netlink.link().add(bridge).execute().await.what(|| format!("add bridge {name}"))?;
            self::index(netlink, name).await.ok_or_else(|| Error::Netlink {
                what: format!("bridge {name}"),
                source: rtnetlink::Error::RequestFailed,
            })?
        }
    };
    settings(name, pod_cidrs.iter().any(|c| c.addr().is_ipv6()), &uplink.name);
    let up = LinkUnspec::new_with_index(index).mtu(uplink.pod_mtu).up().build();
    netlink.link().set(up).execute().await.what(|| format!("set {name} up"))?;
    // what is left of another pod network or of the userspace proxy would take packets that are others'
    let own = |ip: IpAddr| gateways.iter().any(|g| g.addr() == ip) || config.cluster_dns == Some(ip);
    remove_address(netlink, index, |ip| !own(ip)).await?;
    for gateway in &gateways {
        address(netlink, index, *gateway).await?;
    }
    if let Some(dns) = config.cluster_dns {
        address(netlink, index, dns.into()).await?;
    }
    // so that the host itself reaches cluster IPs, from the gateway's address, also without a default route
    for cidr in &config.service_cidrs {
        let source = gateways.iter().map(IpNet::addr).find(|g| g.is_ipv4() == cidr.addr().is_ipv4());
        if let Some(source) = source {
            route(netlink, index, *cidr, source).await?;
        }
    }
    Ok(())
}

pub async fn index(netlink: &Handle, name: &str) -> Option<u32> {
    let links = netlink.link().get().match_name(name.to_owned()).execute();
    let mut links = Box::pin(links);
    let link: Option<LinkMessage> = links.try_next().await.ok().flatten();
    link.map(|l| l.header.index)
}

/// Adds an address that is ours by allocation, and so of use at once: nobody is asked whether he has it.
pub async fn address(netlink: &Handle, index: u32, net: IpNet) -> Result<(), Error> {
    let mut add = netlink.address().add(index, net.addr(), net.prefix_len());
    add.message_mut().header.flags |= AddressHeaderFlags::Nodad;
    ignore_exists(add.execute().await).what(|| format!("add address {net}"))
}

/// Takes away the addresses that `which` picks, link-local ones aside.
pub async fn remove_address(netlink: &Handle, index: u32, which: impl Fn(IpAddr) -> bool) -> Result<(), Error> {
    let mut have = Box::pin(netlink.address().get().set_link_index_filter(index).execute());
    while let Some(message) = have.try_next().await.what(|| "list addresses".into())? {
        let ip = message.attributes.iter().find_map(|a| match a {
            AddressAttribute::Address(ip) => Some(*ip),
            _ => None,
        });
        let linked = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        if ip.is_some_and(|ip| which(ip) && !linked(&ip)) {
            // one that goes at this moment is fine
            let _ = netlink.address().del(message).execute().await;
        }
    }
    Ok(())
}

async fn route(netlink: &Handle, index: u32, cidr: IpNet, source: IpAddr) -> Result<(), Error> {
    let message = match (cidr, source) {
        (IpNet::V4(c), IpAddr::V4(s)) => RouteMessageBuilder::<std::net::Ipv4Addr>::new()
            .destination_prefix(c.network(), c.prefix_len())
            .pref_source(s)
            .output_interface(index)
            .build(),
        (IpNet::V6(c), IpAddr::V6(s)) => RouteMessageBuilder::<std::net::Ipv6Addr>::new()
            .destination_prefix(c.network(), c.prefix_len())
            .pref_source(s)
            .output_interface(index)
            .build(),
        _ => return Ok(()),
    };
    ignore_exists(netlink.route().add(message).execute().await).what(|| format!("add route {cidr}"))
}

pub fn ignore_exists(result: Result<(), rtnetlink::Error>) -> Result<(), rtnetlink::Error> {
    match result {
        Err(rtnetlink::Error::NetlinkError(e)) if e.raw_code() == -nix::libc::EEXIST => Ok(()),
        other => other,
    }
}

fn settings(bridge: &str, v6: bool, uplink: &str) {
    sysctl::set("ipv4/ip_forward", "1");
    // NodePorts answer on 127.0.0.1 too; the proxy's `raw_prerouting` chain keeps others out
    sysctl::set(&format!("ipv4/conf/{bridge}/route_localnet"), "1");
    // pods are neighbours on the link but are to come through here all the same
    sysctl::set(&format!("ipv4/conf/{bridge}/send_redirects"), "0");
    sysctl::set("ipv4/conf/all/send_redirects", "0");
    if v6 {
        // a machine that forwards takes no more advice from routers, its own default route included, unless told to
        let accept = format!("ipv6/conf/{uplink}/accept_ra");
        if !uplink.is_empty() && sysctl::get(&accept).as_deref() == Some("1") {
            sysctl::set(&accept, "2");
        }
        sysctl::set("ipv6/conf/all/forwarding", "1");
    }
}
