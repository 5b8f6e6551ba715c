//! Storage classes.

use serde_json::Value;

use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::table::or_unset;
use crate::kinds::tree::{flag, or, same, text};
use crate::strategy::{AGE, Column, NAME, age};

pub(super) struct StorageClass;

const DEFAULT: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

impl Strategy for StorageClass {
    fn default(&self, class: &mut Value) {
        or(class, "reclaimPolicy", "Delete");
        or(class, "volumeBindingMode", "Immediate");
    }
    fn has_status(&self) -> bool {
        false
    }

    fn validate(&self, class: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        if text(class, "provisioner").is_empty() {
            errors.push(field::Error::required(&Path::root("provisioner"), ""));
        }
        for (key, values) in [
            ("reclaimPolicy", &["Delete", "Retain"][..]),
            ("volumeBindingMode", &["Immediate", "WaitForFirstConsumer"]),
        ] {
            if !values.contains(&text(class, key)) {
                errors.push(field::Error::not_supported(&Path::root(key), text(class, key), values));
            }
        }
        errors
    }
    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        for key in ["parameters", "provisioner", "reclaimPolicy"] {
            if !same(&new[key], &old[key]) {
                let detail = format!("updates to {key} are forbidden.");
                errors.push(field::Error::forbidden(&Path::root(key), &detail));
            }
        }
        if new["volumeBindingMode"] != old["volumeBindingMode"] {
            let value = new["volumeBindingMode"].clone();
            errors.push(field::Error::invalid(&Path::root("volumeBindingMode"), value, "field is immutable"));
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                Column::new("Provisioner", "string"),
                Column::new("ReclaimPolicy", "string"),
                Column::new("VolumeBindingMode", "string"),
                Column::new("AllowVolumeExpansion", "string"),
                AGE,
            ]
        }
    }
    fn cells(&self, class: &Value, now_seconds: i64) -> Vec<Value> {
        let metadata = &class["metadata"];
        let is_default = DEFAULT.iter().any(|key| text(&metadata["annotations"], key) == "true");
        let suffix = if is_default { " (default)" } else { "" };
        vec![
            format!("{}{suffix}", text(metadata, "name")).into(),
            text(class, "provisioner").into(),
            or_unset(&class["reclaimPolicy"]),
            or_unset(&class["volumeBindingMode"]),
            flag(class, "allowVolumeExpansion").into(),
            age(class, now_seconds),
        ]
    }
}
