//! The built-in kinds: upstream v1.36's names, verbs and versions, one module a group, one strategy file a kind.
//!
//! [`registry`] is all that the engine needs. A group's `mod.rs` is the table of its kinds; the files beside it hold
//! what a kind does of its own (defaults, what may change, validation, table columns).

mod admissionregistration;
mod apiregistration;
mod apps;
mod autoscaling;
mod batch;
pub mod certificates;
mod conditions;
mod coordination;
mod core;
mod def;
mod diff;
mod discovery;
mod flowcontrol;
#[cfg(test)]
mod manifests_test;
mod metadata;
mod net;
mod networking;
mod node;
mod policy;
mod rbac;
mod resource;
mod resources;
#[cfg(test)]
mod resources_test;
mod scheduling;
mod storage;
mod subresources;
mod table;
pub(crate) mod tree;
mod workload;

use crate::Registry;

pub use core::namespace::prepare_finalize;
pub use core::pod;
pub use metadata::{validate_metadata, validate_metadata_update};
pub use subresources::{SUBRESOURCES, Subresource};
#[cfg(test)]
pub(crate) use tree::same;

/// All built-in kinds, groups in upstream's order of discovery, kinds by resource name.
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    let groups = [
        core::kinds(),
        apps::kinds(),
        autoscaling::kinds(),
        batch::kinds(),
        certificates::kinds(),
        networking::kinds(),
        policy::kinds(),
        rbac::kinds(),
        storage::kinds(),
        admissionregistration::kinds(),
        scheduling::kinds(),
        coordination::kinds(),
        node::kinds(),
        discovery::kinds(),
        flowcontrol::kinds(),
        resource::kinds(),
        vec![crate::crd::kind()],
        apiregistration::kinds(),
    ];
    for kind in groups.into_iter().flatten() {
        registry.add(kind);
    }
    registry
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scope;
    use serde_json::json;

    #[test]
    fn kinds_are_found_under_every_version_they_are_served_in() {
        let r = registry();
        for (group, version, plural, kind, schema) in [
            ("", "v1", "pods", "Pod", "io.k8s.api.core.v1.Pod"),
            ("apps", "v1", "deployments", "Deployment", "io.k8s.api.apps.v1.Deployment"),
            ("extensions", "v1beta1", "deployments", "Deployment", "io.k8s.api.apps.v1.Deployment"),
            ("apps", "v1beta1", "statefulsets", "StatefulSet", "io.k8s.api.apps.v1.StatefulSet"),
            ("apps", "v1beta2", "daemonsets", "DaemonSet", "io.k8s.api.apps.v1.DaemonSet"),
            ("events.k8s.io", "v1", "events", "Event", "io.k8s.api.core.v1.Event"),
            ("rbac.authorization.k8s.io", "v1", "roles", "Role", "io.k8s.api.rbac.v1.Role"),
        ] {
            let k = r.resource(group, version, plural).unwrap_or_else(|| panic!("{group}/{version} {plural}"));
            assert_eq!((k.kind.as_str(), k.schema.as_str()), (kind, schema));
            assert!(r.kind(group, version, kind).is_some());
            assert_eq!(k.singular, k.kind.to_lowercase());
        }
        assert_eq!(r.resource("", "v1", "nodes").map(|k| k.scope), Some(Scope::Cluster));
        let event = r.resource("", "v1", "events").expect("events");
        assert_eq!(event.schema_of("events.k8s.io", "v1"), "io.k8s.api.events.v1.Event");
        let deployment = r.resource("apps", "v1", "deployments").expect("deployments");
        assert_eq!(deployment.schema_of("extensions", "v1beta1"), deployment.schema);
    }

    /// Trees that fit no schema do not reach strategies; should one, it must not bring the server down.
    #[test]
    fn nothing_panics_on_odd_trees_and_every_row_fits_its_columns() {
        let odd = [
            json!({}),
            json!({"metadata": null, "spec": null, "status": null}),
            json!({"metadata": [], "spec": 5, "status": "x", "data": [1], "subsets": {}, "webhooks": 3, "rules": {"a": 1}}),
            json!({"metadata": {"name": "a", "uid": "u", "labels": 3, "annotations": []}, "spec": {}, "status": {}, "data": {"a": 1}}),
            json!({"metadata": {"name": 5}, "spec": {"template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [null, 5, {}],
                "initContainers": {}, "volumes": [5, {"secret": 1}]}}, "selector": "x", "containers": [[]], "ports": [1, {}],
                "strategy": 1, "updateStrategy": [], "volumeClaimTemplates": [1], "limits": [1, {"type": "Container", "max": 3}]},
                "status": {"conditions": [1], "containerStatuses": [1, {"state": 5}]}}),
        ];
        for kind in registry().kinds() {
            let s = &kind.strategy;
            for tree in &odd {
                let mut new = tree.clone();
                s.default(&mut new);
                let again = {
                    let mut v = new.clone();
                    s.default(&mut v);
                    v
                };
                assert_eq!(new, again, "{}: defaulting is idempotent", kind.kind);
                s.prepare_create(&mut new);
                s.validate(&new);
                validate_metadata(kind, &new);
                for old in &odd {
                    let mut updated = new.clone();
                    s.prepare_update(&mut updated, old);
                    s.validate_update(&updated, old);
                    validate_metadata_update(kind, &updated, old);
                    s.prepare_status_update(&mut updated, old);
                    s.validate_status_update(&updated, old);
                }
                s.scale(&new);
                s.grace_period_seconds(&new, None);
                for field in s.selectable_fields() {
                    s.select_field(&new, field);
                }
                assert_eq!(s.cells(&new, 0).len(), s.columns().len(), "{}", kind.kind);
            }
        }
    }
}
