//! Leases.

use serde_json::Value;

use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::table::name;
use crate::kinds::tree::{has, number, text};
use crate::strategy::{AGE, Column, NAME, age, set};

pub(super) struct Lease;

impl Strategy for Lease {
    fn has_status(&self) -> bool {
        false
    }
    fn allow_create_on_update(&self) -> bool {
        true
    }
    fn allow_unconditional_update(&self) -> bool {
        false
    }
    /// `CoordinatedLeaderElection` is off, as upstream has it by default.
    fn prepare_create(&self, lease: &mut Value) {
        drop_coordination(lease, &Value::Null);
    }
    fn prepare_update(&self, new: &mut Value, old: &Value) {
        drop_coordination(new, &old["spec"]);
    }
    fn validate(&self, lease: &Value) -> Vec<field::Error> {
        let (spec, path) = (&lease["spec"], Path::root("spec"));
        let mut errors = Vec::new();
        if has(spec, "leaseDurationSeconds") && number(spec, "leaseDurationSeconds") <= 0 {
            let value = spec["leaseDurationSeconds"].clone();
            errors.push(field::Error::invalid(&path.child("leaseDurationSeconds"), value, "must be greater than 0"));
        }
        if number(spec, "leaseTransitions") < 0 {
            let value = spec["leaseTransitions"].clone();
            let detail = "must be greater than or equal to 0";
            errors.push(field::Error::invalid(&path.child("leaseTransitions"), value, detail));
        }
        if !text(spec, "preferredHolder").is_empty() && text(spec, "strategy").is_empty() {
            let detail = "may only be specified when `strategy` is defined";
            errors.push(field::Error::forbidden(&path.child("preferredHolder"), detail));
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, Column::new("Holder", "string"), AGE] }
    }
    fn cells(&self, lease: &Value, now_seconds: i64) -> Vec<Value> {
        vec![name(lease), text(&lease["spec"], "holderIdentity").into(), age(lease, now_seconds)]
    }
}

/// A disabled field stays where an old object has one.
fn drop_coordination(lease: &mut Value, old: &Value) {
    let Some(spec) = lease.get_mut("spec") else { return };
    if !has(old, "strategy") && !has(old, "preferredHolder") {
        for key in ["strategy", "preferredHolder"] {
            set(spec, key, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_checked_and_coordination_is_off() {
        let mut lease = json!({"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1, "strategy": "OldestEmulationVersion",
            "preferredHolder": "x"}});
        Lease.prepare_create(&mut lease);
        assert_eq!(lease["spec"], json!({"leaseDurationSeconds": 0, "leaseTransitions": -1}));
        let errors: Vec<String> = Lease.validate(&lease).iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
                "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0"
            ]
        );
    }
}
