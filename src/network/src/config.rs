//! What the flags say about the network of this node.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;

#[derive(Debug, Clone, Default)]
pub struct Config {
    pub node_name: String,
    /// Where this node is reached: at most one of each family, the main one first.
    pub node_ips: Vec<IpAddr>,
    /// Where address records are kept: `<data>/agent/network`.
    pub state_dir: PathBuf,
    /// The bridge, `skiff0`. At most 13 bytes: the tunnel's device is called by it.
    pub bridge: String,
    /// The name of the nftables tables.
    pub table: String,
    /// All pods of the cluster: traffic to them is never masqueraded.
    pub cluster_cidrs: Vec<IpNet>,
    pub service_cidrs: Vec<IpNet>,
    /// Bound to the bridge; DNS answers there.
    pub cluster_dns: Option<IpAddr>,
    /// `cluster.local`
    pub cluster_domain: String,
    /// Between nodes; the same on all of them.
    pub backend: Backend,
    /// The interface to the other nodes, by name or address: `--flannel-iface`.
    pub interface: Option<String>,
    /// Nodes reach each other by their ExternalIP where they have one: `--flannel-external-ip`.
    pub external: bool,
    /// Of pods [default: the interface's, less the tunnel's headers].
    pub mtu: Option<u32>,
}

impl Config {
    pub(crate) fn cluster_cidr(&self, v6: bool) -> Option<&IpNet> {
        self.cluster_cidrs.iter().find(|n| n.addr().is_ipv6() == v6)
    }
    pub(crate) fn service_cidr(&self, v6: bool) -> Option<&IpNet> {
        self.service_cidrs.iter().find(|n| n.addr().is_ipv6() == v6)
    }
    /// The VXLAN device.
    pub(crate) fn tunnel(&self) -> String {
        tunnel(&self.bridge)
    }
}

pub(crate) fn tunnel(bridge: &str) -> String {
    format!("{bridge}vx")
}

/// How pods' packets get from node to node: `--flannel-backend`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// In UDP packets; works wherever nodes reach each other.
    Vxlan { vni: u32, port: u16 },
    /// As they are, by routes to the nodes: these must share a link.
    HostGw,
    /// Somebody else's matter.
    None,
}

impl Default for Backend {
    /// flannel's VNI and port.
    fn default() -> Backend {
        Backend::Vxlan { vni: 1, port: 8472 }
    }
}

impl Backend {
    /// Bytes of headers on a packet between nodes, the outer one of IPv4 or IPv6.
    pub(crate) fn overhead(self, v6: bool) -> u32 {
        match self {
            Backend::Vxlan { .. } if v6 => 70,
            Backend::Vxlan { .. } => 50,
            Backend::HostGw | Backend::None => 0,
        }
    }
}

/// `vxlan`, `vxlan=VNI=7,Port=4789`, `host-gw`, `none`: k3s' form, flannel's option names.
impl FromStr for Backend {
    type Err = String;
    fn from_str(text: &str) -> Result<Backend, String> {
        let (kind, options) = text.split_once('=').unwrap_or((text, ""));
        let (mut vni, mut port) = (1, 8472);
        for option in options.split(',').filter(|o| !o.is_empty()) {
            let wrong =
                || format!("{option:?} is not an option of {kind}: expected VNI=1 to 16777215 or Port=1 to 65535");
            match option.split_once('=') {
                Some(("VNI", v)) if kind == "vxlan" => {
                    vni = v.parse().ok().filter(|n| (1..1 << 24).contains(n)).ok_or_else(wrong)?;
                }
                Some(("Port", p)) if kind == "vxlan" => {
                    port = p.parse().ok().filter(|p| *p != 0).ok_or_else(wrong)?;
                }
                _ => return Err(wrong()),
            }
        }
        match kind {
            "vxlan" => Ok(Backend::Vxlan { vni, port }),
            "host-gw" => Ok(Backend::HostGw),
            "none" => Ok(Backend::None),
            _ => Err(format!("{kind:?} is none of vxlan, host-gw, none")),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Backend::Vxlan { vni: 1, port: 8472 } => f.write_str("vxlan"),
            Backend::Vxlan { vni, port } => write!(f, "vxlan=VNI={vni},Port={port}"),
            Backend::HostGw => f.write_str("host-gw"),
            Backend::None => f.write_str("none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_are_read_and_written() {
        for text in ["vxlan", "vxlan=VNI=7,Port=4789", "host-gw", "none"] {
            assert_eq!(text.parse::<Backend>().unwrap().to_string(), text);
        }
        assert_eq!("vxlan=VNI=9".parse(), Ok(Backend::Vxlan { vni: 9, port: 8472 }));
        for text in ["", "udp", "vxlan=VNI=0", "vxlan=VNI=16777216", "vxlan=Port=x", "host-gw=VNI=1", "vxlan=7"] {
            assert!(text.parse::<Backend>().is_err(), "{text}");
        }
    }
}
