//! Priority classes.

use serde_json::Value;

use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::table::{count, name};
use crate::kinds::tree::{flag, number, or, text};
use crate::strategy::{AGE, Column, NAME, age};

pub(super) struct PriorityClass;

/// `HighestUserDefinablePriority`
const HIGHEST: i64 = 1_000_000_000;
const SYSTEM: [(&str, i64); 2] =
    [("system-node-critical", 2 * HIGHEST + 1000), ("system-cluster-critical", 2 * HIGHEST)];

impl Strategy for PriorityClass {
    fn default(&self, class: &mut Value) {
        or(class, "preemptionPolicy", "PreemptLowerPriority");
        // Go always writes it
        or(class, "value", 0);
    }
    fn has_status(&self) -> bool {
        false
    }
    fn has_generation(&self) -> bool {
        true
    }

    fn validate(&self, class: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let (its_name, value) = (text(&class["metadata"], "name"), number(class, "value"));
        let metadata = Path::root("metadata");
        if its_name.starts_with("system-") {
            if !SYSTEM.contains(&(its_name, value)) {
                let detail = "priority class names with 'system-' prefix are reserved for system use only. error: ";
                let why = if SYSTEM.iter().any(|(n, _)| *n == its_name) {
                    format!("value of {its_name} PriorityClass is wrong")
                } else {
                    format!("{its_name} is not a known system priority class")
                };
                errors.push(field::Error::forbidden(&metadata.child("name"), &format!("{detail}{why}")));
            }
        } else if value > HIGHEST {
            let detail = format!("maximum allowed value of a user defined priority is {HIGHEST}");
            errors.push(field::Error::forbidden(&Path::root("value"), &detail));
        }
        let policy = text(class, "preemptionPolicy");
        let (policies, at) = (&["PreemptLowerPriority", "Never"], Path::root("preemptionPolicy"));
        if policy.is_empty() {
            errors.push(field::Error::required(&at, ""));
        } else if !policies.contains(&policy) {
            errors.push(field::Error::not_supported(&at, policy, policies));
        }
        errors
    }
    fn check_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        self.validate_update(new, old)
    }
    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        ["value", "preemptionPolicy"]
            .into_iter()
            .filter(|key| new[*key] != old[*key])
            .map(|key| match key {
                "value" => field::Error::forbidden(&Path::root(key), "may not be changed in an update."),
                _ => field::Error::invalid(&Path::root(key), new[key].clone(), "field is immutable"),
            })
            .collect()
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                Column::new("Value", "integer"),
                Column::new("Global-Default", "boolean"),
                AGE,
                Column::new("PreemptionPolicy", "string"),
            ]
        }
    }
    fn cells(&self, class: &Value, now_seconds: i64) -> Vec<Value> {
        vec![
            name(class),
            count(&class["value"]),
            flag(class, "globalDefault").into(),
            age(class, now_seconds),
            text(class, "preemptionPolicy").into(),
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
        for (class, want) in [
            (json!({"metadata": {"name": "a"}, "value": 5}), ""),
            (json!({"metadata": {"name": "system-node-critical"}, "value": 2_000_001_000_i64}), ""),
            (
                json!({"metadata": {"name": "a"}, "value": 1_000_000_001}),
                "value: Forbidden: maximum allowed value of a user defined priority is 1000000000",
            ),
            (
                json!({"metadata": {"name": "system-x"}}),
                "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-x is not a known system priority class",
            ),
            (
                json!({"metadata": {"name": "a"}, "preemptionPolicy": "x"}),
                r#"preemptionPolicy: Unsupported value: "x": supported values: "PreemptLowerPriority", "Never""#,
            ),
            (json!({"metadata": {"name": "a"}, "preemptionPolicy": ""}), "preemptionPolicy: Required value"),
        ] {
            assert_eq!(problems(&PriorityClass, class).join("; "), want);
        }
        let of = |value: i64| json!({"metadata": {"name": "system-x"}, "value": value, "preemptionPolicy": "Never"});
        assert_eq!(PriorityClass.check_update(&of(1), &of(1)), []);
        assert_eq!(
            PriorityClass.check_update(&of(1), &of(2))[0].to_string(),
            "value: Forbidden: may not be changed in an update."
        );
    }
}
