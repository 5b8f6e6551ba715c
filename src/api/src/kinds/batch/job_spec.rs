//! The spec of a Job, which CronJobs have as a template.

use serde_json::Value;

use super::policies;
use crate::field::{Error, Path};
use crate::kinds::core::pod::{default_template, validate_template};
use crate::kinds::tree::{child, has, items_mut, made, number, or_zero, text};
use crate::kinds::workload;

/// `maxParallelismForIndexedJob`
const MOST_PARALLEL: i64 = 100_000;
/// `maxFailedIndexesForIndexedJob`
const MOST_FAILED: i64 = 100_000;
/// `completionsSoftLimit`
const MANY_COMPLETIONS: i64 = 100_000;
/// `parallelismLimitForHighCompletions`, `maxFailedIndexesLimitForHighCompletions`
const MOST_OF_MANY: i64 = 10_000;

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
    let (failed, completions) = (number(spec, "maxFailedIndexes"), number(spec, "completions"));
    if has(spec, "maxFailedIndexes") && !has(spec, "backoffLimitPerIndex") {
        errors.push(Error::required(&path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified"));
    }
    policies::managed_by(errors, path, spec);
    let mode = text(spec, "completionMode");
    if !matches!(mode, "" | "Indexed" | "NonIndexed") {
        errors.push(Error::not_supported(&path.child("completionMode"), mode, &["NonIndexed", "Indexed"]));
    }
    let above = |errors: &mut Vec<Error>, key: &str, limit: i64, when: &str| {
        let n = number(spec, key);
        if n > limit {
            let detail = format!("must be less than or equal to {limit}{when}");
            errors.push(Error::invalid(&path.child(key), n, detail));
        }
    };
    if mode == "Indexed" {
        if !has(spec, "completions") {
            errors.push(Error::required(&path.child("completions"), "when completion mode is Indexed"));
        }
        above(errors, "parallelism", MOST_PARALLEL, " when completion mode is Indexed");
        if has(spec, "completions") && failed > completions {
            let detail = "must be less than or equal to completions";
            errors.push(Error::invalid(&path.child("maxFailedIndexes"), failed, detail));
        }
        above(errors, "maxFailedIndexes", MOST_FAILED, "");
        if completions > MANY_COMPLETIONS && has(spec, "backoffLimitPerIndex") {
            if !has(spec, "maxFailedIndexes") {
                let detail = format!("must be specified when completions is above {MANY_COMPLETIONS}");
                errors.push(Error::required(&path.child("maxFailedIndexes"), &detail));
            }
            let when = format!(" when completions are above {MANY_COMPLETIONS} and used with backoff limit per index");
            above(errors, "parallelism", MOST_OF_MANY, &when);
            above(errors, "maxFailedIndexes", MOST_OF_MANY, &when);
        }
    } else {
        for key in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if has(spec, key) {
                let detail = "requires indexed completion mode";
                errors.push(Error::invalid(&path.child(key), spec[key].clone(), detail));
            }
        }
    }
    policies::failure(errors, path, spec);
    policies::success(errors, path, spec);
    let policy = text(spec, "podReplacementPolicy");
    let policies: &[&str] =
        if has(spec, "podFailurePolicy") { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    if has(spec, "podReplacementPolicy") && !policies.contains(&policy) {
        errors.push(Error::not_supported(&path.child("podReplacementPolicy"), policy, policies));
    }
    let template = path.child("template");
    validate_template(errors, &template, &spec["template"]);
    let restart = text(&spec["template"]["spec"], "restartPolicy");
    let pod = template.child("spec");
    match restart {
        "" | "Always" => {
            let detail = "valid values: \"OnFailure\", \"Never\"";
            errors.push(Error::required(&pod.child("restartPolicy"), detail));
        }
        other if !matches!(other, "OnFailure" | "Never") => {
            errors.push(Error::not_supported(&pod.child("restartPolicy"), other, &["OnFailure", "Never"]));
        }
        "OnFailure" if has(spec, "podFailurePolicy") => {
            let detail = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.push(Error::invalid(&pod.child("restartPolicy"), restart, detail));
        }
        _ => {}
    }
}
