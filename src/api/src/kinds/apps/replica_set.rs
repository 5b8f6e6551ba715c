//! Replica sets.

use serde_json::{Value, json};

use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::core::pod::default_template;
use crate::kinds::table::{containers, count, name, selector};
use crate::kinds::tree::{made, or};
use crate::kinds::workload;
use crate::strategy::{AGE, Column, NAME, Scale, age, set};

pub(super) struct ReplicaSet;

impl Strategy for ReplicaSet {
    fn default(&self, object: &mut Value) {
        let Some(spec) = made(object, "spec") else { return };
        or(spec, "replicas", 1);
        if let Some(template) = made(spec, "template") {
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
        workload::nonnegative(&mut errors, path, spec, "replicas");
        workload::nonnegative(&mut errors, path, spec, "minReadySeconds");
        // upstream's word, here too
        let words = workload::Words { selector: "deployment", template: "ReplicaSet" };
        workload::validate_selector_and_template(&mut errors, path, spec, &words);
        errors
    }
    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        workload::immutable_selector(new, old)
    }

    fn scale(&self, object: &Value) -> Option<Scale> {
        workload::scale(object)
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }
    fn select_field(&self, object: &Value, _field: &str) -> String {
        count(&object["status"]["replicas"]).to_string()
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        replicas_status_update(new, old)
    }

    fn columns(&self) -> &'static [Column] {
        REPLICA_COLUMNS
    }
    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        replica_cells(object, selector(&object["spec"]["selector"]), now_seconds)
    }
}

/// `ValidateReplicaSetStatus` and `ValidateReplicationControllerStatus`
pub(crate) fn replicas_status_update(new: &Value, old: &Value) -> Vec<field::Error> {
    let counters = ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"];
    workload::status_update(new, old, &counters, &counters[1..4], "readyReplicas")
}

/// The columns of replica sets and replication controllers.
pub(crate) const REPLICA_COLUMNS: &[Column] = &[
    NAME,
    Column::new("Desired", "integer"),
    Column::new("Current", "integer"),
    Column::new("Ready", "integer"),
    AGE,
    Column::wide("Containers", "string"),
    Column::wide("Images", "string"),
    Column::wide("Selector", "string"),
];

pub(crate) fn replica_cells(object: &Value, selector: Value, now_seconds: i64) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let [names, images] = containers(&spec["template"]["spec"]);
    vec![
        name(object),
        count(&spec["replicas"]),
        count(&status["replicas"]),
        count(&status["readyReplicas"]),
        age(object, now_seconds),
        names,
        images,
        selector,
    ]
}
