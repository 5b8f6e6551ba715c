//! What `apply` sends: the patch from what the server has to what the user wrote, without what was taken out since last time.
//!
//! ```text
//!   last applied ──what is gone──┐
//!   live ────what is new, other──┴─► patch
//! ```

mod json;
mod strategic;

pub use json::three_way as json;
pub use strategic::three_way as strategic;

use api::schema::{self, Type};

/// The structure of a kind, for strategic merge patches. Versions that upstream no longer defines read as their successors.
pub fn schema_of(group: &str, version: &str, kind: &str) -> Option<&'static Type> {
    schema::find_kind(group, version, kind).or_else(|| {
        let successors: &[(&str, &str)] = match group {
            "extensions" => &[("apps", "v1"), ("networking.k8s.io", "v1")],
            "apps"
            | "batch"
            | "policy"
            | "autoscaling"
            | "networking.k8s.io"
            | "rbac.authorization.k8s.io"
            | "storage.k8s.io"
            | "scheduling.k8s.io"
            | "coordination.k8s.io"
            | "discovery.k8s.io" => return schema::find_kind(group, "v1", kind),
            _ => &[],
        };
        successors.iter().find_map(|(g, v)| schema::find_kind(g, v, kind))
    })
}
