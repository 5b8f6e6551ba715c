//! `networking.k8s.io`.

use super::def::{cluster, namespaced};
use crate::{Kind, NoStrategy};

pub(super) fn kinds() -> Vec<Kind> {
    vec![
        cluster("networking.k8s.io", "v1", "IngressClass", "ingressclasses", NoStrategy),
        namespaced("networking.k8s.io", "v1", "Ingress", "ingresses", NoStrategy).short("ing").status(),
        namespaced("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", NoStrategy).short("netpol"),
    ]
}
