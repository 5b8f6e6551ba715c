//! Horizontal pod autoscalers.

use serde_json::{Value, json};

use super::metrics;
use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::table::{UNSET, count, name};
use crate::kinds::tree::{child, has, items, made, number, or, text};
use crate::kinds::workload::nonnegative;
use crate::strategy::{AGE, Column, NAME, age, set};

pub(super) struct HorizontalPodAutoscaler;

impl Strategy for HorizontalPodAutoscaler {
    fn default(&self, object: &mut Value) {
        let Some(spec) = made(object, "spec") else { return };
        or(spec, "minReplicas", 1);
        if items(spec, "metrics").is_empty() {
            spec["metrics"] = json!([{"type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]);
        }
        default_behavior(spec);
    }

    fn prepare_create(&self, object: &mut Value) {
        set(object, "status", Some(json!({"desiredReplicas": 0})));
    }

    fn validate(&self, object: &Value) -> Vec<field::Error> {
        check(object, 1)
    }
    /// One that is allowed none at least may stay so.
    fn check_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        check(new, if old["spec"]["minReplicas"] == 0 { 0 } else { 1 })
    }
    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        for key in ["currentReplicas", "desiredReplicas"] {
            nonnegative(&mut errors, &Path::root("status"), &new["status"], key);
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                Column::new("Reference", "string"),
                Column::new("Targets", "string"),
                Column::new("MinPods", "string"),
                Column::new("MaxPods", "string"),
                Column::new("Replicas", "string"),
                AGE,
            ]
        }
    }
    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let target = &spec["scaleTargetRef"];
        let min = spec["minReplicas"].as_i64().map_or(UNSET.into(), |n| n.to_string());
        vec![
            name(object),
            format!("{}/{}", text(target, "kind"), text(target, "name")).into(),
            metrics::shown(items(spec, "metrics"), status).into(),
            min.into(),
            count(&spec["maxReplicas"]),
            count(&status["currentReplicas"]),
            age(object, now_seconds),
        ]
    }
}

/// `validateHorizontalPodAutoscalerSpec`
fn check(object: &Value, least: i64) -> Vec<field::Error> {
    let mut errors = Vec::new();
    let (spec, path) = (&object["spec"], Path::root("spec"));
    let (min, max) = (number(spec, "minReplicas"), number(spec, "maxReplicas"));
    let given = has(spec, "minReplicas");
    if given && min < least {
        let detail = format!("must be greater than or equal to {least}");
        errors.push(field::Error::invalid(&path.child("minReplicas"), min, detail));
    }
    if max < 1 {
        errors.push(field::Error::invalid(&path.child("maxReplicas"), max, "must be greater than 0"));
    }
    if given && max < min {
        let detail = "must be greater than or equal to `minReplicas`";
        errors.push(field::Error::invalid(&path.child("maxReplicas"), max, detail));
    }
    metrics::reference(&mut errors, &path.child("scaleTargetRef"), &spec["scaleTargetRef"]);
    let (all, at) = (items(spec, "metrics"), path.child("metrics"));
    metrics::validate(&mut errors, &at, all);
    if given && min == 0 && !all.iter().any(|m| matches!(text(m, "type"), "Object" | "External")) {
        let detail = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(field::Error::forbidden(&at, detail));
    }
    metrics::behavior(&mut errors, &path.child("behavior"), &spec["behavior"]);
    errors
}

/// `SetDefaults_HorizontalPodAutoscalerBehavior`: either rule brings the defaults of both.
fn default_behavior(spec: &mut Value) {
    let Some(behavior) = child(spec, "behavior").filter(|b| has(b, "scaleUp") || has(b, "scaleDown")) else { return };
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    if let Some(up) = made(behavior, "scaleUp") {
        or(up, "stabilizationWindowSeconds", 0);
        or(up, "selectPolicy", "Max");
        or(up, "policies", json!([{"type": "Pods", "value": 4, "periodSeconds": 15}, percent.clone()]));
    }
    if let Some(down) = made(behavior, "scaleDown") {
        or(down, "selectPolicy", "Max");
        or(down, "policies", json!([percent]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::workload::{defaulted, problems};

    fn with(change: Value) -> Value {
        let mut spec = json!({"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d"}});
        spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!({ "spec": spec })
    }

    #[test]
    fn what_is_wrong_is_said_in_upstreams_words() {
        let metric = |m: Value| with(json!({ "metrics": [m] }));
        let of = |kind: &str, field: &str, source: Value| json!({"type": kind, field: source});
        for (object, want) in [
            (with(json!({})), ""),
            (
                with(json!({"minReplicas": 5})),
                "spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`",
            ),
            (
                with(json!({"scaleTargetRef": {"kind": "a/b", "name": "x"}})),
                "spec.scaleTargetRef.kind: Invalid value: \"a/b\": may not contain '/'",
            ),
            (
                metric(json!({"type": "Pods"})),
                "spec.metrics[0].pods: Required value: must populate information for the given metric source",
            ),
            (
                metric(of("Resource", "resource", json!({"name": "cpu", "target": {"type": "Utilization"}}))),
                "spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization",
            ),
            (
                metric(of(
                    "Pods",
                    "pods",
                    json!({"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "0"}}),
                )),
                "spec.metrics[0].pods.target.averageValue: Invalid value: \"0\": must be positive",
            ),
            (
                with(json!({"behavior": {"scaleDown": {"policies": [{"type": "X", "value": 1, "periodSeconds": 1}]}}})),
                "spec.behavior.scaleDown.policies[0].type: Unsupported value: \"X\": supported values: \"Percent\", \"Pods\"",
            ),
        ] {
            let found = problems(&HorizontalPodAutoscaler, object);
            assert_eq!(found.first().map(String::as_str).unwrap_or_default(), want);
        }
        let target = json!({"type": "AverageValue", "averageValue": "1"});
        for (m, want) in [
            (
                json!({"type": "X"}),
                "spec.metrics[0].type: Unsupported value: \"X\": supported values: \"ContainerResource\", \"External\", \"Object\", \"Pods\", \"Resource\"",
            ),
            (
                json!({"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "Value", "value": "1"}}}),
                "spec.metrics[0].pods.target.averageValue: Required value: must specify a positive target averageValue",
            ),
            (
                of(
                    "Object",
                    "object",
                    json!({"describedObject": {"kind": "a", "name": "b"}, "metric": {"name": "m"}, "target": {"type": "Value"}}),
                ),
                "spec.metrics[0].object.target.averageValue: Required value: must set either a target value or averageValue",
            ),
            (
                of(
                    "ContainerResource",
                    "containerResource",
                    json!({"name": "pods", "container": "C", "target": target}),
                ),
                "spec.metrics[0].containerResource.name: Invalid value: \"pods\": must be a standard resource for containers; \
                 spec.metrics[0].containerResource.container: Invalid value: \"C\": a lowercase RFC 1123 label must consist of lower \
                 case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or \
                 '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
            ),
            (
                json!({"type": "Resource", "pods": {"metric": {"name": "m"}, "target": target}}),
                "spec.metrics[0].resource: Required value: must populate information for the given metric source",
            ),
            (
                json!({"type": "Resource", "resource": {"name": "cpu", "target": target}, "pods": {"metric": {"name": "m"}, "target": target}}),
                "spec.metrics[0].pods: Forbidden: must populate the given metric source only",
            ),
            (
                json!({"type": "Resource", "resource": {"name": "cpu", "target": {"averageValue": "1"}}}),
                "spec.metrics[0].resource.target.type: Required value: must specify a metric target type; \
                 spec.metrics[0].resource.target.type: Invalid value: \"\": must be either Utilization, Value, or AverageValue",
            ),
        ] {
            assert_eq!(problems(&HorizontalPodAutoscaler, metric(m)).join("; "), want);
        }
        let none = with(json!({"minReplicas": 0}));
        assert_eq!(
            problems(&HorizontalPodAutoscaler, none.clone()),
            [
                "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
                "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas"
            ]
        );
        assert_eq!(HorizontalPodAutoscaler.check_update(&none, &none).len(), 1);
        let status = json!({"status": {"currentReplicas": -1}});
        assert_eq!(
            HorizontalPodAutoscaler.validate_status_update(&status, &json!({}))[0].to_string(),
            "status.currentReplicas: Invalid value: -1: must be greater than or equal to 0"
        );
    }

    #[test]
    fn either_rule_brings_both() {
        let made =
            defaulted(&HorizontalPodAutoscaler, with(json!({"behavior": {"scaleDown": {"selectPolicy": "Min"}}})));
        let behavior = &made["spec"]["behavior"];
        assert_eq!(
            (&behavior["scaleDown"]["selectPolicy"], &behavior["scaleUp"]["policies"][0]["value"]),
            (&json!("Min"), &json!(4))
        );
        assert_eq!(defaulted(&HorizontalPodAutoscaler, made.clone()), made);
    }

    #[test]
    fn targets_are_shown_as_upstream_shows_them() {
        let metrics = json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}},
            {"type": "Object", "object": {"target": {"value": "10"}}}, {"type": "Pods"}]);
        let status = json!({"currentMetrics": [{"resource": {"current": {"averageUtilization": 7}}}, {"object": {"current": {"value": "3"}}}]});
        let all = metrics.as_array().unwrap();
        assert_eq!(metrics::shown(all, &status), "cpu: 7%/80%, 3/10 + 1 more...");
        assert_eq!(metrics::shown(&all[..1], &json!({})), "cpu: <unknown>/80%");
        assert_eq!(metrics::shown(&[], &json!({})), "<none>");
    }
}
