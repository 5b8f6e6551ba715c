//! What the flags say about the network of this node.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;

#[derive(Debug, Clone)]
pub struct Config {
    pub node_name: String,
    /// Where address records are kept: `<data>/agent/network`.
    pub state_dir: PathBuf,
    /// The bridge, `skiff0`; also the name of the nftables tables.
    pub bridge: String,
    pub table: String,
    /// All pods of the cluster: traffic to them is never masqueraded.
    pub cluster_cidrs: Vec<IpNet>,
    pub service_cidrs: Vec<IpNet>,
    /// Bound to the bridge; DNS answers there.
    pub cluster_dns: Option<IpAddr>,
    /// `cluster.local`
    pub cluster_domain: String,
    pub mtu: u32,
}

impl Config {
    pub(crate) fn cluster_cidr(&self, v6: bool) -> Option<&IpNet> {
        self.cluster_cidrs.iter().find(|n| n.addr().is_ipv6() == v6)
    }
}
