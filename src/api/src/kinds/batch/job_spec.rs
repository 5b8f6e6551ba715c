//! The spec of a Job, which CronJobs have as a template.

use serde_json::Value;

use super::policies;
use crate::field::{Error, Path};
use crate::kinds::core::pod::{default_template, validate_template};
use crate::kinds::tree::{child, has, items_mut, made, number, or_zero, text};
use crate::kinds::workload;

/// The template, and what a failure policy leaves open.
pub(super) fn default(spec: &mut Value) {
    if let Some(policy) = child(spec, "podFailurePolicy") {
        for rule in items_mut(policy, "rules") {
            for condition in items_mut(rule, "onPodConditions") {
                or_zero(condition, "status", "True");
            }
        }
    }
    if let Some(template) = made(spec, "template") {
        default_template(template);
    }
}

/// `validateJobSpec`
pub(super) fn validate(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    for key in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        workload::nonnegative(errors, path, spec, key);
    }
    let mode = text(spec, "completionMode");
    if !matches!(mode, "" | "Indexed" | "NonIndexed") {
        errors.push(Error::not_supported(&path.child("completionMode"), mode, &["Indexed", "NonIndexed"]));
    }
    if mode == "Indexed" {
        if !has(spec, "completions") {
            let detail = "when completion mode is Indexed";
            errors.push(Error::required(&path.child("completions"), detail));
        }
        if number(spec, "parallelism") > 100_000 {
            let detail = "must be less than or equal to 100000 when completion mode is Indexed";
            errors.push(Error::invalid(&path.child("parallelism"), spec["parallelism"].clone(), detail));
        }
    } else {
        for key in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if has(spec, key) {
                let detail = "requires indexed completion mode";
                errors.push(Error::invalid(&path.child(key), spec[key].clone(), detail));
            }
        }
    }
    let policy = text(spec, "podReplacementPolicy");
    let policies = &["Failed", "TerminatingOrFailed"];
    if !policy.is_empty() && !policies.contains(&policy) {
        errors.push(Error::not_supported(&path.child("podReplacementPolicy"), policy, policies));
    }
    let (failed, completions) = (number(spec, "maxFailedIndexes"), number(spec, "completions"));
    if has(spec, "maxFailedIndexes") && !has(spec, "backoffLimitPerIndex") {
        errors.push(Error::required(&path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified"));
    } else if has(spec, "maxFailedIndexes") && has(spec, "completions") && failed > completions {
        let detail = "must be less than or equal to completions";
        errors.push(Error::invalid(&path.child("maxFailedIndexes"), failed, detail));
    }
    policies::failure(errors, path, spec);
    policies::success(errors, path, spec);
    policies::managed_by(errors, path, spec);
    let template = path.child("template");
    validate_template(errors, &template, &spec["template"]);
    let restart = text(&spec["template"]["spec"], "restartPolicy");
    let pod = template.child("spec");
    match restart {
        "" | "Always" => {
            let detail = "valid values: \"OnFailure\", \"Never\"";
            errors.push(Error::required(&pod.child("restartPolicy"), detail));
        }
        "OnFailure" if has(spec, "podFailurePolicy") => {
            let detail = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.push(Error::invalid(&pod.child("restartPolicy"), restart, detail));
        }
        _ => {}
    }
}
