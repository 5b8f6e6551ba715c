//! `discovery.k8s.io`.

mod endpoint_slice;

use super::def::namespaced;
use crate::Kind;

pub(super) fn kinds() -> Vec<Kind> {
    vec![
        namespaced("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", endpoint_slice::EndpointSlice)
            .old(&["v1beta1"]),
    ]
}
