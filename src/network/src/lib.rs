//! The node's network: pod interfaces, the way to other nodes' pods, the service proxy, cluster DNS.
//!
//! ```text
//!   pod ─eth0 /32─ veth ─┐                                                ┌─ outside (masqueraded)
//!   pod ─eth0 /32─ veth ─┴─ host (gateway and cluster DNS addresses) ─────┴─ VXLAN or routes ── other nodes
//!                             all traffic of a pod is routed by the host, so netfilter sees it:
//!                             ClusterIP, NodePort, hostPort → DNAT by nftables maps
//! ```
//!
//! A pod has a /32 (or /128) address and reaches even its neighbours through the host. That is what lets replies from a
//! neighbour be translated back without `br_netfilter`.
//!
//! Rules, interfaces and address records outlive the process: a restarted agent adopts them.

mod config;
pub mod dns;
mod error;
mod nodes;
mod overlay;
mod pod;
pub mod proxy;
mod services;
mod sysctl;
mod teardown;
mod uplink;

pub use config::{Backend, Config};
pub use error::Error;
pub use nodes::{Nodes, PUBLIC_IP, PUBLIC_IPV6, Peer};
pub use pod::nth;
pub use pod::{HostPort, HostPortRequest, HostPorts, PodNetwork, PodRef};
pub use services::Services;
pub use teardown::teardown;
pub use uplink::Uplink;

use pod::bridge;
