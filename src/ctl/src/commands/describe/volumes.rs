//! Volumes and their sources.

use api::Value;

use super::writer::{Out, plain};
use crate::objects::{list, text};

/// `(type, fields)` by source: label and path. A path that ends in `?` is a boolean.
type Known = (&'static str, &'static str, &'static [(&'static str, &'static str)]);
const SOURCES: [Known; 9] = [
    ("hostPath", "HostPath (bare host directory volume)", &[("Path", "/path"), ("HostPathType", "/type")]),
    (
        "emptyDir",
        "EmptyDir (a temporary directory that shares a pod's lifetime)",
        &[("Medium", "/medium"), ("SizeLimit", "/sizeLimit!")],
    ),
    ("secret", "Secret (a volume populated by a Secret)", &[("SecretName", "/secretName"), ("Optional", "/optional?")]),
    ("configMap", "ConfigMap (a volume populated by a ConfigMap)", &[("Name", "/name"), ("Optional", "/optional?")]),
    (
        "persistentVolumeClaim",
        "PersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)",
        &[("ClaimName", "/claimName"), ("ReadOnly", "/readOnly?")],
    ),
    (
        "nfs",
        "NFS (an NFS mount that lasts the lifetime of a pod)",
        &[("Server", "/server"), ("Path", "/path"), ("ReadOnly", "/readOnly?")],
    ),
    (
        "csi",
        "CSI (a Container Storage Interface (CSI) volume source)",
        &[("Driver", "/driver"), ("FSType", "/fsType"), ("ReadOnly", "/readOnly?")],
    ),
    (
        "image",
        "Image (a container image or OCI artifact)",
        &[("Reference", "/reference"), ("PullPolicy", "/pullPolicy")],
    ),
    ("local", "LocalVolume (a persistent volume backed by local storage on a node)", &[("Path", "/path")]),
];

pub fn describe(w: &mut Out, level: usize, v: &Value) {
    let all = v.as_array().map_or(&[][..], Vec::as_slice);
    if all.is_empty() {
        w.field(level, "Volumes", "<none>");
        return;
    }
    w.put(level, "Volumes:");
    for volume in all {
        // as containers: kubectl's layout of templates
        w.put(1, format!("{}{}:", if level == 0 { "" } else { " " }, text(volume, "/name")));
        source(w, 2, volume);
    }
}

/// What a volume is made of; also of a PersistentVolume's spec.
pub fn source(w: &mut Out, level: usize, volume: &Value) {
    for (key, kind, fields) in SOURCES {
        if let Some(source) = volume.get(key) {
            w.field(level, "Type", kind);
            for (label, path) in fields {
                let value = if let Some(path) = path.strip_suffix('?') {
                    (source.pointer(path) == Some(&Value::Bool(true))).to_string()
                } else if let Some(path) = path.strip_suffix('!') {
                    source.pointer(path).map_or_else(|| "<unset>".into(), plain)
                } else {
                    source.pointer(path).map(plain).unwrap_or_default()
                };
                w.field(level, label, value);
            }
            return;
        }
    }
    if let Some(projected) = volume.get("projected") {
        w.field(level, "Type", "Projected (a volume that contains injected data from multiple sources)");
        list(projected, "/sources").iter().for_each(|s| projection(w, level, s));
    } else if let Some(downward) = volume.get("downwardAPI") {
        w.field(level, "Type", "DownwardAPI (a volume populated by information about the pod)");
        items(w, level, downward);
    } else {
        w.field(level, "Type", "<unknown>");
    }
}

fn items(w: &mut Out, level: usize, downward: &Value) {
    w.put(level, "Items:");
    for item in list(downward, "/items") {
        let path = text(item, "/path");
        match item.get("fieldRef") {
            Some(f) => w.put(level + 1, format!("{} -> {path}", text(f, "/fieldPath"))),
            None => w.put(level + 1, format!("{} -> {path}", text(item, "/resourceFieldRef/resource"))),
        }
    }
}

fn projection(w: &mut Out, level: usize, s: &Value) {
    if let Some(secret) = s.get("secret") {
        w.field(level, "SecretName", text(secret, "/name"));
        w.field(level, "SecretOptionalName", optional(secret));
    } else if s.get("downwardAPI").is_some() {
        w.field(level, "DownwardAPI", "true");
    } else if let Some(map) = s.get("configMap") {
        w.field(level, "ConfigMapName", text(map, "/name"));
        w.field(level, "ConfigMapOptional", optional(map));
    } else if let Some(token) = s.get("serviceAccountToken") {
        w.field(level, "TokenExpirationSeconds", token["expirationSeconds"].to_string());
    }
}

fn optional(v: &Value) -> String {
    v["optional"].as_bool().map_or_else(|| "<nil>".into(), |b| b.to_string())
}
