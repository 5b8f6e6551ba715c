//! Persistent volumes.

use serde_json::Value;

use super::volume::default_source;
use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::resources::round_list;
use crate::kinds::table::{UNSET, name};
use crate::kinds::tree::{entries, has, items, made, or, or_zero, some, text};
use crate::quantity::Quantity;
use crate::strategy::{AGE, Column, NAME, age, set};

pub(super) struct PersistentVolume;

const MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
/// Members of the spec that are no volume source.
const PLAIN: &[&str] = &[
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

impl Strategy for PersistentVolume {
    fn default(&self, pv: &mut Value) {
        if let Some(spec) = made(pv, "spec") {
            or_zero(spec, "persistentVolumeReclaimPolicy", "Retain");
            or(spec, "volumeMode", "Filesystem");
            round_list(spec, "capacity");
            default_source(spec);
        }
        if let Some(status) = made(pv, "status") {
            or_zero(status, "phase", "Pending");
        }
    }
    fn prepare_create(&self, pv: &mut Value) {
        set(pv, "status", Some(serde_json::json!({"phase": "Pending"})));
    }

    fn validate(&self, pv: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let (spec, path) = (&pv["spec"], &Path::root("spec"));
        access_modes(&mut errors, &path.child("accessModes"), items(spec, "accessModes"));
        if entries(spec, "capacity").next().is_none() {
            errors.push(field::Error::required(&path.child("capacity"), ""));
        } else if !has(&spec["capacity"], "storage") {
            let list: Vec<_> = entries(spec, "capacity").map(|(k, _)| k).collect();
            errors.push(field::Error::not_supported(&path.child("capacity"), list, &["storage"]));
        }
        let capacity = path.child("capacity");
        if let Some(amount) = some(&spec["capacity"], "storage")
            && !Quantity::from_tree(amount).is_ok_and(|q| q.sign() > 0)
        {
            errors.push(field::Error::invalid(&capacity.key("storage"), amount.clone(), "must be greater than zero"));
        }
        let policies = &["Delete", "Recycle", "Retain"];
        let policy = text(spec, "persistentVolumeReclaimPolicy");
        if !policies.contains(&policy) {
            errors.push(field::Error::not_supported(&path.child("persistentVolumeReclaimPolicy"), policy, policies));
        }
        let sources: Vec<&str> = spec_members(spec).map(|(k, _)| k).filter(|k| !PLAIN.contains(k)).collect();
        match sources.as_slice() {
            [] => errors.push(field::Error::required(path, "must specify a volume type")),
            [one] => source(&mut errors, &path.child(one), one, spec),
            [_, rest @ ..] => errors.extend(
                rest.iter().map(|s| field::Error::forbidden(&path.child(s), "may not specify more than 1 volume type")),
            ),
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        let path = Path::root("spec");
        let changed = spec_members(&new["spec"])
            .filter(|(k, _)| !PLAIN.contains(k))
            .any(|(k, v)| old["spec"].get(k).is_none_or(|was| !crate::kinds::tree::same(v, was)));
        let mut errors = Vec::new();
        if changed {
            let detail = "spec.persistentvolumesource is immutable after creation";
            errors.push(field::Error::forbidden(&path.child("persistentvolumesource"), detail));
        }
        if new["spec"]["volumeMode"] != old["spec"]["volumeMode"] {
            let value = new["spec"]["volumeMode"].clone();
            errors.push(field::Error::invalid(&path.child("volumeMode"), value, "field is immutable"));
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                Column::new("Capacity", "string"),
                Column::new("Access Modes", "string"),
                Column::new("Reclaim Policy", "string"),
                Column::new("Status", "string"),
                Column::new("Claim", "string"),
                Column::new("StorageClass", "string"),
                Column::new("VolumeAttributesClass", "string"),
                Column::new("Reason", "string"),
                AGE,
                Column::wide("VolumeMode", "string"),
            ]
        }
    }
    fn cells(&self, pv: &Value, now_seconds: i64) -> Vec<Value> {
        let (spec, status) = (&pv["spec"], &pv["status"]);
        let claim = match &spec["claimRef"] {
            Value::Null => String::new(),
            c => format!("{}/{}", text(c, "namespace"), text(c, "name")),
        };
        let phase = text(status, "phase");
        let terminating = has(&pv["metadata"], "deletionTimestamp");
        vec![
            name(pv),
            text(&spec["capacity"], "storage").into(),
            shown_modes(items(spec, "accessModes")).into(),
            text(spec, "persistentVolumeReclaimPolicy").into(),
            if terminating { "Terminating" } else { phase }.into(),
            claim.into(),
            text(spec, "storageClassName").into(),
            spec.get("volumeAttributesClassName").and_then(Value::as_str).unwrap_or(UNSET).into(),
            text(status, "reason").into(),
            age(pv, now_seconds),
            spec.get("volumeMode").and_then(Value::as_str).unwrap_or(UNSET).into(),
        ]
    }
}

fn spec_members(spec: &Value) -> impl Iterator<Item = (&str, &Value)> {
    spec.as_object().into_iter().flatten().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.as_str(), v))
}

/// What a source must say: the sources that are still in use.
fn source(errors: &mut Vec<field::Error>, path: &Path, kind: &str, spec: &Value) {
    let of = &spec[kind];
    let needed: &[&str] = match kind {
        "hostPath" | "local" => &["path"],
        "nfs" => &["server", "path"],
        "csi" => &["driver", "volumeHandle"],
        "iscsi" => &["targetPortal", "iqn"],
        _ => &[],
    };
    for key in needed.iter().filter(|k| text(of, k).is_empty()) {
        errors.push(field::Error::required(&path.child(key), ""));
    }
    let at = text(of, "path");
    if matches!(kind, "hostPath" | "local") && at.split('/').any(|part| part == "..") {
        errors.push(field::Error::invalid(&path.child("path"), at, "must not contain '..'"));
    }
    if kind == "nfs" && !at.is_empty() && !at.starts_with('/') {
        errors.push(field::Error::invalid(&path.child("path"), at, "must be an absolute path"));
    }
    if kind == "hostPath" && at == "/" && text(spec, "persistentVolumeReclaimPolicy") == "Recycle" {
        let detail = "may not be 'recycle' for a hostPath mount of '/'";
        let spec = Path::root("spec");
        errors.push(field::Error::forbidden(&spec.child("persistentVolumeReclaimPolicy"), detail));
    }
    if kind == "local" && !has(&spec["nodeAffinity"], "required") {
        let metadata = Path::root("metadata");
        let detail = "Local volume requires node affinity";
        errors.push(field::Error::required(&metadata.child("annotations"), detail));
    }
}

/// Access modes of volumes and claims.
pub(super) fn access_modes(errors: &mut Vec<field::Error>, path: &Path, modes: &[Value]) {
    if modes.is_empty() {
        errors.push(field::Error::required(path, ""));
    }
    for mode in modes.iter().map(|m| m.as_str().unwrap_or_default()) {
        if !MODES.contains(&mode) {
            errors.push(field::Error::not_supported(path, mode, MODES));
        }
    }
    if modes.len() > 1 && modes.iter().any(|m| m == "ReadWriteOncePod") {
        let detail = "may not use ReadWriteOncePod with other access modes";
        errors.push(field::Error::forbidden(path, detail));
    }
}

/// `GetAccessModesAsString`: `RWO,ROX`
pub(super) fn shown_modes(modes: &[Value]) -> String {
    let short =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let found: Vec<&str> = short.iter().filter(|(m, _)| modes.iter().any(|v| v == m)).map(|(_, s)| *s).collect();
    found.join(",")
}
