//! `ValidateCSIDriver`, `ValidateCSINode`, `ValidateVolumeAttachment` and their like.

use serde_json::Value;

use crate::field::{Error, Path};
use crate::kinds::tree::{has, items, number, same, some, text};
use crate::kinds::workload::validate_label_selector;
use crate::names;
use crate::quantity::Quantity;

/// `ValidateCSIDriverName`
pub(super) fn driver_name(errors: &mut Vec<Error>, path: &Path, driver: &str) {
    if driver.is_empty() {
        errors.push(Error::required(path, ""));
    }
    if driver.len() > 63 {
        errors.push(Error::too_long(path, 63));
    }
    let lower = driver.to_lowercase();
    errors.extend(names::dns_subdomain(&lower, false).into_iter().map(|e| Error::invalid(path, driver, e)));
}

fn immutable(errors: &mut Vec<Error>, path: &Path, now: &Value, was: &Value) {
    if !same(now, was) {
        errors.push(Error::invalid(path, now.clone(), "field is immutable"));
    }
}

pub(super) fn driver(object: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let (spec, path, metadata) = (&object["spec"], Path::root("spec"), Path::root("metadata"));
    driver_name(&mut errors, &metadata.child("name"), text(&object["metadata"], "name"));
    let list = path.child("volumeLifecycleModes");
    for mode in items(spec, "volumeLifecycleModes").iter().filter_map(Value::as_str) {
        if !matches!(mode, "Persistent" | "Ephemeral") {
            errors.push(Error::not_supported(&list, mode, &["Ephemeral", "Persistent"]));
        }
    }
    let policy = text(spec, "fsGroupPolicy");
    let policies = &["File", "None", "ReadWriteOnceWithFSType"];
    if !policy.is_empty() && !policies.contains(&policy) {
        errors.push(Error::not_supported(&path.child("fsGroupPolicy"), policy, policies));
    }
    let (requests, list) = (items(spec, "tokenRequests"), path.child("tokenRequests"));
    for (i, request) in requests.iter().enumerate() {
        let at = list.index(i);
        let audience = text(request, "audience");
        if requests[..i].iter().any(|r| text(r, "audience") == audience) {
            errors.push(Error::duplicate(&at.child("audience"), audience));
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
    errors
}

pub(super) fn driver_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let path = Path::root("spec");
    for key in ["attachRequired", "volumeLifecycleModes"] {
        immutable(&mut errors, &path.child(key), &new["spec"][key], &old["spec"][key]);
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
        if drivers[..i].iter().any(|d| text(d, "name") == its_name) {
            errors.push(Error::duplicate(&at.child("name"), its_name));
        }
        let id = text(driver, "nodeID");
        if id.is_empty() {
            errors.push(Error::required(&at.child("nodeID"), id));
        } else if id.len() > 256 {
            errors.push(Error::invalid(&at.child("nodeID"), id, "must be 256 characters or less"));
        }
        let (keys, list) = (items(driver, "topologyKeys"), at.child("topologyKeys"));
        for (j, key) in keys.iter().filter_map(Value::as_str).enumerate() {
            if keys[..j].iter().any(|k| k == key) {
                errors.push(Error::duplicate(&list, key));
            }
            let wrong = names::qualified_name(key);
            errors.extend(wrong.into_iter().map(|e| Error::invalid(&list, key, e)));
        }
        let count = number(&driver["allocatable"], "count");
        if count < 0 {
            let at = at.child("allocatable");
            errors.push(Error::invalid(&at.child("count"), count, "must be greater than or equal to 0"));
        }
    }
    errors
}

/// A driver's entry may come and go; while it is there only its count changes.
pub(super) fn node_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let spec = Path::root("spec");
    let path = spec.child("drivers");
    for driver in items(&new["spec"], "drivers") {
        let before = items(&old["spec"], "drivers").iter().find(|d| d["name"] == driver["name"]);
        let plain = |d: &Value| {
            let mut d = d.clone();
            crate::strategy::set(&mut d, "allocatable", None);
            d
        };
        if before.is_some_and(|b| !same(&plain(b), &plain(driver))) {
            errors.push(Error::invalid(&path, driver.clone(), "field is immutable"));
        }
    }
    errors
}

pub(super) fn capacity(object: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    if text(object, "storageClassName").is_empty() {
        errors.push(Error::required(&Path::root("storageClassName"), ""));
    } else {
        let class = text(object, "storageClassName");
        let wrong = names::dns_subdomain(class, false);
        errors.extend(wrong.into_iter().map(|e| Error::invalid(&Path::root("storageClassName"), class, e)));
    }
    for key in ["capacity", "maximumVolumeSize"] {
        if let Some(amount) = some(object, key)
            && !Quantity::from_tree(amount).is_ok_and(|q| q.sign() >= 0)
        {
            let detail = "must be greater than or equal to 0";
            errors.push(Error::invalid(&Path::root(key), amount.clone(), detail));
        }
    }
    if has(object, "nodeTopology") {
        validate_label_selector(&mut errors, &Path::root("nodeTopology"), &object["nodeTopology"]);
    }
    errors
}

pub(super) fn attachment(object: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let (spec, path) = (&object["spec"], Path::root("spec"));
    driver_name(&mut errors, &path.child("attacher"), text(spec, "attacher"));
    let (source, at) = (&spec["source"], path.child("source"));
    match (has(source, "inlineVolumeSpec"), text(source, "persistentVolumeName")) {
        (false, "") => {
            errors.push(Error::required(&at, "must specify exactly one of inlineVolumeSpec and persistentVolumeName"));
        }
        (true, name) if !name.is_empty() => {
            let detail = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
            errors.push(Error::forbidden(&at, detail));
        }
        (true, _) => {}
        (false, name) => {
            let wrong = names::dns_subdomain(name, false);
            let at = at.child("persistentVolumeName");
            errors.extend(wrong.into_iter().map(|e| Error::invalid(&at, name, e)));
        }
    }
    let (node, at) = (text(spec, "nodeName"), path.child("nodeName"));
    errors.extend(names::dns_subdomain(node, false).into_iter().map(|e| Error::invalid(&at, node, e)));
    errors
}

pub(super) fn attributes_class(object: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    driver_name(&mut errors, &Path::root("driverName"), text(object, "driverName"));
    let parameters = object["parameters"].as_object();
    let size: usize = parameters.into_iter().flatten().map(|(k, v)| k.len() + v.as_str().map_or(0, str::len)).sum();
    let at = Path::root("parameters");
    if parameters.is_none_or(|p| p.is_empty()) {
        errors.push(Error::required(&at, "must contain at least one key/value pair"));
    } else if parameters.is_some_and(|p| p.len() > 512) {
        errors.push(Error::too_long(&at, 512));
    } else if size > 256 * 1024 {
        errors.push(Error::too_long(&at, 256 * 1024));
    }
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
}
