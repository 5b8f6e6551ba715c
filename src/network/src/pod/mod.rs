//! Pod interfaces: an address, a veth, routes. Set up and torn down by the kubelet, kept in files.

pub(crate) mod bridge;
mod ipam;
mod netns;
mod veth;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use parking_lot::Mutex;
use rtnetlink::Handle;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::Context;
use crate::overlay::Overlay;
use crate::uplink::{self, Uplink};
use crate::{Config, Error, Nodes};
pub(crate) use bridge::index as link_index;
use ipam::Ipam;
pub use ipam::nth;

/// In the state directory: this node's networks, so that a node comes up without a server.
const CIDRS: &str = "pod-cidrs";

/// What the network wants to know of a pod.
#[derive(Debug, Clone, Default)]
pub struct PodRef {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub host_ports: Vec<HostPortRequest>,
}

/// `containers[].ports[]` with a `hostPort`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPortRequest {
    /// `tcp`, `udp`, `sctp`
    pub protocol: String,
    pub host_port: u16,
    pub container_port: u16,
    pub host_ip: Option<IpAddr>,
}

/// A port of the node that leads to a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    pub protocol: String,
    pub port: u16,
    pub host_ip: Option<IpAddr>,
    pub pod_ip: IpAddr,
    pub container_port: u16,
}

/// The host ports of all pods of this node, for the proxy. Clones share it.
#[derive(Clone)]
pub struct HostPorts {
    ipam: Arc<Mutex<Option<Ipam>>>,
    changed: Arc<watch::Sender<u64>>,
}

impl HostPorts {
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
    pub(crate) fn all(&self) -> Vec<HostPort> {
        let ipam = self.ipam.lock();
        let records = ipam.iter().flat_map(Ipam::records);
        records
            .flat_map(|r| r.host_ports.iter().flat_map(move |p| r.ips.iter().map(move |ip| (p, *ip))))
            .filter(|(p, ip)| p.host_ip.is_none_or(|h| h.is_ipv4() == ip.is_ipv4()))
            .map(|(p, pod_ip)| HostPort {
                protocol: p.protocol.clone(),
                port: p.host_port,
                host_ip: p.host_ip,
                pod_ip,
                container_port: p.container_port,
            })
            .collect()
    }
}

/// Gives pods their interfaces. Cheap to clone.
#[derive(Clone)]
pub struct PodNetwork {
    config: Arc<Config>,
    netlink: Handle,
    ipam: Arc<Mutex<Option<Ipam>>>,
    changed: Arc<watch::Sender<u64>>,
    /// The pods' MTU, once there is a pod network.
    ready: Arc<watch::Sender<Option<u32>>>,
}

impl PodNetwork {
    /// Opens netlink. Nothing is changed until [`PodNetwork::start`].
    pub fn new(config: Config) -> Result<PodNetwork, Error> {
        let (connection, netlink, _) =
            rtnetlink::new_connection().map_err(|source| Error::Io { what: "netlink socket".into(), source })?;
        tokio::spawn(connection);
        Ok(PodNetwork {
            config: Arc::new(config),
            netlink,
            ipam: Arc::default(),
            changed: Arc::new(watch::channel(0).0),
            ready: Arc::new(watch::channel(None).0),
        })
    }

    /// Whether `ip` is one of this node's pods'.
    pub fn has(&self, ip: IpAddr) -> bool {
        self.ipam.lock().iter().flat_map(Ipam::records).any(|r| r.ips.contains(&ip))
    }

    pub fn host_ports(&self) -> HostPorts {
        HostPorts { ipam: self.ipam.clone(), changed: self.changed.clone() }
    }

    /// Sets the network up and keeps it, until `stop`: at once from what an earlier process was given, or when this node is
    /// given its pod CIDRs; then the way to the other nodes. Everything stays when it ends.
    pub async fn run(&self, nodes: Nodes, stop: CancellationToken) {
        let follow = async {
            let mut cidrs = self.saved();
            if cidrs.is_empty() {
                cidrs = nodes.own(&[]).await;
            }
            loop {
                let kept = async {
                    let uplink = self.start_at_last(&cidrs).await;
                    let overlay = Overlay { netlink: self.netlink.clone(), config: &self.config, uplink, own: &cidrs };
                    overlay.run(&nodes).await;
                };
                let other = tokio::select! {
                    () = kept => return,
                    other = nodes.own(&cidrs) => other,
                };
                tracing::warn!(old = ?cidrs, new = ?other, "this node has been given another pod network");
                cidrs = other;
            }
        };
        stop.run_until_cancelled(follow).await;
    }

    async fn start_at_last(&self, cidrs: &[IpNet]) -> Uplink {
        let mut wait = Duration::from_millis(500);
        loop {
            match self.start(cidrs).await {
                Ok(uplink) => return uplink,
                Err(error) => tracing::error!(%error, "the pod network could not be set up; trying again"),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(30));
        }
    }

    /// The pod CIDRs of an earlier process.
    fn saved(&self) -> Vec<IpNet> {
        let text = std::fs::read(self.config.state_dir.join(CIDRS)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn save(&self, cidrs: &[IpNet]) -> Result<(), Error> {
        if self.saved() == cidrs {
            return Ok(());
        }
        let (path, fresh) = (self.config.state_dir.join(CIDRS), self.config.state_dir.join(".pod-cidrs"));
        let bytes = serde_json::to_vec(cidrs).expect("networks encode");
        let write = || {
            std::fs::write(&fresh, bytes)?;
            // a machine that loses its power now may come back without a server to ask
            std::fs::File::open(&fresh)?.sync_all()?;
            std::fs::rename(&fresh, &path)
        };
        write().what(|| format!("write {}", path.display()))
    }

    /// Makes the bridge for this node's pod CIDRs; adopts what an earlier process left.
    pub async fn start(&self, pod_cidrs: &[IpNet]) -> Result<Uplink, Error> {
        if pod_cidrs.is_empty() {
            return Err(Error::NoPodCidr);
        }
        let ipam = Ipam::open(&self.config.state_dir, pod_cidrs)?;
        let uplink = uplink::find(&self.netlink, &self.config).await?;
        bridge::ensure(&self.netlink, &self.config, &uplink, pod_cidrs).await?;
        self.save(pod_cidrs)?;
        *self.ipam.lock() = Some(ipam);
        self.changed.send_modify(|n| *n += 1);
        self.ready.send_replace(Some(uplink.pod_mtu));
        Ok(uplink)
    }

    /// Whether [`PodNetwork::start`] has succeeded.
    pub fn is_ready(&self) -> bool {
        self.ready.borrow().is_some()
    }

    /// Waits for that.
    pub async fn ready(&self) {
        // the sender lives as long as `self`
        let _ = self.ready.subscribe().wait_for(Option::is_some).await;
    }

    /// Waits until [`PodNetwork::is_ready`] may answer differently.
    pub async fn changed(&self) {
        // the sender lives as long as `self`
        let _ = self.ready.subscribe().changed().await;
    }

    /// Gives the pod an address and an `eth0` in `netns`. Again for the same pod: the same addresses.
    pub async fn setup(&self, pod: &PodRef, netns: &Path) -> Result<Vec<IpAddr>, Error> {
        let mtu = (*self.ready.borrow()).ok_or(Error::NoPodCidr)?;
        let (record, gateways) = {
            let mut ipam = self.ipam.lock();
            let ipam = ipam.as_mut().ok_or(Error::NoPodCidr)?;
            (ipam.allocate(pod)?, ipam.gateways())
        };
        let namespace = std::fs::File::open(netns).what(|| format!("open {}", netns.display()))?;
        let protocol = crate::overlay::protocol(&self.config.bridge);
        veth::Socket { netlink: &self.netlink, mtu, gateways, protocol }.plug(&record, &namespace).await?;
        if !record.host_ports.is_empty() {
            self.changed.send_modify(|n| *n += 1);
        }
        Ok(record.ips)
    }

    /// Takes the interface and the addresses back. Fine for a pod that has none.
    pub async fn teardown(&self, uid: &str) -> Result<(), Error> {
        let record = self.ipam.lock().as_mut().and_then(|i| i.release(uid));
        let Some(record) = record else { return Ok(()) };
        if let Some(index) = bridge::index(&self.netlink, &record.veth).await {
            // the kernel may remove it with the namespace at the same moment
            let _ = self.netlink.link().del(index).execute().await;
        }
        if !record.host_ports.is_empty() {
            self.changed.send_modify(|n| *n += 1);
        }
        Ok(())
    }

    /// The pods that hold addresses.
    pub fn pods(&self) -> Vec<String> {
        self.ipam.lock().iter().flat_map(Ipam::records).map(|r| r.uid.clone()).collect()
    }
}
