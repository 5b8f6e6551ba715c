//! The metrics of a pod autoscaler: upstream's `validateMetrics`, and how its printer shows them.

use serde_json::Value;

use crate::field::{Error, Path};
use crate::kinds::resources;
use crate::kinds::table::{NONE, UNKNOWN};
use crate::kinds::tree::{has, items, number, some, text};
use crate::names;
use crate::quantity::Quantity;

/// Type, its field.
const SOURCES: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

/// The fields in the order in which upstream looks at them.
const ORDER: [&str; 5] = ["object", "external", "pods", "resource", "containerResource"];

/// `validateMetricSpec` of each.
pub(super) fn validate(errors: &mut Vec<Error>, path: &Path, metrics: &[Value]) {
    for (i, metric) in metrics.iter().enumerate() {
        let path = &path.index(i);
        let (kind, at) = (text(metric, "type"), path.child("type"));
        if kind.is_empty() {
            errors.push(Error::required(&at, "must specify a metric source type"));
        }
        let own = SOURCES.iter().find(|(t, _)| *t == kind).map(|(_, field)| *field);
        if own.is_none() {
            errors.push(Error::not_supported(&at, kind, &SOURCES.map(|(t, _)| t)));
        }
        let present: Vec<&str> = ORDER.into_iter().filter(|field| has(metric, field)).collect();
        // of more than one only the first is looked at
        if let Some(field) = present.first() {
            validate_source(errors, &path.child(field), field, &metric[*field]);
        }
        if let Some(own) = own.filter(|own| !has(metric, own)) {
            let detail = "must populate information for the given metric source";
            errors.push(Error::required(&path.child(own), detail));
        }
        if present.len() != 1 {
            for other in present.into_iter().filter(|field| Some(*field) != own) {
                errors.push(Error::forbidden(&path.child(other), "must populate the given metric source only"));
            }
        }
    }
}

fn validate_source(errors: &mut Vec<Error>, path: &Path, kind: &str, source: &Value) {
    let (target, at) = (&source["target"], path.child("target"));
    if kind == "object" {
        reference(errors, &path.child("describedObject"), &source["describedObject"]);
    }
    if matches!(kind, "object" | "pods" | "external") {
        identifier(errors, &path.child("metric"), &source["metric"]);
    } else {
        let (name, at) = (text(source, "name"), path.child("name"));
        if name.is_empty() {
            errors.push(Error::required(&at, "must specify a resource name"));
        } else if kind == "containerResource" {
            resources::validate_name(errors, &at, name, resources::Of::Container);
        }
    }
    if kind == "containerResource" {
        let at = path.child("container");
        match text(source, "container") {
            "" => errors.push(Error::required(&at, "must specify a container")),
            name => errors.extend(names::dns_label(name, false).into_iter().map(|e| Error::invalid(&at, name, e))),
        }
    }
    validate_target(errors, &at, target);
    let given = |key: &str| has(target, key);
    let either = match kind {
        "object" => "must set either a target value or averageValue",
        _ => "must set either a target value for metric or a per-pod target",
    };
    match kind {
        "pods" if !given("averageValue") => {
            errors.push(Error::required(&at.child("averageValue"), "must specify a positive target averageValue"));
        }
        "object" | "external" if !given("value") && !given("averageValue") => {
            errors.push(Error::required(&at.child("averageValue"), either));
        }
        "external" if given("value") && given("averageValue") => {
            let detail = "may not set both a target value for metric and a per-pod target";
            errors.push(Error::forbidden(&at.child("value"), detail));
        }
        "resource" | "containerResource" => match (given("averageUtilization"), given("averageValue")) {
            (false, false) => {
                let detail = "must set either a target raw value or a target utilization";
                errors.push(Error::required(&at.child("averageUtilization"), detail));
            }
            (true, true) => {
                let detail = "may not set both a target raw value and a target utilization";
                errors.push(Error::forbidden(&at.child("averageValue"), detail));
            }
            _ => {}
        },
        _ => {}
    }
}

fn positive(v: &Value) -> bool {
    Quantity::from_tree(v).is_ok_and(|q| q.sign() > 0)
}

fn validate_target(errors: &mut Vec<Error>, path: &Path, target: &Value) {
    let kind = text(target, "type");
    if kind.is_empty() {
        errors.push(Error::required(&path.child("type"), "must specify a metric target type"));
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        let detail = "must be either Utilization, Value, or AverageValue";
        errors.push(Error::invalid(&path.child("type"), kind, detail));
    }
    for key in ["value", "averageValue"] {
        if has(target, key) && !positive(&target[key]) {
            errors.push(Error::invalid(&path.child(key), target[key].clone(), "must be positive"));
        }
    }
    if has(target, "averageUtilization") && number(target, "averageUtilization") < 1 {
        let value = number(target, "averageUtilization");
        errors.push(Error::invalid(&path.child("averageUtilization"), value, "must be greater than 0"));
    }
}

fn identifier(errors: &mut Vec<Error>, path: &Path, metric: &Value) {
    let (its_name, at) = (text(metric, "name"), path.child("name"));
    if its_name.is_empty() {
        errors.push(Error::required(&at, "must specify a metric name"));
    } else {
        segment(errors, &at, its_name);
    }
}

fn segment(errors: &mut Vec<Error>, path: &Path, value: &str) {
    errors.extend(names::path_segment(value, false).into_iter().map(|e| Error::invalid(path, value, e)));
}

/// `ValidateCrossVersionObjectReference`
pub(super) fn reference(errors: &mut Vec<Error>, path: &Path, reference: &Value) {
    for key in ["kind", "name"] {
        match text(reference, key) {
            "" => errors.push(Error::required(&path.child(key), "")),
            value => segment(errors, &path.child(key), value),
        }
    }
}

/// `validateBehavior`
pub(super) fn behavior(errors: &mut Vec<Error>, path: &Path, behavior: &Value) {
    for key in ["scaleUp", "scaleDown"] {
        let Some(rules) = some(behavior, key) else { continue };
        let path = &path.child(key);
        let (window, at) = (number(rules, "stabilizationWindowSeconds"), path.child("stabilizationWindowSeconds"));
        if window < 0 {
            errors.push(Error::invalid(&at, window, "must be greater than or equal to zero"));
        }
        if window > 3600 {
            errors.push(Error::invalid(&at, window, "must be less than or equal to 3600"));
        }
        let select = text(rules, "selectPolicy");
        if has(rules, "selectPolicy") && !matches!(select, "Max" | "Min" | "Disabled") {
            errors.push(Error::not_supported(&path.child("selectPolicy"), select, &["Disabled", "Max", "Min"]));
        }
        if has(rules, "tolerance") && !Quantity::from_tree(&rules["tolerance"]).is_ok_and(|q| q.sign() >= 0) {
            let detail = "must be greater than or equal to 0";
            errors.push(Error::invalid(&path.child("tolerance"), rules["tolerance"].clone(), detail));
        }
        let (policies, list) = (items(rules, "policies"), path.child("policies"));
        if policies.is_empty() {
            errors.push(Error::required(&list, "must specify at least one Policy"));
        }
        for (i, policy) in policies.iter().enumerate() {
            let path = list.index(i);
            let kind = text(policy, "type");
            if !matches!(kind, "Pods" | "Percent") {
                errors.push(Error::not_supported(&path.child("type"), kind, &["Percent", "Pods"]));
            }
            for key in ["value", "periodSeconds"] {
                let n = number(policy, key);
                if n <= 0 {
                    errors.push(Error::invalid(&path.child(key), n, "must be greater than zero"));
                }
                if key == "periodSeconds" && n > 1800 {
                    errors.push(Error::invalid(&path.child(key), n, "must be less than or equal to 1800"));
                }
            }
        }
    }
}

/// `formatHPAMetrics`
pub(super) fn shown(metrics: &[Value], status: &Value) -> String {
    let current = |i: usize| items(status, "currentMetrics").get(i).unwrap_or(&Value::Null);
    let all: Vec<String> = metrics.iter().take(2).enumerate().map(|(i, m)| shown_one(m, current(i))).collect();
    match metrics.len() {
        0 => NONE.into(),
        n if n > 2 => format!("{} + {} more...", all.join(", "), n - 2),
        _ => all.join(", "),
    }
}

fn shown_one(metric: &Value, status: &Value) -> String {
    let Some((kind, field)) = SOURCES.iter().find(|(t, _)| metric["type"] == *t) else {
        return "<unknown type>".into();
    };
    let (source, current) = (&metric[*field], &status[*field]["current"]);
    let target = &source["target"];
    let has_now = |key: &str| match text(current, key) {
        "" => UNKNOWN,
        value => value,
    };
    let average = has(target, "averageValue");
    match *kind {
        "External" | "Object" if average => {
            format!("{}/{} (avg)", has_now("averageValue"), text(target, "averageValue"))
        }
        "External" | "Object" => format!("{}/{}", has_now("value"), text(target, "value")),
        "Pods" => format!("{}/{}", has_now("averageValue"), text(target, "averageValue")),
        _ if average => {
            format!("{}: {}/{}", text(source, "name"), has_now("averageValue"), text(target, "averageValue"))
        }
        _ => {
            let percent = |v: &Value, none: &str| v.as_i64().map_or(none.to_owned(), |n| format!("{n}%"));
            let now = percent(&current["averageUtilization"], UNKNOWN);
            format!("{}: {now}/{}", text(source, "name"), percent(&target["averageUtilization"], "<auto>"))
        }
    }
}
