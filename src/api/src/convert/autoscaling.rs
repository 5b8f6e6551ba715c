//! HorizontalPodAutoscaler of `autoscaling/v1`, `v2beta1` and `v2beta2`. What the old versions have no field for stands in
//! annotations, under upstream's keys and in upstream's form, so that an object comes back as it went.

use serde_json::{Map, Value, json};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

type Object = Map<String, Value>;
/// Of a metric source: its field in `v2beta1`, its field, or field and field therein, in `v2`.
type Names = [(&'static str, &'static str)];

const SPEC: [(&str, &Names); 5] = [
    (
        "object",
        &[
            ("target", "describedObject"),
            ("metricName", "metric/name"),
            ("selector", "metric/selector"),
            ("targetValue", "target/value"),
            ("averageValue", "target/averageValue"),
        ],
    ),
    (
        "pods",
        &[
            ("metricName", "metric/name"),
            ("selector", "metric/selector"),
            ("targetAverageValue", "target/averageValue"),
        ],
    ),
    (
        "resource",
        &[("targetAverageUtilization", "target/averageUtilization"), ("targetAverageValue", "target/averageValue")],
    ),
    (
        "containerResource",
        &[("targetAverageUtilization", "target/averageUtilization"), ("targetAverageValue", "target/averageValue")],
    ),
    (
        "external",
        &[
            ("metricName", "metric/name"),
            ("metricSelector", "metric/selector"),
            ("targetValue", "target/value"),
            ("targetAverageValue", "target/averageValue"),
        ],
    ),
];
const STATUS: [(&str, &Names); 5] = [
    (
        "object",
        &[
            ("target", "describedObject"),
            ("metricName", "metric/name"),
            ("selector", "metric/selector"),
            ("currentValue", "current/value"),
            ("averageValue", "current/averageValue"),
        ],
    ),
    (
        "pods",
        &[
            ("metricName", "metric/name"),
            ("selector", "metric/selector"),
            ("currentAverageValue", "current/averageValue"),
        ],
    ),
    (
        "resource",
        &[("currentAverageUtilization", "current/averageUtilization"), ("currentAverageValue", "current/averageValue")],
    ),
    (
        "containerResource",
        &[("currentAverageUtilization", "current/averageUtilization"), ("currentAverageValue", "current/averageValue")],
    ),
    (
        "external",
        &[
            ("metricName", "metric/name"),
            ("metricSelector", "metric/selector"),
            ("currentValue", "current/value"),
            ("currentAverageValue", "current/averageValue"),
        ],
    ),
];

/// `v2beta1`'s form of a metric to `v2`'s.
fn newer(metric: &mut Value, sources: &[(&str, &Names)]) {
    for (source, names) in sources {
        let Some(fields) = metric.get_mut(*source).and_then(Value::as_object_mut) else { continue };
        for (old, new) in *names {
            let Some(value) = fields.remove(*old).filter(|v| !v.is_null()) else { continue };
            match new.split_once('/') {
                None => drop(fields.insert((*new).to_owned(), value)),
                Some((outer, inner)) => {
                    let within = fields.entry(outer).or_insert_with(|| json!({}));
                    within.as_object_mut().map(|o| o.insert(inner.to_owned(), value));
                }
            }
        }
        let Some(target) = fields.get_mut("target").and_then(Value::as_object_mut) else { continue };
        let kind = match (target.contains_key("averageUtilization"), target.contains_key("averageValue")) {
            (true, _) => "Utilization",
            (_, true) => "AverageValue",
            _ => "Value",
        };
        if kind == "AverageValue" {
            target.remove("value");
        }
        target.insert("type".into(), kind.into());
    }
}

/// The way back.
fn older(metric: &mut Value, sources: &[(&str, &Names)]) {
    for (source, names) in sources {
        let Some(fields) = metric.get_mut(*source).and_then(Value::as_object_mut) else { continue };
        let target = fields.get_mut("target").filter(|t| t.get("type").is_some());
        target.and_then(Value::as_object_mut).map(|t| t.remove("type"));
        let taken: Vec<(&str, Value)> = names
            .iter()
            .filter_map(|(old, new)| {
                let value = match new.split_once('/') {
                    None => fields.remove(*new),
                    Some((outer, inner)) => fields.get_mut(outer)?.as_object_mut()?.remove(inner),
                };
                Some((*old, value?))
            })
            .collect();
        for outer in ["metric", "target", "current"] {
            if fields.get(outer).is_some_and(|v| v.as_object().is_some_and(Map::is_empty)) {
                fields.remove(outer);
            }
        }
        fields.extend(taken.into_iter().map(|(k, v)| (k.to_owned(), v)));
        // no pointer in the old form
        let value = match *source {
            "object" if names[3].0 == "targetValue" => "targetValue",
            "object" => "currentValue",
            _ => continue,
        };
        fields.entry(value).or_insert_with(|| "0".into());
    }
}

fn each(tree: &mut Value, pointer: &str, f: impl Fn(&mut Value)) {
    tree.pointer_mut(pointer).and_then(Value::as_array_mut).into_iter().flatten().for_each(f);
}

/// Go writes and reads the behavior with the names of its fields.
fn recase(v: &Value, change: fn(char) -> char) -> Value {
    match v {
        Value::Object(o) => o
            .iter()
            .map(|(k, v)| {
                let mut chars = k.chars();
                let key: String = chars.next().map(change).into_iter().chain(chars).collect();
                (key, recase(v, change))
            })
            .collect(),
        Value::Array(list) => list.iter().map(|v| recase(v, change)).collect(),
        other => other.clone(),
    }
}

fn take(tree: &mut Value, key: &str) -> Option<Value> {
    let metadata = tree.get_mut("metadata")?.as_object_mut()?;
    let annotations = metadata.get_mut("annotations")?.as_object_mut()?;
    let text = annotations.remove(key)?;
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
    serde_json::from_str(text.as_str()?).ok()
}

fn note(tree: &mut Value, key: &str, value: &Value) {
    let Some(tree) = tree.as_object_mut() else { return };
    let metadata = tree.entry("metadata").or_insert_with(|| json!({}));
    let Some(metadata) = metadata.as_object_mut() else { return };
    let annotations = metadata.entry("annotations").or_insert(Value::Null);
    if annotations.is_null() {
        *annotations = json!({});
    }
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.insert(key.into(), value.to_string().into());
    }
}

fn part<'a>(tree: &'a mut Value, key: &str) -> Option<&'a mut Object> {
    let entry = tree.as_object_mut()?.entry(key).or_insert(Value::Null);
    if entry.is_null() {
        *entry = json!({});
    }
    entry.as_object_mut()
}

fn cpu(utilization: &Value, of: &str) -> Value {
    let mut goal = json!({"averageUtilization": utilization});
    if of == "target" {
        goal["type"] = "Utilization".into();
    }
    json!({"type": "Resource", "resource": {"name": "cpu", of: goal}})
}

/// The processor's utilization, where a metric is about it.
fn of_cpu<'a>(metric: &'a Value, of: &str) -> Option<&'a Value> {
    let source = &metric["resource"];
    let mine = metric["type"] == "Resource" && source["name"] == "cpu";
    source[of].get("averageUtilization").filter(|v| mine && !v.is_null())
}

pub(super) fn to_v2(version: &str, tree: &mut Value) {
    match version {
        "v1" => from_version_1(tree),
        "v2beta1" => {
            each(tree, "/spec/metrics", |m| newer(m, &SPEC));
            each(tree, "/status/currentMetrics", |m| newer(m, &STATUS));
            if let Some(behavior) = take(tree, BEHAVIOR)
                && let Some(spec) = part(tree, "spec")
            {
                spec.insert("behavior".into(), recase(&behavior, |c| c.to_ascii_lowercase()));
            }
        }
        _ => {}
    }
}

pub(super) fn from_v2(version: &str, tree: &mut Value) {
    match version {
        "v1" => to_version_1(tree),
        "v2beta1" => {
            each(tree, "/spec/metrics", |m| older(m, &SPEC));
            each(tree, "/status/currentMetrics", |m| older(m, &STATUS));
            behavior_to_annotation(tree);
        }
        _ => {}
    }
}

fn behavior_to_annotation(tree: &mut Value) {
    let behavior = tree.get_mut("spec").and_then(Value::as_object_mut).and_then(|s| s.remove("behavior"));
    if let Some(behavior) = behavior.filter(|b| !b.is_null()) {
        note(tree, BEHAVIOR, &recase(&behavior, |c| c.to_ascii_uppercase()));
    }
}

fn from_version_1(tree: &mut Value) {
    let list = |v: Option<Value>| match v {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    let (mut metrics, mut current) = (list(take(tree, METRICS)), list(take(tree, CURRENT)));
    let (conditions, behavior) = (take(tree, CONDITIONS), take(tree, BEHAVIOR));
    metrics.iter_mut().for_each(|m| newer(m, &SPEC));
    current.iter_mut().for_each(|m| newer(m, &STATUS));
    if let Some(spec) = part(tree, "spec") {
        let target = spec.remove("targetCPUUtilizationPercentage").filter(|v| !v.is_null());
        metrics.extend(target.map(|t| cpu(&t, "target")));
        if !metrics.is_empty() {
            spec.insert("metrics".into(), metrics.into());
        }
        spec.extend(behavior.map(|b| ("behavior".to_owned(), recase(&b, |c| c.to_ascii_lowercase()))));
    }
    let there = tree.get("status").is_some_and(Value::is_object);
    if (there || conditions.is_some() || !current.is_empty())
        && let Some(status) = part(tree, "status")
    {
        let measured = status.remove("currentCPUUtilizationPercentage").filter(|v| !v.is_null());
        if current.is_empty() {
            current.extend(measured.map(|m| cpu(&m, "current")));
        }
        if !current.is_empty() {
            status.insert("currentMetrics".into(), current.into());
        }
        status.extend(conditions.map(|c| ("conditions".to_owned(), c)));
    }
}

fn to_version_1(tree: &mut Value) {
    let mut drain = |part: &str, key: &str| -> Vec<Value> {
        let taken = tree.get_mut(part).and_then(Value::as_object_mut).and_then(|p| p.remove(key));
        taken.and_then(|v| v.as_array().cloned()).unwrap_or_default()
    };
    let (metrics, mut current) = (drain("spec", "metrics"), drain("status", "currentMetrics"));
    let conditions = drain("status", "conditions");
    if let Some(target) = metrics.iter().find_map(|m| of_cpu(m, "target")) {
        tree["spec"]["targetCPUUtilizationPercentage"] = target.clone();
    }
    if let Some(measured) = current.iter().find_map(|m| of_cpu(m, "current")) {
        tree["status"]["currentCPUUtilizationPercentage"] = measured.clone();
    }
    let mut others: Vec<Value> = metrics.into_iter().filter(|m| of_cpu(m, "target").is_none()).collect();
    others.iter_mut().for_each(|m| older(m, &SPEC));
    current.iter_mut().for_each(|m| older(m, &STATUS));
    for (key, list) in [(METRICS, others), (CURRENT, current), (CONDITIONS, conditions)] {
        if !list.is_empty() {
            note(tree, key, &list.into());
        }
    }
    behavior_to_annotation(tree);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Value {
        json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d"},
            "metrics": [
                {"type": "Object", "object": {"describedObject": {"kind": "Service", "name": "s"}, "metric": {"name": "m"},
                    "target": {"type": "Value", "value": "10"}}},
                {"type": "Pods", "pods": {"metric": {"name": "p", "selector": {"matchLabels": {"a": "b"}}},
                    "target": {"type": "AverageValue", "averageValue": "1k"}}},
                {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c",
                    "target": {"type": "Utilization", "averageUtilization": 50}}},
                {"type": "External", "external": {"metric": {"name": "q"}, "target": {"type": "AverageValue", "averageValue": "30"}}},
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300, "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}}},
            "status": {"desiredReplicas": 1, "conditions": [{"type": "AbleToScale", "status": "True"}],
                "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 7, "averageValue": "1m"}}}]}})
    }

    #[test]
    fn every_version_keeps_all() {
        for version in ["v1", "v2beta1", "v2beta2"] {
            let mut tree = full();
            from_v2(version, &mut tree);
            let old = tree.clone();
            to_v2(version, &mut tree);
            assert_eq!(tree, full(), "{version}: {old}");
        }
    }

    #[test]
    fn the_old_forms_are_upstreams() {
        let mut tree = full();
        from_v2("v1", &mut tree);
        assert_eq!(
            (&tree["spec"]["targetCPUUtilizationPercentage"], &tree["status"]["currentCPUUtilizationPercentage"]),
            (&json!(80), &json!(7))
        );
        let note =
            |key: &str| serde_json::from_str::<Value>(tree["metadata"]["annotations"][key].as_str().unwrap()).unwrap();
        assert_eq!(
            note(METRICS)[0],
            json!({"type": "Object", "object": {"target": {"kind": "Service", "name": "s"}, "metricName": "m", "targetValue": "10"}})
        );
        assert_eq!(note(BEHAVIOR)["ScaleDown"]["Policies"][0]["PeriodSeconds"], 15);
        assert_eq!(note(CURRENT)[0]["resource"]["currentAverageValue"], "1m");
        assert!(tree["spec"].get("metrics").is_none() && tree["status"].get("conditions").is_none());
        let mut plain = json!({"spec": {"maxReplicas": 2}});
        to_v2("v1", &mut plain);
        assert_eq!(plain, json!({"spec": {"maxReplicas": 2}}));
    }
}
