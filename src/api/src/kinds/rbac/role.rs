//! Roles and cluster roles.

use serde_json::Value;

use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::table::{CREATED_AT, created_at, name};
use crate::kinds::tree::{has, items};
use crate::kinds::workload::validate_label_selector;
use crate::strategy::{Column, NAME};

pub(super) struct Role {
    pub cluster: bool,
}

impl Strategy for Role {
    fn has_status(&self) -> bool {
        false
    }
    fn allow_create_on_update(&self) -> bool {
        true
    }
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        crate::names::path_segment(name, prefix)
    }

    fn validate(&self, role: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let root = Path::root("rules");
        for (i, rule) in items(role, "rules").iter().enumerate() {
            validate_rule(&mut errors, &root.index(i), rule, !self.cluster);
        }
        if self.cluster && has(role, "aggregationRule") {
            let rule = Path::root("aggregationRule");
            let at = rule.child("clusterRoleSelectors");
            let selectors = items(&role["aggregationRule"], "clusterRoleSelectors");
            if selectors.is_empty() {
                let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
                errors.push(field::Error::required(&at, detail));
            }
            for (i, selector) in selectors.iter().enumerate() {
                validate_label_selector(&mut errors, &at.index(i), selector);
            }
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, CREATED_AT] }
    }
    fn cells(&self, role: &Value, _now_seconds: i64) -> Vec<Value> {
        vec![name(role), created_at(role)]
    }
}

/// `ValidatePolicyRule`
fn validate_rule(errors: &mut Vec<field::Error>, path: &Path, rule: &Value, namespaced: bool) {
    let given = |key: &str| !items(rule, key).is_empty();
    if !given("verbs") {
        errors.push(field::Error::required(&path.child("verbs"), "verbs must contain at least one value"));
    }
    if given("nonResourceURLs") {
        let at = path.child("nonResourceURLs");
        let value = rule["nonResourceURLs"].clone();
        if namespaced {
            let detail = "namespaced rules cannot apply to non-resource URLs";
            errors.push(field::Error::invalid(&at, value.clone(), detail));
        }
        if given("apiGroups") || given("resources") || given("resourceNames") {
            let detail = "rules cannot apply to both regular resources and non-resource URLs";
            errors.push(field::Error::invalid(&at, value, detail));
        }
        return;
    }
    if !given("apiGroups") {
        let detail = "resource rules must supply at least one api group";
        errors.push(field::Error::required(&path.child("apiGroups"), detail));
    }
    if !given("resources") {
        let detail = "resource rules must supply at least one resource";
        errors.push(field::Error::required(&path.child("resources"), detail));
    }
}
