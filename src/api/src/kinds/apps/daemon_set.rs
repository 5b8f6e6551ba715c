//! Daemon sets.

use serde_json::{Value, json};

use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::core::pod::default_template;
use crate::kinds::table::{containers, count, labels, name, selector};
use crate::kinds::tree::{has, made, or, or_zero, text};
use crate::kinds::workload;
use crate::strategy::{AGE, Column, NAME, age, set};

pub(super) struct DaemonSet;

impl Strategy for DaemonSet {
    fn default(&self, object: &mut Value) {
        let Some(spec) = made(object, "spec") else { return };
        or(spec, "revisionHistoryLimit", 10);
        if let Some(strategy) = made(spec, "updateStrategy") {
            or_zero(strategy, "type", "RollingUpdate");
            if text(strategy, "type") == "RollingUpdate"
                && let Some(rolling) = made(strategy, "rollingUpdate")
            {
                or(rolling, "maxUnavailable", 1);
                or(rolling, "maxSurge", 0);
            }
        }
        if let Some(template) = made(spec, "template") {
            default_template(template);
        }
    }
    fn prepare_create(&self, object: &mut Value) {
        set(object, "status", Some(zeros()));
    }
    fn has_generation(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let (spec, path) = (&object["spec"], &Path::root("spec"));
        workload::validate_selector_and_template(&mut errors, path, spec, "daemonset");
        workload::validate_always_restarts(&mut errors, path, spec);
        workload::nonnegative(&mut errors, path, spec, "minReadySeconds");
        workload::nonnegative(&mut errors, path, spec, "revisionHistoryLimit");
        let (strategy, at) = (&spec["updateStrategy"], path.child("updateStrategy"));
        match text(strategy, "type") {
            "OnDelete" => {}
            "RollingUpdate" if !has(strategy, "rollingUpdate") => {
                errors.push(field::Error::required(&at.child("rollingUpdate"), ""));
            }
            "RollingUpdate" => {
                let (rolling, at) = (&strategy["rollingUpdate"], at.child("rollingUpdate"));
                let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
                workload::int_or_percent(&mut errors, &at.child("maxUnavailable"), unavailable, true);
                workload::int_or_percent(&mut errors, &at.child("maxSurge"), surge, true);
                match (workload::is_none(unavailable), workload::is_none(surge)) {
                    (true, true) => {
                        let detail = "cannot be 0 when maxSurge is 0";
                        errors.push(field::Error::invalid(&at.child("maxUnavailable"), unavailable.clone(), detail));
                    }
                    (false, false) => {
                        let detail = "may not be set when maxUnavailable is non-zero";
                        errors.push(field::Error::invalid(&at.child("maxSurge"), surge.clone(), detail));
                    }
                    _ => {}
                }
            }
            other => {
                errors.push(field::Error::not_supported(&at.child("type"), other, &["OnDelete", "RollingUpdate"]));
            }
        }
        errors
    }
    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        workload::immutable_selector(new, old)
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        workload::status_update(new, old, DAEMON_COUNTERS, &[])
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                Column::new("Desired", "integer"),
                Column::new("Current", "integer"),
                Column::new("Ready", "integer"),
                Column::new("Up-to-date", "integer"),
                Column::new("Available", "integer"),
                Column::new("Node Selector", "string"),
                AGE,
                Column::wide("Containers", "string"),
                Column::wide("Images", "string"),
                Column::wide("Selector", "string"),
            ]
        }
    }
    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let pod = &spec["template"]["spec"];
        let [names, images] = containers(pod);
        vec![
            name(object),
            count(&status["desiredNumberScheduled"]),
            count(&status["currentNumberScheduled"]),
            count(&status["numberReady"]),
            count(&status["updatedNumberScheduled"]),
            count(&status["numberAvailable"]),
            labels(pod, "nodeSelector"),
            age(object, now_seconds),
            names,
            images,
            selector(&spec["selector"]),
        ]
    }
}

const DAEMON_COUNTERS: &[&str] = &[
    "currentNumberScheduled",
    "numberMisscheduled",
    "desiredNumberScheduled",
    "numberReady",
    "updatedNumberScheduled",
    "numberAvailable",
    "numberUnavailable",
];

/// The counters that Go always writes.
fn zeros() -> Value {
    json!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0})
}
