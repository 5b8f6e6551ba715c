//! `ValidatePodUpdate` and the updates of `…/ephemeralcontainers` and `…/resize`.

use serde_json::Value;

use crate::field::{Error, Path};
use crate::kinds::diff::diff;
use crate::kinds::tree::{entries, items, items_mut, number, same, some, text};
use crate::strategy::{copy, set};

const ALLOWED: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(super) fn validate(new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let path = Path::root("spec");
    let (spec, was) = (&new["spec"], &old["spec"]);
    for list in ["containers", "initContainers"] {
        if items(spec, list).len() != items(was, list).len() {
            errors.push(Error::forbidden(&path.child(list), "pod updates may not add or remove containers"));
            return errors;
        }
    }
    if deadline(&mut errors, &path.child("activeDeadlineSeconds"), spec, was) {
        return errors;
    }
    tolerations(&mut errors, &path.child("tolerations"), spec, was);
    let gates = path.child("schedulingGates");
    let known = items(was, "schedulingGates");
    for (i, gate) in items(spec, "schedulingGates").iter().enumerate().filter(|(_, g)| !known.contains(g)) {
        let detail = format!("only deletion is allowed, but found new scheduling gate '{}'", text(gate, "name"));
        errors.push(Error::forbidden(&gates.index(i).child("name"), &detail));
    }

    let mut munged = spec.clone();
    for list in ["containers", "initContainers"] {
        for (c, before) in items_mut(&mut munged, list).iter_mut().zip(items(was, list)) {
            copy(c, before, "image");
        }
    }
    for mutable in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        copy(&mut munged, was, mutable);
    }
    if number(was, "terminationGracePeriodSeconds") < 0 && number(spec, "terminationGracePeriodSeconds") == 1 {
        copy(&mut munged, was, "terminationGracePeriodSeconds");
    }
    // a gated pod has not been scheduled: its placement may still be narrowed
    if !known.is_empty() {
        narrowed(&mut errors, &path, &mut munged, was);
    }
    if !same(&munged, was) {
        errors.push(Error::forbidden(&path, &format!("{ALLOWED}\n{}", diff("core.PodSpec", was, &munged))));
    }
    errors
}

/// The node selector and the required node affinity of a gated pod may get more, and lose nothing.
fn narrowed(errors: &mut Vec<Error>, path: &Path, munged: &mut Value, was: &Value) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    let kept = entries(was, "nodeSelector").all(|(k, v)| munged["nodeSelector"].get(k) == Some(v));
    if !kept {
        let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.push(Error::invalid(&path.child("nodeSelector"), munged["nodeSelector"].clone(), detail));
    }
    copy(munged, was, "nodeSelector");
    let (now, before) = (&munged["affinity"]["nodeAffinity"], &was["affinity"]["nodeAffinity"]);
    let terms = |a: &Value| items(&a[REQUIRED], "nodeSelectorTerms").to_vec();
    let (old, new) = (terms(before), terms(now));
    let at = path.child("affinity");
    let at = at.child("nodeAffinity");
    let at = at.child(REQUIRED);
    let list = at.child("nodeSelectorTerms");
    if !old.is_empty() && old.len() != new.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        errors.push(Error::invalid(&list, new.clone(), detail));
    } else {
        for (i, (o, n)) in old.iter().zip(&new).enumerate() {
            let keys = ["matchExpressions", "matchFields"];
            let none = |t: &Value| keys.iter().all(|key| items(t, key).is_empty());
            let kept = keys.iter().all(|key| items(n, key).starts_with(items(o, key)));
            // a term without anything matches nothing, and is to stay like that
            if !kept || none(o) && !none(n) {
                let detail = "only additions are allowed (no mutations or deletions)";
                errors.push(Error::invalid(&list.index(i), n.clone(), detail));
            }
        }
    }
    let before = some(&was["affinity"], "nodeAffinity").cloned();
    if let Some(affinity) = munged.get_mut("affinity") {
        set(affinity, "nodeAffinity", before);
    } else if before.is_some() {
        copy(munged, was, "affinity");
    }
}

/// Whether it grew: then nothing more is said.
fn deadline(errors: &mut Vec<Error>, path: &Path, spec: &Value, was: &Value) -> bool {
    let get = |s: &Value| some(s, "activeDeadlineSeconds").and_then(Value::as_i64);
    let (now, before) = (get(spec), get(was));
    let grew = now.zip(before).is_some_and(|(n, o)| n > o);
    if grew {
        errors.push(Error::invalid(path, now, "must be less than or equal to previous value"));
    }
    if now.is_none() && before.is_some() {
        errors.push(Error::invalid(path, Value::Null, "must not update from a positive integer to nil value"));
    }
    grew
}

/// Tolerations may be added, and their seconds changed.
fn tolerations(errors: &mut Vec<Error>, path: &Path, spec: &Value, was: &Value) {
    let plain = |t: &Value| {
        let mut t = t.clone();
        set(&mut t, "tolerationSeconds", None);
        t
    };
    let now: Vec<Value> = items(spec, "tolerations").iter().map(plain).collect();
    if !items(was, "tolerations").iter().map(plain).all(|t| now.iter().any(|n| same(n, &t))) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(Error::forbidden(path, detail));
    }
}

/// An update of `…/ephemeralcontainers` changes `spec.ephemeralContainers` alone.
pub fn prepare_ephemeral_containers(new: &mut Value, old: &Value) {
    keep_all_but(new, old, |spec, asked| {
        copy(spec, asked, "ephemeralContainers");
        for c in items_mut(spec, "ephemeralContainers") {
            super::defaults::container(c);
        }
    });
}

/// `ValidatePodEphemeralContainersUpdate`: those that are there stay as they are.
pub fn validate_ephemeral_containers(new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    if super::annotations::is_mirror(old) {
        return vec![Error::forbidden(&Path::root(""), "static pods do not support ephemeral containers")];
    }
    let spec = Path::root("spec");
    let path = spec.child("ephemeralContainers");
    let list = items(&new["spec"], "ephemeralContainers");
    super::container::validate_ephemeral(&mut errors, &path, &new["spec"]);
    for before in items(&old["spec"], "ephemeralContainers") {
        let name = text(before, "name");
        match list.iter().position(|c| text(c, "name") == name) {
            None => {
                let detail = format!("existing ephemeral containers {name:?} may not be removed\n");
                errors.push(Error::forbidden(&path, &detail));
            }
            Some(i) if !same(&list[i], before) => {
                let what = diff("core.EphemeralContainer", before, &list[i]);
                let detail = format!("existing ephemeral containers {name:?} may not be changed\n{what}");
                errors.push(Error::forbidden(&path, &detail));
            }
            Some(_) => {}
        }
    }
    errors
}

pub(super) fn keep_all_but(new: &mut Value, old: &Value, change: impl FnOnce(&mut Value, &Value)) {
    let asked = new.get("spec").cloned().unwrap_or_default();
    let metadata = new.get("metadata").cloned();
    *new = old.clone();
    set(new, "metadata", metadata);
    if let Some(spec) = new.get_mut("spec") {
        change(spec, &asked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_some_fields_of_a_pod_change() {
        let old = json!({"spec": {"containers": [{"name": "a", "image": "x"}], "tolerations": [{"key": "k"}]}});
        for (pointer, value, want) in [
            ("/spec/containers/0/image", json!("y"), ""),
            ("/spec/containers/0/name", json!("b"), "spec: Forbidden: pod updates may not change fields other than"),
            ("/spec/containers", json!([]), "spec.containers: Forbidden: pod updates may not add or remove containers"),
            ("/spec/tolerations", json!([{"key": "k", "tolerationSeconds": 1}, {"key": "l"}]), ""),
            ("/spec/tolerations", json!([]), "spec.tolerations: Forbidden: existing toleration can not be modified"),
        ] {
            let mut new = old.clone();
            *new.pointer_mut(pointer).unwrap() = value;
            let errors = validate(&new, &old);
            assert_eq!(errors.is_empty(), want.is_empty(), "{pointer}: {errors:?}");
            assert!(errors.iter().all(|e| e.to_string().starts_with(want)), "{errors:?}");
        }
        let mut old_deadline = old.clone();
        old_deadline["spec"]["activeDeadlineSeconds"] = json!(5);
        let mut new = old_deadline.clone();
        new["spec"]["activeDeadlineSeconds"] = json!(6);
        new["spec"]["nodeName"] = json!("n");
        let errors = validate(&new, &old_deadline);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].to_string().ends_with("Invalid value: 6: must be less than or equal to previous value"));
        let mut new = old.clone();
        new["spec"]["hostNetwork"] = json!(false);
        assert!(validate(&new, &old).is_empty(), "zero is absent");
    }

    #[test]
    fn a_gated_pod_may_only_be_narrowed() {
        let required = |terms: Value| json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
        let a = json!({"key": "a", "operator": "Exists"});
        let old = json!({"spec": {"schedulingGates": [{"name": "g.io/x"}], "nodeSelector": {"a": "b"},
            "affinity": required(json!([{"matchExpressions": [a]}])), "containers": []}});
        for (key, value, want) in [
            ("nodeSelector", json!({"a": "b", "c": "d"}), ""),
            (
                "nodeSelector",
                json!({"a": "x"}),
                "only additions to spec.nodeSelector are allowed (no mutations or deletions)",
            ),
            ("affinity", required(json!([{"matchExpressions": [a, {"key": "b", "operator": "Exists"}]}])), ""),
            (
                "affinity",
                required(json!([{"matchExpressions": []}])),
                "only additions are allowed (no mutations or deletions)",
            ),
            ("affinity", required(json!([])), "no additions/deletions to non-empty NodeSelectorTerms list are allowed"),
            (
                "affinity",
                json!({"nodeAffinity": old["spec"]["affinity"]["nodeAffinity"], "podAffinity":
                {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}}),
                "pod updates may not change fields other than",
            ),
            ("schedulingGates", json!([]), ""),
            (
                "schedulingGates",
                json!([{"name": "g.io/y"}]),
                "only deletion is allowed, but found new scheduling gate 'g.io/y'",
            ),
        ] {
            let mut new = old.clone();
            new["spec"][key] = value;
            let errors: Vec<String> = validate(&new, &old).iter().map(ToString::to_string).collect();
            assert_eq!(errors.is_empty(), want.is_empty(), "{key}: {errors:?}");
            assert!(errors.iter().all(|e| e.contains(want)), "{errors:?}");
        }
        let gated = |term: Value| {
            json!({"spec": {"schedulingGates": [{"name": "g.io/x"}], "containers": [],
                "affinity": required(json!([term]))}})
        };
        let error = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]: \
                     Invalid value: {\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"Exists\"}]}: \
                     only additions are allowed (no mutations or deletions)";
        let errors = validate(&gated(json!({"matchExpressions": [a]})), &gated(json!({})));
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), [error], "it matched nothing");
    }
}
