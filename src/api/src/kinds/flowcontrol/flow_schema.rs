//! Flow schemas: upstream's `pkg/apis/flowcontrol/validation` and its printer.

use serde_json::{Value, json};

use crate::field::{Error, Path};
use crate::kinds::table::{name, or_none};
use crate::kinds::tree::{flag, has, items, made, number, or_zero, text};
use crate::strategy::{AGE, Column, NAME, age, set};
use crate::{Strategy, names};

pub(super) struct FlowSchema;

const VERBS: [&str; 9] = ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

impl Strategy for FlowSchema {
    fn default(&self, schema: &mut Value) {
        if let Some(spec) = made(schema, "spec") {
            or_zero(spec, "matchingPrecedence", 1000);
        }
    }
    fn prepare_create(&self, schema: &mut Value) {
        set(schema, "status", Some(json!({})));
    }
    fn has_generation(&self) -> bool {
        true
    }

    fn validate(&self, schema: &Value) -> Vec<Error> {
        let mut errors = Vec::new();
        let (spec, path) = (&schema["spec"], Path::root("spec"));
        let (precedence, at) = (number(spec, "matchingPrecedence"), path.child("matchingPrecedence"));
        if precedence <= 0 {
            errors.push(Error::invalid(&at, precedence, "must be a positive value"));
        }
        if precedence > 10000 {
            errors.push(Error::invalid(&at, precedence, "must not be greater than 10000"));
        }
        if precedence == 1 && text(&schema["metadata"], "name") != "exempt" {
            let detail = "only the schema named 'exempt' may have matchingPrecedence 1";
            errors.push(Error::invalid(&at, precedence, detail));
        }
        if has(spec, "distinguisherMethod") {
            let kind = text(&spec["distinguisherMethod"], "type");
            if !matches!(kind, "ByUser" | "ByNamespace") {
                let at = path.child("distinguisherMethod");
                errors.push(Error::not_supported(&at.child("type"), kind, &["ByNamespace", "ByUser"]));
            }
        }
        let (level, at) = (text(&spec["priorityLevelConfiguration"], "name"), path.child("priorityLevelConfiguration"));
        let at = at.child("name");
        match level {
            "" => errors.push(Error::required(&at, "must reference a priority level")),
            l => errors.extend(names::dns_subdomain(l, false).into_iter().map(|e| Error::invalid(&at, l, e))),
        }
        let list = path.child("rules");
        for (i, r) in items(spec, "rules").iter().enumerate() {
            rule(&mut errors, &list.index(i), r);
        }
        let everything = |subjects: Value| {
            json!({"subjects": subjects,
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"]}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]})
        };
        let group = |name: &str| json!({"kind": "Group", "group": {"name": name}});
        let mandatory = [
            (
                "exempt",
                json!({"priorityLevelConfiguration": {"name": "exempt"}, "matchingPrecedence": 1,
                    "rules": [everything(json!([group("system:masters")]))]}),
            ),
            (
                "catch-all",
                json!({"priorityLevelConfiguration": {"name": "catch-all"}, "matchingPrecedence": 10000,
                    "distinguisherMethod": {"type": "ByUser"},
                    "rules": [everything(json!([group("system:unauthenticated"), group("system:authenticated")]))]}),
            ),
        ];
        super::fixed(&mut errors, schema, mandatory);
        errors
    }
    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<Error> {
        conditions(&new["status"])
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                Column::new("PriorityLevel", "string"),
                Column::new("MatchingPrecedence", "string"),
                Column::new("DistinguisherMethod", "string"),
                AGE,
                Column::new("MissingPL", "string"),
            ]
        }
    }
    fn cells(&self, schema: &Value, now_seconds: i64) -> Vec<Value> {
        let spec = &schema["spec"];
        let dangling = items(&schema["status"], "conditions").iter().find(|c| text(c, "type") == "Dangling");
        vec![
            name(schema),
            or_none(text(&spec["priorityLevelConfiguration"], "name")),
            number(spec, "matchingPrecedence").into(),
            or_none(text(&spec["distinguisherMethod"], "type")),
            age(schema, now_seconds),
            dangling.map_or("?", |c| text(c, "status")).into(),
        ]
    }
}

/// `ValidateFlowSchemaStatus`, and that of a priority level.
pub(super) fn conditions(status: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let path = Path::root("status");
    let list = path.child("conditions");
    let all = items(status, "conditions");
    for (i, condition) in all.iter().enumerate() {
        let (kind, at) = (text(condition, "type"), list.index(i));
        if all[..i].iter().any(|c| text(c, "type") == kind) {
            errors.push(Error::duplicate(&at.child("type"), kind));
        }
        if kind.is_empty() {
            errors.push(Error::required(&at.child("type"), "must not be empty"));
        }
    }
    errors
}

/// `ValidateFlowSchemaPolicyRulesWithSubjects`
fn rule(errors: &mut Vec<Error>, path: &Path, rule: &Value) {
    let (subjects, list) = (items(rule, "subjects"), path.child("subjects"));
    if subjects.is_empty() {
        errors.push(Error::required(&list, "subjects must contain at least one value"));
    }
    for (i, s) in subjects.iter().enumerate() {
        subject(errors, &list.index(i), s);
    }
    let (resources, others) = (items(rule, "resourceRules"), items(rule, "nonResourceRules"));
    if resources.is_empty() && others.is_empty() {
        errors.push(Error::required(path, "at least one of resourceRules and nonResourceRules has to be non-empty"));
    }
    let list = path.child("resourceRules");
    for (i, r) in resources.iter().enumerate() {
        let at = &list.index(i);
        verbs(errors, at, r);
        some_or_all(errors, at, r, "apiGroups", "resource rules must supply at least one api group", "api groups");
        some_or_all(errors, at, r, "resources", "resource rules must supply at least one resource", "resources");
        if items(r, "namespaces").is_empty() {
            if !flag(r, "clusterScope") {
                let detail = "resource rules that are not cluster scoped must supply at least one namespace";
                errors.push(Error::required(&at.child("namespaces"), detail));
            }
        } else if !some_or_all(errors, at, r, "namespaces", "", "namespaces") {
            let list = at.child("namespaces");
            for (j, namespace) in items(r, "namespaces").iter().filter_map(Value::as_str).enumerate() {
                for why in names::dns_label(namespace, false) {
                    let detail = format!("each member of this list must be '*' or a DNS-1123 label; {why}");
                    errors.push(Error::invalid(&list.index(j), namespace, detail));
                }
            }
        }
    }
    let list = path.child("nonResourceRules");
    for (i, r) in others.iter().enumerate() {
        let at = &list.index(i);
        verbs(errors, at, r);
        let detail = "nonResourceURLs must contain at least one value";
        if !some_or_all(errors, at, r, "nonResourceURLs", detail, "non-resource URLs") {
            let list = at.child("nonResourceURLs");
            for (j, url) in items(r, "nonResourceURLs").iter().filter_map(Value::as_str).enumerate() {
                non_resource_url(errors, &list.index(j), url);
            }
        }
    }
}

/// A list that is not empty, and where `*` stands alone. Whether `*` is in it.
fn some_or_all(errors: &mut Vec<Error>, path: &Path, rule: &Value, key: &str, none: &str, what: &str) -> bool {
    let list = items(rule, key);
    let all = list.iter().any(|v| v == "*");
    if list.is_empty() {
        errors.push(Error::required(&path.child(key), none));
    } else if all && list.len() > 1 {
        let detail = format!("if '*' is present, must not specify other {what}");
        errors.push(Error::invalid(&path.child(key), rule[key].clone(), detail));
    }
    all
}

fn verbs(errors: &mut Vec<Error>, path: &Path, rule: &Value) {
    let all = some_or_all(errors, path, rule, "verbs", "verbs must contain at least one value", "verbs");
    let known = |v: &Value| v.as_str().is_some_and(|v| VERBS.contains(&v));
    if !all && !items(rule, "verbs").iter().all(known) {
        errors.push(Error::not_supported(&path.child("verbs"), rule["verbs"].clone(), &VERBS));
    }
}

/// `ValidateNonResourceURLPath`
fn non_resource_url(errors: &mut Vec<Error>, path: &Path, url: &str) {
    let wrong = |detail: &str| Error::invalid(path, url, detail);
    if url.is_empty() {
        errors.push(wrong("must not be empty"));
    } else if url == "/" {
    } else if !url.starts_with('/') {
        errors.push(wrong("must start with slash"));
    } else if url.contains(' ') {
        errors.push(wrong("must not contain white-space"));
    } else if url.contains("//") {
        errors.push(wrong("must not contain double slash"));
    } else if url.strip_suffix("/*").unwrap_or(url).contains('*') {
        errors.push(wrong("wildcard can only do suffix matching"));
    }
}

/// `ValidateFlowSchemaSubject`
fn subject(errors: &mut Vec<Error>, path: &Path, subject: &Value) {
    let kind = text(subject, "kind");
    let of = |kind: &str| match kind {
        "ServiceAccount" => "serviceAccount",
        "User" => "user",
        _ => "group",
    };
    if !matches!(kind, "ServiceAccount" | "User" | "Group") {
        let kinds = &["Group", "ServiceAccount", "User"];
        return errors.push(Error::not_supported(&path.child("kind"), kind, kinds));
    }
    let (key, at) = (of(kind), path.child(of(kind)));
    let who = &subject[key];
    if who.is_null() {
        errors.push(Error::required(&at, &format!("{key} is required when subject kind is '{kind}'")));
    } else {
        let its_name = text(who, "name");
        if its_name.is_empty() {
            errors.push(Error::required(&at.child("name"), ""));
        }
        if kind == "ServiceAccount" {
            if !matches!(its_name, "" | "*") {
                let wrong = names::dns_subdomain(its_name, false);
                errors.extend(wrong.into_iter().map(|e| Error::invalid(&at.child("name"), its_name, e)));
            }
            match text(who, "namespace") {
                "" => {
                    let detail = "must specify namespace for service account";
                    errors.push(Error::required(&at.child("namespace"), detail));
                }
                n => {
                    let wrong = names::dns_label(n, false);
                    errors.extend(wrong.into_iter().map(|e| Error::invalid(&at.child("namespace"), n, e)));
                }
            }
        }
    }
    for other in ["ServiceAccount", "User", "Group"].into_iter().filter(|o| *o != kind && has(subject, of(o))) {
        let detail = format!("{} is forbidden when subject kind is not '{other}'", of(other));
        errors.push(Error::forbidden(&path.child(of(other)), &detail));
    }
}
