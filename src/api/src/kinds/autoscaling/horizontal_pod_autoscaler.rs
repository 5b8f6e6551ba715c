//! Horizontal pod autoscalers.

use serde_json::{Value, json};

use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::table::{NONE, UNKNOWN, UNSET, count, name};
use crate::kinds::tree::{items, made, number, or, text};
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
    }

    fn prepare_create(&self, object: &mut Value) {
        set(object, "status", Some(json!({"desiredReplicas": 0})));
    }

    fn validate(&self, object: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let (spec, path) = (&object["spec"], Path::root("spec"));
        let (min, max) = (number(spec, "minReplicas"), number(spec, "maxReplicas"));
        if min < 1 {
            errors.push(field::Error::invalid(&path.child("minReplicas"), min, "must be greater than or equal to 1"));
        }
        if max < 1 {
            errors.push(field::Error::invalid(&path.child("maxReplicas"), max, "must be greater than 0"));
        }
        if max < min {
            let detail = "must be greater than or equal to `minReplicas`";
            errors.push(field::Error::invalid(&path.child("maxReplicas"), max, detail));
        }
        let at = path.child("scaleTargetRef");
        for key in ["kind", "name"] {
            if text(&spec["scaleTargetRef"], key).is_empty() {
                errors.push(field::Error::required(&at.child(key), ""));
            }
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
            targets(spec, status).into(),
            min.into(),
            count(&spec["maxReplicas"]),
            count(&status["currentReplicas"]),
            age(object, now_seconds),
        ]
    }
}

/// `formatHPAMetrics`, for resource metrics; others are shown by their type.
fn targets(spec: &Value, status: &Value) -> String {
    let metrics = items(spec, "metrics");
    let shown: Vec<String> = metrics
        .iter()
        .enumerate()
        .take(2)
        .map(|(i, m)| {
            let source = &m["resource"];
            let current = &items(status, "currentMetrics").get(i).unwrap_or(&Value::Null)["resource"]["current"];
            let its_name = text(source, "name");
            match source["target"]["averageUtilization"].as_i64() {
                Some(want) => {
                    let have = current["averageUtilization"].as_i64().map_or(UNKNOWN.into(), |n| format!("{n}%"));
                    format!("{its_name}: {have}/{want}%")
                }
                None if source.is_object() => {
                    let have = text(current, "averageValue");
                    let have = if have.is_empty() { UNKNOWN } else { have };
                    format!("{its_name}: {have}/{}", text(&source["target"], "averageValue"))
                }
                None => format!("{UNKNOWN}/{}", text(m, "type")),
            }
        })
        .collect();
    match metrics.len() {
        0 => NONE.into(),
        n if n > 2 => format!("{} + {} more...", shown.join(", "), n - 2),
        _ => shown.join(", "),
    }
}
