//! Pod disruption budgets.

use serde_json::{Value, json};

use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::conditions;
use crate::kinds::table::{count, name};
use crate::kinds::tree::{has, text};
use crate::kinds::workload::{int_or_percent, nonnegative, validate_label_selector};
use crate::strategy::{AGE, Column, NAME, age, set};

pub(super) struct PodDisruptionBudget;

impl Strategy for PodDisruptionBudget {
    fn prepare_create(&self, budget: &mut Value) {
        let zeros = json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0});
        set(budget, "status", Some(zeros));
    }
    fn has_generation(&self) -> bool {
        true
    }
    fn validate(&self, budget: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let (spec, path) = (&budget["spec"], &Path::root("spec"));
        if has(spec, "minAvailable") && has(spec, "maxUnavailable") {
            let detail = "minAvailable and maxUnavailable cannot be both set";
            errors.push(field::Error::invalid(path, spec.clone(), detail));
        }
        for key in ["minAvailable", "maxUnavailable"] {
            int_or_percent(&mut errors, &path.child(key), &spec[key], true);
        }
        validate_label_selector(&mut errors, &path.child("selector"), &spec["selector"]);
        let policy = text(spec, "unhealthyPodEvictionPolicy");
        let policies = &["AlwaysAllow", "IfHealthyBudget"];
        if has(spec, "unhealthyPodEvictionPolicy") && !policies.contains(&policy) {
            errors.push(field::Error::not_supported(&path.child("unhealthyPodEvictionPolicy"), policy, policies));
        }
        errors
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let path = &Path::root("status");
        conditions::validate(&mut errors, &path.child("conditions"), &new["status"]);
        for key in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
            nonnegative(&mut errors, path, &new["status"], key);
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                Column::new("Min Available", "string"),
                Column::new("Max Unavailable", "string"),
                Column::new("Allowed Disruptions", "integer"),
                AGE,
            ]
        }
    }
    fn cells(&self, budget: &Value, now_seconds: i64) -> Vec<Value> {
        let shown = |key: &str| match &budget["spec"][key] {
            Value::Null => Value::from("N/A"),
            Value::Number(n) => n.to_string().into(),
            other => other.clone(),
        };
        vec![
            name(budget),
            shown("minAvailable"),
            shown("maxUnavailable"),
            count(&budget["status"]["disruptionsAllowed"]),
            age(budget, now_seconds),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::workload::problems;

    #[test]
    fn what_is_wrong_is_said_in_upstreams_words() {
        for (spec, want) in [
            (json!({"minAvailable": 1}), ""),
            (
                json!({"minAvailable": 1, "maxUnavailable": 1}),
                r#"spec: Invalid value: {"maxUnavailable":1,"minAvailable":1}: minAvailable and maxUnavailable cannot be both set"#,
            ),
            (
                json!({"maxUnavailable": "101%"}),
                r#"spec.maxUnavailable: Invalid value: "101%": must not be greater than 100%"#,
            ),
            (
                json!({"unhealthyPodEvictionPolicy": ""}),
                r#"spec.unhealthyPodEvictionPolicy: Unsupported value: "": supported values: "AlwaysAllow", "IfHealthyBudget""#,
            ),
        ] {
            assert_eq!(problems(&PodDisruptionBudget, json!({ "spec": spec })).join("; "), want);
        }
        let status = json!({"status": {"disruptionsAllowed": -1, "conditions": [{"type": "a", "status": "True", "reason": "A",
            "lastTransitionTime": ""}]}});
        let errors = PodDisruptionBudget.validate_status_update(&status, &json!({}));
        assert_eq!(
            errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "status.conditions[0].lastTransitionTime: Required value: must be set",
                "status.disruptionsAllowed: Invalid value: -1: must be greater than or equal to 0"
            ]
        );
    }
}
