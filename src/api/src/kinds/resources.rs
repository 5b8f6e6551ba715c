//! Resource lists: `cpu: 500m`.

use serde_json::{Map, Value};

use super::tree::{child, entries};
use crate::field::{Error, Path};
use crate::names;
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

/// Whose resources they are: it decides which names there may be.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Of {
    Container,
    Pod,
}

/// `validateResourceRequirements`
pub(crate) fn validate(errors: &mut Vec<Error>, path: &Path, requirements: &Value, of: Of) {
    let (limits, requests) = (path.child("limits"), path.child("requests"));
    let limit = |name: &str| requirements.get("limits").and_then(|l| l.get(name)).map(Quantity::from_tree);
    for (name, amount) in entries(requirements, "limits") {
        let at = &limits.key(name);
        validate_name(errors, at, name, of);
        validate_amount(errors, at, name, amount);
        huge_pages(errors, at, name, amount);
    }
    for (name, amount) in entries(requirements, "requests") {
        let at = &requests.key(name);
        validate_name(errors, at, name, of);
        validate_amount(errors, at, name, amount);
        let overcommit = is_overcommitted(name);
        match (Quantity::from_tree(amount), limit(name)) {
            (Ok(request), Some(Ok(limit))) if !overcommit && request != limit => {
                let detail = format!("must be equal to {name} limit of {limit}");
                errors.push(Error::invalid(&requests, amount.clone(), detail));
            }
            (Ok(request), Some(Ok(limit))) if request > limit => {
                let detail = format!("must be less than or equal to {name} limit of {limit}");
                errors.push(Error::invalid(&requests, amount.clone(), detail));
            }
            (_, None) if !overcommit => {
                errors.push(Error::required(&limits, "Limit must be set for non overcommitable resources"));
            }
            _ => {}
        }
        huge_pages(errors, at, name, amount);
    }
    let named =
        |is: fn(&str) -> bool| ["limits", "requests"].iter().any(|k| entries(requirements, k).any(|(n, _)| is(n)));
    if named(is_huge_page) && !named(|n| matches!(n, "cpu" | "memory")) {
        errors.push(Error::forbidden(path, "HugePages require cpu or memory"));
    }
}

fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// `IsNativeResource`: one without a domain, or of Kubernetes' own.
pub(crate) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// `IsExtendedResourceName`
pub(crate) fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// `IsOvercommitAllowed`
pub(crate) fn is_overcommitted(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

/// What a quota counts: `integerResources`.
pub(crate) fn is_counted(name: &str) -> bool {
    const COUNTED: [&str; 9] = [
        "pods",
        "services",
        "replicationcontrollers",
        "resourcequotas",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "services.nodeports",
        "services.loadbalancers",
    ];
    COUNTED.contains(&name)
}

/// `IsStandardResourceName`
fn is_standard(name: &str) -> bool {
    let computed = |n: &str| matches!(n, "cpu" | "memory" | "ephemeral-storage");
    let asked = |n: &str| computed(n) || n == "storage" || is_huge_page(n);
    asked(name)
        || is_counted(name)
        || name.strip_prefix("requests.").is_some_and(asked)
        || name.strip_prefix("limits.").is_some_and(computed)
}

/// `IsStandardQuotaResourceName`
pub(crate) fn is_standard_of_quota(name: &str) -> bool {
    is_standard(name) && name != "storage"
}

/// `validateResourceName`. Whether there was nothing wrong.
pub(crate) fn validate_plain_name(errors: &mut Vec<Error>, path: &Path, name: &str) -> bool {
    let before = errors.len();
    errors.extend(names::qualified_name(name).into_iter().map(|e| Error::invalid(path, name, e)));
    if errors.len() == before && !name.contains('/') && !is_standard(name) {
        errors.push(Error::invalid(path, name, "must be a standard resource type or fully qualified"));
    }
    errors.len() == before
}

/// `validateContainerResourceName` and `validatePodResourceName`
pub(crate) fn validate_name(errors: &mut Vec<Error>, path: &Path, name: &str, of: Of) {
    let fine = validate_plain_name(errors, path, name);
    match of {
        Of::Pod if fine && !matches!(name, "cpu" | "memory") && !is_huge_page(name) => {
            errors.push(Error::not_supported(path, name, &["cpu", "memory"]));
        }
        Of::Pod => {}
        Of::Container if !name.contains('/') => {
            if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !is_huge_page(name) {
                errors.push(Error::invalid(path, name, "must be a standard resource for containers"));
            }
        }
        Of::Container if !is_native(name) && !is_extended(name) => {
            errors.push(Error::invalid(path, name, "doesn't follow extended resource name standard"));
        }
        Of::Container => {}
    }
}

/// `ValidateResourceQuantityValue`
pub(crate) fn validate_amount(errors: &mut Vec<Error>, path: &Path, name: &str, amount: &Value) {
    match Quantity::from_tree(amount) {
        Err(e) => errors.push(Error::invalid(path, amount.clone(), e.to_string())),
        Ok(q) => {
            if q.sign() < 0 {
                errors.push(Error::invalid(path, amount.clone(), "must be greater than or equal to 0"));
            }
            if (is_counted(name) || is_extended(name)) && q.millis() % 1000 != 0 {
                errors.push(Error::invalid(path, amount.clone(), "must be an integer"));
            }
        }
    }
}

/// `IsHugePageResourceValueDivisible`
fn huge_pages(errors: &mut Vec<Error>, path: &Path, name: &str, amount: &Value) {
    let (Some(size), Ok(amount)) = (name.strip_prefix("hugepages-"), Quantity::from_tree(amount)) else { return };
    let whole = |size: Quantity| size.sign() > 0 && size.millis() % 1000 == 0 && amount.value() % size.value() == 0;
    if !Quantity::parse(size).is_ok_and(whole) {
        let detail = format!("{amount} is not positive integer multiple of {name}");
        errors.push(Error::invalid(path, amount.to_string(), detail));
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
            (
                json!({"limits": {"storage": "1"}}),
                r#"r.limits[storage]: Invalid value: "storage": must be a standard resource for containers"#,
            ),
            (
                json!({"limits": {"x": "1"}}),
                r#"r.limits[x]: Invalid value: "x": must be a standard resource type or fully qualified; r.limits[x]: Invalid value: "x": must be a standard resource for containers"#,
            ),
            (
                json!({"limits": {"requests.x.io/y": "1"}}),
                r#"r.limits[requests.x.io/y]: Invalid value: "requests.x.io/y": doesn't follow extended resource name standard"#,
            ),
            (
                json!({"limits": {"cpu": "1", "hugepages-2Mi": "3Mi"}}),
                r#"r.limits[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi"#,
            ),
            (
                json!({"limits": {"x.io/gpu": "500m"}}),
                r#"r.limits[x.io/gpu]: Invalid value: "500m": must be an integer"#,
            ),
            (json!({"limits": {"hugepages-2Mi": "2Mi"}}), "r: Forbidden: HugePages require cpu or memory"),
            (
                json!({"requests": {"x.io/gpu": "1"}}),
                "r.limits: Required value: Limit must be set for non overcommitable resources",
            ),
        ] {
            let mut errors = Vec::new();
            validate(&mut errors, &Path::root("r"), &requirements, Of::Container);
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "), want);
        }
        let mut errors = Vec::new();
        let requirements = json!({"limits": {"cpu": "1", "ephemeral-storage": "1", "hugepages-2Mi": "2Mi"}});
        validate(&mut errors, &Path::root("r"), &requirements, Of::Pod);
        assert_eq!(
            errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                r#"r.limits[ephemeral-storage]: Unsupported value: "ephemeral-storage": supported values: "cpu", "memory""#
            ]
        );
    }
}
