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
        let policies = &["Never", "PreemptLowerPriority"];
        if !policies.contains(&policy) {
            errors.push(field::Error::not_supported(&Path::root("preemptionPolicy"), policy, policies));
        }
        errors
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
