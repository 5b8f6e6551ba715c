//! What the network has to know of the nodes: this one's share of the pod network, and where the shares of the others are.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use api::k8s_openapi::api::core::v1::Node;
use api::{Object, Resource as _};
use client::{Client, Informer, Selector};
use ipnet::IpNet;
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Set where a node's tunnel does not end at its address, as flannel does.
pub const PUBLIC_IP: &str = "flannel.alpha.coreos.com/public-ip";
pub const PUBLIC_IPV6: &str = "flannel.alpha.coreos.com/public-ipv6";

/// Another node, as far as packets to its pods are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub name: String,
    /// `spec.podCIDRs`
    pub cidrs: Vec<IpNet>,
    /// Where it is reached, the best first.
    pub addresses: Vec<IpAddr>,
}

impl Peer {
    /// A node without pod CIDRs or address is none yet. `external`: nodes reach each other by their ExternalIP if they have
    /// one.
    pub fn of(name: &str, node: &Node, external: bool) -> Option<Peer> {
        let cidrs = pod_cidrs(node);
        let status = node.status.as_ref().and_then(|s| s.addresses.as_ref()).into_iter().flatten();
        let status: Vec<_> = status.filter_map(|a| Some((a.type_.as_str(), a.address.parse().ok()?))).collect();
        let of = |kind: &str| status.iter().filter(|(k, _)| *k == kind).map(|(_, ip)| *ip).collect::<Vec<IpAddr>>();
        let annotations = node.metadata.annotations.as_ref();
        let noted = [PUBLIC_IP, PUBLIC_IPV6].into_iter().filter_map(|k| annotations?.get(k)?.parse().ok());
        let mut addresses: Vec<IpAddr> = noted.collect();
        if external {
            addresses.extend(of("ExternalIP"));
        }
        addresses.extend(of("InternalIP"));
        (!cidrs.is_empty() && !addresses.is_empty()).then(|| Peer { name: name.to_owned(), cidrs, addresses })
    }

    pub fn address(&self, v6: bool) -> Option<IpAddr> {
        self.addresses.iter().find(|ip| ip.is_ipv6() == v6).copied()
    }
}

fn pod_cidrs(node: &Node) -> Vec<IpNet> {
    let Some(spec) = &node.spec else { return Vec::new() };
    let many = spec.pod_cidrs.iter().flatten().filter_map(|c| c.parse().ok());
    let many: Vec<IpNet> = many.collect();
    if many.is_empty() { spec.pod_cidr.iter().filter_map(|c| c.parse().ok()).collect() } else { many }
}

/// All nodes, followed. A change that does not concern the network, as a heartbeat, wakes nobody. Clones share it.
#[derive(Clone)]
pub struct Nodes {
    informer: Informer,
    peers: Arc<RwLock<BTreeMap<String, Peer>>>,
    own: watch::Receiver<Vec<IpNet>>,
    changed: watch::Receiver<u64>,
}

impl Nodes {
    pub fn start(client: Arc<dyn Client>, config: &crate::Config, stop: CancellationToken) -> Nodes {
        let informer = Informer::start(client, Selector::all(Node::gvr()), stop);
        let (own, own_seen) = watch::channel(Vec::new());
        let (changed, changed_seen) = watch::channel(0);
        let peers: Arc<RwLock<BTreeMap<String, Peer>>> = Arc::default();
        let (name, external, known) = (config.node_name.clone(), config.external, peers.clone());
        informer.on_change(move |change| {
            let object: &Object = change.object();
            let node = change.new.as_ref().and_then(|o| o.view::<Node>().ok());
            if object.name() == name {
                // a node that was deleted keeps its network until it is given another
                let cidrs = node.map(pod_cidrs).unwrap_or_default();
                own.send_if_modified(|have| {
                    let differs = !cidrs.is_empty() && *have != cidrs;
                    if differs {
                        *have = cidrs;
                    }
                    differs
                });
                return;
            }
            let peer = node.and_then(|n| Peer::of(object.name(), n, external));
            let mut known = known.write();
            let differs = known.get(object.name()) != peer.as_ref();
            match peer {
                Some(peer) if differs => drop(known.insert(peer.name.clone(), peer)),
                None if differs => drop(known.remove(object.name())),
                _ => return,
            }
            drop(known);
            changed.send_modify(|n| *n += 1);
        });
        Nodes { informer, peers, own: own_seen, changed: changed_seen }
    }

    pub async fn synced(&self) {
        self.informer.synced().await;
    }

    /// Changes whenever a peer did.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }

    pub fn peers(&self) -> Vec<Peer> {
        self.peers.read().values().cloned().collect()
    }

    /// Waits until this node's pod CIDRs are known and not `other`.
    pub async fn own(&self, other: &[IpNet]) -> Vec<IpNet> {
        let mut own = self.own.clone();
        let found = own.wait_for(|c| !c.is_empty() && c != other).await.map(|c| c.clone()).ok();
        match found {
            Some(cidrs) => cidrs,
            // the informer has ended, and so will the caller
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::fake::FakeClient;
    use serde_json::json;

    fn node(addresses: serde_json::Value, annotations: serde_json::Value) -> serde_json::Value {
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "b", "annotations": annotations},
            "spec": {"podCIDR": "10.42.1.0/24", "podCIDRs": ["10.42.1.0/24", "fd00:1::/64"]},
            "status": {"addresses": addresses}})
    }

    #[tokio::test]
    async fn only_what_concerns_the_network_wakes() {
        let fake = FakeClient::new();
        let config = crate::Config { node_name: "a".into(), external: true, ..crate::Config::default() };
        let stop = CancellationToken::new();
        let nodes = Nodes::start(fake.arc(), &config, stop.clone());
        let mut changes = nodes.changes();
        let internal = json!([{"type": "InternalIP", "address": "192.0.2.2"}, {"type": "Hostname", "address": "b"}]);
        fake.seed(Node::gvr(), node(internal, json!({})));
        changes.changed().await.unwrap();
        assert_eq!(nodes.peers()[0].addresses, ["192.0.2.2".parse::<IpAddr>().unwrap()]);
        assert_eq!(nodes.peers()[0].cidrs.len(), 2);

        fake.edit(&Node::gvr(), "", "b", |n| n["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}]));
        let own =
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}, "spec": {"podCIDR": "10.42.0.0/24"}});
        fake.seed(Node::gvr(), own);
        assert_eq!(nodes.own(&[]).await, ["10.42.0.0/24".parse::<IpNet>().unwrap()]);
        assert!(!changes.has_changed().unwrap(), "neither a heartbeat nor ourselves");

        let both =
            json!([{"type": "InternalIP", "address": "192.0.2.2"}, {"type": "ExternalIP", "address": "203.0.113.2"}]);
        fake.seed(Node::gvr(), node(both, json!({PUBLIC_IP: "198.51.100.2"})));
        changes.changed().await.unwrap();
        let got: Vec<String> = nodes.peers()[0].addresses.iter().map(ToString::to_string).collect();
        assert_eq!(got, ["198.51.100.2", "203.0.113.2", "192.0.2.2"]);
        stop.cancel();
    }
}
