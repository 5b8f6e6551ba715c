//! Resource lists: `cpu: 500m`.

use serde_json::{Map, Value};

use super::tree::{child, entries};
use crate::field::{Error, Path};
use crate::quantity::{self, Quantity};

/// `SetDefaults_ResourceList`: amounts are rounded up to thousandths. Decoding has made their texts canonical.
pub(crate) fn round_list(v: &mut Value, key: &str) {
    if let Some(list) = child(v, key) {
        quantity::round_resource_list(list);
    }
}

/// `requests` and `limits` of a `ResourceRequirements`.
pub(crate) fn round_requirements(v: &mut Value) {
    round_list(v, "requests");
    round_list(v, "limits");
}

/// Requests that are not given are the limits.
pub(crate) fn requests_from_limits(requirements: &mut Value) {
    let Some(limits) = requirements.get("limits").and_then(Value::as_object).filter(|l| !l.is_empty()).cloned() else {
        return;
    };
    if let Some(requests) = super::tree::ensure(requirements, "requests") {
        fill(requests, &limits);
    }
}

/// Adds what `from` has and `to` lacks.
pub(crate) fn fill(to: &mut Map<String, Value>, from: &Map<String, Value>) {
    for (key, amount) in from {
        to.entry(key.clone()).or_insert_with(|| amount.clone());
    }
}

/// `ValidateResourceRequirements`, of a container or a pod.
pub(crate) fn validate(errors: &mut Vec<Error>, path: &Path, requirements: &Value) {
    let requests_path = path.child("requests");
    for (key, path) in [("limits", path.child("limits")), ("requests", path.child("requests"))] {
        for (name, amount) in entries(requirements, key) {
            validate_amount(errors, &path.key(name), name, amount);
        }
    }
    let named =
        |is: fn(&str) -> bool| ["limits", "requests"].iter().any(|k| entries(requirements, k).any(|(n, _)| is(n)));
    if named(|n| n.starts_with("hugepages-")) && !named(|n| matches!(n, "cpu" | "memory")) {
        errors.push(Error::forbidden(path, "HugePages require cpu or memory"));
    }
    let amount = |key: &str, name: &str| {
        requirements.get(key).and_then(|l| l.get(name)).and_then(|v| Quantity::from_tree(v).ok())
    };
    for (name, value) in entries(requirements, "requests") {
        let (Some(request), limit) = (amount("requests", name), amount("limits", name)) else { continue };
        let overcommit = !(is_extended(name) || name.starts_with("hugepages-"));
        match limit {
            Some(limit) if !overcommit && request != limit => {
                let detail = format!("must be equal to {name} limit of {limit}");
                errors.push(Error::invalid(&requests_path, value.clone(), detail));
            }
            Some(limit) if request > limit => {
                let detail = format!("must be less than or equal to {name} limit of {limit}");
                errors.push(Error::invalid(&requests_path, value.clone(), detail));
            }
            None if !overcommit => {
                errors
                    .push(Error::required(&path.child("limits"), "Limit must be set for non overcommitable resources"));
            }
            _ => {}
        }
    }
}

/// `IsExtendedResourceName`, roughly: one with a domain of its own.
fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}

fn validate_amount(errors: &mut Vec<Error>, path: &Path, name: &str, amount: &Value) {
    let standard = matches!(name, "cpu" | "memory" | "ephemeral-storage" | "storage") || name.starts_with("hugepages-");
    if !standard {
        let wrong = crate::names::qualified_name(name);
        if !wrong.is_empty() {
            errors.extend(wrong.into_iter().map(|e| Error::invalid(path, name, e)));
        } else if !name.contains('/') {
            errors.push(Error::invalid(path, name, "must be a standard resource type or fully qualified"));
            errors.push(Error::invalid(path, name, "must be a standard resource for containers"));
        }
    }
    match Quantity::from_tree(amount) {
        Err(e) => errors.push(Error::invalid(path, amount.clone(), e.to_string())),
        Ok(q) if q.sign() < 0 => {
            errors.push(Error::invalid(path, amount.clone(), "must be greater than or equal to 0"));
        }
        Ok(q) if is_extended(name) && q.millis() % 1000 != 0 => {
            errors.push(Error::invalid(path, amount.clone(), "must be an integer"));
        }
        Ok(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_wrong_is_said_in_upstreams_words() {
        for (requirements, want) in [
            (json!({"requests": {"cpu": "1"}, "limits": {"cpu": "1"}}), ""),
            (
                json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
                r#"r.requests: Invalid value: "2": must be less than or equal to cpu limit of 1"#,
            ),
            (
                json!({"limits": {"cpu": "-1"}}),
                r#"r.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0"#,
            ),
            (json!({"limits": {"hugepages-2Mi": "2Mi"}}), "r: Forbidden: HugePages require cpu or memory"),
            (
                json!({"requests": {"x.io/gpu": "1"}}),
                "r.limits: Required value: Limit must be set for non overcommitable resources",
            ),
        ] {
            let mut errors = Vec::new();
            validate(&mut errors, &Path::root("r"), &requirements);
            assert_eq!(errors.first().map(ToString::to_string).unwrap_or_default(), want);
        }
    }
}
