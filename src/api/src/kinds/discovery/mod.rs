//! `discovery.k8s.io`.

use super::def::namespaced;
use crate::{Kind, NoStrategy};

pub(super) fn kinds() -> Vec<Kind> {
    vec![namespaced("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", NoStrategy)]
}
