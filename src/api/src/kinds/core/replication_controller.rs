//! Replication controllers.

use serde_json::{Value, json};

use super::pod::{default_template, validate_template};
use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::apps::{REPLICA_COLUMNS, replica_cells, replicas_status_update};
use crate::kinds::table::{count, labels};
use crate::kinds::tree::{child, entries, has, made, number, or};
use crate::kinds::workload;
use crate::labels::Selector;
use crate::strategy::{Column, Scale, set};

pub(super) struct ReplicationController;

impl Strategy for ReplicationController {
    fn default(&self, object: &mut Value) {
        let its_labels = object["spec"]["template"]["metadata"]["labels"].clone();
        let labelled = its_labels.as_object().is_some_and(|l| !l.is_empty());
        if labelled
            && let Some(metadata) = child(object, "metadata")
            && entries(metadata, "labels").next().is_none()
        {
            set(metadata, "labels", Some(its_labels.clone()));
        }
        let Some(spec) = made(object, "spec") else { return };
        if labelled && entries(spec, "selector").next().is_none() {
            set(spec, "selector", Some(its_labels));
        }
        or(spec, "replicas", 1);
        if let Some(template) = child(spec, "template") {
            default_template(template);
        }
    }
    fn prepare_create(&self, object: &mut Value) {
        set(object, "status", Some(json!({"replicas": 0})));
    }
    fn has_generation(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let (spec, path) = (&object["spec"], &Path::root("spec"));
        workload::nonnegative(&mut errors, path, spec, "minReadySeconds");
        let at = path.child("selector");
        let template_path = path.child("template");
        let its_labels = &spec["template"]["metadata"]["labels"];
        if entries(spec, "selector").next().is_none() {
            errors.push(field::Error::required(&at, ""));
        }
        workload::nonnegative(&mut errors, path, spec, "replicas");
        if !has(spec, "template") {
            errors.push(field::Error::required(&template_path, ""));
        } else {
            if entries(spec, "selector").any(|(k, v)| its_labels.get(k) != Some(v)) {
                let detail = "`selector` does not match template `labels`";
                let path = template_path.child("metadata");
                errors.push(field::Error::invalid(&path.child("labels"), its_labels.clone(), detail));
            }
            validate_template(&mut errors, &template_path, &spec["template"]);
            workload::validate_always_restarts(&mut errors, path, spec, "ReplicationController");
        }
        errors
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        replicas_status_update(new, old)
    }

    fn scale(&self, object: &Value) -> Option<Scale> {
        let selector = entries(&object["spec"], "selector").map(|(k, v)| (k, v.as_str().unwrap_or_default()));
        Some(Scale {
            replicas: number(&object["spec"], "replicas"),
            status_replicas: number(&object["status"], "replicas"),
            selector: Selector::from_set(selector).to_string(),
        })
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }
    fn select_field(&self, object: &Value, _field: &str) -> String {
        count(&object["status"]["replicas"]).to_string()
    }

    fn columns(&self) -> &'static [Column] {
        REPLICA_COLUMNS
    }
    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        replica_cells(object, labels(&object["spec"], "selector"), now_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::workload::problems;

    #[test]
    fn specs_and_statuses_are_checked() {
        let of = |spec: Value| problems(&ReplicationController, json!({"metadata": {}, "spec": spec})).join("; ");
        let pod = json!({"containers": [{"name": "c", "image": "i"}], "activeDeadlineSeconds": 1});
        assert_eq!(of(json!({})), "spec.selector: Required value; spec.template: Required value");
        assert_eq!(
            of(json!({"selector": {"a": "b"}, "template": {"metadata": {"labels": {"a": "c"}}, "spec": pod}})),
            "spec.template.metadata.labels: Invalid value: {\"a\":\"c\"}: `selector` does not match template `labels`; \
             spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicationController is not Supported"
        );
        for (status, want) in [
            (json!({"replicas": 2, "fullyLabeledReplicas": 2, "readyReplicas": 1, "availableReplicas": 1}), ""),
            (
                json!({"replicas": 1, "fullyLabeledReplicas": 2}),
                "status.fullyLabeledReplicas: Invalid value: 2: cannot be greater than status.replicas",
            ),
            (
                json!({"replicas": 1, "availableReplicas": 1}),
                "status.availableReplicas: Invalid value: 1: cannot be greater than readyReplicas",
            ),
            (
                json!({"observedGeneration": -1}),
                "status.observedGeneration: Invalid value: -1: must be greater than or equal to 0",
            ),
        ] {
            let errors = ReplicationController.validate_status_update(&json!({ "status": status }), &json!({}));
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "), want);
        }
    }
}
