//! The kinds of CSI: drivers, nodes, capacities, attachments, attribute classes. Data for others; their rules are few.

use serde_json::{Value, json};

use super::rules;
use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::table::{UNSET, name, or_none};
use crate::kinds::tree::{flag, has, items, made, or, same, text};
use crate::strategy::{AGE, Column, NAME, age};

pub(super) struct CsiDriver;

impl Strategy for CsiDriver {
    fn default(&self, driver: &mut Value) {
        let Some(spec) = made(driver, "spec") else { return };
        or(spec, "attachRequired", true);
        or(spec, "podInfoOnMount", false);
        or(spec, "storageCapacity", false);
        or(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        or(spec, "requiresRepublish", false);
        or(spec, "seLinuxMount", false);
        if items(spec, "volumeLifecycleModes").is_empty() {
            spec["volumeLifecycleModes"] = json!(["Persistent"]);
        }
    }
    fn has_status(&self) -> bool {
        false
    }
    fn has_generation(&self) -> bool {
        true
    }
    fn validate(&self, driver: &Value) -> Vec<field::Error> {
        rules::driver(driver)
    }
    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        rules::driver_update(new, old)
    }
    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                Column::new("AttachRequired", "boolean"),
                Column::new("PodInfoOnMount", "boolean"),
                Column::new("StorageCapacity", "boolean"),
                Column::new("TokenRequests", "string"),
                Column::new("RequiresRepublish", "boolean"),
                Column::new("Modes", "string"),
                AGE,
            ]
        }
    }
    fn cells(&self, driver: &Value, now_seconds: i64) -> Vec<Value> {
        let spec = &driver["spec"];
        let tokens: Vec<&str> = items(spec, "tokenRequests").iter().map(|t| text(t, "audience")).collect();
        let modes: Vec<&str> = items(spec, "volumeLifecycleModes").iter().filter_map(Value::as_str).collect();
        vec![
            name(driver),
            flag(spec, "attachRequired").into(),
            flag(spec, "podInfoOnMount").into(),
            flag(spec, "storageCapacity").into(),
            if tokens.is_empty() { UNSET.into() } else { tokens.join(",").into() },
            flag(spec, "requiresRepublish").into(),
            or_none(&modes.join(",")),
            age(driver, now_seconds),
        ]
    }
}

pub(super) struct CsiNode;

impl Strategy for CsiNode {
    fn has_status(&self) -> bool {
        false
    }
    fn validate(&self, node: &Value) -> Vec<field::Error> {
        rules::node(node)
    }
    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        rules::node_update(new, old)
    }
    fn columns(&self) -> &'static [Column] {
        const { &[NAME, Column::new("Drivers", "integer"), AGE] }
    }
    fn cells(&self, node: &Value, now_seconds: i64) -> Vec<Value> {
        vec![name(node), items(&node["spec"], "drivers").len().into(), age(node, now_seconds)]
    }
}

pub(super) struct CsiStorageCapacity;

impl Strategy for CsiStorageCapacity {
    fn has_status(&self) -> bool {
        false
    }
    fn validate(&self, object: &Value) -> Vec<field::Error> {
        rules::capacity(object)
    }
    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        ["nodeTopology", "storageClassName"]
            .into_iter()
            .filter(|key| !same(&new[*key], &old[*key]))
            .map(|key| field::Error::invalid(&Path::root(key), new[key].clone(), "field is immutable"))
            .collect()
    }
    fn columns(&self) -> &'static [Column] {
        const { &[NAME, Column::new("StorageClassName", "string"), Column::new("Capacity", "string")] }
    }
    fn cells(&self, object: &Value, _now_seconds: i64) -> Vec<Value> {
        let capacity = if has(object, "capacity") { text(object, "capacity") } else { UNSET };
        vec![name(object), text(object, "storageClassName").into(), capacity.into()]
    }
}

pub(super) struct VolumeAttachment;

impl Strategy for VolumeAttachment {
    fn validate(&self, object: &Value) -> Vec<field::Error> {
        let mut errors = rules::attachment(object);
        errors.extend(rules::new_attachment(object));
        errors
    }
    fn check_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        let mut errors = rules::attachment(new);
        errors.extend(self.validate_update(new, old));
        errors
    }
    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<field::Error> {
        rules::attachment_status(new)
    }
    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        if same(&new["spec"], &old["spec"]) {
            return Vec::new();
        }
        vec![field::Error::invalid(&Path::root("spec"), new["spec"].clone(), "field is immutable")]
    }
    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                Column { format: "name", ..Column::new("Attacher", "string") },
                Column::new("PV", "string"),
                Column::new("Node", "string"),
                Column::new("Attached", "boolean"),
                AGE,
            ]
        }
    }
    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        let spec = &object["spec"];
        vec![
            name(object),
            text(spec, "attacher").into(),
            text(&spec["source"], "persistentVolumeName").into(),
            text(spec, "nodeName").into(),
            flag(&object["status"], "attached").into(),
            age(object, now_seconds),
        ]
    }
}

pub(super) struct VolumeAttributesClass;

impl Strategy for VolumeAttributesClass {
    fn has_status(&self) -> bool {
        false
    }
    fn validate(&self, object: &Value) -> Vec<field::Error> {
        rules::attributes_class(object)
    }
    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        super::fixed(new, old, &["driverName", "parameters"])
    }
    fn check_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        let mut errors = self.validate_update(new, old);
        errors.extend(self.validate(new));
        errors
    }
    fn columns(&self) -> &'static [Column] {
        const { &[NAME, Column::new("DriverName", "string"), AGE] }
    }
    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        vec![name(object), text(object, "driverName").into(), age(object, now_seconds)]
    }
}
