//! `ValidateEnv` and `ValidateEnvFrom`.

use serde_json::Value;

use super::validation::check;
use crate::field::{Error, Path};
use crate::kinds::core::volume_source::backsteps;
use crate::kinds::tree::{has, items, text};
use crate::names;

const FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const SIZES: [&str; 13] = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
const SOURCES: [&str; 5] = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];

pub(super) fn validate(errors: &mut Vec<Error>, path: &Path, c: &Value) {
    let list = path.child("env");
    for (i, env) in items(c, "env").iter().enumerate() {
        let path = &list.index(i);
        let name = text(env, "name");
        if name.is_empty() {
            errors.push(Error::required(&path.child("name"), ""));
        } else {
            check(errors, &path.child("name"), name, names::env_var_name(name));
        }
        if has(env, "valueFrom") {
            value_from(errors, &path.child("valueFrom"), env);
        }
    }
    let list = path.child("envFrom");
    for (i, from) in items(c, "envFrom").iter().enumerate() {
        let path = &list.index(i);
        let prefix = text(from, "prefix");
        if !prefix.is_empty() {
            check(errors, &path.child("prefix"), prefix, names::env_var_name(prefix));
        }
        let given: Vec<&str> = ["configMapRef", "secretRef"].into_iter().filter(|k| has(from, k)).collect();
        for key in &given {
            let name = text(&from[*key], "name");
            if name.is_empty() {
                errors.push(Error::required(&path.child(key).child("name"), ""));
            } else {
                check(errors, &path.child(key).child("name"), name, names::dns_subdomain(name, false));
            }
        }
        // upstream's path is the list's
        match given.len() {
            0 => errors.push(Error::invalid(&list, "", "must specify one of: `configMapRef` or `secretRef`")),
            1 => {}
            _ => errors.push(Error::invalid(&list, "", "may not have more than one field specified at a time")),
        }
    }
}

fn value_from(errors: &mut Vec<Error>, path: &Path, env: &Value) {
    let from = &env["valueFrom"];
    let given: Vec<&str> = SOURCES.into_iter().filter(|s| has(from, s)).collect();
    for key in &given {
        let (at, source) = (path.child(key), &from[*key]);
        match *key {
            "fieldRef" => field_ref(errors, &at, source),
            "resourceFieldRef" => resource_field(errors, &at, source, false),
            "configMapKeyRef" | "secretKeyRef" => {
                let of = text(source, "name");
                check(errors, &at.child("name"), of, names::dns_subdomain(of, false));
                let name = text(source, "key");
                if name.is_empty() {
                    errors.push(Error::required(&at.child("key"), ""));
                } else {
                    check(errors, &at.child("key"), name, names::config_map_key(name));
                }
            }
            _ => file_key(errors, &at, source),
        }
    }
    let detail = if given.is_empty() {
        "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
    } else if !text(env, "value").is_empty() {
        "may not be specified when `value` is not empty"
    } else if given.len() > 1 {
        "may not have more than one field specified at a time"
    } else {
        return;
    };
    errors.push(Error::invalid(path, "", detail));
}

/// `validateFileKeySelector`
fn file_key(errors: &mut Vec<Error>, path: &Path, source: &Value) {
    for key in ["key", "volumeName", "path"] {
        let path = &path.child(key);
        match (key, text(source, key)) {
            (_, "") => errors.push(Error::required(path, "")),
            ("key", value) => check(errors, path, value, names::env_var_name(value)),
            ("volumeName", value) => check(errors, path, value, names::dns_label(value, false)),
            (_, value) => backsteps(errors, path, value),
        }
    }
}

/// `validateContainerResourceFieldSelector`; `of_volume`: which container it is must be said.
pub(super) fn resource_field(errors: &mut Vec<Error>, path: &Path, source: &Value, of_volume: bool) {
    let resource = text(source, "resource");
    if of_volume && text(source, "containerName").is_empty() {
        errors.push(Error::required(&path.child("containerName"), ""));
    } else if resource.is_empty() {
        errors.push(Error::required(&path.child("resource"), ""));
    } else if !RESOURCES.contains(&resource) && !of_huge_pages(resource) {
        errors.push(Error::not_supported(&path.child("resource"), resource, RESOURCES));
    }
    let what = match resource.split_once('.').map_or("", |(_, of)| of) {
        "cpu" => "cpu",
        "memory" => "memory",
        "ephemeral-storage" => "local ephemeral storage",
        _ if of_huge_pages(resource) => "hugepages",
        _ => return,
    };
    let (divisors, shown): (&[&str], _) = match what {
        "cpu" => (&["1m", "1"], "1m and 1".to_owned()),
        _ => (&SIZES, SIZES.join(", ")),
    };
    let divisor = text(source, "divisor");
    if !matches!(divisor, "" | "0") && !divisors.contains(&divisor) {
        let detail = format!("only divisor's values {shown} are supported with the {what} resource");
        errors.push(Error::invalid(&path.child("divisor"), resource, detail));
    }
}

fn of_huge_pages(resource: &str) -> bool {
    resource.starts_with("requests.hugepages-") || resource.starts_with("limits.hugepages-")
}

/// What a file of a downward API volume may show.
pub(super) fn file_field(errors: &mut Vec<Error>, path: &Path, source: &Value) {
    const OF_FILES: [&str; 5] =
        ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
    let field = text(source, "fieldPath");
    if !OF_FILES.contains(&field) {
        if field.starts_with("spec.") || field.starts_with("status.") {
            return errors.push(Error::not_supported(&path.child("fieldPath"), field, &OF_FILES));
        }
        field_ref(errors, path, source);
    }
}

fn field_ref(errors: &mut Vec<Error>, path: &Path, source: &Value) {
    let field = text(source, "fieldPath");
    let at = path.child("fieldPath");
    if field.is_empty() {
        return errors.push(Error::required(&at, ""));
    }
    let subscript = |name: &str| field.strip_prefix(name).and_then(|r| r.strip_prefix("['")?.strip_suffix("']"));
    if let Some(key) = subscript("metadata.annotations") {
        check(errors, path, &key.to_lowercase(), names::qualified_name(&key.to_lowercase()));
    } else if let Some(key) = subscript("metadata.labels") {
        check(errors, path, key, names::qualified_name(key));
    } else if !FIELDS.contains(&field) {
        if field.starts_with("metadata.") || field.starts_with("spec.") || field.starts_with("status.") {
            errors.push(Error::not_supported(&at, field, FIELDS));
        } else {
            let detail = format!("error converting fieldPath: field label not supported: {field}");
            errors.push(Error::invalid(&at, field, detail));
        }
    }
}
