//! Each node's share of the cluster's pod network: upstream's `range_allocator`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use api::Resource;
use api::k8s_openapi::api::core::v1::Node;
use client::{Informer, ObjectKey, Patch, Requeue, Target, WriteOptions};
use ipnet::IpNet;
use parking_lot::Mutex;
use serde_json::json;

use crate::{Context, Error};

pub struct Allocator {
    ctx: Context,
    nodes: Informer,
    /// Given to a node, which the cache may not show yet.
    given: Mutex<Vec<(String, Vec<IpNet>)>>,
}

impl Allocator {
    pub fn new(ctx: Context, nodes: Informer) -> Allocator {
        Allocator { ctx, nodes, given: Mutex::default() }
    }

    /// Gives the node a network of each family, unless it has some.
    pub async fn sync(&self, key: &ObjectKey) -> Result<Requeue, Error> {
        let Some(node) = self.nodes.get("", &key.name) else {
            self.given.lock().retain(|(name, _)| *name != *key.name);
            return Ok(None);
        };
        let has = |n: &Node| {
            n.spec.as_ref().is_some_and(|s| s.pod_cidr.is_some() || s.pod_cidrs.as_ref().is_some_and(|c| !c.is_empty()))
        };
        let config = &self.ctx.config;
        if has(node.view::<Node>()?) || config.cluster_cidrs.is_empty() {
            return Ok(None);
        }
        let mine = {
            let mut given = self.given.lock();
            let used = self.used(&given);
            let pick = |cluster: &IpNet| {
                let prefix = if cluster.addr().is_ipv6() { config.node_prefix.1 } else { config.node_prefix.0 };
                first_free(cluster, prefix, &used)
            };
            let known = given.iter().find(|(name, _)| *name == *key.name).map(|(_, nets)| nets.clone());
            let mine = known.or_else(|| config.cluster_cidrs.iter().map(pick).collect::<Option<Vec<_>>>());
            if let Some(nets) = &mine {
                given.retain(|(name, _)| *name != *key.name);
                given.push((key.name.to_string(), nets.clone()));
            }
            mine
        };
        let Some(nets) = mine else {
            let text = format!("Node {} status is now: CIDRNotAvailable", key.name);
            self.ctx.recorder.component("cidrAllocator").normal::<Node>(&node, "CIDRNotAvailable", text);
            return Err(api::Status::internal("no network is left for the node").into());
        };
        let patch = json!({"spec": {"podCIDR": nets[0], "podCIDRs": nets}});
        let target = Target::one(Node::gvr(), "", &key.name);
        match self.ctx.client.patch(&target, Patch::Merge(patch), &WriteOptions::default()).await {
            Err(e) if !e.is_not_found() => Err(e.into()),
            _ => Ok(None),
        }
    }

    fn used(&self, given: &[(String, Vec<IpNet>)]) -> BTreeSet<IpNet> {
        let cidrs = |n: &Node| {
            n.spec.as_ref().map(|s| s.pod_cidrs.iter().flatten().chain(&s.pod_cidr).cloned().collect::<Vec<_>>())
        };
        let nodes = self.nodes.list(None);
        let of_nodes =
            nodes.iter().filter_map(|o| cidrs(o.view::<Node>().ok()?)).flatten().filter_map(|c| c.parse().ok());
        of_nodes.chain(given.iter().flat_map(|(_, nets)| nets.iter().copied())).collect()
    }
}

/// The first network of length `prefix` in `cluster` that meets none of `used`.
fn first_free(cluster: &IpNet, prefix: u8, used: &BTreeSet<IpNet>) -> Option<IpNet> {
    let prefix = prefix.max(cluster.prefix_len());
    let mut at: u128 = bits(cluster.network());
    let width = if cluster.addr().is_ipv6() { 128 } else { 32 };
    let step = 1u128.checked_shl(u32::from(width - prefix)).unwrap_or(0);
    loop {
        let address = if width == 128 { IpAddr::V6(at.into()) } else { IpAddr::V4(u32::try_from(at).ok()?.into()) };
        let net = IpNet::new(address, prefix).ok()?;
        if !cluster.contains(&address) {
            return None;
        }
        let meets = |u: &&IpNet| u.contains(&net) || net.contains(*u);
        if !used.iter().any(|u| meets(&u)) {
            return Some(net);
        }
        at = at.checked_add(step).filter(|_| step > 0)?;
    }
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u32::from(ip).into(),
        IpAddr::V6(ip) => ip.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_given_once() {
        let used = |all: &[&str]| all.iter().map(|n| n.parse().unwrap()).collect::<BTreeSet<IpNet>>();
        for (cluster, prefix, taken, want) in [
            ("10.42.0.0/16", 24, vec![], Some("10.42.0.0/24")),
            ("10.42.0.0/16", 24, vec!["10.42.0.0/24", "10.42.2.0/24"], Some("10.42.1.0/24")),
            ("10.42.0.0/16", 24, vec!["10.42.0.0/20"], Some("10.42.16.0/24")),
            ("10.42.0.0/24", 24, vec!["10.42.0.0/24"], None),
            ("255.255.255.0/24", 24, vec!["255.255.255.0/24"], None),
            ("fd00:42::/56", 64, vec!["fd00:42::/64"], Some("fd00:42:0:1::/64")),
        ] {
            let got = first_free(&cluster.parse().unwrap(), prefix, &used(&taken));
            assert_eq!(got, want.map(|w| w.parse().unwrap()), "{cluster} {taken:?}");
        }
    }
}
