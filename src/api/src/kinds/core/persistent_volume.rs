//! Persistent volumes.

use serde_json::Value;

use super::pod::node_selector;
use super::volume::default_source;
use super::volume_source;
use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::diff::diff;
use crate::kinds::resources::round_list;
use crate::kinds::table::{UNSET, name};
use crate::kinds::tree::{child, entries, has, is_zero, items, items_mut, made, or, or_zero, same, some, text};
use crate::names;
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

/// Its sources, in the order in which upstream looks at them.
const SOURCES: [&str; 22] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
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
        validate_spec(&mut errors, &Path::root("spec"), &pv["spec"], false);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        let (spec, was, path) = (&new["spec"], &old["spec"], Path::root("spec"));
        let mut errors = Vec::new();
        let sources = |spec: &Value| -> Value {
            spec_members(spec).filter(|(k, _)| !PLAIN.contains(k)).map(|(k, v)| (k.to_owned(), v.clone())).collect()
        };
        let (mut now, before) = (sources(spec), sources(was));
        // a secret for growing may be named later
        if has(&before, "csi") && !has(&before["csi"], "controllerExpandSecretRef") && has(&now, "csi") {
            set(&mut now["csi"], "controllerExpandSecretRef", None);
        }
        if !same(&now, &before) {
            let what = diff("core.PersistentVolumeSource", &before, &now);
            let detail = format!("spec.persistentvolumesource is immutable after creation\n{what}");
            errors.push(field::Error::forbidden(&path.child("persistentvolumesource"), &detail));
        }
        if spec["volumeMode"] != was["volumeMode"] {
            let value = spec["volumeMode"].clone();
            errors.push(field::Error::invalid(&Path::root("volumeMode"), value, "field is immutable"));
        }
        if has(was, "nodeAffinity")
            && !same(&graduated(&was["nodeAffinity"], &spec["nodeAffinity"]), &spec["nodeAffinity"])
        {
            let detail = "field is immutable, except for updating from beta label to GA";
            errors.push(field::Error::invalid(&Path::root("nodeAffinity"), spec["nodeAffinity"].clone(), detail));
        }
        if has(was, "volumeAttributesClassName") && !has(spec, "volumeAttributesClassName") {
            let detail = "update from non-nil value to nil is forbidden";
            errors.push(field::Error::forbidden(&path.child("volumeAttributesClassName"), detail));
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

/// `ValidatePersistentVolumeSpec`; `inline`: of a VolumeAttachment.
pub(crate) fn validate_spec(errors: &mut Vec<field::Error>, path: &Path, spec: &Value, inline: bool) {
    let forbid = |errors: &mut Vec<field::Error>, key: &'static str| {
        let detail = "may not be specified in the context of inline volumes";
        errors.push(field::Error::forbidden(&path.child(key), detail));
    };
    if inline {
        for key in ["claimRef", "capacity"].into_iter().filter(|k| !spec.get(k).is_none_or(is_zero)) {
            forbid(errors, key);
        }
        if !has(spec, "csi") {
            let detail = "has to be specified in the context of inline volumes";
            errors.push(field::Error::required(&path.child("csi"), detail));
        }
    }
    let modes = items(spec, "accessModes");
    if modes.is_empty() {
        errors.push(field::Error::required(&path.child("accessModes"), ""));
    }
    access_modes(errors, &path.child("accessModes"), modes);
    if !inline {
        let at = path.child("capacity");
        if entries(spec, "capacity").next().is_none() {
            errors.push(field::Error::required(&at, ""));
        }
        if !has(&spec["capacity"], "storage") || entries(spec, "capacity").count() > 1 {
            errors.push(field::Error::not_supported(&at, spec["capacity"].clone(), &["storage"]));
        }
        for (name, amount) in entries(spec, "capacity") {
            positive(errors, &at.key(name), amount);
        }
    }
    let (policy, at) = (text(spec, "persistentVolumeReclaimPolicy"), path.child("persistentVolumeReclaimPolicy"));
    let policies = &["Delete", "Recycle", "Retain"];
    match inline {
        true if !matches!(policy, "" | "Retain") => {
            errors.push(field::Error::forbidden(&at, "may only be Retain in the context of inline volumes"));
        }
        false if !policy.is_empty() && !policies.contains(&policy) => {
            errors.push(field::Error::not_supported(&at, policy, policies));
        }
        _ => {}
    }
    if let Some(affinity) = some(spec, "nodeAffinity") {
        let at = path.child("nodeAffinity");
        if inline {
            forbid(errors, "nodeAffinity");
        } else if has(affinity, "required") {
            node_selector(errors, &at.child("required"), &affinity["required"]);
        } else {
            errors.push(field::Error::required(&at.child("required"), "must specify required node constraints"));
        }
    }
    let sources: Vec<&str> = SOURCES.iter().copied().filter(|s| has(spec, s)).collect();
    for (i, kind) in sources.iter().enumerate() {
        if i > 0 {
            errors.push(field::Error::forbidden(&path.child(kind), "may not specify more than 1 volume type"));
            continue;
        }
        let shown = if *kind == "gcePersistentDisk" { "persistentDisk" } else { kind };
        volume_source::validate(errors, &path.child(shown), kind, &spec[*kind], true);
        if *kind == "local" && !has(spec, "nodeAffinity") {
            let detail = "Local volume requires node affinity";
            errors.push(field::Error::required(&path.child("nodeAffinity"), detail));
        }
    }
    if sources.is_empty() {
        errors.push(field::Error::required(path, "must specify a volume type"));
    }
    let host = text(&spec["hostPath"], "path");
    if policy == "Recycle" && host.starts_with('/') && host.split('/').all(|p| matches!(p, "" | ".")) {
        errors.push(field::Error::forbidden(&at, "may not be 'recycle' for a hostPath mount of '/'"));
    }
    classes(errors, path, spec, inline);
}

fn classes(errors: &mut Vec<field::Error>, path: &Path, spec: &Value, inline: bool) {
    let class = |errors: &mut Vec<field::Error>, key: &'static str| {
        let (value, at) = (text(spec, key), path.child(key));
        let wrong = names::dns_subdomain(value, false);
        errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&at, value, e)));
    };
    if !text(spec, "storageClassName").is_empty() {
        if inline {
            let detail = "may not be specified in the context of inline volumes";
            errors.push(field::Error::forbidden(&path.child("storageClassName"), detail));
        } else {
            class(errors, "storageClassName");
        }
    }
    let (mode, at) = (text(spec, "volumeMode"), path.child("volumeMode"));
    match has(spec, "volumeMode") {
        true if inline && mode != "Filesystem" => {
            let detail = "may not specify volumeMode other than Filesystem in the context of inline volumes";
            errors.push(field::Error::forbidden(&at, detail));
        }
        true if !inline && !matches!(mode, "Block" | "Filesystem") => {
            errors.push(field::Error::not_supported(&at, mode, &["Block", "Filesystem"]));
        }
        _ => {}
    }
    if has(spec, "volumeAttributesClassName") {
        let key = "volumeAttributesClassName";
        if text(spec, key).is_empty() {
            errors.push(field::Error::required(&path.child(key), "an empty string is disallowed"));
        } else {
            class(errors, key);
        }
        if !has(spec, "csi") {
            let detail = "has to be specified when using volumeAttributesClassName";
            errors.push(field::Error::required(&path.child("csi"), detail));
        }
    }
}

/// `validateBasicResource` and `ValidatePositiveQuantityValue`
pub(super) fn positive(errors: &mut Vec<field::Error>, path: &Path, amount: &Value) {
    if basic(errors, path, amount).is_some_and(|q| q.sign() <= 0) {
        errors.push(field::Error::invalid(path, amount.clone(), "must be greater than zero"));
    }
}

/// `validateBasicResource`
pub(super) fn basic(errors: &mut Vec<field::Error>, path: &Path, amount: &Value) -> Option<Quantity> {
    match Quantity::from_tree(amount) {
        Err(e) => {
            errors.push(field::Error::invalid(path, amount.clone(), e.to_string()));
            None
        }
        Ok(q) => {
            if q.value() < 0 {
                errors.push(field::Error::invalid(path, q.value(), "must be a valid resource quantity"));
            }
            Some(q)
        }
    }
}

/// The old affinity with labels from their betas renamed where the new one has done so.
fn graduated(old: &Value, new: &Value) -> Value {
    const RENAMED: [(&str, &str); 5] = [
        ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
        ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
        ("beta.kubernetes.io/os", "kubernetes.io/os"),
        ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
        ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
    ];
    let mut old = old.clone();
    let Some(required) = child(&mut old, "required") else { return old };
    for (term, now) in
        items_mut(required, "nodeSelectorTerms").iter_mut().zip(items(&new["required"], "nodeSelectorTerms"))
    {
        for list in ["matchExpressions", "matchFields"] {
            for (e, now) in items_mut(term, list).iter_mut().zip(items(now, list)) {
                if RENAMED.contains(&(text(e, "key"), text(now, "key"))) {
                    set(e, "key", Some(now["key"].clone()));
                }
            }
        }
    }
    old
}

/// Access modes of volumes and claims.
pub(super) fn access_modes(errors: &mut Vec<field::Error>, path: &Path, modes: &[Value]) {
    let is_known = |m: &&Value| m.as_str().is_some_and(|m| MODES.contains(&m));
    for mode in modes.iter().filter(|m| !is_known(m)) {
        errors.push(field::Error::not_supported(path, mode.clone(), MODES));
    }
    let (alone, others): (Vec<&Value>, Vec<&Value>) =
        modes.iter().filter(is_known).partition(|m| *m == "ReadWriteOncePod");
    if !alone.is_empty() && !others.is_empty() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::workload::problems;
    use serde_json::json;

    fn pv(change: Value) -> Value {
        let mut spec = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "csi": {"driver": "d.io", "volumeHandle": "h"}});
        crate::patch::merge(&mut spec, &change).expect("a patch");
        json!({ "spec": spec })
    }

    #[test]
    fn what_is_wrong_is_said_in_upstreams_words() {
        for (change, want) in [
            (json!({}), ""),
            (
                json!({"accessModes": ["X"], "capacity": {"cpu": "1"}}),
                r#"spec.accessModes: Unsupported value: "X": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"; spec.capacity: Unsupported value: {"cpu":"1","storage":"1Gi"}: supported values: "storage""#,
            ),
            (
                json!({"accessModes": ["ReadWriteOncePod", "ReadWriteOncePod", "ReadWriteOnce"]}),
                "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
            ),
            (
                json!({"capacity": {"storage": "0"}}),
                r#"spec.capacity[storage]: Invalid value: "0": must be greater than zero"#,
            ),
            (
                json!({"capacity": null}),
                "spec.capacity: Required value; spec.capacity: Unsupported value: null: supported values: \"storage\"",
            ),
            (json!({"csi": null}), "spec: Required value: must specify a volume type"),
            (json!({"hostPath": {"path": "/x"}}), "spec.csi: Forbidden: may not specify more than 1 volume type"),
            (
                json!({"csi": null, "local": {"path": "/x"}}),
                "spec.nodeAffinity: Required value: Local volume requires node affinity",
            ),
            (
                json!({"nodeAffinity": {}}),
                "spec.nodeAffinity.required: Required value: must specify required node constraints",
            ),
            (
                json!({"nodeAffinity": {"required": {"nodeSelectorTerms": []}}}),
                "spec.nodeAffinity.required.nodeSelectorTerms: Required value: must have at least one node selector term",
            ),
            (
                json!({"csi": null, "hostPath": {"path": "/."}, "persistentVolumeReclaimPolicy": "Recycle"}),
                "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'",
            ),
            (
                json!({"volumeMode": "X"}),
                r#"spec.volumeMode: Unsupported value: "X": supported values: "Block", "Filesystem""#,
            ),
            (
                json!({"volumeAttributesClassName": ""}),
                "spec.volumeAttributesClassName: Required value: an empty string is disallowed",
            ),
        ] {
            assert_eq!(problems(&PersistentVolume, pv(change.clone())).join("; "), want, "{change}");
        }
    }

    #[test]
    fn what_of_a_volume_may_change() {
        let zone = |key: &str| json!({"nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": key, "operator": "Exists"}]}]}}});
        let beta = zone("failure-domain.beta.kubernetes.io/zone");
        for (new, old, want) in [
            (json!({"csi": {"controllerExpandSecretRef": {"name": "s", "namespace": "n"}}}), json!({}), ""),
            (zone("topology.kubernetes.io/zone"), beta.clone(), ""),
            (beta.clone(), json!({}), ""),
            (
                zone("x"),
                beta,
                "nodeAffinity: Invalid value: {\"required\":{\"nodeSelectorTerms\":[{\"matchExpressions\":[{\"key\":\"x\",\"operator\":\"Exists\"}]}]}}: field is immutable, except for updating from beta label to GA",
            ),
            (
                json!({"volumeMode": "Block"}),
                json!({"volumeMode": "Filesystem"}),
                "volumeMode: Invalid value: \"Block\": field is immutable",
            ),
            (
                json!({}),
                json!({"volumeAttributesClassName": "a"}),
                "spec.volumeAttributesClassName: Forbidden: update from non-nil value to nil is forbidden",
            ),
        ] {
            let errors = PersistentVolume.validate_update(&pv(new), &pv(old));
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "), want);
        }
        let errors = PersistentVolume.validate_update(&pv(json!({"csi": {"volumeHandle": "i"}})), &pv(json!({})));
        assert!(
            errors[0].to_string().starts_with(
                "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation\n"
            ),
            "{errors:?}"
        );
    }
}
