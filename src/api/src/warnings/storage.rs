//! Volumes, claims and what provisions them.

use serde_json::Value;

use super::{deprecated_label, fractional, node_term};
use crate::field::Path;
use crate::kinds::tree::{entries, has, items, text};

/// Volume plugins that are gone or going, as pods name them and as volumes do.
pub(super) const PLUGINS: [(&str, &str); 8] = [
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// As upstream's texts spell it.
pub(super) fn plugin_name(field: &str) -> &str {
    if field == "storageos" { "storageOS" } else { field }
}

fn class_annotation(out: &mut Vec<String>, object: &Value) {
    const CLASS: &str = "volume.beta.kubernetes.io/storage-class";
    if has(&object["metadata"]["annotations"], CLASS) {
        out.push(format!(
            "metadata.annotations[{CLASS}]: deprecated since v1.8; use \"storageClassName\" attribute instead"
        ));
    }
}

pub(super) fn volume(out: &mut Vec<String>, volume: &Value) {
    class_annotation(out, volume);
    let spec = &volume["spec"];
    if text(spec, "persistentVolumeReclaimPolicy") == "Recycle" {
        out.push(
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended \
             approach is to use dynamic provisioning."
                .into(),
        );
    }
    let path = Path::root("spec.nodeAffinity.required.nodeSelectorTerms");
    for (i, term) in items(&spec["nodeAffinity"]["required"], "nodeSelectorTerms").iter().enumerate() {
        node_term(out, &path.index(i), term, false);
    }
    let gone = PLUGINS.iter().filter(|(field, _)| has(spec, field));
    out.extend(gone.map(|(field, why)| format!("spec.{}: {why}", plugin_name(field))));
}

pub(super) fn claim(out: &mut Vec<String>, claim: &Value) {
    class_annotation(out, claim);
    claim_spec(out, &Path::root("spec"), &claim["spec"]);
}

/// `GetWarningsForPersistentVolumeClaimSpec`
pub(super) fn claim_spec(out: &mut Vec<String>, path: &Path<'_>, spec: &Value) {
    for list in ["requests", "limits"] {
        fractional(out, &path.child("resources").child(list), &spec["resources"][list], &["storage"]);
    }
}

pub(super) fn class(out: &mut Vec<String>, class: &Value) {
    for (i, topology) in items(class, "allowedTopologies").iter().enumerate() {
        for (j, expression) in items(topology, "matchLabelExpressions").iter().enumerate() {
            let why = deprecated_label(text(expression, "key"));
            out.extend(why.map(|why| format!("allowedTopologies[{i}].matchLabelExpressions[{j}]: {why}")));
        }
    }
}

pub(super) fn capacity(out: &mut Vec<String>, capacity: &Value) {
    let topology = &capacity["nodeTopology"];
    for (i, expression) in items(topology, "matchExpressions").iter().enumerate() {
        let key = text(expression, "key");
        out.extend(deprecated_label(key).map(|why| format!("nodeTopology.matchExpressions[{i}].key: {key} is {why}")));
    }
    for (key, _) in entries(topology, "matchLabels") {
        out.extend(deprecated_label(key).map(|why| format!("nodeTopology.matchLabels.{key}: {why}")));
    }
}
