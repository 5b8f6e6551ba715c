//! Claims.

use serde_json::{Value, json};

use super::persistent_volume::{access_modes, shown_modes};
use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::resources::{round_list, round_requirements};
use crate::kinds::table::{UNSET, name};
use crate::kinds::tree::{child, has, items, made, or, or_zero, same, text};
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
    access_modes_of(errors, path, spec);
    if has(spec, "selector") {
        validate_label_selector(errors, &path.child("selector"), &spec["selector"]);
    }
    let mode = text(spec, "volumeMode");
    if !matches!(mode, "" | "Block" | "Filesystem") {
        errors.push(field::Error::not_supported(&path.child("volumeMode"), mode, &["Block", "Filesystem"]));
    }
    for key in ["storageClassName", "volumeAttributesClassName"] {
        let class = text(spec, key);
        if !class.is_empty() {
            let wrong = names::dns_subdomain(class, false);
            errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&path.child(key), class, e)));
        }
    }
    for key in ["dataSource", "dataSourceRef"] {
        data_source(errors, &path.child(key), &spec[key]);
    }
    if has(spec, "dataSource") && has(spec, "dataSourceRef") && text(&spec["dataSourceRef"], "namespace").is_empty() {
        let shared = ["apiGroup", "kind", "name"];
        if shared.iter().any(|k| text(&spec["dataSource"], k) != text(&spec["dataSourceRef"], k)) {
            errors.push(field::Error::invalid(path, path.to_string(), "must match dataSourceRef"));
        }
    }
    let resources = path.child("resources");
    let path = resources.key("storage");
    match spec["resources"]["requests"].get("storage") {
        None => errors.push(field::Error::required(&path, "")),
        Some(v) => match Quantity::from_tree(v) {
            Ok(q) if q.sign() > 0 => {}
            _ => errors.push(field::Error::invalid(&path, v.clone(), "must be greater than zero")),
        },
    }
}

/// `validateDataSource`
fn data_source(errors: &mut Vec<field::Error>, path: &Path, source: &Value) {
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
    if !group.is_empty() {
        let wrong = names::dns_subdomain(group, false);
        errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&path.child("apiGroup"), group, e)));
    }
}

fn access_modes_of(errors: &mut Vec<field::Error>, path: &Path, spec: &Value) {
    let modes = items(spec, "accessModes");
    if modes.is_empty() {
        errors.push(field::Error::required(&path.child("accessModes"), "at least 1 access mode is required"));
    } else {
        access_modes(errors, &path.child("accessModes"), modes);
    }
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

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let path = Path::root("spec");
        let (mut spec, mut was) = (new["spec"].clone(), old["spec"].clone());
        let size = |s: &Value| Quantity::from_tree(&s["resources"]["requests"]["storage"]).unwrap_or_default();
        let (wants, had) = (size(&spec), size(&was));
        let bound = text(&new["status"], "phase") == "Bound";
        if bound && has(&spec["resources"], "requests") {
            spec["resources"]["requests"]["storage"] = was["resources"]["requests"]["storage"].clone();
        }
        if bound && has(&spec, "volumeAttributesClassName") {
            copy(&mut spec, &was, "volumeAttributesClassName");
        }
        // the binder fills these in once
        for field in ["volumeName", "storageClassName"] {
            if text(&was, field).is_empty() {
                set(&mut spec, field, None);
                set(&mut was, field, None);
            }
        }
        if !same(&spec, &was) {
            let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
            errors.push(field::Error::forbidden(&path, detail));
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
        if has(&old["spec"], "volumeAttributesClassName") && text(&new["spec"], "volumeAttributesClassName").is_empty()
        {
            let detail = match has(&new["spec"], "volumeAttributesClassName") {
                true => "update from non-nil value to an empty string is forbidden",
                false => "update from non-nil value to nil is forbidden",
            };
            errors.push(field::Error::forbidden(&path.child("volumeAttributesClassName"), detail));
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
