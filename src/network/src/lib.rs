//! The node's network: pod interfaces, the service proxy, cluster DNS.
//!
//! ```text
//!   pod ─eth0 /32─ veth ─┐
//!   pod ─eth0 /32─ veth ─┴─ bridge (gateway address, cluster DNS address) ── host ── outside (masqueraded)
//!                             all traffic of a pod goes to the gateway, so netfilter sees it:
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
mod pod;
pub mod proxy;
mod services;
mod teardown;

pub use config::Config;
pub use error::Error;
pub use pod::{HostPort, HostPortRequest, HostPorts, PodNetwork, PodRef};
pub use services::Services;
pub use teardown::teardown;
