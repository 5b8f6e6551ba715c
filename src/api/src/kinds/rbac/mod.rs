//! `rbac.authorization.k8s.io`.

mod binding;
mod role;

use super::def::{cluster, namespaced};
use crate::Kind;

pub(super) fn kinds() -> Vec<Kind> {
    vec![
        cluster(
            "rbac.authorization.k8s.io",
            "v1",
            "ClusterRoleBinding",
            "clusterrolebindings",
            binding::Binding { cluster: true },
        ),
        cluster("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", role::Role { cluster: true }),
        namespaced(
            "rbac.authorization.k8s.io",
            "v1",
            "RoleBinding",
            "rolebindings",
            binding::Binding { cluster: false },
        ),
        namespaced("rbac.authorization.k8s.io", "v1", "Role", "roles", role::Role { cluster: false }),
    ]
}
