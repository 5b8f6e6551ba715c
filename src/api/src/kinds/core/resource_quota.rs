//! Resource quotas.

use std::collections::HashSet;

use serde_json::Value;

use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::resources::{is_standard_of_quota, round_list, validate_amount, validate_plain_name};
use crate::kinds::table::name;
use crate::kinds::tree::{child, entries, items, text};
use crate::strategy::{AGE, Column, NAME, age};

pub(super) struct ResourceQuota;

const SCOPES: &[&str] = &[
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];

impl Strategy for ResourceQuota {
    fn default(&self, object: &mut Value) {
        if let Some(spec) = child(object, "spec") {
            round_list(spec, "hard");
        }
        if let Some(status) = child(object, "status") {
            round_list(status, "hard");
            round_list(status, "used");
        }
    }
    fn prepare_create(&self, object: &mut Value) {
        crate::strategy::set(object, "status", Some(serde_json::json!({})));
    }

    fn validate(&self, object: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let path = Path::root("spec");
        amounts(&mut errors, &path.child("hard"), &object["spec"], "hard");
        scopes(&mut errors, &path, &object["spec"]);
        errors
    }
    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        fn set(of: &Value) -> HashSet<&str> {
            items(&of["spec"], "scopes").iter().filter_map(Value::as_str).collect()
        }
        if set(new) == set(old) {
            return Vec::new();
        }
        let path = Path::root("spec");
        vec![field::Error::invalid(&path.child("scopes"), new["spec"]["scopes"].clone(), "field is immutable")]
    }
    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let path = Path::root("status");
        for key in ["hard", "used"] {
            amounts(&mut errors, &path.child(key), &new["status"], key);
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, Column::new("Request", "string"), Column::new("Limit", "string"), AGE] }
    }
    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        for (key, hard) in entries(&object["status"], "hard") {
            let used = object["status"]["used"].get(key).and_then(Value::as_str).unwrap_or("0");
            let shown = format!("{key}: {used}/{}", hard.as_str().unwrap_or_default());
            if key.starts_with("limits") { limits.push(shown) } else { requests.push(shown) }
        }
        vec![name(object), requests.join(", ").into(), limits.join(", ").into(), age(object, now_seconds)]
    }
}

/// `validateResourceQuotaScopes` and `validateScopedResourceSelectorRequirement`
fn scopes(errors: &mut Vec<field::Error>, path: &Path, spec: &Value) {
    const PAIRS: [[&str; 2]; 2] = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];
    let unfit = |scope: &str| entries(spec, "hard").filter(|(r, _)| is_standard_of_quota(r) && !fits(scope, r)).count();
    let conflicts = |named: &[&str]| PAIRS.iter().filter(|pair| pair.iter().all(|s| named.contains(s))).count();

    let (at, value) = (path.child("scopes"), &spec["scopes"]);
    let named: Vec<&str> = items(spec, "scopes").iter().filter_map(Value::as_str).collect();
    for scope in &named {
        if !SCOPES.contains(scope) {
            errors.push(field::Error::invalid(&at, value.clone(), "unsupported scope"));
        }
        for _ in 0..unfit(scope) {
            errors.push(field::Error::invalid(&at, value.clone(), "unsupported scope applied to resource"));
        }
    }
    for _ in 0..conflicts(&named) {
        errors.push(field::Error::invalid(&at, value.clone(), "conflicting scopes"));
    }

    let (selector, at) = (&spec["scopeSelector"], path.child("scopeSelector"));
    let at = at.child("matchExpressions");
    let requirements = items(selector, "matchExpressions");
    for requirement in requirements {
        let (scope, operator) = (text(requirement, "scopeName"), text(requirement, "operator"));
        if !SCOPES.contains(&scope) {
            errors.push(field::Error::invalid(&at.child("scopeName"), scope, "unsupported scope"));
        }
        for _ in 0..unfit(scope) {
            errors.push(field::Error::invalid(&at, selector.clone(), "unsupported scope applied to resource"));
        }
        const PLAIN: [&str; 5] =
            ["BestEffort", "NotBestEffort", "Terminating", "NotTerminating", "CrossNamespacePodAffinity"];
        if PLAIN.contains(&scope) && operator != "Exists" {
            let detail = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.push(field::Error::invalid(&at.child("operator"), operator, detail));
        }
        let (values, list) = (items(requirement, "values"), at.child("values"));
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(field::Error::required(&list, detail));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.push(field::Error::invalid(&list, values.to_vec(), detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.push(field::Error::invalid(&at.child("operator"), other, "not a valid selector operator")),
        }
    }
    let named: Vec<&str> = requirements.iter().map(|r| text(r, "scopeName")).collect();
    // of the other list, as upstream has it
    for _ in 0..conflicts(&named) {
        errors.push(field::Error::invalid(&at, value.clone(), "conflicting scopes"));
    }
}

/// `IsResourceQuotaScopeValidForResource`
fn fits(scope: &str, resource: &str) -> bool {
    let amounts = ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];
    match scope {
        "BestEffort" => resource == "pods",
        "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" | "CrossNamespacePodAffinity" => {
            resource == "pods" || amounts.contains(&resource)
        }
        "VolumeAttributesClass" => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        _ => true,
    }
}

/// `ValidateResourceQuotaResourceName` and the amounts.
fn amounts(errors: &mut Vec<field::Error>, path: &Path, owner: &Value, key: &str) {
    for (name, v) in entries(owner, key) {
        let path = &path.key(name);
        validate_plain_name(errors, path, name);
        if !name.contains('/') && !is_standard_of_quota(name) {
            errors.push(field::Error::invalid(path, name, "must be a standard resource for quota"));
        }
        validate_amount(errors, path, name, v);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::workload::problems;
    use serde_json::json;

    #[test]
    fn scopes_fit_what_they_limit() {
        let quota = |spec: Value| problems(&ResourceQuota, json!({ "spec": spec }));
        assert_eq!(quota(json!({"hard": {"pods": "1"}, "scopes": ["BestEffort"]})), Vec::<String>::new());
        for (spec, want) in [
            (
                json!({"hard": {"cpu": "1"}, "scopes": ["BestEffort"]}),
                "spec.scopes: Invalid value: [\"BestEffort\"]: unsupported scope applied to resource",
            ),
            (
                json!({"scopes": ["Terminating", "NotTerminating"]}),
                "spec.scopes: Invalid value: [\"Terminating\",\"NotTerminating\"]: conflicting scopes",
            ),
            (
                json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In"}]}}),
                "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            ),
            (
                json!({"scopeSelector": {"matchExpressions": [{"scopeName": "BestEffort", "operator": "In", "values": ["x"]}]}}),
                "spec.scopeSelector.matchExpressions.operator: Invalid value: \"In\": must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity",
            ),
            (json!({"scopes": ["x"], "hard": {"cpu": "1"}}), r#"spec.scopes: Invalid value: ["x"]: unsupported scope"#),
            (
                json!({"hard": {"x": "1"}}),
                r#"spec.hard[x]: Invalid value: "x": must be a standard resource type or fully qualified; spec.hard[x]: Invalid value: "x": must be a standard resource for quota"#,
            ),
            (
                json!({"hard": {"storage": "1"}}),
                r#"spec.hard[storage]: Invalid value: "storage": must be a standard resource for quota"#,
            ),
            (json!({"hard": {"pods": "500m"}}), r#"spec.hard[pods]: Invalid value: "500m": must be an integer"#),
        ] {
            assert_eq!(quota(spec).join("; "), want);
        }
        let scoped = |scopes: Value| json!({"spec": {"scopes": scopes}});
        let (old, turned) =
            (scoped(json!(["BestEffort", "Terminating"])), scoped(json!(["Terminating", "BestEffort"])));
        assert!(ResourceQuota.validate_update(&turned, &old).is_empty());
        assert_eq!(
            ResourceQuota.validate_update(&scoped(json!([])), &old)[0].to_string(),
            "spec.scopes: Invalid value: []: field is immutable"
        );
    }
}
