//! What the workloads (Deployment, ReplicaSet, …, Job) share: selector, template, replicas.

use serde_json::{Value, json};

use super::core::pod;
use super::tree::{entries, has, items, number, same, text};
#[cfg(test)]
use crate::Strategy;
use crate::field::{Error, Path};
use crate::kinds::metadata::{label_name, labels};
use crate::labels::Selector;
use crate::names;
use crate::strategy::Scale;

/// `metav1validation.ValidateLabelSelector`
pub(crate) fn validate_label_selector(errors: &mut Vec<Error>, path: &Path, selector: &Value) {
    labels(errors, &path.child("matchLabels"), entries(selector, "matchLabels"));
    let list = path.child("matchExpressions");
    for (i, e) in items(selector, "matchExpressions").iter().enumerate() {
        let path = &list.index(i);
        let values = items(e, "values");
        match text(e, "operator") {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(Error::required(&path.child("values"), detail));
            }
            "In" | "NotIn" => {}
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(Error::forbidden(&path.child("values"), detail));
            }
            "Exists" | "DoesNotExist" => {}
            other => errors.push(Error::invalid(&path.child("operator"), other, "not a valid selector operator")),
        }
        label_name(errors, &path.child("key"), text(e, "key"));
        for (j, v) in values.iter().filter_map(Value::as_str).enumerate() {
            let at = path.child("values");
            errors.extend(names::label_value(v).into_iter().map(|e| Error::invalid(&at.index(j), v, e)));
        }
    }
}

fn is_empty(selector: &Value) -> bool {
    items(selector, "matchExpressions").is_empty() && entries(selector, "matchLabels").next().is_none()
}

/// What the texts about a workload call it: for an empty selector, and for a template with a deadline.
pub(crate) struct Words {
    pub selector: &'static str,
    pub template: &'static str,
}

/// A selector that must be there and select something, and a template that it selects, of pods that restart always.
pub(crate) fn validate_selector_and_template(errors: &mut Vec<Error>, path: &Path, spec: &Value, words: &Words) {
    let (selector, template) = (&spec["selector"], &spec["template"]);
    let at = path.child("selector");
    // a daemon set without one is only told that it does not match
    if !has(spec, "selector") && words.selector != "daemonset" {
        errors.push(Error::required(&at, ""));
    } else {
        validate_label_selector(errors, &at, selector);
        if has(spec, "selector") && is_empty(selector) {
            let detail = format!("empty selector is invalid for {}", words.selector);
            errors.push(Error::invalid(&at, selector.clone(), detail));
        }
    }
    let template_path = path.child("template");
    match Selector::from_tree(selector) {
        Err(_) if words.selector == "daemonset" => {}
        Err(_) => return errors.push(Error::invalid(&at, selector.clone(), "invalid label selector")),
        Ok(s) if !has(spec, "selector") || !is_empty(selector) => {
            let its_labels = &template["metadata"]["labels"];
            if !s.matches(its_labels) {
                let path = template_path.child("metadata");
                let detail = "`selector` does not match template `labels`";
                errors.push(Error::invalid(&path.child("labels"), its_labels.clone(), detail));
            }
        }
        Ok(_) => {}
    }
    let claims = items(spec, "volumeClaimTemplates");
    if claims.is_empty() {
        pod::validate_template(errors, &template_path, template);
    } else {
        pod::validate_template(errors, &template_path, &with_volumes_of(template, claims));
    }
    validate_always_restarts(errors, path, spec, words.template);
}

/// A stateful set's pods have its claims as volumes.
fn with_volumes_of(template: &Value, claims: &[Value]) -> Value {
    let mut template = template.clone();
    let names: Vec<&Value> = claims.iter().map(|c| &c["metadata"]["name"]).collect();
    if let Some(spec) = template.get_mut("spec").filter(|s| s.is_object()) {
        let mut volumes: Vec<Value> =
            items(spec, "volumes").iter().filter(|v| !names.contains(&&v["name"])).cloned().collect();
        volumes.extend(names.iter().map(|n| json!({"name": n, "persistentVolumeClaim": {"claimName": n}})));
        spec["volumes"] = volumes.into();
    }
    template
}

/// The one restart policy of pods that a controller replaces. `what`: the controller.
pub(crate) fn validate_always_restarts(errors: &mut Vec<Error>, path: &Path, spec: &Value, what: &str) {
    let template = path.child("template");
    let pod_path = template.child("spec");
    let pod = &spec["template"]["spec"];
    let policy = text(pod, "restartPolicy");
    if !policy.is_empty() && policy != "Always" {
        errors.push(Error::not_supported(&pod_path.child("restartPolicy"), policy, &["Always"]));
    }
    if has(pod, "activeDeadlineSeconds") {
        let detail = format!("activeDeadlineSeconds in {what} is not Supported");
        errors.push(Error::forbidden(&pod_path.child("activeDeadlineSeconds"), &detail));
    }
}

/// `ValidateNonnegativeField`
pub(crate) fn nonnegative(errors: &mut Vec<Error>, path: &Path, owner: &Value, key: &str) {
    let n = number(owner, key);
    if n < 0 {
        errors.push(Error::invalid(&path.child(key), n, "must be greater than or equal to 0"));
    }
}

/// `ValidateDeploymentStatusUpdate` and its like: no counter below zero, none of `parts` above `replicas`, no more available
/// than ready (`ready`: what the text calls that), and the count of collisions only grows.
pub(crate) fn status_update(new: &Value, old: &Value, counters: &[&str], parts: &[&str], ready: &str) -> Vec<Error> {
    let mut errors = Vec::new();
    let (status, path) = (&new["status"], &Path::root("status"));
    for key in counters {
        nonnegative(&mut errors, path, status, key);
    }
    let mut above = |key: &str, other: &str, shown: &str| {
        if number(status, key) > number(status, other) {
            let detail = format!("cannot be greater than {shown}");
            errors.push(Error::invalid(&path.child(key), number(status, key), detail));
        }
    };
    parts.iter().for_each(|key| above(key, "replicas", "status.replicas"));
    if parts.contains(&"availableReplicas") {
        above("availableReplicas", "readyReplicas", ready);
    }
    let collisions = number(status, "collisionCount");
    if has(&old["status"], "collisionCount")
        && (!has(status, "collisionCount") || collisions < number(&old["status"], "collisionCount"))
    {
        errors.push(Error::invalid(&path.child("collisionCount"), collisions, "cannot be decremented"));
    }
    errors
}

/// `ValidateImmutableField` of `spec.selector`.
pub(crate) fn immutable_selector(new: &Value, old: &Value) -> Vec<Error> {
    let (now, was) = (&new["spec"]["selector"], &old["spec"]["selector"]);
    if same(now, was) {
        return Vec::new();
    }
    vec![Error::invalid(&Path::root("spec").child("selector"), now.clone(), "field is immutable")]
}

/// A number, or a percentage such as `25%` (with `at_most_100`: up to that).
pub(crate) fn int_or_percent(errors: &mut Vec<Error>, path: &Path, v: &Value, at_most_100: bool) {
    match v {
        Value::Null => {}
        Value::Number(n) if n.as_i64().is_some_and(|n| n < 0) => {
            errors.push(Error::invalid(path, v.clone(), "must be greater than or equal to 0"));
        }
        Value::Number(_) => {}
        Value::String(s) => match percent(s) {
            None => {
                let what = "a valid percent string must be a numeric string followed by an ending '%'";
                let detail = names::regex_error(what, "[0-9]+%", &["1%", "93%"]);
                errors.push(Error::invalid(path, s.as_str(), detail));
            }
            Some(p) if p > 100 && at_most_100 => {
                errors.push(Error::invalid(path, s.as_str(), "must not be greater than 100%"))
            }
            Some(_) => {}
        },
        _ => {
            let detail = "must be an integer or percentage (e.g '5%%')";
            errors.push(Error::invalid(path, v.clone(), detail));
        }
    }
}

fn percent(text: &str) -> Option<u64> {
    let digits = text.strip_suffix('%').filter(|d| !d.is_empty())?;
    digits.bytes().all(|c| c.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Whether `0`, `0%` or nothing.
pub(crate) fn is_none(v: &Value) -> bool {
    match v {
        Value::Null => true,
        Value::Number(n) => n.as_i64() == Some(0),
        Value::String(s) => percent(s) == Some(0),
        _ => false,
    }
}

/// `…/scale` of a kind with a `LabelSelector`.
pub(crate) fn scale(object: &Value) -> Option<Scale> {
    let selector = Selector::from_tree(&object["spec"]["selector"]).ok()?;
    Some(Scale {
        replicas: number(&object["spec"], "replicas"),
        status_replicas: number(&object["status"], "replicas"),
        selector: selector.to_string(),
    })
}

/// What a strategy's `default` makes of a copy: for tests.
#[cfg(test)]
pub(crate) fn defaulted(strategy: &dyn Strategy, mut object: Value) -> Value {
    strategy.default(&mut object);
    object
}
#[cfg(test)]
pub(crate) fn problems(strategy: &dyn Strategy, object: Value) -> Vec<String> {
    strategy.validate(&defaulted(strategy, object)).iter().map(ToString::to_string).collect()
}
