//! Storage classes.

use serde_json::Value;

use super::rules;
use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::table::or_unset;
use crate::kinds::tree::{flag, has, items, or, text};
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
        rules::provisioner(&mut errors, &Path::root("provisioner"), text(class, "provisioner"));
        rules::parameters(&mut errors, class, false);
        let (policy, policies) = (text(class, "reclaimPolicy"), &["Delete", "Retain"]);
        if !policy.is_empty() && !policies.contains(&policy) {
            errors.push(field::Error::not_supported(&Path::root("reclaimPolicy"), policy, policies));
        }
        let (mode, modes) = (text(class, "volumeBindingMode"), &["Immediate", "WaitForFirstConsumer"]);
        let at = Path::root("volumeBindingMode");
        if !has(class, "volumeBindingMode") {
            errors.push(field::Error::required(&at, ""));
        } else if !modes.contains(&mode) {
            errors.push(field::Error::not_supported(&at, mode, modes));
        }
        rules::topologies(&mut errors, &Path::root("allowedTopologies"), items(class, "allowedTopologies"));
        errors
    }
    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        let mut errors = super::fixed(new, old, &["parameters", "provisioner", "reclaimPolicy"]);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::workload::problems;
    use serde_json::json;

    #[test]
    fn what_is_wrong_is_said_in_upstreams_words() {
        let many: Value = (0..513).map(|i| (i.to_string(), json!(""))).collect();
        for (class, want) in [
            (json!({"provisioner": "x.io/Y"}), ""),
            (json!({}), "provisioner: Required value"),
            (json!({"provisioner": "x", "parameters": many}), "parameters: Too long: may not be more than 512 bytes"),
            (
                json!({"provisioner": "x", "parameters": {"": "a"}}),
                r#"parameters: Invalid value: "": field can not be empty."#,
            ),
            (
                json!({"provisioner": "x", "reclaimPolicy": "Recycle", "volumeBindingMode": "y"}),
                r#"reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"; volumeBindingMode: Unsupported value: "y": supported values: "Immediate", "WaitForFirstConsumer""#,
            ),
            (
                json!({"provisioner": "x", "allowedTopologies": [{}, {}]}),
                r#"allowedTopologies[1].matchLabelExpressions: Duplicate value: """#,
            ),
        ] {
            assert_eq!(problems(&StorageClass, class).join("; "), want);
        }
        assert!(
            problems(&StorageClass, json!({"provisioner": "a b"}))[0]
                .starts_with(r#"provisioner: Invalid value: "a b": name part"#)
        );
        let old = json!({"provisioner": "a", "parameters": {"a": "b"}});
        assert_eq!(
            StorageClass.validate_update(&json!({"provisioner": "a"}), &old)[0].to_string(),
            "parameters: Forbidden: updates to parameters are forbidden."
        );
    }
}
