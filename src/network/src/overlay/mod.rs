//! Pods of other nodes: a VXLAN device, or plain routes, that follow the Node objects.
//!
//! ```text
//!   Nodes ──► peers ──► plan: routes, neighbours, forwarding ──► difference to the kernel's ──► netlink
//! ```
//!
//! The kernel is read once at start, so that what an earlier process left is adopted, and again when a link or an address
//! changed; otherwise only differences are written, and nothing when a node's change does not concern the network. All of it
//! stays when the process ends.

mod device;
mod kernel;
mod plan;

use std::time::Duration;

use futures::StreamExt;
use ipnet::IpNet;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::{Handle, MulticastGroup};
use tokio::sync::watch;

use crate::error::Context;
use crate::nodes::Nodes;
use crate::uplink::Uplink;
use crate::{Backend, Config, Error, sysctl};
use device::Device;
pub use kernel::{Kernel, route_dump};
use plan::Plan;

/// What cannot be written is tried again after so long, then twice as long, and so on.
const RETRY: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(60)];
/// An event is one of several, mostly.
const SETTLE: Duration = Duration::from_millis(50);

/// The way to the other nodes, for one pod network of this one.
pub struct Overlay<'a> {
    pub netlink: Handle,
    pub config: &'a Config,
    pub uplink: Uplink,
    pub own: &'a [IpNet],
}

impl Overlay<'_> {
    /// Follows the nodes; never ends. Before they are known, nothing is touched.
    pub async fn run(&self, nodes: &Nodes) {
        if self.config.backend == Backend::None {
            return std::future::pending().await;
        }
        let mut changes = nodes.changes();
        let events = watch::channel(0).0;
        let mut moved = events.subscribe();
        nodes.synced().await;
        tokio::join!(self.listen(events), async {
            let mut have = None;
            let mut wait = RETRY[0];
            loop {
                changes.mark_unchanged();
                if moved.has_changed().unwrap_or(false) {
                    moved.mark_unchanged();
                    have = None;
                }
                let failed = self.sync(nodes, &mut have).await;
                match failed.first() {
                    None => wait = RETRY[0],
                    Some(error) => tracing::warn!(%error, failed = failed.len(), "not all nodes' pods can be reached"),
                }
                let again = async {
                    match failed.is_empty() {
                        true => std::future::pending().await,
                        false => tokio::time::sleep(wait).await,
                    }
                };
                tokio::select! {
                    () = again => wait = (wait * 2).min(RETRY[1]),
                    // the sender goes with the informer, and we with that
                    c = changes.changed() => if c.is_err() { std::future::pending::<()>().await },
                    _ = moved.changed() => {
                        moved.mark_changed();
                        tokio::time::sleep(SETTLE).await;
                    }
                }
            }
        });
    }

    /// One difference. `have` is what the kernel holds, if that is known.
    async fn sync(&self, nodes: &Nodes, have: &mut Option<(Kernel, Plan)>) -> Vec<Error> {
        let peers = nodes.peers();
        let v6 = self.uplink.local.is_some_and(|ip| ip.is_ipv6());
        let want = match self.config.backend {
            Backend::Vxlan { .. } => plan::tunnelled(&peers, self.own, v6),
            _ => plan::direct(&peers, self.own),
        };
        if have.is_none() {
            match self.adopt(&want).await {
                Ok(found) => *have = Some(found),
                Err(error) => return vec![error],
            }
        }
        // a cluster of one node has no tunnel until another one comes
        let tunnel = matches!(self.config.backend, Backend::Vxlan { .. });
        if tunnel && want != Plan::default() && have.as_ref().is_some_and(|(kernel, _)| kernel.device.is_none()) {
            match self.device().await {
                Ok(index) => {
                    have.as_mut().into_iter().for_each(|(kernel, _)| kernel.device = Some(index));
                    tracing::info!(
                        device = self.config.tunnel(),
                        uplink = self.uplink.name,
                        "tunnel to the other nodes"
                    );
                }
                Err(error) => return vec![error],
            }
        }
        let Some((kernel, have)) = have else { return Vec::new() };
        kernel.apply(have, &want).await
    }

    /// What is there of an earlier time: the device is set right, a tunnel that is not wanted is removed.
    async fn adopt(&self, want: &Plan) -> Result<(Kernel, Plan), Error> {
        let found = device::find(&self.netlink, &self.config.tunnel()).await;
        let device = match (found, self.config.backend) {
            (Some(_), Backend::Vxlan { .. }) if *want != Plan::default() => Some(self.device().await?),
            (Some(link), _) => {
                self.netlink.link().del(link.header.index).execute().await.what(|| "delete the tunnel".into())?;
                None
            }
            (None, _) => None,
        };
        if self.config.backend == Backend::HostGw && !self.uplink.name.is_empty() {
            // a NodePort answers on 127.0.0.1 also where the pod is elsewhere; see the proxy's `raw_prerouting` chain
            sysctl::set(&format!("ipv4/conf/{}/route_localnet", self.uplink.name), "1");
        }
        let kernel = Kernel { netlink: self.netlink.clone(), protocol: protocol(&self.config.bridge), device };
        let have = kernel.read().await?;
        Ok((kernel, have))
    }

    async fn device(&self) -> Result<u32, Error> {
        let Backend::Vxlan { vni, port } = self.config.backend else {
            return Err(Error::NoInterface(self.config.tunnel()));
        };
        let device = Device {
            name: self.config.tunnel(),
            vni,
            port,
            mac: plan::mac(&self.config.node_name),
            mtu: self.uplink.pod_mtu,
            local: self.uplink.local,
            link: self.config.interface.is_some().then_some(self.uplink.index),
            addresses: self.own.iter().map(plan::tunnel_end).collect(),
        };
        device.ensure(&self.netlink).await
    }

    /// Tells of changes of the links that we use and of addresses: they can take routes with them.
    async fn listen(&self, events: watch::Sender<u64>) {
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        let (connection, _, mut messages) = match rtnetlink::new_multicast_connection(&groups) {
            Ok(opened) => opened,
            Err(error) => {
                tracing::warn!(%error, "changes of interfaces are not seen");
                return std::future::pending().await;
            }
        };
        let connection = tokio::spawn(connection);
        let _ended = AbortOnDrop(connection.abort_handle());
        let tunnel = self.config.tunnel();
        let mut known = std::collections::HashMap::new();
        while let Some((message, _)) = messages.next().await {
            let NetlinkPayload::InnerMessage(message) = message.payload else { continue };
            let concerns = match message {
                RouteNetlinkMessage::NewLink(link) => {
                    let ours = link.header.index == self.uplink.index || name(&link) == Some(tunnel.as_str());
                    // counters and the like are of no interest
                    ours && known.insert(link.header.index, link.header.flags).is_some_and(|f| f != link.header.flags)
                }
                RouteNetlinkMessage::DelLink(link) => {
                    known.remove(&link.header.index);
                    link.header.index == self.uplink.index || name(&link) == Some(tunnel.as_str())
                }
                RouteNetlinkMessage::NewAddress(a) | RouteNetlinkMessage::DelAddress(a) => {
                    a.header.index == self.uplink.index
                }
                _ => false,
            };
            if concerns {
                events.send_modify(|n| *n += 1);
            }
        }
        std::future::pending().await
    }
}

fn name(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|a| match a {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

struct AbortOnDrop(tokio::task::AbortHandle);
impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Our mark on routes (`ip route show proto …`): in a range that nobody has claimed, and mostly another one for each skiff of
/// a machine.
pub fn protocol(bridge: &str) -> u8 {
    let hash = bridge.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x100_0193));
    96 + (hash % 64) as u8
}
