//! `ValidateCSIDriver`, `ValidateCSINode`, `ValidateVolumeAttachment` and their like.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::field::{Error, Path};
use crate::kinds::core::validate_volume_spec;
use crate::kinds::metadata::{driver_name, label_name};
use crate::kinds::tree::{entries, has, items, number, same, some, text};
use crate::kinds::workload::{nonnegative, validate_label_selector};
use crate::names;
use crate::quantity::Quantity;

/// `validateProvisioner`
pub(super) fn provisioner(errors: &mut Vec<Error>, path: &Path, name: &str) {
    if name.is_empty() {
        return errors.push(Error::required(path, ""));
    }
    let lower = name.to_lowercase();
    errors.extend(names::qualified_name(&lower).into_iter().map(|e| Error::invalid(path, lower.as_str(), e)));
}

/// `validateParameters`
pub(super) fn parameters(errors: &mut Vec<Error>, object: &Value, needed: bool) {
    let (at, count) = (Path::root("parameters"), entries(object, "parameters").count());
    if count > 512 {
        return errors.push(Error::too_long(&at, 512));
    }
    if entries(object, "parameters").any(|(k, _)| k.is_empty()) {
        errors.push(Error::invalid(&at, "", "field can not be empty."));
    }
    if size(object, "parameters") > 256 * 1024 {
        errors.push(Error::too_long(&at, 256 * 1024));
    }
    if needed && count == 0 {
        errors.push(Error::required(&at, "must contain at least one key/value pair"));
    }
}

/// The bytes of a map's keys and values.
fn size(owner: &Value, key: &str) -> usize {
    entries(owner, key).map(|(k, v)| k.len() + v.as_str().map_or(0, str::len)).sum()
}

/// `validateAllowedTopologies`
pub(super) fn topologies(errors: &mut Vec<Error>, path: &Path, terms: &[Value]) {
    type Term<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;
    let mut before: Vec<Term> = Vec::new();
    for (i, term) in terms.iter().enumerate() {
        let at = path.index(i);
        let list = at.child("matchLabelExpressions");
        let mut raw = Term::new();
        for (j, e) in items(term, "matchLabelExpressions").iter().enumerate() {
            let (at, key) = (list.index(j), text(e, "key"));
            let (values, list) = (items(e, "values"), at.child("values"));
            if values.is_empty() {
                errors.push(Error::required(&list, ""));
            }
            let mut seen = BTreeSet::new();
            for (k, value) in values.iter().filter_map(Value::as_str).enumerate() {
                if !seen.insert(value) {
                    errors.push(Error::duplicate(&list.index(k), value));
                }
            }
            label_name(errors, &at.child("key"), key);
            if raw.insert(key, seen).is_some() {
                errors.push(Error::duplicate(&at.child("key"), key));
            }
        }
        if before.contains(&raw) {
            errors.push(Error::duplicate(&list, ""));
        }
        before.push(raw);
    }
}

fn immutable(errors: &mut Vec<Error>, path: &Path, now: &Value, was: &Value) {
    if !same(now, was) {
        errors.push(Error::invalid(path, now.clone(), "field is immutable"));
    }
}

/// `validateCSIDriverSpec`
pub(super) fn driver(object: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let (spec, path) = (&object["spec"], Path::root("spec"));
    let policy = text(spec, "fsGroupPolicy");
    let policies = &["File", "None", "ReadWriteOnceWithFSType"];
    if has(spec, "fsGroupPolicy") && !policies.contains(&policy) {
        errors.push(Error::not_supported(&path.child("fsGroupPolicy"), policy, policies));
    }
    let (requests, list) = (items(spec, "tokenRequests"), path.child("tokenRequests"));
    for (i, request) in requests.iter().enumerate() {
        let at = list.index(i);
        let audience = text(request, "audience");
        if requests[..i].iter().any(|r| text(r, "audience") == audience) {
            errors.push(Error::duplicate(&at.child("audience"), audience));
            continue;
        }
        let seconds = number(request, "expirationSeconds");
        if has(request, "expirationSeconds") && seconds < 600 {
            let detail = "may not specify a duration less than 10 minutes";
            errors.push(Error::invalid(&at.child("expirationSeconds"), seconds, detail));
        }
        if seconds > 1 << 32 {
            let detail = "may not specify a duration larger than 2^32 seconds";
            errors.push(Error::invalid(&at.child("expirationSeconds"), seconds, detail));
        }
    }
    let list = path.child("volumeLifecycleModes");
    for mode in items(spec, "volumeLifecycleModes").iter().filter_map(Value::as_str) {
        if !matches!(mode, "Persistent" | "Ephemeral") {
            errors.push(Error::not_supported(&list, mode, &["Persistent", "Ephemeral"]));
        }
    }
    let period = number(spec, "nodeAllocatableUpdatePeriodSeconds");
    if has(spec, "nodeAllocatableUpdatePeriodSeconds") && period < 10 {
        let detail = "must be greater than or equal to 10 seconds";
        errors.push(Error::invalid(&path.child("nodeAllocatableUpdatePeriodSeconds"), period, detail));
    }
    errors
}

pub(super) fn driver_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let path = Path::root("spec");
    // upstream's spelling
    for (key, shown) in [("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")] {
        immutable(&mut errors, &path.child(shown), &new["spec"][key], &old["spec"][key]);
    }
    errors
}

pub(super) fn node(object: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let spec = Path::root("spec");
    let (drivers, list) = (items(&object["spec"], "drivers"), spec.child("drivers"));
    for (i, driver) in drivers.iter().enumerate() {
        let at = list.index(i);
        let its_name = text(driver, "name");
        driver_name(&mut errors, &at.child("name"), its_name);
        let id = text(driver, "nodeID");
        if id.is_empty() {
            errors.push(Error::required(&at.child("nodeID"), id));
        } else if id.len() > 256 {
            errors.push(Error::invalid(&at.child("nodeID"), id, "must be 256 characters or less"));
        }
        nonnegative(&mut errors, &at.child("allocatable"), &driver["allocatable"], "count");
        if drivers[..i].iter().any(|d| text(d, "name") == its_name) {
            errors.push(Error::duplicate(&at.child("name"), its_name));
        }
        // of its keys upstream gives the driver's path
        let keys = items(driver, "topologyKeys");
        for (j, key) in keys.iter().filter_map(Value::as_str).enumerate() {
            if key.is_empty() {
                errors.push(Error::required(&at, key));
            }
            if keys[..j].iter().any(|k| k == key) {
                errors.push(Error::duplicate(&at, key));
            }
            let wrong = names::qualified_name(key);
            errors.extend(wrong.into_iter().map(|e| Error::invalid(&at, key, e)));
        }
    }
    errors
}

/// A driver's entry may come and go; while it is there only its count changes.
pub(super) fn node_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let spec = Path::root("spec");
    let path = spec.child("drivers");
    let plain = |d: &Value| {
        let mut d = d.clone();
        crate::strategy::set(&mut d, "allocatable", None);
        d
    };
    for before in items(&old["spec"], "drivers") {
        for driver in items(&new["spec"], "drivers").iter().filter(|d| d["name"] == before["name"]) {
            immutable(&mut errors, &path, &plain(driver), &plain(before));
        }
    }
    errors
}

pub(super) fn capacity(object: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    if has(object, "nodeTopology") {
        validate_label_selector(&mut errors, &Path::root("nodeTopology"), &object["nodeTopology"]);
    }
    let class = text(object, "storageClassName");
    let wrong = names::dns_subdomain(class, false);
    errors.extend(wrong.into_iter().map(|e| Error::invalid(&Path::root("storageClassName"), class, e)));
    if let Some(amount) = some(object, "capacity")
        && !Quantity::from_tree(amount).is_ok_and(|q| q.sign() >= 0)
    {
        let detail = "must be greater than or equal to 0";
        errors.push(Error::invalid(&Path::root("capacity"), amount.clone(), detail));
    }
    errors
}

/// `ValidateVolumeAttachment`
pub(super) fn attachment(object: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let (spec, path) = (&object["spec"], Path::root("spec"));
    if text(spec, "attacher").is_empty() {
        errors.push(Error::required(&path.child("attacher"), ""));
    }
    let (source, at) = (&spec["source"], path.child("source"));
    match (some(source, "inlineVolumeSpec"), some(source, "persistentVolumeName")) {
        (None, None) => {
            errors.push(Error::required(&at, "must specify exactly one of inlineVolumeSpec and persistentVolumeName"));
        }
        (Some(_), Some(_)) => {
            let detail = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
            errors.push(Error::forbidden(&at, detail));
        }
        (None, Some(name)) if name == "" => {
            let detail = "must specify non empty persistentVolumeName";
            errors.push(Error::required(&at.child("persistentVolumeName"), detail));
        }
        (None, Some(_)) => {}
        (Some(volume), None) => validate_volume_spec(&mut errors, &at.child("inlineVolumeSpec"), volume, true),
    }
    let (node, at) = (text(spec, "nodeName"), path.child("nodeName"));
    errors.extend(names::dns_subdomain(node, false).into_iter().map(|e| Error::invalid(&at, node, e)));
    errors.extend(attachment_status(object));
    errors
}

/// `ValidateVolumeAttachmentV1`: what is asked of new ones beyond that.
pub(super) fn new_attachment(object: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let (spec, path) = (&object["spec"], Path::root("spec"));
    if !text(spec, "attacher").is_empty() {
        driver_name(&mut errors, &path.child("attacher"), text(spec, "attacher"));
    }
    if let Some(name) = some(&spec["source"], "persistentVolumeName").and_then(Value::as_str) {
        let at = path.child("source");
        let wrong = names::dns_subdomain(name, false);
        errors.extend(wrong.into_iter().map(|e| Error::invalid(&at.child("persistentVolumeName"), name, e)));
    }
    errors
}

/// `validateVolumeAttachmentStatus`
pub(super) fn attachment_status(object: &Value) -> Vec<Error> {
    const LARGEST: usize = 256 * 1024;
    let mut errors = Vec::new();
    let (status, path) = (&object["status"], Path::root("status"));
    if size(status, "attachmentMetadata") > LARGEST {
        errors.push(Error::too_long(&path.child("attachmentMetadata"), LARGEST));
    }
    for key in ["attachError", "detachError"] {
        let (error, at) = (&status[key], path.child(key));
        if text(error, "message").len() > 1024 {
            // the other limit, as upstream says it
            errors.push(Error::too_long(&at.child("message"), LARGEST));
        }
        if number(error, "errorCode") < 0 {
            let detail = "must be between 0 and 2147483647, inclusive";
            errors.push(Error::invalid(&at.child("errorCode"), number(error, "errorCode"), detail));
        }
    }
    errors
}

pub(super) fn attributes_class(object: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    provisioner(&mut errors, &Path::root("driverName"), text(object, "driverName"));
    parameters(&mut errors, object, true);
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_is_said_in_upstreams_words() {
        let texts = |errors: Vec<Error>| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
        let good = json!({"metadata": {"name": "d.io"}, "spec": {"fsGroupPolicy": "File", "volumeLifecycleModes": ["Ephemeral"]}});
        assert_eq!(texts(driver(&good)), Vec::<String>::new());
        let bad = json!({"metadata": {"name": "d.io"}, "spec": {"fsGroupPolicy": "x", "tokenRequests": [{"audience": "a", "expirationSeconds": 5}]}});
        assert_eq!(
            texts(driver(&bad)),
            [
                r#"spec.fsGroupPolicy: Unsupported value: "x": supported values: "File", "None", "ReadWriteOnceWithFSType""#,
                "spec.tokenRequests[0].expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes",
            ]
        );
        let csi_node = |id: &str| json!({"spec": {"drivers": [{"name": "d.io", "nodeID": id}]}});
        assert_eq!(texts(node(&csi_node(""))), ["spec.drivers[0].nodeID: Required value"]);
        assert_eq!(node_update(&csi_node("a"), &csi_node("b")).len(), 1);
        assert_eq!(
            texts(attachment(&json!({"spec": {"attacher": "d.io", "nodeName": "n", "source": {}}}))),
            ["spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName"]
        );
        assert_eq!(
            texts(attributes_class(&json!({"driverName": "d.io"}))),
            ["parameters: Required value: must contain at least one key/value pair"]
        );
    }

    #[test]
    fn the_kinds_of_csi_are_checked() {
        let texts = |errors: Vec<Error>| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let drivers = |spec: Value| json!({"spec": spec});
        assert_eq!(
            texts(driver(&drivers(json!({"volumeLifecycleModes": ["x"], "nodeAllocatableUpdatePeriodSeconds": 5})))),
            "spec.volumeLifecycleModes: Unsupported value: \"x\": supported values: \"Persistent\", \"Ephemeral\"; \
             spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 5: must be greater than or equal to 10 seconds"
        );
        assert_eq!(
            texts(driver_update(&drivers(json!({"attachRequired": true})), &drivers(json!({})))),
            "spec.attachedRequired: Invalid value: true: field is immutable"
        );
        let nodes = drivers(
            json!({"drivers": [{"name": "d.io", "nodeID": "n", "topologyKeys": ["", "a", "a"], "allocatable": {"count": -1}}]}),
        );
        let found = texts(node(&nodes));
        assert!(
            found.starts_with("spec.drivers[0].allocatable.count: Invalid value: -1: must be greater than or equal to 0; spec.drivers[0]: Required value; ")
                && found.ends_with("; spec.drivers[0]: Duplicate value: \"a\""),
            "{found}"
        );
        let attached = |source: Value| json!({"spec": {"attacher": "d.io", "nodeName": "n", "source": source}});
        for (source, want) in [
            (json!({"persistentVolumeName": "p"}), ""),
            (
                json!({"persistentVolumeName": ""}),
                "spec.source.persistentVolumeName: Required value: must specify non empty persistentVolumeName",
            ),
            (
                json!({"inlineVolumeSpec": {"accessModes": ["ReadWriteOnce"], "csi": {"driver": "d.io", "volumeHandle": "h"}}}),
                "",
            ),
            (
                json!({"inlineVolumeSpec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1"}, "hostPath": {"path": "/x"}}}),
                "spec.source.inlineVolumeSpec.capacity: Forbidden: may not be specified in the context of inline volumes; \
                 spec.source.inlineVolumeSpec.csi: Required value: has to be specified in the context of inline volumes",
            ),
        ] {
            assert_eq!(texts(attachment(&attached(source))), want);
        }
        let status = json!({"status": {"attachError": {"message": "m".repeat(1025), "errorCode": -1}}});
        assert_eq!(
            texts(attachment_status(&status)),
            "status.attachError.message: Too long: may not be more than 262144 bytes; \
             status.attachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive"
        );
        assert_eq!(
            texts(capacity(&json!({"storageClassName": "c", "capacity": "-1"}))),
            r#"capacity: Invalid value: "-1": must be greater than or equal to 0"#
        );
        let mut errors = Vec::new();
        let term = json!({"matchLabelExpressions": [{"key": "z", "values": ["a", "a"]}, {"key": "z", "values": []}]});
        topologies(&mut errors, &Path::root("t"), &[term]);
        assert_eq!(
            texts(errors),
            "t[0].matchLabelExpressions[0].values[1]: Duplicate value: \"a\"; t[0].matchLabelExpressions[1].values: Required value; \
             t[0].matchLabelExpressions[1].key: Duplicate value: \"z\""
        );
    }
}
