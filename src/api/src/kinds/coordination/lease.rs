//! Leases.

use serde_json::Value;

use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::table::name;
use crate::kinds::tree::{has, number, text};
use crate::strategy::{AGE, Column, NAME, age};

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
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, Column::new("Holder", "string"), AGE] }
    }
    fn cells(&self, lease: &Value, now_seconds: i64) -> Vec<Value> {
        vec![name(lease), text(&lease["spec"], "holderIdentity").into(), age(lease, now_seconds)]
    }
}
