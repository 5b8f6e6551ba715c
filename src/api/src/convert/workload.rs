//! The workloads of `extensions/v1beta1`, `apps/v1beta1` and `apps/v1beta2`: fields that `apps/v1` has no more, and the
//! defaults of their time.

use serde_json::{Map, Value, json};

const ROLLBACK: &str = "deprecated.deployment.rollback.to";
const GENERATION: &str = "deprecated.daemonset.template.generation";

type Object = Map<String, Value>;

/// The object under `key`, made if it is missing; `None` if it is something else.
fn object<'a>(parent: &'a mut Object, key: &str) -> Option<&'a mut Object> {
    let v = parent.entry(key).or_insert(Value::Null);
    if v.is_null() {
        *v = Value::Object(Object::new());
    }
    v.as_object_mut()
}

fn default(o: &mut Object, key: &str, value: Value) {
    let v = o.entry(key).or_insert(Value::Null);
    if v.is_null() {
        *v = value;
    }
}

pub(super) fn to_v1(kind: &str, group: &str, version: &str, tree: &mut Value) {
    let Some(tree) = tree.as_object_mut() else { return };
    let v1beta1 = version == "v1beta1";
    if v1beta1 {
        labels_and_selector(tree);
    }
    match kind {
        "Deployment" => keep(tree, "rollbackTo", ROLLBACK, |v| v.get("revision").cloned()),
        "DaemonSet" => keep(tree, "templateGeneration", GENERATION, |v| Some(v.clone())),
        _ => {}
    }
    let Some(spec) = object(tree, "spec") else { return };
    match (kind, group) {
        ("Deployment", "extensions") => {
            default(spec, "revisionHistoryLimit", i32::MAX.into());
            default(spec, "progressDeadlineSeconds", i32::MAX.into());
            let Some(strategy) = object(spec, "strategy") else { return };
            default(strategy, "type", "RollingUpdate".into());
            if strategy["type"] == "RollingUpdate"
                && let Some(rolling) = object(strategy, "rollingUpdate")
            {
                default(rolling, "maxSurge", 1.into());
                default(rolling, "maxUnavailable", 1.into());
            }
        }
        ("Deployment", _) if v1beta1 => default(spec, "revisionHistoryLimit", 2.into()),
        ("DaemonSet" | "StatefulSet", _) if v1beta1 => {
            if let Some(strategy) = object(spec, "updateStrategy") {
                default(strategy, "type", "OnDelete".into());
            }
        }
        _ => {}
    }
}

/// `apps/v1` demands the selector that these took from the template.
fn labels_and_selector(tree: &mut Object) {
    let labels =
        tree.get("spec").and_then(|s| s.pointer("/template/metadata/labels")).filter(|l| l.is_object()).cloned();
    let Some(labels) = labels else { return };
    if let Some(spec) = object(tree, "spec") {
        default(spec, "selector", json!({ "matchLabels": labels }));
    }
    if let Some(metadata) = object(tree, "metadata") {
        let empty = metadata.get("labels").is_none_or(|l| l.is_null() || l.as_object().is_some_and(Map::is_empty));
        if empty {
            metadata.insert("labels".into(), labels);
        }
    }
}

/// Moves a field of `spec` into an annotation.
fn keep(tree: &mut Object, field: &str, annotation: &str, value: impl Fn(&Value) -> Option<Value>) {
    let Some(v) = tree.get_mut("spec").and_then(Value::as_object_mut).and_then(|s| s.remove(field)) else { return };
    let Some(v) = value(&v).filter(Value::is_number) else { return };
    if let Some(annotations) = object(tree, "metadata").and_then(|m| object(m, "annotations")) {
        annotations.insert(annotation.to_owned(), v.to_string().into());
    }
}

pub(super) fn from_v1(kind: &str, version: &str, tree: &mut Value) {
    match (kind, version) {
        ("Deployment", "v1beta1") => restore(tree, "rollbackTo", ROLLBACK, |n| json!({ "revision": n })),
        ("DaemonSet", "v1beta1") => restore(tree, "templateGeneration", GENERATION, Value::from),
        _ => {}
    }
}

fn restore(tree: &mut Value, field: &str, annotation: &str, value: impl Fn(i64) -> Value) {
    let Some(metadata) = tree.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) else { return };
    let Some(v) = annotations.remove(annotation) else { return };
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
    let Some(n) = v.as_str().and_then(|s| s.parse().ok()) else { return };
    if let Some(spec) = tree.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert(field.to_owned(), value(n));
    }
}
