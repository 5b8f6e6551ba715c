//! Pods: upstream's `pkg/registry/core/pod/strategy.go`.

mod affinity;
mod annotations;
mod claims;
mod container;
mod container_status;
mod defaults;
mod env;
mod probe;
mod qos;
mod resize;
mod restart;
mod status;
mod table;
mod update;
mod validation;
mod volumes;
mod whole;

use k8s_openapi::api::core::v1 as typed;
use serde_json::{Value, json};

use crate::field;
use crate::kinds::tree::{has, items, number, text};
use crate::strategy::{Column, copy, field_text, set};
use crate::{Object, Strategy};

pub(crate) use affinity::node_selector;
pub(crate) use defaults::{pull_policy, reference, template as default_template};
pub use qos::{qos, resources};
pub use resize::{prepare as prepare_resize, validate as validate_resize};
pub use update::{prepare_ephemeral_containers, validate_ephemeral_containers};
pub(crate) use validation::validate_template;

pub(super) struct Pod;

impl Strategy for Pod {
    fn default(&self, object: &mut Value) {
        defaults::pod(object);
    }

    fn prepare_create(&self, pod: &mut Value) {
        let mut status = json!({"phase": "Pending", "qosClass": qos(pod)});
        if !items(&pod["spec"], "schedulingGates").is_empty() {
            status["conditions"] = json!([{
                "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates"
            }]);
        }
        set(pod, "status", Some(status));
        affinity::merge_label_keys(pod);
    }

    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        let (status, metadata) = (new.get("status").cloned(), new.get("metadata").cloned());
        *new = old.clone();
        set(new, "status", status);
        set(new, "metadata", metadata);
        if let Some(metadata) = new.get_mut("metadata") {
            copy(metadata, &old["metadata"], "ownerReferences");
        }
        if let Some(status) = new.get_mut("status") {
            // old kubelets leave it out
            if text(status, "qosClass").is_empty() && has(&old["status"], "qosClass") {
                copy(status, &old["status"], "qosClass");
            }
            status::keep_observed(status, &old["status"]);
        }
    }
    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        status::validate(new, old)
    }

    fn validate(&self, pod: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let metadata = field::Path::root("metadata");
        annotations::validate(&mut errors, &metadata.child("annotations"), pod, None);
        errors.extend(validation::validate(pod));
        whole::validate_new(&mut errors, &field::Path::root("spec"), &pod["spec"]);
        errors
    }
    fn check_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        let mut errors = validation::validate(new);
        annotations::validate_update(&mut errors, new, old);
        errors.extend(self.validate_update(new, old));
        errors
    }
    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        update::validate(new, old)
    }
    fn has_generation(&self) -> bool {
        true
    }

    fn grace_period_seconds(&self, pod: &Value, asked: Option<i64>) -> Option<i64> {
        let spec = &pod["spec"];
        if text(spec, "nodeName").is_empty() || matches!(text(&pod["status"], "phase"), "Succeeded" | "Failed") {
            return Some(0);
        }
        let period = asked.unwrap_or_else(|| number(spec, "terminationGracePeriodSeconds"));
        Some(if period < 0 { 1 } else { period })
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ]
    }
    fn select_field(&self, pod: &Value, field: &str) -> String {
        match field {
            "spec.hostNetwork" => (pod["spec"]["hostNetwork"] == true).to_string(),
            _ => field_text(pod, field),
        }
    }
    fn stored_field<'a>(&self, pod: &'a Object, field: &str) -> Option<&'a str> {
        let pod = pod.view::<typed::Pod>().ok()?;
        let of = |text: Option<&'a String>| Some(text.map_or("", String::as_str));
        match field {
            "spec.nodeName" => of(pod.spec.as_ref().and_then(|s| s.node_name.as_ref())),
            "spec.schedulerName" => of(pod.spec.as_ref().and_then(|s| s.scheduler_name.as_ref())),
            "status.phase" => of(pod.status.as_ref().and_then(|s| s.phase.as_ref())),
            _ => None,
        }
    }

    fn columns(&self) -> &'static [Column] {
        table::COLUMNS
    }
    fn cells(&self, pod: &Value, now_seconds: i64) -> Vec<Value> {
        table::cells(pod, now_seconds)
    }
}
