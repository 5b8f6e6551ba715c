//! Claims.

use serde_json::{Value, json};

use super::persistent_volume::{access_modes, basic, shown_modes};
use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::diff::diff;
use crate::kinds::resources::{is_native, round_list, round_requirements};
use crate::kinds::table::{UNSET, name};
use crate::kinds::tree::{child, entries, has, items, made, or, or_zero, same, some, text};
use crate::kinds::workload::validate_label_selector;
use crate::names;
use crate::quantity::Quantity;
use crate::strategy::{AGE, Column, NAME, age, copy, set};

pub(super) struct PersistentVolumeClaim;

/// The spec of a claim, or of a template of one.
pub(super) fn default_spec(spec: &mut Value) {
    or(spec, "volumeMode", "Filesystem");
    or(spec, "resources", json!({}));
    if let Some(resources) = child(spec, "resources") {
        round_requirements(resources);
    }
}

/// A claim, or one in a StatefulSet's templates.
pub(crate) fn default(claim: &mut Value) {
    if let Some(spec) = made(claim, "spec") {
        default_spec(spec);
    }
    if let Some(status) = made(claim, "status") {
        or_zero(status, "phase", "Pending");
        round_list(status, "capacity");
    }
}

/// `ValidatePersistentVolumeClaimSpec`
pub(crate) fn validate_spec(errors: &mut Vec<field::Error>, path: &Path, spec: &Value) {
    check_spec(errors, path, spec, false);
}

/// `lenient`: the groups of data sources may be named anyhow, as they were before.
fn check_spec(errors: &mut Vec<field::Error>, path: &Path, spec: &Value, lenient: bool) {
    let modes = items(spec, "accessModes");
    if modes.is_empty() {
        errors.push(field::Error::required(&path.child("accessModes"), "at least 1 access mode is required"));
    }
    if has(spec, "selector") {
        validate_label_selector(errors, &path.child("selector"), &spec["selector"]);
    }
    access_modes(errors, &path.child("accessModes"), modes);
    let resources = path.child("resources");
    let at = resources.key("storage");
    match spec["resources"]["requests"].get("storage") {
        None => errors.push(field::Error::required(&at, "")),
        Some(v) => match Quantity::from_tree(v) {
            Ok(q) if q.sign() > 0 => {}
            _ => errors.push(field::Error::invalid(&at, v.clone(), "must be greater than zero")),
        },
    }
    let class = |errors: &mut Vec<field::Error>, key: &'static str| {
        let class = text(spec, key);
        if !class.is_empty() {
            let wrong = names::dns_subdomain(class, false);
            errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&path.child(key), class, e)));
        }
    };
    class(errors, "storageClassName");
    let mode = text(spec, "volumeMode");
    if has(spec, "volumeMode") && !matches!(mode, "Block" | "Filesystem") {
        errors.push(field::Error::not_supported(&path.child("volumeMode"), mode, &["Block", "Filesystem"]));
    }
    for key in ["dataSource", "dataSourceRef"] {
        data_source(errors, &path.child(key), &spec[key], lenient);
    }
    let namespace = text(&spec["dataSourceRef"], "namespace");
    if !namespace.is_empty() {
        let at = path.child("dataSourceRef");
        let wrong = names::dns_label(namespace, false);
        errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&at.child("namespace"), namespace, e)));
    }
    if has(spec, "dataSource") && has(spec, "dataSourceRef") {
        let shared = ["apiGroup", "kind", "name"];
        let differ = shared.iter().any(|k| text(&spec["dataSource"], k) != text(&spec["dataSourceRef"], k));
        let detail = match namespace.is_empty() {
            false => "may not be specified when dataSourceRef.namespace is specified",
            true if differ => "must match dataSourceRef",
            true => "",
        };
        if !detail.is_empty() {
            errors.push(field::Error::invalid(path, path.child("dataSource").to_string(), detail));
        }
    }
    class(errors, "volumeAttributesClassName");
}

/// `validateDataSource`
fn data_source(errors: &mut Vec<field::Error>, path: &Path, source: &Value, lenient: bool) {
    if source.is_null() {
        return;
    }
    for key in ["name", "kind"] {
        if text(source, key).is_empty() {
            errors.push(field::Error::required(&path.child(key), ""));
        }
    }
    let (group, kind) = (text(source, "apiGroup"), text(source, "kind"));
    if group.is_empty() && kind != "PersistentVolumeClaim" {
        errors.push(field::Error::invalid(
            path,
            kind,
            "must be 'PersistentVolumeClaim' when referencing the default apiGroup",
        ));
    }
    if !group.is_empty() && !lenient {
        let wrong = names::dns_subdomain(group, false);
        errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&path.child("apiGroup"), group, e)));
    }
}

/// The class before it had a field.
const CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// Which changes of the class are none: from the annotation to the field, and from nothing. `spec` is the new one's copy.
fn storage_class(errors: &mut Vec<field::Error>, new: &Value, old: &Value, spec: &mut Value) {
    let annotation =
        |of: &Value| some(&of["metadata"]["annotations"], CLASS).and_then(Value::as_str).map(str::to_owned);
    let (now, was) = (annotation(new), annotation(old));
    let (class, had) = (some(&new["spec"], "storageClassName"), has(&old["spec"], "storageClassName"));
    let class = class.and_then(Value::as_str);
    if was.is_some() && !had && class == was.as_deref() && (now.is_none() || now == was) {
        return set(spec, "storageClassName", None);
    }
    if now.as_deref().unwrap_or_default() != was.as_deref().unwrap_or_default() {
        let metadata = Path::root("metadata");
        let annotations = metadata.child("annotations");
        let value = now.unwrap_or_default();
        errors.push(field::Error::invalid(&annotations.child(CLASS), value, "field is immutable"));
    }
    if class.is_some() && !had && was.as_deref().is_none_or(|was| Some(was) == class) {
        set(spec, "storageClassName", None);
    }
}

/// `validatePersistentVolumeClaimResourceKey`. Whether there was nothing wrong.
fn resource_key(errors: &mut Vec<field::Error>, path: &Path, name: &str) -> bool {
    let wrong = names::qualified_name(name);
    let native = wrong.is_empty() && is_native(name) && name != "storage";
    if native {
        errors.push(field::Error::not_supported(path, name, &["storage"]));
    }
    let fine = wrong.is_empty() && !native;
    errors.extend(wrong.into_iter().map(|e| field::Error::invalid(path, name, e)));
    fine
}

impl Strategy for PersistentVolumeClaim {
    fn default(&self, claim: &mut Value) {
        default(claim);
    }
    fn prepare_create(&self, claim: &mut Value) {
        set(claim, "status", Some(json!({"phase": "Pending"})));
    }

    fn validate(&self, claim: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        validate_spec(&mut errors, &Path::root("spec"), &claim["spec"]);
        errors
    }

    fn check_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let grouped = |key: &str| has(&old["spec"][key], "apiGroup");
        let lenient = grouped("dataSource") || grouped("dataSourceRef");
        check_spec(&mut errors, &Path::root("spec"), &new["spec"], lenient);
        errors.extend(self.validate_update(new, old));
        errors
    }
    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let path = Path::root("spec");
        let (mut spec, mut was) = (new["spec"].clone(), old["spec"].clone());
        let size = |s: &Value| Quantity::from_tree(&s["resources"]["requests"]["storage"]).unwrap_or_default();
        let (wants, had) = (size(&spec), size(&was));
        // the binder fills it in once
        if text(&was, "volumeName").is_empty() {
            copy(&mut was, &spec, "volumeName");
        }
        storage_class(&mut errors, new, old, &mut spec);
        if text(&new["status"], "phase") == "Bound" {
            if has(&spec["resources"], "requests") {
                copy(&mut spec["resources"]["requests"], &was["resources"]["requests"], "storage");
            }
            copy(&mut spec, &was, "volumeAttributesClassName");
        }
        if !same(&spec, &was) {
            let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
            let what = diff("core.PersistentVolumeClaimSpec", &was, &spec);
            errors.push(field::Error::forbidden(&path, &format!("{detail}\n{what}")));
        }
        // a claim whose volume could not grow may be made smaller again, down to what it has
        let capacity = Quantity::from_tree(&old["status"]["capacity"]["storage"]).unwrap_or_default();
        if wants < had && wants <= capacity {
            let (resources, detail) = (path.child("resources"), "field can not be less than status.capacity");
            errors.push(field::Error::forbidden(&resources.child("requests").child("storage"), detail));
        }
        if text(&new["spec"], "volumeMode") != text(&old["spec"], "volumeMode") {
            let value = new["spec"]["volumeMode"].clone();
            errors.push(field::Error::invalid(&Path::root("volumeMode"), value, "field is immutable"));
        }
        let class = |of: &Value| some(&of["spec"], "volumeAttributesClassName").cloned();
        if class(new) != class(old) && has(&old["status"], "currentVolumeAttributesClassName") {
            let to = match class(new) {
                None => "nil",
                Some(empty) if empty == "" => "empty string",
                Some(_) => return errors,
            };
            let detail = format!("update to {to} is forbidden when status.currentVolumeAttributesClassName is not nil");
            errors.push(field::Error::forbidden(&path.child("volumeAttributesClassName"), &detail));
        }
        errors
    }

    /// `ValidatePersistentVolumeClaimStatusUpdate`
    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        if items(&new["spec"], "accessModes").is_empty() {
            // upstream's path
            let spec = Path::root("Spec");
            errors.push(field::Error::required(&spec.child("accessModes"), ""));
        }
        let (status, path) = (&new["status"], Path::root("status"));
        let at = path.child("capacity");
        for (name, amount) in entries(status, "capacity") {
            basic(&mut errors, &at.key(name), amount);
        }
        const STATES: &[&str] = &[
            "ControllerResizeInProgress",
            "ControllerResizeInfeasible",
            "NodeResizeInProgress",
            "NodeResizeInfeasible",
            "NodeResizePending",
        ];
        let at = path.child("allocatedResourceStatuses");
        for (name, state) in entries(status, "allocatedResourceStatuses") {
            resource_key(&mut errors, &at, name);
            if !state.as_str().is_some_and(|s| STATES.contains(&s)) {
                errors.push(field::Error::not_supported(&at, name, STATES));
            }
        }
        let at = path.child("allocatedResources");
        for (name, amount) in entries(status, "allocatedResources") {
            if resource_key(&mut errors, &at, name) {
                basic(&mut errors, &at.key(name), amount);
            }
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                Column::new("Status", "string"),
                Column::new("Volume", "string"),
                Column::new("Capacity", "string"),
                Column::new("Access Modes", "string"),
                Column::new("StorageClass", "string"),
                Column::new("VolumeAttributesClass", "string"),
                AGE,
                Column::wide("VolumeMode", "string"),
            ]
        }
    }
    fn cells(&self, claim: &Value, now_seconds: i64) -> Vec<Value> {
        let (spec, status) = (&claim["spec"], &claim["status"]);
        let volume = text(spec, "volumeName");
        let bound = !volume.is_empty();
        let terminating = has(&claim["metadata"], "deletionTimestamp");
        vec![
            name(claim),
            if terminating { "Terminating" } else { text(status, "phase") }.into(),
            volume.into(),
            if bound { text(&status["capacity"], "storage") } else { "" }.into(),
            if bound { shown_modes(items(status, "accessModes")) } else { String::new() }.into(),
            text(spec, "storageClassName").into(),
            spec.get("volumeAttributesClassName").and_then(Value::as_str).unwrap_or(UNSET).into(),
            age(claim, now_seconds),
            spec.get("volumeMode").and_then(Value::as_str).unwrap_or(UNSET).into(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::workload::problems;

    fn claim(change: Value) -> Value {
        let mut claim = json!({"metadata": {}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
        crate::patch::merge(&mut claim, &change).expect("a patch");
        claim
    }
    fn texts(errors: Vec<field::Error>) -> String {
        errors
            .iter()
            .map(|e| e.to_string().split('\n').next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
            .join("; ")
    }

    #[test]
    fn what_is_wrong_is_said_in_upstreams_words() {
        let group = json!({"apiGroup": "A_", "kind": "k", "name": "n"});
        for (spec, want) in [
            (json!({}), ""),
            (json!({"accessModes": []}), "spec.accessModes: Required value: at least 1 access mode is required"),
            (json!({"resources": null}), "spec.resources[storage]: Required value"),
            (
                json!({"dataSource": {"kind": "a", "name": "b"}}),
                r#"spec.dataSource: Invalid value: "a": must be 'PersistentVolumeClaim' when referencing the default apiGroup"#,
            ),
            (
                json!({"dataSource": {"kind": "PersistentVolumeClaim", "name": "b"}, "dataSourceRef": {"kind": "PersistentVolumeClaim", "name": "c"}}),
                r#"spec: Invalid value: "spec.dataSource": must match dataSourceRef"#,
            ),
            (
                json!({"dataSource": {"kind": "PersistentVolumeClaim", "name": "b"},
                    "dataSourceRef": {"kind": "PersistentVolumeClaim", "name": "b", "namespace": "n"}}),
                r#"spec: Invalid value: "spec.dataSource": may not be specified when dataSourceRef.namespace is specified"#,
            ),
        ] {
            assert_eq!(problems(&PersistentVolumeClaim, claim(json!({ "spec": spec }))).join("; "), want);
        }
        let old = claim(json!({"spec": {"dataSource": group}}));
        assert_eq!(PersistentVolumeClaim.validate(&old).len(), 1);
        assert_eq!(PersistentVolumeClaim.check_update(&old, &old), []);
    }

    #[test]
    fn what_of_a_claim_may_change() {
        let bound = json!({"phase": "Bound", "capacity": {"storage": "1Gi"}});
        let immutable = "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        let grown = |size: &str| json!({"spec": {"resources": {"requests": {"storage": size}}}, "status": bound});
        for (new, old, want) in [
            (json!({"spec": {"volumeName": "v"}}), json!({}), String::new()),
            (json!({"spec": {"volumeName": "v"}}), json!({"spec": {"volumeName": "w"}}), immutable.into()),
            (json!({"spec": {"storageClassName": "c"}}), json!({}), String::new()),
            (json!({"spec": {"storageClassName": "c"}}), json!({"spec": {"storageClassName": ""}}), immutable.into()),
            (
                json!({"metadata": {"annotations": {CLASS: "a"}}}),
                json!({"metadata": {"annotations": {CLASS: "b"}}}),
                format!("metadata.annotations.{CLASS}: Invalid value: \"a\": field is immutable"),
            ),
            (
                json!({"spec": {"storageClassName": "b"}}),
                json!({"metadata": {"annotations": {CLASS: "b"}}}),
                String::new(),
            ),
            (grown("2Gi"), json!({ "status": bound }), String::new()),
            (grown("2Gi"), grown("3Gi"), String::new()),
            (
                grown("1Gi"),
                grown("2Gi"),
                "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity".into(),
            ),
            (
                json!({ "status": bound }),
                json!({"spec": {"volumeAttributesClassName": "a"}, "status": {"phase": "Bound", "currentVolumeAttributesClassName": "a"}}),
                "spec.volumeAttributesClassName: Forbidden: update to nil is forbidden when status.currentVolumeAttributesClassName is not nil".into(),
            ),
            (
                json!({ "status": bound }),
                json!({"spec": {"volumeAttributesClassName": "a"}, "status": {"phase": "Bound"}}),
                String::new(),
            ),
        ] {
            assert_eq!(texts(PersistentVolumeClaim.validate_update(&claim(new.clone()), &claim(old))), want, "{new}");
        }
        let status = json!({"allocatedResources": {"cpu": "1"}, "allocatedResourceStatuses": {"storage": "x"}, "capacity": {"storage": "-1"}});
        assert_eq!(
            texts(PersistentVolumeClaim.validate_status_update(&claim(json!({ "status": status })), &claim(json!({})))),
            "status.capacity[storage]: Invalid value: -1: must be a valid resource quantity; \
             status.allocatedResourceStatuses: Unsupported value: \"storage\": supported values: \"ControllerResizeInProgress\", \
             \"ControllerResizeInfeasible\", \"NodeResizeInProgress\", \"NodeResizeInfeasible\", \"NodeResizePending\"; \
             status.allocatedResources: Unsupported value: \"cpu\": supported values: \"storage\""
        );
    }
}
