//! When a job has failed and when it has succeeded: `validatePodFailurePolicy`, `validateSuccessPolicy`.

use serde_json::Value;

use super::indexes;
use crate::field::{Error, Path};
use crate::kinds::metadata::domain_prefixed_path;
use crate::kinds::tree::{has, items, number, some, text};
use crate::names;

const MOST_RULES: usize = 20;
const MOST_CODES: usize = 255;
/// `maxJobSuccessPolicySucceededIndexesLimit`, in bytes.
const MOST_INDEXES: usize = 64 * 1024;

/// `valid values: ["In" "NotIn"]`, as Go prints a list.
fn one_of(errors: &mut Vec<Error>, path: &Path, value: &str, supported: &[&str]) {
    if value.is_empty() {
        let list: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        errors.push(Error::required(path, &format!("valid values: [{}]", list.join(" "))));
    } else if !supported.contains(&value) {
        errors.push(Error::not_supported(path, value, supported));
    }
}

fn at_most(errors: &mut Vec<Error>, path: &Path, list: &[Value], most: usize) {
    if list.len() > most {
        errors.push(Error::too_many(path, list.len(), most));
    }
}

pub(super) fn failure(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    let Some(policy) = some(spec, "podFailurePolicy") else { return };
    let pod = &spec["template"]["spec"];
    let containers: Vec<&str> =
        ["containers", "initContainers"].iter().flat_map(|l| items(pod, l)).map(|c| text(c, "name")).collect();
    let path = path.child("podFailurePolicy");
    let (rules, list) = (items(policy, "rules"), path.child("rules"));
    at_most(errors, &list, rules, MOST_RULES);
    for (i, rule) in rules.iter().enumerate() {
        let path = &list.index(i);
        let action = text(rule, "action");
        one_of(errors, &path.child("action"), action, &["Count", "FailIndex", "FailJob", "Ignore"]);
        if action == "FailIndex" && !has(spec, "backoffLimitPerIndex") {
            let detail = "requires the backoffLimitPerIndex to be set";
            errors.push(Error::invalid(&path.child("action"), action, detail));
        }
        if let Some(codes) = some(rule, "onExitCodes") {
            exit_codes(errors, &path.child("onExitCodes"), codes, &containers);
        }
        let (conditions, list) = (items(rule, "onPodConditions"), path.child("onPodConditions"));
        at_most(errors, &list, conditions, MOST_RULES);
        for (j, condition) in conditions.iter().enumerate() {
            let at = list.index(j);
            let kind = text(condition, "type");
            let wrong = names::qualified_name(kind);
            errors.extend(wrong.into_iter().map(|e| Error::invalid(&at.child("type"), kind, e)));
            one_of(errors, &at.child("status"), text(condition, "status"), &["False", "True", "Unknown"]);
        }
        let detail = match (has(rule, "onExitCodes"), conditions.is_empty()) {
            (true, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
            (false, true) => "specifying one of OnExitCodes and OnPodConditions is required",
            _ => continue,
        };
        errors.push(Error::wrong(path, detail));
    }
}

fn exit_codes(errors: &mut Vec<Error>, path: &Path, on: &Value, containers: &[&str]) {
    let operator = text(on, "operator");
    one_of(errors, &path.child("operator"), operator, &["In", "NotIn"]);
    if has(on, "containerName") && !containers.contains(&text(on, "containerName")) {
        let detail = "must be one of the container or initContainer names in the pod template";
        errors.push(Error::invalid(&path.child("containerName"), text(on, "containerName"), detail));
    }
    let (values, list) = (items(on, "values"), path.child("values"));
    if values.is_empty() {
        errors.push(Error::invalid(&list, values.to_vec(), "at least one value is required"));
    }
    at_most(errors, &list, values, MOST_CODES);
    let codes: Vec<i64> = values.iter().filter_map(Value::as_i64).collect();
    for (i, code) in codes.iter().enumerate() {
        if operator == "In" && *code == 0 {
            errors.push(Error::invalid(&list.index(i), 0, "must not be 0 for the In operator"));
        }
        if codes[..i].contains(code) {
            errors.push(Error::duplicate(&list.index(i), *code));
        }
    }
    if !codes.is_sorted() {
        errors.push(Error::invalid(&list, values.to_vec(), "must be ordered"));
    }
}

pub(super) fn success(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    let Some(policy) = some(spec, "successPolicy") else { return };
    let path = path.child("successPolicy");
    if text(spec, "completionMode") != "Indexed" {
        return errors.push(Error::invalid(&path, policy.clone(), "requires indexed completion mode"));
    }
    let (rules, list) = (items(policy, "rules"), path.child("rules"));
    if rules.is_empty() {
        let detail = "at least one rules must be specified when the successPolicy is specified";
        errors.push(Error::required(&list, detail));
    }
    at_most(errors, &list, rules, MOST_RULES);
    let completions = number(spec, "completions");
    for (i, rule) in rules.iter().enumerate() {
        let at = list.index(i);
        if !has(rule, "succeededCount") && !has(rule, "succeededIndexes") {
            errors.push(Error::required(&at, "at least one of succeededCount or succeededIndexes must be specified"));
        }
        let given = some(rule, "succeededIndexes").and_then(Value::as_str);
        let mut total = 0;
        if let Some(given) = given {
            let at = at.child("succeededIndexes");
            if given.len() > MOST_INDEXES {
                errors.push(Error::too_long(&at, MOST_INDEXES));
            }
            match indexes::total(given, completions) {
                Ok(n) => total = n,
                Err(e) => errors.push(Error::invalid(&at, given, format!("error parsing succeededIndexes: {e}"))),
            }
        }
        if let Some(count) = some(rule, "succeededCount").and_then(Value::as_i64) {
            let at = at.child("succeededCount");
            if count < 0 {
                errors.push(Error::invalid(&at, count, "must be greater than or equal to 0"));
            }
            if count > completions {
                let detail =
                    format!("must be less than or equal to {completions} (the number of specified completions)");
                errors.push(Error::invalid(&at, count, detail));
            }
            if given.is_some() && count > total {
                let detail = format!(
                    "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
                );
                errors.push(Error::invalid(&at, count, detail));
            }
        }
    }
}

/// Who runs the job in the place of the job controller.
pub(super) fn managed_by(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    let Some(manager) = some(spec, "managedBy").and_then(Value::as_str) else { return };
    let at = path.child("managedBy");
    domain_prefixed_path(errors, &at, manager);
    if manager.len() > 63 {
        errors.push(Error::too_long(&at, 63));
    }
}

#[cfg(test)]
mod tests {
    use super::super::job::Job;
    use crate::kinds::workload::problems;
    use serde_json::{Value, json};

    #[test]
    fn policies_are_checked_in_upstreams_words() {
        let job = |extra: Value| {
            let mut spec = json!({"selector": {"matchLabels": {"a": "b"}}, "manualSelector": true, "template": {
                "metadata": {"labels": {"a": "b"}}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}});
            spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            problems(&Job, json!({"metadata": {"name": "j"}, "spec": spec}))
        };
        let rules = |rules: Value| json!({"podFailurePolicy": {"rules": rules}});
        assert_eq!(
            job(rules(
                json!([{"action": "FailJob", "onExitCodes": {"operator": "In", "containerName": "c", "values": [1, 42]}},
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}])
            )),
            Vec::<String>::new()
        );
        assert_eq!(
            job(rules(json!([{"onExitCodes": {"operator": "In", "containerName": "d", "values": [2, 1, 0]}}]))),
            [
                r#"spec.podFailurePolicy.rules[0].action: Required value: valid values: ["Count" "FailIndex" "FailJob" "Ignore"]"#,
                r#"spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: "d": must be one of the container or initContainer names in the pod template"#,
                "spec.podFailurePolicy.rules[0].onExitCodes.values[2]: Invalid value: 0: must not be 0 for the In operator",
                "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [2,1,0]: must be ordered",
            ]
        );
        assert_eq!(
            job(rules(json!([{"action": "Count"}]))),
            [
                "spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required"
            ]
        );
        assert_eq!(
            job(
                json!({"completionMode": "Indexed", "completions": 2, "successPolicy": {"rules": [{"succeededCount": 3}]}})
            ),
            [
                "spec.successPolicy.rules[0].succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of specified completions)"
            ]
        );
        let success =
            |rule: Value| json!({"completionMode": "Indexed", "completions": 4, "successPolicy": {"rules": [rule]}});
        for (rule, want) in [
            (json!({"succeededIndexes": "0-1,3", "succeededCount": 3}), ""),
            (
                json!({"succeededIndexes": "0-1,4"}),
                r#"spec.successPolicy.rules[0].succeededIndexes: Invalid value: "0-1,4": error parsing succeededIndexes: too large index: "4""#,
            ),
            (
                json!({"succeededIndexes": "0-1", "succeededCount": 3}),
                "spec.successPolicy.rules[0].succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of indexes in the specified succeededIndexes field)",
            ),
        ] {
            assert_eq!(job(success(rule)).join("; "), want);
        }
        let failed_first = json!({"podFailurePolicy": {"rules": []}, "podReplacementPolicy": "TerminatingOrFailed"});
        for (spec, want) in [
            (
                failed_first,
                r#"spec.podReplacementPolicy: Unsupported value: "TerminatingOrFailed": supported values: "Failed""#,
            ),
            (
                json!({"successPolicy": {"rules": []}}),
                r#"spec.successPolicy: Invalid value: {"rules":[]}: requires indexed completion mode"#,
            ),
            (
                json!({"managedBy": "x.io/a b"}),
                r#"spec.managedBy: Invalid value: "a b": Invalid path (regex used for validation is '[A-Za-z0-9/\-._~%!$&'()*+,;=:]+')"#,
            ),
            (
                json!({"managedBy": "x.io/"}),
                "spec.managedBy: Invalid value: \"x.io/\": must be a domain-prefixed path (such as \"acme.io/foo\")",
            ),
            (
                json!({"completionMode": "x"}),
                r#"spec.completionMode: Unsupported value: "x": supported values: "NonIndexed", "Indexed""#,
            ),
            (
                json!({"completionMode": "Indexed", "completions": 5, "backoffLimitPerIndex": 1, "maxFailedIndexes": 100_001}),
                "spec.maxFailedIndexes: Invalid value: 100001: must be less than or equal to completions; \
                 spec.maxFailedIndexes: Invalid value: 100001: must be less than or equal to 100000",
            ),
            (
                json!({"completionMode": "Indexed", "completions": 200_000, "parallelism": 20_000, "backoffLimitPerIndex": 1}),
                "spec.maxFailedIndexes: Required value: must be specified when completions is above 100000; \
                 spec.parallelism: Invalid value: 20000: must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index",
            ),
            (
                json!({"completionMode": "Indexed", "completions": 200_000, "maxFailedIndexes": 20_000, "backoffLimitPerIndex": 1}),
                "spec.maxFailedIndexes: Invalid value: 20000: must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index",
            ),
        ] {
            assert_eq!(job(spec).join("; "), want);
        }
        assert_eq!(
            job(json!({"managedBy": "x"})),
            ["spec.managedBy: Invalid value: \"x\": must be a domain-prefixed path (such as \"acme.io/foo\")"]
        );
    }
}
