//! `rbac.authorization.k8s.io`.

use super::def::{cluster, namespaced};
use crate::{Kind, NoStrategy};

pub(super) fn kinds() -> Vec<Kind> {
    vec![
        cluster("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", NoStrategy),
        cluster("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", NoStrategy),
        namespaced("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", NoStrategy),
        namespaced("rbac.authorization.k8s.io", "v1", "Role", "roles", NoStrategy),
    ]
}
