//! Where an address is.

use std::net::IpAddr;

use api::k8s_openapi::api::core::v1::Node;
use ipnet::IpNet;

use crate::Lookup;

/// The node whose own address this is, or whose pods have it; and which of the two.
pub fn node_at(lookup: &dyn Lookup, ip: IpAddr) -> Option<(String, bool)> {
    lookup.list("nodes", "").iter().find_map(|object| {
        let node = object.view::<Node>().ok()?;
        let addresses = node.status.iter().flat_map(|s| s.addresses.iter().flatten());
        let is_own = addresses.filter_map(|a| a.address.parse::<IpAddr>().ok()).any(|a| a == ip);
        let mut pods =
            node.spec.iter().flat_map(|s| s.pod_cidrs.iter().flatten()).filter_map(|c| c.parse::<IpNet>().ok());
        (is_own || pods.any(|c| c.contains(&ip))).then(|| (object.name().to_owned(), is_own))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::lookup::fake::Cluster;

    #[test]
    fn a_node_is_found_by_its_own_address_and_its_pods() {
        let cluster = Cluster::default();
        for (name, ip, cidr) in [("a", "192.0.2.1", "10.42.0.0/24"), ("b", "192.0.2.2", "10.42.1.0/24")] {
            cluster.put(
                "nodes",
                json!({"metadata": {"name": name}, "spec": {"podCIDRs": [cidr]},
                    "status": {"addresses": [{"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": name}]}}),
            );
        }
        for (ip, found) in [
            ("192.0.2.2", Some(("b".to_owned(), true))),
            ("10.42.0.9", Some(("a".to_owned(), false))),
            ("10.43.0.1", None),
        ] {
            assert_eq!(node_at(&cluster, ip.parse().unwrap()), found, "{ip}");
        }
    }
}
