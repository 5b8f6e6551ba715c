//! Volumes of pods, and the sources that persistent volumes share with them: defaults.

use serde_json::{Value, json};

use super::pod::{pull_policy, reference};
use crate::kinds::tree::{child, items_mut, or, or_zero, text};

const DEFAULT_MODE: i64 = 0o644;

/// `SetDefaults_Volume` and those of its source.
pub(super) fn default(volume: &mut Value) {
    let Some(members) = volume.as_object_mut() else { return };
    if !members.iter().any(|(key, v)| key != "name" && !v.is_null()) {
        members.insert("emptyDir".into(), json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(s) = child(volume, source) {
            or(s, "defaultMode", DEFAULT_MODE);
        }
    }
    if let Some(downward) = child(volume, "downwardAPI") {
        items_mut(downward, "items").iter_mut().for_each(reference);
    }
    if let Some(projected) = child(volume, "projected") {
        for source in items_mut(projected, "sources") {
            if let Some(downward) = child(source, "downwardAPI") {
                items_mut(downward, "items").iter_mut().for_each(reference);
            }
            if let Some(token) = child(source, "serviceAccountToken") {
                or(token, "expirationSeconds", 3600);
            }
        }
    }
    if let Some(spec) =
        child(volume, "ephemeral").and_then(|e| child(e, "volumeClaimTemplate")).and_then(|t| child(t, "spec"))
    {
        super::persistent_volume_claim::default_spec(spec);
    }
    if let Some(image) = child(volume, "image") {
        let policy = pull_policy(text(image, "reference"));
        or_zero(image, "pullPolicy", policy);
    }
    default_source(volume);
}

/// The defaults of sources that volumes and persistent volumes have alike.
pub(super) fn default_source(volume: &mut Value) {
    type Fields = &'static [(&'static str, &'static str)];
    const PLAIN: &[(&str, Fields)] = &[
        ("iscsi", &[("iscsiInterface", "default")]),
        ("rbd", &[("pool", "rbd"), ("user", "admin"), ("keyring", "/etc/ceph/keyring")]),
        ("scaleIO", &[("storageMode", "ThinProvisioned"), ("fsType", "xfs")]),
        ("azureDisk", &[("cachingMode", "ReadWrite"), ("kind", "Shared"), ("fsType", "ext4")]),
    ];
    for (source, fields) in PLAIN {
        if let Some(s) = child(volume, source) {
            for (field, value) in *fields {
                or_zero(s, field, *value);
            }
        }
    }
    if let Some(azure) = child(volume, "azureDisk") {
        or(azure, "readOnly", false);
    }
    if let Some(host) = child(volume, "hostPath") {
        or(host, "type", "");
    }
}
