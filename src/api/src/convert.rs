//! Versions of a kind: every one is converted through the storage version, on trees.
//!
//! Conversion comes before the schema check, so it meets trees of any shape: what does not fit it leaves for the check to
//! refuse. The old workload versions get their own, older defaults here; what they leave out is defaulted as in `apps/v1`.

mod autoscaling;
mod crd;
mod event;
mod ingress;
mod lifecycle;
mod small;
mod workload;

use serde_json::Value;

use crate::Kind;

pub use lifecycle::warning;
pub(crate) use small::SIDE_EFFECTS;

/// From the version that a client wrote to the storage version, with the defaults of the old version.
pub fn to_storage(kind: &Kind, group: &str, version: &str, tree: &mut Value) {
    if is_storage(kind, group, version) {
        return;
    }
    match (kind.kind.as_str(), group) {
        ("Event", "events.k8s.io") => event::from_events(tree),
        ("Event", "") => event::to_events(tree),
        ("Deployment" | "DaemonSet" | "ReplicaSet" | "StatefulSet", _) => {
            workload::to_v1(&kind.kind, group, version, tree)
        }
        ("CustomResourceDefinition", crate::crd::GROUP) => crd::to_v1(tree),
        ("Ingress", _) => ingress::to_v1(tree),
        ("HorizontalPodAutoscaler", _) => autoscaling::to_v2(version, tree),
        ("PodDisruptionBudget", _) => small::budget::to_v1(tree),
        ("EndpointSlice", _) => small::slice::to_v1(tree),
        ("RoleBinding" | "ClusterRoleBinding", _) if version == "v1alpha1" => small::subjects::to_v1(tree),
        ("PriorityLevelConfiguration", _) => small::shares::to_v1(version, tree),
        ("CertificateSigningRequest", _) => small::signing_request_to_v1(tree),
        ("ResourceClaim" | "ResourceClaimTemplate" | "ResourceSlice", _) if version == "v1beta1" => {
            small::devices::to_v1(tree);
        }
        ("MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration", _) => small::webhooks_to_v1(tree),
        ("SubjectAccessReview" | "LocalSubjectAccessReview", _) => small::review::to_v1(tree),
        _ => {}
    }
    set_version(tree, &kind.group, &kind.version);
}

/// From the storage version to the one that a client asks for.
pub fn from_storage(kind: &Kind, group: &str, version: &str, tree: &mut Value) {
    if is_storage(kind, group, version) {
        return;
    }
    match (kind.kind.as_str(), group) {
        ("Event", "events.k8s.io") => event::to_events(tree),
        ("Event", "") => event::from_events(tree),
        ("Deployment" | "DaemonSet", _) => workload::from_v1(&kind.kind, version, tree),
        ("CustomResourceDefinition", crate::crd::GROUP) => crd::from_v1(tree),
        ("Ingress", _) => ingress::from_v1(tree),
        ("HorizontalPodAutoscaler", _) => autoscaling::from_v2(version, tree),
        ("PodDisruptionBudget", _) => small::budget::from_v1(tree),
        ("EndpointSlice", _) => small::slice::from_v1(tree),
        ("RoleBinding" | "ClusterRoleBinding", _) if version == "v1alpha1" => small::subjects::from_v1(tree),
        ("PriorityLevelConfiguration", _) => small::shares::from_v1(version, tree),
        ("MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration", _) => small::webhooks_from_v1(tree),
        ("SubjectAccessReview" | "LocalSubjectAccessReview", _) => small::review::from_v1(tree),
        ("ResourceClaim" | "ResourceClaimTemplate" | "ResourceSlice", _) if version == "v1beta1" => {
            small::devices::from_v1(tree);
        }
        _ => {}
    }
    set_version(tree, group, version);
}

/// Whether nothing has to be converted.
pub fn is_storage(kind: &Kind, group: &str, version: &str) -> bool {
    kind.group == group && kind.version == version
}

/// A Scale of `autoscaling/v1` as the old workload versions show it: `status.selector` is a map, `targetSelector` the text.
pub fn scale_from_v1(group: &str, version: &str, scale: &mut Value) {
    if let Some(status) = scale.get_mut("status").and_then(Value::as_object_mut)
        && let Some(Value::String(text)) = status.remove("selector")
    {
        let pairs = text.split(',').filter_map(|p| p.split_once('='));
        let plain = text.split(',').all(|p| p.contains('=') && !p.contains(['!', '(', ')', ' ']));
        if plain {
            status.insert("selector".into(), pairs.map(|(k, v)| (k.to_owned(), Value::from(v))).collect());
        }
        status.insert("targetSelector".into(), text.into());
    }
    set_version(scale, group, version);
}

/// A Scale of an old workload version as one of `autoscaling/v1`.
pub fn scale_to_v1(scale: &mut Value) {
    if let Some(status) = scale.get_mut("status").and_then(Value::as_object_mut) {
        status.remove("selector");
        if let Some(text) = status.remove("targetSelector") {
            status.insert("selector".into(), text);
        }
    }
    set_version(scale, "autoscaling", "v1");
}

fn set_version(tree: &mut Value, group: &str, version: &str) {
    if let Some(o) = tree.as_object_mut() {
        o.insert("apiVersion".into(), crate::kind::api_version(group, version).into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::registry;
    use serde_json::json;

    fn storage(group: &str, version: &str, plural: &str, mut tree: Value) -> Value {
        let registry = registry();
        to_storage(registry.resource(group, version, plural).unwrap(), group, version, &mut tree);
        tree
    }

    #[test]
    fn the_guestbooks_deployment_gets_its_selector() {
        let got = storage(
            "extensions",
            "v1beta1",
            "deployments",
            json!({"apiVersion": "extensions/v1beta1", "kind": "Deployment", "metadata": {"name": "redis"},
                "spec": {"replicas": 1, "rollbackTo": {"revision": 3}, "template": {"metadata": {"labels": {"app": "redis"}}, "spec": {}}}}),
        );
        assert_eq!(
            got,
            json!({"apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "redis", "labels": {"app": "redis"}, "annotations": {"deprecated.deployment.rollback.to": "3"}},
                "spec": {"replicas": 1, "revisionHistoryLimit": 2147483647, "progressDeadlineSeconds": 2147483647,
                    "selector": {"matchLabels": {"app": "redis"}},
                    "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}},
                    "template": {"metadata": {"labels": {"app": "redis"}}, "spec": {}}}})
        );
    }

    #[test]
    fn old_defaults_differ_by_version() {
        let tree = |v: &str| json!({"apiVersion": v, "spec": {"template": {"metadata": {"labels": {"a": "b"}}}}});
        let cases = [
            ("apps", "v1beta1", "deployments", "/spec/revisionHistoryLimit", json!(2)),
            ("apps", "v1beta1", "deployments", "/spec/selector/matchLabels/a", json!("b")),
            ("apps", "v1beta2", "deployments", "/spec/revisionHistoryLimit", Value::Null),
            ("apps", "v1beta2", "deployments", "/spec/selector", Value::Null),
            ("extensions", "v1beta1", "daemonsets", "/spec/updateStrategy/type", json!("OnDelete")),
            ("apps", "v1beta1", "statefulsets", "/spec/updateStrategy/type", json!("OnDelete")),
            ("apps", "v1beta2", "statefulsets", "/spec/updateStrategy", Value::Null),
            ("extensions", "v1beta1", "replicasets", "/metadata/labels/a", json!("b")),
        ];
        for (group, version, plural, pointer, want) in cases {
            let got = storage(group, version, plural, tree(&format!("{group}/{version}")));
            assert_eq!(got.pointer(pointer).cloned().unwrap_or_default(), want, "{group}/{version} {plural} {pointer}");
            assert_eq!(got["apiVersion"], "apps/v1");
        }
    }

    #[test]
    fn there_and_back_again() {
        let registry = registry();
        let cases = [
            (
                "events.k8s.io",
                "v1",
                "events",
                json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "note": "n", "regarding": {"kind": "Pod"}, "reportingController": "c",
                 "deprecatedCount": 2, "deprecatedSource": {"component": "x"}, "eventTime": "2020-01-01T00:00:00.000000Z", "series": {"count": 1}}),
            ),
            (
                "extensions",
                "v1beta1",
                "daemonsets",
                json!({"apiVersion": "extensions/v1beta1", "kind": "DaemonSet", "metadata": {"labels": {"a": "b"}},
                 "spec": {"templateGeneration": 3, "selector": {}, "updateStrategy": {"type": "OnDelete"}, "template": {}}}),
            ),
        ];
        for (group, version, plural, tree) in cases {
            let kind = registry.resource(group, version, plural).unwrap();
            let mut t = tree.clone();
            to_storage(kind, group, version, &mut t);
            assert_ne!(t["apiVersion"], tree["apiVersion"]);
            from_storage(kind, group, version, &mut t);
            assert_eq!(t, tree);
        }
    }

    #[test]
    fn nonsense_is_left_to_the_schema() {
        let odd = [
            json!(1),
            json!([]),
            json!({"spec": 1, "metadata": [], "status": "x", "subjects": 3, "endpoints": {"a": 1}, "webhooks": [1, {}]}),
            json!({"metadata": {"annotations": 5}, "webhooks": [{}], "endpoints": [{"topology": 1}, {"deprecatedTopology": []}],
                "subjects": [{"kind": 5}], "status": {"conditions": {}, "currentMetrics": 5}}),
            json!({"metadata": {"annotations": {"autoscaling.alpha.kubernetes.io/metrics": "[1, {\"object\": 5}]",
                "autoscaling.alpha.kubernetes.io/behavior": "x", "autoscaling.alpha.kubernetes.io/conditions": 5}},
                "spec": {"template": 1, "strategy": 2, "limited": 5, "backend": 1, "defaultBackend": [], "rules": [1, {"http": 5},
                {"http": {"paths": [1, {"backend": 3}]}}], "metrics": [1, {"object": 1}, {"resource": {"target": 5, "name": []}}],
                "selector": [], "devices": 5, "request": 5, "usages": {}, "behavior": 7}}),
            json!({"spec": {"devices": [1, {"basic": 3}], "spec": {"devices": {"requests": [1, {"exactly": 2}]}},
                "metrics": {"a": 1}, "limited": {"nominalConcurrencyShares": 0}}, "metadata": 5}),
        ];
        for kind in registry().kinds() {
            for (group, version) in &kind.served {
                for tree in &odd {
                    to_storage(kind, group, version, &mut tree.clone());
                    from_storage(kind, group, version, &mut tree.clone());
                }
            }
        }
    }

    #[test]
    fn scales_and_warnings() {
        let mut scale = json!({"apiVersion": "autoscaling/v1", "status": {"replicas": 1, "selector": "a=b,c=d"}});
        scale_from_v1("extensions", "v1beta1", &mut scale);
        assert_eq!(
            scale["status"],
            json!({"replicas": 1, "selector": {"a": "b", "c": "d"}, "targetSelector": "a=b,c=d"})
        );
        scale_to_v1(&mut scale);
        assert_eq!(scale, json!({"apiVersion": "autoscaling/v1", "status": {"replicas": 1, "selector": "a=b,c=d"}}));
        assert_eq!(
            warning("extensions", "v1beta1", "Deployment").unwrap(),
            "extensions/v1beta1 Deployment is deprecated in v1.8+, unavailable in v1.16+; use apps/v1 Deployment"
        );
        assert_eq!(warning("apps", "v1", "Deployment"), None);
    }
}
