//! `coordination.k8s.io`.

mod lease;

use super::def::namespaced;
use crate::Kind;

pub(super) fn kinds() -> Vec<Kind> {
    vec![namespaced("coordination.k8s.io", "v1", "Lease", "leases", lease::Lease).late_flush().old(&["v1beta1"])]
}
