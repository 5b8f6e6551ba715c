//! `ValidateJobStatusUpdate`. A rule about what has not changed does not hold an update up: upstream's
//! `getStatusValidationOptions`.

use serde_json::Value;

use super::indexes;
use crate::field::{Error, Path};
use crate::kinds::table::timestamp;
use crate::kinds::tree::{flag, has, items, number, same, some, text};
use crate::kinds::workload::nonnegative;

/// Whether a condition is `True`.
fn is(job: &Value, kind: &str) -> bool {
    items(&job["status"], "conditions").iter().any(|c| text(c, "type") == kind && text(c, "status") == "True")
}

fn is_finished(job: &Value) -> bool {
    is(job, "Complete") || is(job, "Failed")
}

pub(super) fn validate_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let (spec, status, was, path) = (&new["spec"], &new["status"], &old["status"], &Path::root("status"));
    for key in ["active", "succeeded", "failed", "ready", "terminating"] {
        nonnegative(&mut errors, path, status, key);
    }
    uncounted(&mut errors, path, status);
    let changed = |key: &str| !same(&status[key], &was[key]);
    let turned = |kind: &str| is(new, kind) != is(old, kind);
    conditions(&mut errors, new, &turned, &changed);
    let ended = is_finished(new) != is_finished(old);
    finished(&mut errors, new, ended, &changed);
    lists(&mut errors, new, changed("completedIndexes"), some(status, "failedIndexes") != some(was, "failedIndexes"));
    if is_finished(new) && (ended || changed("terminating")) && number(status, "terminating") > 0 {
        let detail = "terminating>0 is invalid for finished job";
        errors.push(Error::invalid(&path.child("terminating"), number(status, "terminating"), detail));
    }
    let too_ready = has(status, "ready") && number(status, "ready") > number(status, "active");
    if (changed("ready") || changed("active")) && too_ready {
        let detail = "cannot set more ready pods than active";
        errors.push(Error::invalid(&path.child("ready"), number(status, "ready"), detail));
    }
    let (list, met) = (path.child("conditions"), is(new, "SuccessCriteriaMet"));
    for other in ["Failed", "FailureTarget"] {
        if met && is(new, other) {
            let detail = format!("cannot set SuccessCriteriaMet=True and {other}=true conditions");
            errors.push(Error::wrong(&list, &detail));
        }
    }
    if has(spec, "successPolicy") && !met && is(new, "Complete") {
        let detail = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
        errors.push(Error::wrong(&list, detail));
    }
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if is(old, kind) && !is(new, kind) {
            errors.push(Error::wrong(&list, &format!("cannot disable the terminal {kind}=True condition")));
        }
    }
    // what an elastic job has succeeded at may shrink with it
    let elastic = text(spec, "completionMode") == "Indexed" && same(&spec["completions"], &spec["parallelism"]);
    for key in ["failed", "succeeded"] {
        if number(status, key) < number(was, key) && !(key == "succeeded" && elastic) {
            let detail = format!("cannot decrease the {key} counter");
            errors.push(Error::invalid(&path.child(key), number(status, key), detail));
        }
    }
    if has(status, "completionTime") && has(was, "completionTime") && changed("completionTime") {
        let detail = "completionTime cannot be mutated";
        errors.push(Error::invalid(&path.child("completionTime"), status["completionTime"].clone(), detail));
    }
    if has(was, "startTime") && changed("startTime") && !flag(spec, "suspend") {
        let detail = "startTime cannot be removed for unsuspended job";
        errors.push(Error::required(&path.child("startTime"), detail));
    }
    if is(old, "SuccessCriteriaMet") && !met {
        errors.push(Error::wrong(&list, "cannot disable the SuccessCriteriaMet=True condition"));
    }
    if is(old, "Complete") && !is(old, "SuccessCriteriaMet") && met {
        let detail = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        errors.push(Error::wrong(&list, detail));
    }
    errors
}

/// Pods that have ended and are not in the counters yet: each once.
fn uncounted(errors: &mut Vec<Error>, path: &Path, status: &Value) {
    let root = path.child("uncountedTerminatedPods");
    let mut seen = std::collections::HashSet::new();
    for key in ["succeeded", "failed"] {
        let list = root.child(key);
        for (i, uid) in items(&status["uncountedTerminatedPods"], key).iter().filter_map(Value::as_str).enumerate() {
            if uid.is_empty() {
                errors.push(Error::invalid(&list.index(i), uid, "must not be empty"));
            } else if !seen.insert(uid) {
                errors.push(Error::duplicate(&list.index(i), uid));
            }
        }
    }
}

/// Which conditions exclude and need each other and the times.
fn conditions(errors: &mut Vec<Error>, new: &Value, turned: &dyn Fn(&str) -> bool, changed: &dyn Fn(&str) -> bool) {
    let (status, path) = (&new["status"], &Path::root("status"));
    let (list, at) = (path.child("conditions"), path.child("completionTime"));
    for other in ["Failed", "FailureTarget"] {
        if (turned("Complete") || turned(other)) && is(new, "Complete") && is(new, other) {
            errors.push(Error::wrong(&list, &format!("cannot set Complete=True and {other}=true conditions")));
        }
    }
    if turned("Complete") || changed("completionTime") {
        match (some(status, "completionTime"), is(new, "Complete")) {
            (Some(time), false) => {
                let detail = "cannot set completionTime when there is no Complete=True condition";
                errors.push(Error::invalid(&at, time.clone(), detail));
            }
            (None, true) => errors.push(Error::required(&at, "completionTime is required for Complete jobs")),
            _ => {}
        }
    }
    if (changed("startTime") || changed("completionTime"))
        && let (Some(start), Some(end)) = (timestamp(&status["startTime"]), timestamp(&status["completionTime"]))
        && end < start
    {
        let detail = "completionTime cannot be set before startTime";
        errors.push(Error::invalid(&at, status["completionTime"].clone(), detail));
    }
    for (last, first) in [("Failed", "FailureTarget"), ("Complete", "SuccessCriteriaMet")] {
        if (turned(last) || turned(first)) && is(new, last) && !is(new, first) {
            let detail = format!("cannot set {last}=True condition without the {first}=true condition");
            errors.push(Error::wrong(&list, &detail));
        }
    }
}

/// What a finished job has no more, and must have had.
fn finished(errors: &mut Vec<Error>, new: &Value, ended: bool, changed: &dyn Fn(&str) -> bool) {
    if !is_finished(new) {
        return;
    }
    let (spec, status, path) = (&new["spec"], &new["status"], &Path::root("status"));
    if (ended || changed("active")) && number(status, "active") > 0 {
        let detail = "active>0 is invalid for finished job";
        errors.push(Error::invalid(&path.child("active"), number(status, "active"), detail));
    }
    let never_begun = flag(spec, "suspend") && spec["completions"] == 0;
    if (ended || changed("startTime")) && !has(status, "startTime") && !never_begun {
        errors.push(Error::required(&path.child("startTime"), "startTime is required for finished job"));
    }
    let pods = &status["uncountedTerminatedPods"];
    let some_left = ["failed", "succeeded"].iter().any(|key| !items(pods, key).is_empty());
    if (ended || changed("uncountedTerminatedPods")) && some_left {
        let detail = "uncountedTerminatedPods needs to be empty for finished job";
        errors.push(Error::invalid(&path.child("uncountedTerminatedPods"), pods.clone(), detail));
    }
}

/// The lists of indexes.
fn lists(errors: &mut Vec<Error>, new: &Value, completed_changed: bool, failed_changed: bool) {
    let (spec, status, path) = (&new["spec"], &new["status"], &Path::root("status"));
    let (completed, failed) = (text(status, "completedIndexes"), some(status, "failedIndexes").and_then(Value::as_str));
    let (at, at_failed) = (path.child("completedIndexes"), path.child("failedIndexes"));
    let completions = some(spec, "completions").and_then(Value::as_i64);
    let per_index = has(spec, "backoffLimitPerIndex");
    if completed_changed && let Some(Err(e)) = completions.map(|n| indexes::total(completed, n)) {
        errors.push(Error::invalid(&at, completed, format!("error parsing completedIndexes: {e}")));
    }
    if failed_changed
        && per_index
        && let (Some(n), Some(failed)) = (completions, failed)
        && let Err(e) = indexes::total(failed, n)
    {
        errors.push(Error::invalid(&at_failed, failed, format!("error parsing failedIndexes: {e}")));
    }
    if completed_changed && !completed.is_empty() && text(spec, "completionMode") != "Indexed" {
        let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.push(Error::invalid(&at, completed, detail));
    }
    if let Some(failed) = failed {
        if failed_changed && !per_index {
            let detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
            errors.push(Error::invalid(&at_failed, failed, detail));
        }
        if (completed_changed || failed_changed)
            && let Some(index) = completions.and_then(|n| indexes::overlap(completed, failed, n))
        {
            let detail = format!("failedIndexes and completedIndexes overlap at index: {index}");
            errors.push(Error::invalid(&at_failed, failed, detail));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const T1: &str = "2026-01-01T00:00:01Z";
    const T2: &str = "2026-01-01T00:00:02Z";

    fn with(conditions: &[&str], rest: Value) -> Value {
        let all: Vec<Value> = conditions.iter().map(|c| json!({"type": c, "status": "True"})).collect();
        let mut status = json!({ "conditions": all });
        status.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        status
    }

    fn check(spec: Value, new: Value, old: Value) -> String {
        let (new, old) = (json!({"spec": spec, "status": new}), json!({"spec": spec, "status": old}));
        validate_update(&new, &old).iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn how_a_job_ends() {
        let done = ["SuccessCriteriaMet", "Complete"];
        let times = json!({"startTime": T1, "completionTime": T2});
        let over = |extra: Value| {
            let mut status = with(&done, times.clone());
            status.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            status
        };
        for (new, want) in [
            (over(json!({"succeeded": 1})), ""),
            (with(&["FailureTarget", "Failed"], json!({"startTime": T1, "failed": 1})), ""),
            (
                with(&["Complete"], times.clone()),
                "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
            ),
            (
                with(&["Failed"], json!({"startTime": T1})),
                "status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition",
            ),
            (
                with(&["SuccessCriteriaMet", "Complete", "Failed"], times.clone()),
                "status.conditions: Invalid value: cannot set Complete=True and Failed=true conditions; status.conditions: \
                 Invalid value: cannot set Failed=True condition without the FailureTarget=true condition; status.conditions: \
                 Invalid value: cannot set SuccessCriteriaMet=True and Failed=true conditions",
            ),
            (
                with(&["SuccessCriteriaMet", "FailureTarget", "Complete"], times.clone()),
                "status.conditions: Invalid value: cannot set Complete=True and FailureTarget=true conditions; \
                 status.conditions: Invalid value: cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
            ),
            (
                with(&[], times.clone()),
                "status.completionTime: Invalid value: \"2026-01-01T00:00:02Z\": cannot set completionTime when there is no Complete=True condition",
            ),
            (
                with(&done, json!({})),
                "status.completionTime: Required value: completionTime is required for Complete jobs; \
                 status.startTime: Required value: startTime is required for finished job",
            ),
            (
                with(&done, json!({"startTime": T2, "completionTime": T1})),
                "status.completionTime: Invalid value: \"2026-01-01T00:00:01Z\": completionTime cannot be set before startTime",
            ),
            (over(json!({"active": 1})), "status.active: Invalid value: 1: active>0 is invalid for finished job"),
            (
                over(json!({"terminating": 1})),
                "status.terminating: Invalid value: 1: terminating>0 is invalid for finished job",
            ),
            (
                over(json!({"uncountedTerminatedPods": {"failed": ["u"]}})),
                "status.uncountedTerminatedPods: Invalid value: {\"failed\":[\"u\"]}: uncountedTerminatedPods needs to be empty for finished job",
            ),
        ] {
            assert_eq!(check(json!({}), new.clone(), json!({})), want, "{new}");
            assert_eq!(check(json!({}), new.clone(), new.clone()).replace(want, ""), ratcheted(&new), "{new}");
        }
        let suspended = json!({"suspend": true, "completions": 0});
        assert_eq!(check(suspended, with(&done, json!({"completionTime": T2})), json!({})), "");
        assert_eq!(
            check(json!({"successPolicy": {}}), with(&["Complete"], times.clone()), with(&["Complete"], times)),
            "status.conditions: Invalid value: cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True"
        );
    }

    /// What is said even of a status that was so before.
    fn ratcheted(status: &Value) -> String {
        let has = |kind: &str| items(status, "conditions").iter().any(|c| c["type"] == kind);
        ["Failed", "FailureTarget"]
            .iter()
            .filter(|k| has("SuccessCriteriaMet") && has(k))
            .map(|k| {
                format!("status.conditions: Invalid value: cannot set SuccessCriteriaMet=True and {k}=true conditions")
            })
            .collect::<Vec<_>>()
            .join("; ")
    }

    #[test]
    fn what_only_grows_and_stays() {
        let elastic = json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2});
        for (spec, new, old, want) in [
            (
                json!({}),
                json!({"failed": 1, "succeeded": 1}),
                json!({"failed": 2, "succeeded": 2}),
                "status.failed: Invalid value: 1: cannot decrease the failed counter; \
                 status.succeeded: Invalid value: 1: cannot decrease the succeeded counter",
            ),
            (elastic, json!({"succeeded": 1}), json!({"succeeded": 2}), ""),
            (
                json!({}),
                with(&[], json!({})),
                with(&["FailureTarget"], json!({})),
                "status.conditions: Invalid value: cannot disable the terminal FailureTarget=True condition",
            ),
            (
                json!({}),
                with(&[], json!({})),
                with(&["SuccessCriteriaMet"], json!({})),
                "status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition",
            ),
            (
                json!({}),
                json!({"startTime": T2}),
                json!({"startTime": T1}),
                "status.startTime: Required value: startTime cannot be removed for unsuspended job",
            ),
            (json!({"suspend": true}), json!({}), json!({"startTime": T1}), ""),
            (json!({}), json!({"startTime": T2}), json!({}), ""),
            (
                json!({}),
                with(&["SuccessCriteriaMet", "Complete"], json!({"startTime": T1, "completionTime": T2})),
                with(&["SuccessCriteriaMet", "Complete"], json!({"startTime": T1, "completionTime": T1})),
                "status.completionTime: Invalid value: \"2026-01-01T00:00:02Z\": completionTime cannot be mutated",
            ),
            (
                json!({}),
                with(&["SuccessCriteriaMet", "Complete"], json!({"startTime": T1, "completionTime": T2})),
                with(&["Complete"], json!({"startTime": T1, "completionTime": T2})),
                "status.conditions: Invalid value: cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions",
            ),
            (
                json!({}),
                json!({"active": 1, "ready": 2}),
                json!({}),
                "status.ready: Invalid value: 2: cannot set more ready pods than active",
            ),
            (
                json!({}),
                json!({"active": -1, "terminating": -1}),
                json!({}),
                "status.active: Invalid value: -1: must be greater than or equal to 0; status.terminating: Invalid value: -1: \
                 must be greater than or equal to 0",
            ),
            (
                json!({}),
                json!({"uncountedTerminatedPods": {"succeeded": ["", "a"], "failed": ["a"]}}),
                json!({}),
                "status.uncountedTerminatedPods.succeeded[0]: Invalid value: \"\": must not be empty; \
                 status.uncountedTerminatedPods.failed[0]: Duplicate value: \"a\"",
            ),
        ] {
            assert_eq!(check(spec, new.clone(), old), want, "{new}");
        }
    }

    #[test]
    fn indexes_are_those_of_the_job() {
        let indexed = json!({"completionMode": "Indexed", "completions": 3, "backoffLimitPerIndex": 1});
        for (spec, new, want) in [
            (indexed.clone(), json!({"completedIndexes": "0-1", "failedIndexes": "2"}), ""),
            (
                indexed.clone(),
                json!({"completedIndexes": "3", "failedIndexes": "x"}),
                "status.completedIndexes: Invalid value: \"3\": error parsing completedIndexes: too large index: \"3\"; \
                 status.failedIndexes: Invalid value: \"x\": error parsing failedIndexes: cannot convert string to integer for index: \"x\"",
            ),
            (
                indexed,
                json!({"completedIndexes": "0-1", "failedIndexes": "1-2"}),
                "status.failedIndexes: Invalid value: \"1-2\": failedIndexes and completedIndexes overlap at index: 1",
            ),
            (
                json!({"completions": 3}),
                json!({"completedIndexes": "0", "failedIndexes": ""}),
                "status.completedIndexes: Invalid value: \"0\": cannot set non-empty completedIndexes when non-indexed completion mode; \
                 status.failedIndexes: Invalid value: \"\": cannot set non-null failedIndexes when backoffLimitPerIndex is null",
            ),
        ] {
            assert_eq!(check(spec.clone(), new.clone(), json!({})), want);
            assert_eq!(check(spec, new.clone(), new), "");
        }
    }
}
