//! `ValidateVolumes`.

use serde_json::Value;

use super::validation::check;
use crate::field::{Error, Path};
use crate::kinds::core::volume_source::{self, backsteps, required};
use crate::kinds::tree::{has, items, some, text};
use crate::names;
use crate::quantity::Quantity;

const SOURCES: &[&str] = &[
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "persistentVolumeClaim",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "downwardAPI",
    "fc",
    "azureFile",
    "configMap",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "projected",
    "portworxVolume",
    "scaleIO",
    "storageos",
    "csi",
    "ephemeral",
    "image",
];

pub(super) fn validate(errors: &mut Vec<Error>, path: &Path, volumes: &[Value]) {
    for (i, volume) in volumes.iter().enumerate() {
        let path = &path.index(i);
        let sources: Vec<&str> = SOURCES.iter().copied().filter(|s| has(volume, s)).collect();
        match sources.as_slice() {
            [] => errors.push(Error::required(path, "must specify a volume type")),
            [first, rest @ ..] => {
                source(errors, &path.child(first), first, &volume[*first]);
                let detail = "may not specify more than 1 volume type";
                errors.extend(rest.iter().map(|s| Error::forbidden(&path.child(s), detail)));
            }
        }
        let name = text(volume, "name");
        if name.is_empty() {
            errors.push(Error::required(&path.child("name"), ""));
        } else {
            check(errors, &path.child("name"), name, names::dns_label(name, false));
            if volumes[..i].iter().any(|v| text(v, "name") == name) {
                errors.push(Error::duplicate(&path.child("name"), name));
            }
        }
    }
}

fn source(errors: &mut Vec<Error>, path: &Path, kind: &str, source: &Value) {
    match kind {
        "emptyDir" => {
            if let Some(limit) = some(source, "sizeLimit")
                && !Quantity::from_tree(limit).is_ok_and(|q| q.sign() >= 0)
            {
                errors.push(Error::forbidden(
                    &path.child("sizeLimit"),
                    "SizeLimit field must be a valid resource quantity",
                ));
            }
        }
        "secret" => {
            required(errors, path, source, &["secretName"]);
            files(errors, path, source);
        }
        "configMap" => {
            required(errors, path, source, &["name"]);
            files(errors, path, source);
        }
        "downwardAPI" => downward(errors, path, source),
        "projected" => projected(errors, path, source),
        "persistentVolumeClaim" => required(errors, path, source, &["claimName"]),
        "ephemeral" => {
            let template = path.child("volumeClaimTemplate");
            match some(source, "volumeClaimTemplate") {
                None => errors.push(Error::required(&template, "")),
                Some(t) => {
                    crate::kinds::metadata::template(errors, &template, t);
                    crate::kinds::core::validate_claim_spec(errors, &template.child("spec"), &t["spec"]);
                }
            }
        }
        "image" => {
            required(errors, path, source, &["reference"]);
            let (policy, known) = (text(source, "pullPolicy"), &["Always", "IfNotPresent", "Never"]);
            if policy.is_empty() {
                errors.push(Error::required(&path.child("pullPolicy"), ""));
            } else if !known.contains(&policy) {
                errors.push(Error::not_supported(&path.child("pullPolicy"), policy, known));
            }
        }
        _ => volume_source::validate(errors, path, kind, source, false),
    }
}

fn mode(errors: &mut Vec<Error>, path: &Path, owner: &Value, key: &str) {
    if let Some(n) = some(owner, key).and_then(Value::as_i64)
        && !(0..=0o777).contains(&n)
    {
        let detail = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.push(Error::invalid(&path.child(key), n, detail));
    }
}

/// Keys projected to paths, of a secret or config map.
fn files(errors: &mut Vec<Error>, path: &Path, source: &Value) {
    mode(errors, path, source, "defaultMode");
    let list = path.child("items");
    for (i, item) in items(source, "items").iter().enumerate() {
        let path = &list.index(i);
        if text(item, "key").is_empty() {
            errors.push(Error::required(&path.child("key"), ""));
        }
        if text(item, "path").is_empty() {
            errors.push(Error::required(&path.child("path"), ""));
        }
        local_path(errors, &path.child("path"), text(item, "path"));
        mode(errors, path, item, "mode");
    }
}

fn downward(errors: &mut Vec<Error>, path: &Path, source: &Value) {
    mode(errors, path, source, "defaultMode");
    let list = path.child("items");
    for (i, item) in items(source, "items").iter().enumerate() {
        let path = &list.index(i);
        if text(item, "path").is_empty() {
            errors.push(Error::required(&path.child("path"), ""));
        }
        local_path(errors, &path.child("path"), text(item, "path"));
        match (has(item, "fieldRef"), has(item, "resourceFieldRef")) {
            (false, false) => {
                errors.push(Error::required(path, "one of fieldRef and resourceFieldRef is required"));
            }
            (true, true) => {
                let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(Error::invalid(path, "resource", detail));
            }
            (true, false) => super::env::file_field(errors, &path.child("fieldRef"), &item["fieldRef"]),
            (false, true) => {
                super::env::resource_field(errors, &path.child("resourceFieldRef"), &item["resourceFieldRef"], true)
            }
        }
        mode(errors, path, item, "mode");
    }
}

fn projected(errors: &mut Vec<Error>, path: &Path, source: &Value) {
    mode(errors, path, source, "defaultMode");
    let list = path.child("sources");
    let mut paths: Vec<&str> = Vec::new();
    for (i, projection) in items(source, "sources").iter().enumerate() {
        let path = &list.index(i);
        if members(projection).count() > 1 {
            errors.push(Error::forbidden(path, "may not specify more than 1 volume type per source"));
        }
        for (kind, v) in members(projection) {
            let at = path.child(kind);
            match kind {
                "secret" | "configMap" => {
                    required(errors, &at, v, &["name"]);
                    files(errors, &at, v);
                }
                "downwardAPI" => downward(errors, &at, v),
                "serviceAccountToken" => {
                    let seconds = v["expirationSeconds"].as_i64().unwrap_or(3600);
                    if seconds < 600 {
                        let detail = "may not specify a duration less than 10 minutes";
                        errors.push(Error::invalid(&at.child("expirationSeconds"), seconds, detail));
                    }
                    required(errors, &at, v, &["path"]);
                    local_path(errors, &at.child("path"), text(v, "path"));
                }
                _ => {}
            }
            for p in items(v, "items").iter().map(|item| text(item, "path")).filter(|p| !p.is_empty()) {
                if paths.contains(&p) {
                    errors.push(Error::invalid(&at.child("path"), p, "conflicting duplicate paths"));
                }
                paths.push(p);
            }
        }
    }
}

fn members(v: &Value) -> impl Iterator<Item = (&str, &Value)> {
    v.as_object().into_iter().flatten().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.as_str(), v))
}

/// `validateLocalNonReservedPath`: relative, staying inside, not of the kubelet's own.
pub(super) fn local_path(errors: &mut Vec<Error>, path: &Path, value: &str) {
    if value.starts_with('/') {
        errors.push(Error::invalid(path, value, "must be a relative path"));
    }
    backsteps(errors, path, value);
    if value.starts_with("..") && !value.starts_with("../") {
        errors.push(Error::invalid(path, value, "must not start with '..'"));
    }
}

/// `validateLocalDescendingPath`
pub(super) fn local_descending(errors: &mut Vec<Error>, path: &Path, value: &str) {
    if value.starts_with('/') {
        errors.push(Error::invalid(path, value, "must be a relative path"));
    }
    backsteps(errors, path, value);
}
