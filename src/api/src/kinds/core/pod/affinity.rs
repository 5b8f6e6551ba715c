//! Where a pod may run: affinity and topology spread constraints.

use serde_json::{Value, json};

use crate::field::{Error, Path};
use crate::kinds::metadata::label_name;
use crate::kinds::tree::{child, has, items, items_mut, number, text};
use crate::kinds::workload::validate_label_selector;
use crate::names;
use crate::strategy::set;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub(super) fn validate(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    let (affinity, at) = (&spec["affinity"], path.child("affinity"));
    node_affinity(errors, &at.child("nodeAffinity"), &affinity["nodeAffinity"]);
    for kind in ["podAffinity", "podAntiAffinity"] {
        pod_affinity(errors, &at.child(kind), &affinity[kind]);
    }
}

fn node_affinity(errors: &mut Vec<Error>, path: &Path, affinity: &Value) {
    if has(affinity, REQUIRED) {
        node_selector(errors, &path.child(REQUIRED), &affinity[REQUIRED]);
    }
    let list = path.child(PREFERRED);
    for (i, preferred) in items(affinity, PREFERRED).iter().enumerate() {
        let path = list.index(i);
        weight(errors, &path, preferred);
        term(errors, &path.child("preference"), &preferred["preference"], false);
    }
}

/// `ValidateNodeSelector`
pub(crate) fn node_selector(errors: &mut Vec<Error>, path: &Path, selector: &Value) {
    let (terms, path) = (items(selector, "nodeSelectorTerms"), path.child("nodeSelectorTerms"));
    if terms.is_empty() {
        errors.push(Error::required(&path, "must have at least one node selector term"));
    }
    for (i, t) in terms.iter().enumerate() {
        term(errors, &path.index(i), t, true);
    }
}

fn weight(errors: &mut Vec<Error>, path: &Path, preferred: &Value) {
    let n = number(preferred, "weight");
    if !(1..=100).contains(&n) {
        errors.push(Error::invalid(&path.child("weight"), n, "must be in the range 1-100"));
    }
}

/// `ValidateNodeSelectorTerm`; `strict`: its values must be such as labels may have.
fn term(errors: &mut Vec<Error>, path: &Path, term: &Value, strict: bool) {
    let list = path.child("matchExpressions");
    for (i, e) in items(term, "matchExpressions").iter().enumerate() {
        let path = &list.index(i);
        let values = items(e, "values");
        match text(e, "operator") {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(Error::required(&path.child("values"), detail));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(Error::forbidden(&path.child("values"), detail));
            }
            "Gt" | "Lt" if values.len() != 1 => {
                let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                errors.push(Error::required(&path.child("values"), detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => errors.push(Error::invalid(&path.child("operator"), other, "not a valid selector operator")),
        }
        label_name(errors, &path.child("key"), text(e, "key"));
        let list = path.child("values");
        for (j, value) in values.iter().filter_map(Value::as_str).enumerate() {
            if strict {
                let wrong = names::label_value(value);
                errors.extend(wrong.into_iter().map(|e| Error::invalid(&list.index(j), value, e)));
            }
        }
    }
    let list = path.child("matchFields");
    for (i, e) in items(term, "matchFields").iter().enumerate() {
        let path = &list.index(i);
        match text(e, "operator") {
            "In" | "NotIn" if items(e, "values").len() == 1 => {}
            "In" | "NotIn" => {
                let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                errors.push(Error::required(&path.child("values"), detail));
            }
            other => errors.push(Error::invalid(&path.child("operator"), other, "not a valid selector operator")),
        }
        if text(e, "key") != "metadata.name" {
            let detail = "not a valid field selector key";
            errors.push(Error::invalid(&path.child("key"), text(e, "key"), detail));
            continue;
        }
        let list = path.child("values");
        for (j, value) in items(e, "values").iter().filter_map(Value::as_str).enumerate() {
            let wrong = names::dns_subdomain(value, false);
            errors.extend(wrong.into_iter().map(|e| Error::invalid(&list.index(j), value, e)));
        }
    }
}

fn pod_affinity(errors: &mut Vec<Error>, path: &Path, affinity: &Value) {
    let list = path.child(REQUIRED);
    for (i, t) in items(affinity, REQUIRED).iter().enumerate() {
        pod_term(errors, &list.index(i), t);
    }
    let list = path.child(PREFERRED);
    for (i, preferred) in items(affinity, PREFERRED).iter().enumerate() {
        let path = list.index(i);
        weight(errors, &path, preferred);
        pod_term(errors, &path.child("podAffinityTerm"), &preferred["podAffinityTerm"]);
    }
}

fn pod_term(errors: &mut Vec<Error>, path: &Path, term: &Value) {
    for key in ["labelSelector", "namespaceSelector"] {
        validate_label_selector(errors, &path.child(key), &term[key]);
    }
    let key = text(term, "topologyKey");
    if key.is_empty() {
        errors.push(Error::required(&path.child("topologyKey"), "can not be empty"));
    }
    label_name(errors, &path.child("topologyKey"), key);
    for namespace in items(term, "namespaces").iter().filter_map(Value::as_str) {
        let wrong = names::dns_label(namespace, false);
        errors.extend(wrong.into_iter().map(|e| Error::invalid(&path.child("namespace"), namespace, e)));
    }
    for key in ["matchLabelKeys", "mismatchLabelKeys"] {
        label_keys(errors, &path.child(key), items(term, key), &term["labelSelector"]);
    }
    let (keys, list) = (items(term, "matchLabelKeys"), path.child("matchLabelKeys"));
    twice(errors, path, keys, &term["labelSelector"]);
    for (i, key) in keys.iter().enumerate().filter(|(_, k)| items(term, "mismatchLabelKeys").contains(k)) {
        errors.push(Error::invalid(&list.index(i), key.clone(), "exists in both matchLabelKeys and mismatchLabelKeys"));
    }
}

/// Keys whose values are taken from the pod: they need a selector that they add to.
fn label_keys(errors: &mut Vec<Error>, path: &Path, keys: &[Value], selector: &Value) {
    if !keys.is_empty() && selector.is_null() {
        return errors.push(Error::forbidden(path, "must not be specified when labelSelector is not set"));
    }
    for (i, key) in keys.iter().filter_map(Value::as_str).enumerate() {
        label_name(errors, &path.index(i), key);
    }
}

/// Keys that the selector had of its own, beside what they were made into. Upstream's path is as odd.
fn twice(errors: &mut Vec<Error>, path: &Path, keys: &[Value], selector: &Value) {
    if keys.is_empty() {
        return;
    }
    let expressions = items(selector, "matchExpressions");
    for (n, e) in expressions.iter().enumerate() {
        let key = text(e, "key");
        let before = has(&selector["matchLabels"], key) || expressions[..n].iter().any(|o| text(o, "key") == key);
        if let Some(i) = keys.iter().rposition(|k| k == key).filter(|_| before) {
            errors.push(Error::invalid(&path.index(i), key, "exists in both matchLabelKeys and labelSelector"));
        }
    }
}

/// `applyMatchLabelKeysAndMismatchLabelKeys`: label keys become requirements, by the labels of the pod itself.
pub(super) fn merge_label_keys(pod: &mut Value) {
    let labels = pod["metadata"]["labels"].clone();
    let apply = |of: &mut Value| {
        let wanted: Vec<Value> = [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")]
            .into_iter()
            .flat_map(|(key, operator)| items(of, key).iter().map(move |k| (k.clone(), operator)))
            .filter_map(|(key, operator)| {
                let value = labels.get(key.as_str()?)?;
                Some(json!({"key": key, "operator": operator, "values": [value]}))
            })
            .collect();
        let Some(selector) = child(of, "labelSelector").filter(|_| !wanted.is_empty()) else { return };
        let mut all = items(selector, "matchExpressions").to_vec();
        all.extend(wanted);
        set(selector, "matchExpressions", Some(all.into()));
    };
    let Some(spec) = child(pod, "spec") else { return };
    if let Some(affinity) = child(spec, "affinity") {
        for kind in ["podAffinity", "podAntiAffinity"] {
            let Some(of) = child(affinity, kind) else { continue };
            items_mut(of, PREFERRED).iter_mut().filter_map(|p| child(p, "podAffinityTerm")).for_each(apply);
            items_mut(of, REQUIRED).iter_mut().for_each(apply);
        }
    }
    items_mut(spec, "topologySpreadConstraints").iter_mut().for_each(apply);
}

/// `validateTopologySpreadConstraints`
pub(super) fn spread(errors: &mut Vec<Error>, path: &Path, constraints: &[Value]) {
    for (i, c) in constraints.iter().enumerate() {
        let path = &path.index(i);
        let skew = number(c, "maxSkew");
        if skew <= 0 {
            errors.push(Error::invalid(&path.child("maxSkew"), skew, "must be greater than zero"));
        }
        let (key, when) = (text(c, "topologyKey"), text(c, "whenUnsatisfiable"));
        if key.is_empty() {
            errors.push(Error::required(&path.child("topologyKey"), "can not be empty"));
        }
        let values = &["DoNotSchedule", "ScheduleAnyway"];
        if !values.contains(&when) {
            errors.push(Error::not_supported(&path.child("whenUnsatisfiable"), when, values));
        }
        if constraints[i + 1..].iter().any(|o| text(o, "topologyKey") == key && text(o, "whenUnsatisfiable") == when) {
            errors
                .push(Error::duplicate(&path.child("{topologyKey, whenUnsatisfiable}"), format!("{{{key}, {when}}}")));
        }
        if has(c, "minDomains") {
            let (domains, at) = (number(c, "minDomains"), path.child("minDomains"));
            if domains <= 0 {
                errors.push(Error::invalid(&at, domains, "must be greater than zero"));
            }
            if when != "DoNotSchedule" {
                let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}");
                errors.push(Error::invalid(&at, domains, detail));
            }
        }
        for key in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            let policy = text(c, key);
            if !matches!(policy, "" | "Honor" | "Ignore") {
                errors.push(Error::not_supported(&path.child(key), policy, &["Honor", "Ignore"]));
            }
        }
        let (keys, list) = (items(c, "matchLabelKeys"), path.child("matchLabelKeys"));
        label_keys(errors, &list, keys, &c["labelSelector"]);
        twice(errors, path, keys, &c["labelSelector"]);
        validate_label_selector(errors, &path.child("labelSelector"), &c["labelSelector"]);
    }
}
