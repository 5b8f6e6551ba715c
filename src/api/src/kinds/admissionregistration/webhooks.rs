//! `MutatingWebhookConfiguration` and `ValidatingWebhookConfiguration`.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::expressions;
use super::rules::{self, FAILURE_POLICIES, MATCH_POLICIES, REINVOCATION_POLICIES, one_of};
use crate::field::{Error, Path};
use crate::kinds::table::name;
use crate::kinds::tree::{child, has, items, items_mut, or, same, text};
use crate::kinds::workload::validate_label_selector;
use crate::strategy::{AGE, Column, NAME, age};
use crate::{Strategy, names};

/// Those of `AdmissionReview` that the server speaks.
const REVIEWS: [&str; 2] = ["v1", "v1beta1"];
const NO_SIDE_EFFECTS: [&str; 2] = ["None", "NoneOnDryRun"];
const SIDE_EFFECTS: [&str; 4] = ["None", "NoneOnDryRun", "Some", "Unknown"];

pub(super) struct Webhooks {
    pub mutating: bool,
}

impl Strategy for Webhooks {
    fn default(&self, object: &mut Value) {
        for hook in items_mut(object, "webhooks") {
            or(hook, "failurePolicy", "Fail");
            or(hook, "matchPolicy", "Equivalent");
            or(hook, "namespaceSelector", json!({}));
            or(hook, "objectSelector", json!({}));
            or(hook, "timeoutSeconds", 10);
            if self.mutating {
                or(hook, "reinvocationPolicy", "Never");
            }
            if let Some(service) = child(hook, "clientConfig").and_then(|c| child(c, "service")) {
                or(service, "port", 443);
            }
            rules::default_rules(hook, "rules");
        }
    }
    fn has_status(&self) -> bool {
        false
    }
    fn has_generation(&self) -> bool {
        true
    }
    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        self.check(object, None)
    }
    fn check_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        self.check(new, Some(items(old, "webhooks")))
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, Column::new("Webhooks", "integer"), AGE] }
    }
    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        vec![name(object), items(object, "webhooks").len().into(), age(object, now_seconds)]
    }
}

/// What an update need not fulfil, as what it replaces does not.
#[derive(Default)]
struct Leniency {
    side_effects: bool,
    review_versions: bool,
    names: bool,
    conditions: bool,
    selectors: bool,
}

impl Leniency {
    fn of(old: &[Value], new: &[Value]) -> Leniency {
        let mut names = HashSet::new();
        Leniency {
            side_effects: old.iter().any(|h| !NO_SIDE_EFFECTS.contains(&text(h, "sideEffects"))),
            review_versions: old.iter().any(|h| {
                let all = items(h, "admissionReviewVersions");
                !all.is_empty() && !all.iter().any(is_spoken)
            }),
            names: old.iter().any(|h| !names.insert(text(h, "name"))),
            selectors: old.iter().any(|h| !selectors(&Path::nil(), h).is_empty()),
            conditions: old.len() == new.len()
                && old.iter().zip(new).all(|(o, n)| same(&o["matchConditions"], &n["matchConditions"])),
        }
    }
}

/// What is wrong with the selectors of a webhook.
fn selectors(path: &Path, hook: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    for key in ["namespaceSelector", "objectSelector"] {
        validate_label_selector(&mut errors, &path.child(key), &hook[key]);
    }
    errors
}

fn is_spoken(version: &Value) -> bool {
    version.as_str().is_some_and(|v| REVIEWS.contains(&v))
}

impl Webhooks {
    fn check(&self, object: &Value, old: Option<&[Value]>) -> Vec<Error> {
        let mut errors = Vec::new();
        let list = Path::root("webhooks");
        let hooks = items(object, "webhooks");
        let mut lenient = old.map(|old| Leniency::of(old, hooks));
        if has(&object["metadata"]["annotations"], crate::convert::SIDE_EFFECTS) {
            lenient.get_or_insert_default().side_effects = true;
        }
        let lenient = lenient.as_ref();
        let mut seen = HashSet::new();
        for (i, hook) in hooks.iter().enumerate() {
            let path = &list.index(i);
            self.check_hook(&mut errors, path, hook, lenient);
            let its_name = text(hook, "name");
            if !its_name.is_empty() && !seen.insert(its_name) && !lenient.is_some_and(|l| l.names) {
                errors.push(Error::duplicate(&path.child("name"), its_name));
            }
        }
        errors
    }

    fn check_hook(&self, errors: &mut Vec<Error>, path: &Path, hook: &Value, lenient: Option<&Leniency>) {
        full_name(errors, &path.child("name"), text(hook, "name"));
        let rules = path.child("rules");
        for (j, rule) in items(hook, "rules").iter().enumerate() {
            rules::validate_rule(errors, &rules.index(j), rule);
        }
        one_of(errors, path, hook, "failurePolicy", &FAILURE_POLICIES, false);
        one_of(errors, path, hook, "matchPolicy", &MATCH_POLICIES, false);
        let known = if lenient.is_some_and(|l| l.side_effects) { &SIDE_EFFECTS[..] } else { &NO_SIDE_EFFECTS };
        if text(hook, "sideEffects").is_empty() {
            let detail = format!("must specify one of {}", known.join(", "));
            errors.push(Error::required(&path.child("sideEffects"), &detail));
        } else {
            one_of(errors, path, hook, "sideEffects", known, false);
        }
        let timeout = hook["timeoutSeconds"].as_i64().unwrap_or(10);
        if !(1..=30).contains(&timeout) {
            let detail = "the timeout value must be between 1 and 30 seconds";
            errors.push(Error::invalid(&path.child("timeoutSeconds"), timeout, detail));
        }
        let mut wrong = selectors(path, hook);
        if lenient.is_some_and(|l| l.selectors) {
            // values that no label has may stay, and come
            wrong.retain(|e| !e.field.contains(".values["));
        }
        errors.extend(wrong);
        if self.mutating {
            one_of(errors, path, hook, "reinvocationPolicy", &REINVOCATION_POLICIES, false);
        }
        client(errors, &path.child("clientConfig"), &hook["clientConfig"]);
        if !lenient.is_some_and(|l| l.conditions) {
            expressions::conditions(errors, path, hook, &expressions::environment(false));
        }
        review_versions(
            errors,
            &path.child("admissionReviewVersions"),
            hook,
            lenient.is_some_and(|l| l.review_versions),
        );
    }
}

/// `IsFullyQualifiedName`
fn full_name(errors: &mut Vec<Error>, path: &Path, name: &str) {
    if name.is_empty() {
        return errors.push(Error::required(path, ""));
    }
    let wrong = names::dns_subdomain(name, false);
    if !wrong.is_empty() {
        return errors.push(Error::invalid(path, name, wrong.join(",")));
    }
    if name.split('.').count() < 3 {
        let detail = "should be a domain with at least three segments separated by dots";
        errors.push(Error::invalid(path, name, detail));
    }
}

/// `validateAdmissionReviewVersions`
fn review_versions(errors: &mut Vec<Error>, path: &Path, hook: &Value, lenient: bool) {
    let all = items(hook, "admissionReviewVersions");
    if all.is_empty() {
        return errors.push(Error::required(path, &format!("must specify one of {}", REVIEWS.join(", "))));
    }
    for (i, version) in all.iter().enumerate() {
        let (at, name) = (&path.index(i), version.as_str().unwrap_or_default());
        if all[..i].contains(version) {
            errors.push(Error::invalid(at, name, "duplicate version"));
            continue;
        }
        errors.extend(names::dns1035_label(name, false).into_iter().map(|e| Error::invalid(at, name, e)));
    }
    if !lenient && !all.iter().any(is_spoken) {
        let detail = format!("must include at least one of {}", REVIEWS.join(", "));
        errors.push(Error::invalid(path, Value::from(all.to_vec()), detail));
    }
}

/// A url or a service, one of them: `ValidateWebhookURL`, `ValidateWebhookService`.
fn client(errors: &mut Vec<Error>, path: &Path, config: &Value) {
    match (has(config, "url"), has(config, "service")) {
        (a, b) if a == b => errors.push(Error::required(path, "exactly one of url or service is required")),
        (true, _) => url(errors, &path.child("url"), text(config, "url")),
        _ => service(errors, &path.child("service"), &config["service"]),
    }
}

fn url(errors: &mut Vec<Error>, path: &Path, url: &str) {
    const FORM: &str = "; desired format: https://host[/path]";
    let mut refuse = |value: &str, why: &str| errors.push(Error::invalid(path, value, format!("{why}{FORM}")));
    let Some((scheme, rest)) = url.split_once("://") else {
        return refuse(url, "'https' is the only allowed URL scheme");
    };
    if scheme != "https" {
        refuse(url, "'https' is the only allowed URL scheme");
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = &rest[..end];
    if authority.is_empty() {
        refuse("", "host must be specified");
    }
    if let Some((user, _)) = authority.rsplit_once('@') {
        refuse(user, "user information is not permitted in the URL");
    }
    let (before, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    if !fragment.is_empty() {
        refuse(fragment, "fragments are not permitted in the URL");
    }
    if let Some((_, query)) = before.split_once('?').filter(|(_, q)| !q.is_empty()) {
        refuse(query, "query parameters are not permitted in the URL");
    }
}

fn service(errors: &mut Vec<Error>, path: &Path, service: &Value) {
    for key in ["name", "namespace"] {
        if text(service, key).is_empty() {
            errors.push(Error::required(&path.child(key), &format!("service {key} is required")));
        }
    }
    let port = service["port"].as_i64().unwrap_or(443);
    errors.extend(names::port_number(port).into_iter().map(|_| {
        Error::invalid(&path.child("port"), port, "port is not valid: must be between 1 and 65535, inclusive")
    }));
    let (at, target) = (&path.child("path"), text(service, "path"));
    if target.is_empty() || target == "/" {
        return;
    }
    let segments: Vec<&str> = match target.strip_prefix('/') {
        Some(rest) => rest.strip_suffix('/').unwrap_or(rest).split('/').collect(),
        None => return errors.push(Error::invalid(at, target, "must start with a '/'")),
    };
    for (i, segment) in segments.into_iter().enumerate() {
        if segment.is_empty() {
            errors.push(Error::invalid(at, target, format!("segment[{i}] may not be empty")));
            continue;
        }
        for why in names::dns_subdomain(segment, false) {
            errors.push(Error::invalid(at, target, format!("segment[{i}]: {why}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook() -> Value {
        json!({"name": "a.b.c", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {"namespace": "n", "name": "s", "path": "/x"}},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods", "pods/status"]}]})
    }
    fn errors(hooks: Value, old: Option<Value>) -> Vec<String> {
        let strategy = Webhooks { mutating: true };
        let mut object = json!({"metadata": {"name": "c"}, "webhooks": hooks});
        strategy.default(&mut object);
        let found = match old {
            Some(old) => strategy.check_update(&object, &json!({ "webhooks": old })),
            None => strategy.validate(&object),
        };
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn defaults_are_upstreams() {
        let mut object = json!({"webhooks": [hook()]});
        Webhooks { mutating: true }.default(&mut object);
        let hook = &object["webhooks"][0];
        for (pointer, want) in [
            ("/failurePolicy", json!("Fail")),
            ("/matchPolicy", json!("Equivalent")),
            ("/timeoutSeconds", json!(10)),
            ("/reinvocationPolicy", json!("Never")),
            ("/objectSelector", json!({})),
            ("/clientConfig/service/port", json!(443)),
            ("/rules/0/scope", json!("*")),
        ] {
            assert_eq!(hook.pointer(pointer), Some(&want), "{pointer}");
        }
        assert_eq!(errors(json!([hook]), None), Vec::<String>::new());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (key, value, want) in [
            (
                "name",
                json!("a.b"),
                "webhooks[0].name: Invalid value: \"a.b\": should be a domain with at least three segments",
            ),
            (
                "sideEffects",
                json!("Some"),
                "webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
            ),
            (
                "sideEffects",
                json!(null),
                "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
            ),
            ("timeoutSeconds", json!(31), "the timeout value must be between 1 and 30 seconds"),
            ("admissionReviewVersions", json!(["v2"]), "must include at least one of v1, v1beta1"),
            (
                "admissionReviewVersions",
                json!(["v1", "v1"]),
                "webhooks[0].admissionReviewVersions[1]: Invalid value: \"v1\": duplicate version",
            ),
            (
                "clientConfig",
                json!({}),
                "webhooks[0].clientConfig: Required value: exactly one of url or service is required",
            ),
            (
                "clientConfig",
                json!({"url": "http://a"}),
                "'https' is the only allowed URL scheme; desired format: https://host[/path]",
            ),
            ("clientConfig", json!({"url": "https://u@a"}), "user information is not permitted in the URL"),
            (
                "clientConfig",
                json!({"service": {"name": "s", "namespace": "n", "path": "x"}}),
                "clientConfig.service.path: Invalid value: \"x\": must start with a '/'",
            ),
            (
                "rules",
                json!([{"operations": ["*", "CREATE"], "apiGroups": ["a"], "apiVersions": ["v1"], "resources": ["x"]}]),
                "if '*' is present, must not specify other operations",
            ),
            (
                "rules",
                json!([{"operations": ["GET"], "apiGroups": ["a"], "apiVersions": ["v1"], "resources": ["x"]}]),
                "webhooks[0].rules[0].operations[0]: Unsupported value: \"GET\"",
            ),
            (
                "rules",
                json!([{"operations": ["*"], "apiGroups": ["a"], "apiVersions": ["v1"], "resources": ["a/*", "a/b"]}]),
                "webhooks[0].rules[0].resources[1]: Invalid value: \"a/b\": if 'a/*' is present, must not specify a/b",
            ),
            (
                "matchConditions",
                json!([{"name": "x", "expression": "object.a =="}]),
                "webhooks[0].matchConditions[0].expression: Invalid value",
            ),
            (
                "matchConditions",
                json!([{"name": "x", "expression": "params == null"}]),
                "undeclared reference to 'params'",
            ),
            ("reinvocationPolicy", json!("Always"), "supported values: \"IfNeeded\", \"Never\""),
        ] {
            let mut hook = hook();
            hook[key] = value;
            let got = errors(json!([hook]), None);
            assert!(got.iter().any(|e| e.contains(want)), "{want}: {got:?}");
        }
        assert_eq!(errors(json!([hook(), hook()]), None), ["webhooks[1].name: Duplicate value: \"a.b.c\""]);
        let mut old = hook();
        old["sideEffects"] = json!("Unknown");
        assert!(errors(json!([old.clone()]), Some(json!([old]))).is_empty(), "what was so before may stay so");
        let mut old = hook();
        old["objectSelector"] = json!({"matchExpressions": [{"key": "k", "operator": "In", "values": ["-"]}]});
        let at = "webhooks[0].objectSelector.matchExpressions[0].values[0]: Invalid value: \"-\"";
        assert!(errors(json!([old]), Some(json!([hook()])))[0].starts_with(at));
        assert!(errors(json!([old]), None)[0].starts_with(at));
        assert_eq!(errors(json!([old.clone()]), Some(json!([old]))), Vec::<String>::new());
    }
}
