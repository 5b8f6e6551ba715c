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
        let words = workload::Words { selector: "daemonset", template: "DaemonSet" };
        workload::validate_selector_and_template(&mut errors, path, spec, &words);
        workload::nonnegative(&mut errors, path, spec, "minReadySeconds");
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
                        errors.push(field::Error::required(&at.child("maxUnavailable"), detail));
                    }
                    (false, false) => {
                        let detail = "may not be set when maxUnavailable is non-zero";
                        errors.push(field::Error::invalid(&at.child("maxSurge"), surge.clone(), detail));
                    }
                    _ => {}
                }
            }
            _ => errors.push(field::Error::not_supported(&at, strategy.clone(), &["RollingUpdate", "OnDelete"])),
        }
        workload::nonnegative(&mut errors, path, spec, "revisionHistoryLimit");
        errors
    }
    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        workload::immutable_selector(new, old)
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        workload::status_update(new, old, DAEMON_COUNTERS, &[], "")
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
    "observedGeneration",
    "updatedNumberScheduled",
    "numberAvailable",
    "numberUnavailable",
    "collisionCount",
];

/// The counters that Go always writes.
fn zeros() -> Value {
    json!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::workload::problems;

    #[test]
    fn what_is_wrong_is_said_in_upstreams_words() {
        let set = |change: Value| {
            let mut spec = json!({"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]}}});
            crate::patch::merge(&mut spec, &change).expect("a patch");
            problems(&DaemonSet, json!({ "spec": spec })).join("; ")
        };
        let mismatch =
            r#"spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector` does not match template `labels`"#;
        for (change, want) in [
            (json!({}), ""),
            (json!({"selector": null}), mismatch),
            (
                json!({"selector": {"matchLabels": {"a": null}}}),
                r#"spec.selector: Invalid value: {"matchLabels":{}}: empty selector is invalid for daemonset"#,
            ),
            (
                json!({"template": {"spec": {"activeDeadlineSeconds": 5}}}),
                "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in DaemonSet is not Supported",
            ),
            (
                json!({"updateStrategy": {"type": "X"}}),
                r#"spec.updateStrategy: Unsupported value: {"type":"X"}: supported values: "RollingUpdate", "OnDelete""#,
            ),
            (
                json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}}),
                "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0",
            ),
            (
                json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": "x%"}}}),
                "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: \"x%\": a valid percent string must be a \
                 numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
            ),
        ] {
            assert_eq!(set(change.clone()), want, "{change}");
        }
        let of = |status: Value| json!({ "status": status });
        let errors =
            DaemonSet.validate_status_update(&of(json!({"numberReady": -1})), &of(json!({"collisionCount": 1})));
        assert_eq!(
            errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "status.numberReady: Invalid value: -1: must be greater than or equal to 0",
                "status.collisionCount: Invalid value: 0: cannot be decremented"
            ]
        );
    }
}
