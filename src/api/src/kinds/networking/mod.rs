//! `networking.k8s.io`.

mod ingress;
mod network_policy;
mod service_cidr;

use super::def::{cluster, namespaced};
use crate::Kind;

pub(super) fn kinds() -> Vec<Kind> {
    vec![
        cluster("networking.k8s.io", "v1", "IngressClass", "ingressclasses", ingress::IngressClass),
        namespaced("networking.k8s.io", "v1", "Ingress", "ingresses", ingress::Ingress).short("ing").status(),
        namespaced("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", network_policy::NetworkPolicy)
            .short("netpol"),
        cluster("networking.k8s.io", "v1", "IPAddress", "ipaddresses", service_cidr::IpAddress).short("ip"),
        cluster("networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs", service_cidr::ServiceCidr).status(),
    ]
}
