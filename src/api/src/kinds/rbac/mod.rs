//! `rbac.authorization.k8s.io`.

mod binding;
mod role;

use super::def::{cluster, namespaced};
use crate::Kind;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn kinds() -> Vec<Kind> {
    let old = |kind: Kind| kind.old(&["v1beta1", "v1alpha1"]);
    [
        cluster(GROUP, "v1", "ClusterRoleBinding", "clusterrolebindings", binding::Binding { cluster: true }),
        cluster(GROUP, "v1", "ClusterRole", "clusterroles", role::Role { cluster: true }),
        namespaced(GROUP, "v1", "RoleBinding", "rolebindings", binding::Binding { cluster: false }),
        namespaced(GROUP, "v1", "Role", "roles", role::Role { cluster: false }),
    ]
    .map(old)
    .into()
}
