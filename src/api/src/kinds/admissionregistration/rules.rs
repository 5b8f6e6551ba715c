//! What webhooks and policies match: rules, selectors, match policies. Upstream's `validateRuleWithOperations` and
//! `validateMatchResources`.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::field::{Error, Path};
use crate::kinds::tree::{child, has, items, items_mut, or, text};
use crate::kinds::workload::validate_label_selector;
use crate::names;

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: [&str; 3] = ["*", "Cluster", "Namespaced"];
pub(super) const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
pub(super) const MATCH_POLICIES: [&str; 2] = ["Equivalent", "Exact"];
pub(super) const REINVOCATION_POLICIES: [&str; 2] = ["IfNeeded", "Never"];

fn texts<'a>(owner: &'a Value, key: &str) -> Vec<&'a str> {
    items(owner, key).iter().map(|v| v.as_str().unwrap_or_default()).collect()
}

/// A text that must be one of some, if it is there at all.
pub(super) fn one_of(errors: &mut Vec<Error>, path: &Path, owner: &Value, key: &str, known: &[&str], required: bool) {
    let at = &path.child(key);
    match text(owner, key) {
        "" if required => errors.push(Error::required(at, "")),
        "" => {}
        value if known.contains(&value) => {}
        value => errors.push(Error::not_supported(at, value, known)),
    }
}

pub(super) fn default_rules(owner: &mut Value, key: &str) {
    for rule in items_mut(owner, key) {
        or(rule, "scope", "*");
    }
}

/// `matchConstraints` or `matchResources`, if there are any.
pub(super) fn default_match(owner: &mut Value, key: &str) {
    let Some(resources) = child(owner, key) else { return };
    or(resources, "matchPolicy", "Equivalent");
    or(resources, "namespaceSelector", json!({}));
    or(resources, "objectSelector", json!({}));
    default_rules(resources, "resourceRules");
    default_rules(resources, "excludeResourceRules");
}

pub(super) fn validate_match(errors: &mut Vec<Error>, path: &Path, resources: &Value) {
    one_of(errors, path, resources, "matchPolicy", &MATCH_POLICIES, true);
    for key in ["namespaceSelector", "objectSelector"] {
        match has(resources, key) {
            true => validate_label_selector(errors, &path.child(key), &resources[key]),
            false => errors.push(Error::required(&path.child(key), "")),
        }
    }
    for key in ["resourceRules", "excludeResourceRules"] {
        let list = path.child(key);
        for (i, rule) in items(resources, key).iter().enumerate() {
            let path = &list.index(i);
            let names = path.child("resourceNames");
            let mut seen = HashSet::new();
            for (j, name) in texts(rule, "resourceNames").into_iter().enumerate() {
                let at = &names.index(j);
                errors.extend(names::path_segment(name, false).into_iter().map(|e| Error::invalid(at, name, e)));
                if !seen.insert(name) {
                    errors.push(Error::duplicate(at, name));
                }
            }
            validate_rule(errors, path, rule);
        }
    }
}

pub(super) fn validate_rule(errors: &mut Vec<Error>, path: &Path, rule: &Value) {
    for (key, others) in [
        ("operations", "if '*' is present, must not specify other operations"),
        ("apiGroups", "if '*' is present, must not specify other API groups"),
        ("apiVersions", "if '*' is present, must not specify other API versions"),
    ] {
        let (all, at) = (texts(rule, key), &path.child(key));
        if all.is_empty() {
            errors.push(Error::required(at, ""));
        }
        if all.len() > 1 && all.contains(&"*") {
            errors.push(Error::invalid(at, rule[key].clone(), others));
        }
        for (i, value) in all.into_iter().enumerate() {
            match key {
                "operations" if !OPERATIONS.contains(&value) => {
                    errors.push(Error::not_supported(&at.index(i), value, &OPERATIONS));
                }
                "apiVersions" if value.is_empty() => errors.push(Error::required(&at.index(i), "")),
                _ => {}
            }
        }
    }
    resources(errors, &path.child("resources"), rule);
    one_of(errors, path, rule, "scope", &SCOPES, false);
}

/// `validateResources`
fn resources(errors: &mut Vec<Error>, path: &Path, rule: &Value) {
    let all = texts(rule, "resources");
    if all.is_empty() {
        errors.push(Error::required(path, ""));
    }
    let (mut any_sub, mut any_resource) = (HashSet::new(), HashSet::new());
    let mut plain = false;
    for (i, resource) in all.iter().enumerate() {
        let at = &path.index(i);
        if resource.is_empty() {
            errors.push(Error::required(at, ""));
            continue;
        }
        let Some((name, sub)) = resource.split_once('/') else {
            plain |= *resource != "*";
            continue;
        };
        if any_sub.contains(name) {
            let why = format!("if '{name}/*' is present, must not specify {resource}");
            errors.push(Error::invalid(at, *resource, why));
        }
        if any_resource.contains(sub) {
            let why = format!("if '*/{sub}' is present, must not specify {resource}");
            errors.push(Error::invalid(at, *resource, why));
        }
        if sub == "*" {
            any_sub.insert(name);
        }
        if name == "*" {
            any_resource.insert(sub);
        }
    }
    let mut refuse = |why| errors.push(Error::invalid(path, rule["resources"].clone(), why));
    if all.len() > 1 && all.contains(&"*/*") {
        refuse("if '*/*' is present, must not specify other resources");
    }
    if plain && all.contains(&"*") {
        refuse("if '*' is present, must not specify other resources without subresources");
    }
}
