//! Stateful sets.

use serde_json::{Value, json};

use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::core::{default_claim, pod::default_template};
use crate::kinds::table::{containers, name};
use crate::kinds::tree::{has, items_mut, made, number, or, or_zero, same, text};
use crate::kinds::workload;
use crate::strategy::{AGE, Column, NAME, Scale, age, set};

pub(super) struct StatefulSet;

impl Strategy for StatefulSet {
    fn default(&self, object: &mut Value) {
        let Some(spec) = made(object, "spec") else { return };
        or_zero(spec, "podManagementPolicy", "OrderedReady");
        or(spec, "replicas", 1);
        or(spec, "revisionHistoryLimit", 10);
        or(spec, "serviceName", "");
        if let Some(strategy) = made(spec, "updateStrategy") {
            or_zero(strategy, "type", "RollingUpdate");
            if text(strategy, "type") == "RollingUpdate"
                && let Some(rolling) = made(strategy, "rollingUpdate")
            {
                or(rolling, "partition", 0);
            }
        }
        if let Some(policy) = made(spec, "persistentVolumeClaimRetentionPolicy") {
            or_zero(policy, "whenDeleted", "Retain");
            or_zero(policy, "whenScaled", "Retain");
        }
        if let Some(template) = made(spec, "template") {
            default_template(template);
        }
        for claim in items_mut(spec, "volumeClaimTemplates") {
            or_zero(claim, "apiVersion", "v1");
            or_zero(claim, "kind", "PersistentVolumeClaim");
            default_claim(claim);
        }
    }
    fn prepare_create(&self, object: &mut Value) {
        set(object, "status", Some(json!({"replicas": 0, "availableReplicas": 0})));
    }
    fn has_generation(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let (spec, path) = (&object["spec"], &Path::root("spec"));
        let policy = text(spec, "podManagementPolicy");
        if policy.is_empty() {
            errors.push(field::Error::required(&path.child("podManagementPolicy"), ""));
        } else if !matches!(policy, "OrderedReady" | "Parallel") {
            let detail = "must be 'OrderedReady' or 'Parallel'";
            errors.push(field::Error::invalid(&path.child("podManagementPolicy"), policy, detail));
        }
        let (strategy, at) = (&spec["updateStrategy"], path.child("updateStrategy"));
        match text(strategy, "type") {
            "OnDelete" if has(strategy, "rollingUpdate") => {
                let detail = "only allowed for updateStrategy 'RollingUpdate'";
                let value = strategy["rollingUpdate"].clone();
                errors.push(field::Error::invalid(&at.child("rollingUpdate"), value, detail));
            }
            "OnDelete" => {}
            "RollingUpdate" => {
                let (rolling, at) = (&strategy["rollingUpdate"], at.child("rollingUpdate"));
                workload::nonnegative(&mut errors, &at, rolling, "partition");
                let (most, at) = (&rolling["maxUnavailable"], at.child("maxUnavailable"));
                workload::int_or_percent(&mut errors, &at, most, true);
                if has(rolling, "maxUnavailable") && workload::is_none(most) {
                    errors.push(field::Error::invalid(&at, most.clone(), "cannot be 0"));
                }
            }
            _ => {
                let detail = "must be 'RollingUpdate' or 'OnDelete'";
                errors.push(field::Error::invalid(&at, strategy.clone(), detail));
            }
        }
        let retention = path.child("persistentVolumeClaimRetentionPolicy");
        for field in ["whenDeleted", "whenScaled"] {
            let value = text(&spec["persistentVolumeClaimRetentionPolicy"], field);
            if !matches!(value, "Retain" | "Delete") {
                errors.push(field::Error::not_supported(&retention.child(field), value, &["Retain", "Delete"]));
            }
        }
        for field in ["replicas", "minReadySeconds", "revisionHistoryLimit"] {
            workload::nonnegative(&mut errors, path, spec, field);
        }
        // a path of one step, as upstream has it
        let start = number(&spec["ordinals"], "start");
        if start < 0 {
            let detail = "must be greater than or equal to 0";
            errors.push(field::Error::invalid(&path.child("ordinals.start"), start, detail));
        }
        let words = workload::Words { selector: "statefulset", template: "StatefulSet" };
        workload::validate_selector_and_template(&mut errors, path, spec, &words);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        let (mut spec, mut was) = (new["spec"].clone(), old["spec"].clone());
        for s in [&mut spec, &mut was] {
            for mutable in [
                "replicas",
                "ordinals",
                "template",
                "updateStrategy",
                "revisionHistoryLimit",
                "persistentVolumeClaimRetentionPolicy",
                "minReadySeconds",
            ] {
                set(s, mutable, None);
            }
        }
        if same(&spec, &was) {
            return Vec::new();
        }
        let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        vec![field::Error::forbidden(&Path::root("spec"), detail)]
    }

    /// Pods are named after it: it must be a label.
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        crate::names::dns_label(name, prefix)
    }

    fn scale(&self, object: &Value) -> Option<Scale> {
        workload::scale(object)
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        workload::status_update(
            new,
            old,
            &[
                "replicas",
                "readyReplicas",
                "currentReplicas",
                "updatedReplicas",
                "availableReplicas",
                "observedGeneration",
                "collisionCount",
            ],
            &["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"],
            "status.readyReplicas",
        )
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                Column::new("Ready", "string"),
                AGE,
                Column::wide("Containers", "string"),
                Column::wide("Images", "string"),
            ]
        }
    }
    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        let spec = &object["spec"];
        let [names, images] = containers(&spec["template"]["spec"]);
        let ready = format!("{}/{}", number(&object["status"], "readyReplicas"), number(spec, "replicas"));
        vec![name(object), ready.into(), age(object, now_seconds), names, images]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::workload::{defaulted, problems};

    #[test]
    fn only_some_fields_of_a_stateful_set_change() {
        let set = json!({"spec": {"serviceName": "s", "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]}});
        assert_eq!(problems(&StatefulSet, set.clone()), Vec::<String>::new());
        let old = defaulted(&StatefulSet, set);
        assert_eq!(old["spec"]["volumeClaimTemplates"][0]["kind"], "PersistentVolumeClaim");
        assert_eq!(old["spec"]["volumeClaimTemplates"][0]["status"]["phase"], "Pending");
        let mut new = old.clone();
        new["spec"]["replicas"] = json!(5);
        assert!(StatefulSet.validate_update(&new, &old).is_empty());
        new["spec"]["serviceName"] = json!("other");
        assert!(
            StatefulSet.validate_update(&new, &old)[0]
                .to_string()
                .starts_with("spec: Forbidden: updates to statefulset")
        );
    }

    #[test]
    fn what_is_wrong_is_said_in_upstreams_words() {
        let set = |change: Value| {
            let mut spec = json!({"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "data", "mountPath": "/d"}]}]}},
                "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}]});
            crate::patch::merge(&mut spec, &change).expect("a patch");
            problems(&StatefulSet, json!({ "spec": spec })).join("; ")
        };
        for (change, want) in [
            (json!({}), ""),
            (
                json!({"volumeClaimTemplates": null}),
                "spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"data\"",
            ),
            (
                json!({"template": {"spec": {"volumes": [{"name": "data", "emptyDir": {}}, {"name": "w", "emptyDir": {}}]}}}),
                "",
            ),
            (
                json!({"podManagementPolicy": "X"}),
                "spec.podManagementPolicy: Invalid value: \"X\": must be 'OrderedReady' or 'Parallel'",
            ),
            (
                json!({"updateStrategy": {"type": "X"}}),
                r#"spec.updateStrategy: Invalid value: {"type":"X"}: must be 'RollingUpdate' or 'OnDelete'"#,
            ),
            (
                json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": "0%"}}}),
                r#"spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: "0%": cannot be 0"#,
            ),
            (
                json!({"ordinals": {"start": -1}}),
                "spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0",
            ),
            (
                json!({"template": {"spec": {"activeDeadlineSeconds": 5}}}),
                "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in StatefulSet is not Supported",
            ),
        ] {
            assert_eq!(set(change.clone()), want, "{change}");
        }
        let of = |status: Value| json!({ "status": status });
        let errors =
            StatefulSet.validate_status_update(&of(json!({"replicas": 1, "availableReplicas": 1})), &of(json!({})));
        assert_eq!(
            errors[0].to_string(),
            "status.availableReplicas: Invalid value: 1: cannot be greater than status.readyReplicas"
        );
    }
}
