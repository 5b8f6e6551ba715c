//! `coordination.k8s.io`.

use super::def::namespaced;
use crate::{Kind, NoStrategy};

pub(super) fn kinds() -> Vec<Kind> {
    vec![namespaced("coordination.k8s.io", "v1", "Lease", "leases", NoStrategy).late_flush()]
}
