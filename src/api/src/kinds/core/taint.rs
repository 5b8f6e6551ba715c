//! Taints and tolerations.

use serde_json::Value;

use crate::field::{Error, Path};
use crate::kinds::metadata::label_name;
use crate::kinds::tree::{has, text};
use crate::names;

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// `validateNodeTaints`
pub(super) fn validate(errors: &mut Vec<Error>, path: &Path, taints: &[Value]) {
    for (i, taint) in taints.iter().enumerate() {
        let path = &path.index(i);
        label_name(errors, &path.child("key"), text(taint, "key"));
        let value = text(taint, "value");
        let wrong = names::label_value(value);
        if !wrong.is_empty() {
            errors.push(Error::invalid(&path.child("value"), value, wrong.join(";")));
        }
        effect(errors, &path.child("effect"), text(taint, "effect"), false);
        let same = |t: &&Value| text(t, "key") == text(taint, "key") && text(t, "effect") == text(taint, "effect");
        if taints[..i].iter().any(|t| same(&t)) {
            let mut error = Error::duplicate(path, taint.clone());
            error.message += ": taints must be unique by key and effect pair";
            errors.push(error);
        }
    }
}

fn effect(errors: &mut Vec<Error>, path: &Path, effect: &str, allow_empty: bool) {
    match effect {
        "" if allow_empty => {}
        "" => errors.push(Error::required(path, "")),
        e if EFFECTS.contains(&e) => {}
        e => errors.push(Error::not_supported(path, e, EFFECTS)),
    }
}

/// `ValidateTolerations`
pub(crate) fn validate_tolerations(errors: &mut Vec<Error>, path: &Path, tolerations: &[Value]) {
    for (i, t) in tolerations.iter().enumerate() {
        let path = &path.index(i);
        let (key, operator) = (text(t, "key"), text(t, "operator"));
        if !key.is_empty() {
            label_name(errors, &path.child("key"), key);
        }
        if key.is_empty() && operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(Error::invalid(&path.child("operator"), operator, detail));
        }
        if has(t, "tolerationSeconds") && text(t, "effect") != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(Error::invalid(&path.child("effect"), text(t, "effect"), detail));
        }
        let value = text(t, "value");
        match operator {
            "Equal" | "" => {
                let wrong = names::label_value(value);
                errors.extend(wrong.iter().map(|e| Error::invalid(&path.child("operator"), value, e)));
            }
            "Exists" if !value.is_empty() => {
                let detail = "value must be empty when `operator` is 'Exists'";
                errors.push(Error::invalid(&path.child("operator"), value, detail));
            }
            "Exists" => {}
            other => errors.push(Error::not_supported(&path.child("operator"), other, &["Equal", "Exists"])),
        }
        effect(errors, &path.child("effect"), text(t, "effect"), true);
    }
}
