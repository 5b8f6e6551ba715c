//! The VXLAN device: made, adopted if it is as it should be, made anew if not.

use std::net::IpAddr;

use futures::TryStreamExt;
use rtnetlink::packet_route::link::{InfoData, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::{Handle, LinkUnspec, LinkVxlan};

use super::plan::Mac;
use crate::error::Context;
use crate::{Error, bridge, sysctl};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    pub name: String,
    pub vni: u32,
    pub port: u16,
    pub mac: Mac,
    pub mtu: u32,
    /// The source of its packets.
    pub local: Option<IpAddr>,
    /// The interface that they leave by, where one was asked for.
    pub link: Option<u32>,
    /// Its own, one of each family of the pods.
    pub addresses: Vec<IpAddr>,
}

impl Device {
    /// Returns its index.
    pub async fn ensure(&self, netlink: &Handle) -> Result<u32, Error> {
        let name = self.name.as_str();
        let found = find(netlink, name).await;
        if let Some(other) = found.as_ref().filter(|l| !self.is(l)) {
            netlink.link().del(other.header.index).execute().await.what(|| format!("delete {name}"))?;
        }
        if found.is_none_or(|l| !self.is(&l)) {
            netlink.link().add(self.message()).execute().await.what(|| format!("add {name}"))?;
        }
        let index = find(netlink, name)
            .await
            .map(|l| l.header.index)
            .ok_or_else(|| Error::Netlink { what: format!("find {name}"), source: rtnetlink::Error::RequestFailed })?;
        sysctl::set(&format!("ipv4/conf/{name}/route_localnet"), "1");
        let up = LinkUnspec::new_with_index(index).mtu(self.mtu).up().build();
        netlink.link().set(up).execute().await.what(|| format!("set {name} up"))?;
        self.address(netlink, index).await?;
        Ok(index)
    }

    fn message(&self) -> LinkMessage {
        let mut link = LinkVxlan::new(&self.name, self.vni).port(self.port).learning(false);
        link = match self.local {
            Some(IpAddr::V4(ip)) => link.local(ip),
            Some(IpAddr::V6(ip)) => link.local6(ip),
            None => link,
        };
        if let Some(index) = self.link {
            link = link.dev(index);
        }
        link.address(self.mac.to_vec()).build()
    }

    /// Whether that link is the device as it is wanted, but for what can be changed later.
    fn is(&self, link: &LinkMessage) -> bool {
        let (mut vni, mut port, mut local, mut dev) = (None, None, None, None);
        let mut mac = None;
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::Address(bytes) => mac = Some(bytes.as_slice()),
                LinkAttribute::LinkInfo(infos) => {
                    let data = infos.iter().find_map(|i| match i {
                        LinkInfo::Data(InfoData::Vxlan(data)) => Some(data),
                        _ => None,
                    });
                    for info in data.into_iter().flatten() {
                        match info {
                            InfoVxlan::Id(id) => vni = Some(*id),
                            InfoVxlan::Port(p) => port = Some(*p),
                            InfoVxlan::Local(ip) => local = Some(IpAddr::V4(*ip)),
                            InfoVxlan::Local6(ip) => local = Some(IpAddr::V6(*ip)),
                            InfoVxlan::Link(index) => dev = Some(*index),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        (vni, port) == (Some(self.vni), Some(self.port))
            && (local, dev.filter(|i| *i != 0), mac) == (self.local, self.link, Some(self.mac.as_slice()))
    }

    /// Adds its addresses; takes away those of another time.
    async fn address(&self, netlink: &Handle, index: u32) -> Result<(), Error> {
        bridge::remove_address(netlink, index, |ip| !self.addresses.contains(&ip)).await?;
        for ip in &self.addresses {
            bridge::address(netlink, index, (*ip).into()).await?;
        }
        Ok(())
    }
}

pub async fn find(netlink: &Handle, name: &str) -> Option<LinkMessage> {
    let mut links = Box::pin(netlink.link().get().match_name(name.to_owned()).execute());
    links.try_next().await.ok().flatten()
}
