//! From the nodes to the kernel's tables: pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::nodes::Peer;
use crate::pod::nth;

pub type Mac = [u8; 6];

/// What is in the kernel, or is to be.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Pod network → gateway.
    pub routes: BTreeMap<IpNet, IpAddr>,
    /// Gateway → its hardware address, on the tunnel.
    pub neighbours: BTreeMap<IpAddr, Mac>,
    /// Hardware address → the node behind it.
    pub forwarding: BTreeMap<Mac, IpAddr>,
}

/// Through the tunnel: a route per network to the far tunnel end, whose hardware address follows from the node's name. `v6`:
/// the tunnel's packets are IPv6.
pub fn tunnelled(peers: &[Peer], own: &[IpNet], v6: bool) -> Plan {
    let mut plan = Plan::default();
    for peer in peers {
        let Some(node) = peer.address(v6) else {
            tracing::warn!(node = %peer.name, "has no address of the tunnel's family");
            continue;
        };
        let mac = mac(&peer.name);
        for cidr in foreign(peer, own) {
            let end = tunnel_end(cidr);
            plan.routes.insert(*cidr, end);
            plan.neighbours.insert(end, mac);
        }
        plan.forwarding.insert(mac, node);
    }
    plan
}

/// Straight to the nodes.
pub fn direct(peers: &[Peer], own: &[IpNet]) -> Plan {
    let mut plan = Plan::default();
    for peer in peers {
        for cidr in foreign(peer, own) {
            match peer.address(cidr.addr().is_ipv6()) {
                Some(node) => drop(plan.routes.insert(*cidr, node)),
                None => tracing::warn!(node = %peer.name, %cidr, "has no address of its pods' family"),
            }
        }
    }
    plan
}

/// A node that claims our own network is not believed.
fn foreign<'a>(peer: &'a Peer, own: &'a [IpNet]) -> impl Iterator<Item = &'a IpNet> {
    peer.cidrs.iter().filter(|c| !own.iter().any(|o| o.contains(*c) || c.contains(o)))
}

/// The address of a node's tunnel in its pod network. IPv4: the network's own, as flannel does. IPv6: the last one, as the
/// first is every router's.
pub fn tunnel_end(cidr: &IpNet) -> IpAddr {
    match cidr {
        IpNet::V4(_) => nth(cidr, 0),
        IpNet::V6(c) => c.broadcast().into(),
    }
}

/// Every node knows every node's without being told: from its name, locally administered.
pub fn mac(node: &str) -> Mac {
    let hash = node.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let [a, b, c, d, e, f, g, h] = hash.to_be_bytes();
    [(a ^ g) & 0xfc | 2, b ^ h, c, d, e, f]
}

impl Plan {
    /// What `self` has and `other` has not, or otherwise.
    pub fn without(&self, other: &Plan) -> Plan {
        Plan {
            routes: without(&self.routes, &other.routes),
            neighbours: without(&self.neighbours, &other.neighbours),
            forwarding: without(&self.forwarding, &other.forwarding),
        }
    }
}

fn without<K: Ord + Copy, V: PartialEq + Copy>(a: &BTreeMap<K, V>, b: &BTreeMap<K, V>) -> BTreeMap<K, V> {
    a.iter().filter(|(k, v)| b.get(k) != Some(v)).map(|(k, v)| (*k, *v)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str, cidrs: &[&str], addresses: &[&str]) -> Peer {
        Peer {
            name: name.into(),
            cidrs: cidrs.iter().map(|c| c.parse().unwrap()).collect(),
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn a_peer_is_routes_neighbours_and_one_forwarding_entry() {
        let own = ["10.42.0.0/24".parse().unwrap()];
        let peers = [
            peer("b", &["10.42.1.0/24", "fd00:0:0:1::/64"], &["192.0.2.2"]),
            peer("thief", &["10.42.0.0/25"], &["192.0.2.9"]),
            peer("v6", &["10.42.3.0/24"], &["2001:db8::3"]),
        ];
        let plan = tunnelled(&peers, &own, false);
        let routes: Vec<String> = plan.routes.iter().map(|(c, g)| format!("{c} {g}")).collect();
        assert_eq!(routes, ["10.42.1.0/24 10.42.1.0", "fd00:0:0:1::/64 fd00::1:ffff:ffff:ffff:ffff"]);
        assert_eq!(plan.neighbours.len(), 2);
        assert_eq!(plan.forwarding[&mac("b")].to_string(), "192.0.2.2");
        let plan = direct(&peers, &own);
        let routes: Vec<String> = plan.routes.iter().map(|(c, g)| format!("{c} {g}")).collect();
        assert_eq!(routes, ["10.42.1.0/24 192.0.2.2"]);
    }

    #[test]
    fn only_the_difference_is_written() {
        let (a, b) = (peer("a", &["10.42.1.0/24"], &["192.0.2.2"]), peer("b", &["10.42.2.0/24"], &["192.0.2.3"]));
        let old = tunnelled(&[a.clone(), b.clone()], &[], false);
        let moved = Peer { addresses: vec!["192.0.2.7".parse().unwrap()], ..a };
        let new = tunnelled(&[moved, b], &[], false);
        let change = new.without(&old);
        assert!(change.routes.is_empty() && change.neighbours.is_empty());
        assert_eq!(change.forwarding.values().map(ToString::to_string).collect::<Vec<_>>(), ["192.0.2.7"]);
        assert_eq!(new.without(&new), Plan::default());
    }

    #[test]
    fn hardware_addresses_are_local_and_distinct() {
        let all: std::collections::BTreeSet<Mac> = (0..1000).map(|i| mac(&format!("n{i}"))).collect();
        assert_eq!(all.len(), 1000);
        assert!(all.iter().all(|m| m[0] & 3 == 2));
    }
}
