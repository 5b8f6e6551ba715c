//! `networking.k8s.io`.

mod ingress;
mod network_policy;
mod service_cidr;

use super::def::{cluster, namespaced};
use crate::Kind;

const GROUP: &str = "networking.k8s.io";
const EXTENSIONS: (&str, &str) = ("extensions", "v1beta1");

pub(super) fn kinds() -> Vec<Kind> {
    vec![
        cluster(GROUP, "v1", "IngressClass", "ingressclasses", ingress::IngressClass).old(&["v1beta1"]),
        namespaced(GROUP, "v1", "Ingress", "ingresses", ingress::Ingress)
            .short("ing")
            .status()
            .old(&["v1beta1"])
            .also(&[EXTENSIONS]),
        namespaced(GROUP, "v1", "NetworkPolicy", "networkpolicies", network_policy::NetworkPolicy)
            .short("netpol")
            .also(&[EXTENSIONS]),
        cluster(GROUP, "v1", "IPAddress", "ipaddresses", service_cidr::IpAddress).short("ip").old(&["v1beta1"]),
        cluster(GROUP, "v1", "ServiceCIDR", "servicecidrs", service_cidr::ServiceCidr).status().old(&["v1beta1"]),
    ]
}
