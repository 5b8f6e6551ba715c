//! Ingresses and their classes.

use serde_json::{Value, json};

use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::net;
use crate::kinds::table::{NONE, name, or_none};
use crate::kinds::tree::{child, has, items, number, or, some, text};
use crate::names;
use crate::strategy::{AGE, Column, NAME, age, set};

pub(super) struct Ingress;

/// The annotation that was the class before the field.
const CLASS: &str = "kubernetes.io/ingress.class";

impl Strategy for Ingress {
    fn prepare_create(&self, ingress: &mut Value) {
        set(ingress, "status", Some(json!({"loadBalancer": {}})));
    }
    fn has_generation(&self) -> bool {
        true
    }

    fn validate(&self, ingress: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let (spec, path) = (&ingress["spec"], &Path::root("spec"));
        let annotated = &ingress["metadata"]["annotations"][CLASS];
        if let (Some(value), true) = (annotated.as_str(), has(spec, "ingressClassName")) {
            let annotations = Path::root("annotations");
            let detail = "can not be set when the class field is also set";
            errors.push(field::Error::invalid(&annotations.child(CLASS), value, detail));
        }
        if items(spec, "rules").is_empty() && !has(spec, "defaultBackend") {
            let detail = "either `defaultBackend` or `rules` must be specified";
            errors.push(field::Error::invalid(path, json!([]), detail));
        }
        if let Some(backend) = some(spec, "defaultBackend") {
            validate_backend(&mut errors, &path.child("defaultBackend"), backend);
        }
        let list = path.child("rules");
        for (i, rule) in items(spec, "rules").iter().enumerate() {
            let path = list.index(i);
            validate_host(&mut errors, &path.child("host"), text(rule, "host"));
            let http = path.child("http");
            let paths = http.child("paths");
            if has(rule, "http") && items(&rule["http"], "paths").is_empty() {
                errors.push(field::Error::required(&paths, ""));
            }
            for (j, p) in items(&rule["http"], "paths").iter().enumerate() {
                validate_path(&mut errors, &paths.index(j), p);
            }
        }
        let class = text(spec, "ingressClassName");
        if has(spec, "ingressClassName") {
            let at = path.child("ingressClassName");
            let wrong = names::dns_subdomain(class, false);
            errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&at, class, e)));
        }
        let list = path.child("tls");
        for (i, tls) in items(spec, "tls").iter().enumerate() {
            let path = list.index(i);
            let (hosts, secret) = (path.child("hosts"), text(tls, "secretName"));
            for (j, host) in items(tls, "hosts").iter().filter_map(Value::as_str).enumerate() {
                validate_name_of_host(&mut errors, &hosts.index(j), host);
            }
            if !secret.is_empty() {
                let wrong = names::dns_subdomain(secret, false);
                errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&path.child("secretName"), secret, e)));
            }
        }
        errors
    }
    fn check_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        let mut errors = self.validate(new);
        errors.retain(|e| !e.field.starts_with("annotations"));
        errors.extend(self.validate_update(new, old));
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                Column::new("Class", "string"),
                Column::new("Hosts", "string"),
                Column::new("Address", "string"),
                Column::new("Ports", "string"),
                AGE,
            ]
        }
    }
    fn cells(&self, ingress: &Value, now_seconds: i64) -> Vec<Value> {
        let spec = &ingress["spec"];
        let class = text(spec, "ingressClassName");
        let annotated = text(&ingress["metadata"]["annotations"], CLASS);
        let points = items(&ingress["status"]["loadBalancer"], "ingress");
        let addresses: Vec<&str> = points
            .iter()
            .map(|p| if text(p, "ip").is_empty() { text(p, "hostname") } else { text(p, "ip") })
            .filter(|a| !a.is_empty())
            .collect();
        let ports = if items(spec, "tls").is_empty() { "80" } else { "80, 443" };
        vec![
            name(ingress),
            or_none(if class.is_empty() { annotated } else { class }),
            hosts(items(spec, "rules")).into(),
            addresses.join(",").into(),
            ports.into(),
            age(ingress, now_seconds),
        ]
    }
}

/// `formatHosts`: at most three, `*` without any.
fn hosts(rules: &[Value]) -> String {
    let all: Vec<&str> = rules.iter().map(|r| text(r, "host")).filter(|h| !h.is_empty()).collect();
    let head = all.iter().take(3).copied().collect::<Vec<_>>().join(",");
    match all.len() {
        0 => "*".into(),
        n if n > 3 => format!("{head} + {} more...", n - 3),
        _ => head,
    }
}

fn validate_host(errors: &mut Vec<field::Error>, path: &Path, host: &str) {
    if host.is_empty() {
        return;
    }
    if host.parse::<std::net::IpAddr>().is_ok() {
        return errors.push(field::Error::invalid(path, host, "must be a DNS name, not an IP address"));
    }
    validate_name_of_host(errors, path, host);
}

/// A name, or all below one.
fn validate_name_of_host(errors: &mut Vec<field::Error>, path: &Path, host: &str) {
    let plain = host.strip_prefix("*.").unwrap_or(host);
    if host.contains('*') && plain.contains('*') {
        let detail = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
        return errors.push(field::Error::invalid(path, host, detail));
    }
    let wrong = names::dns_subdomain(plain, false);
    errors.extend(wrong.into_iter().map(|e| field::Error::invalid(path, host, e)));
}

fn validate_path(errors: &mut Vec<field::Error>, path: &Path, p: &Value) {
    let (kind, at) = (text(p, "pathType"), text(p, "path"));
    let kinds = &["Exact", "ImplementationSpecific", "Prefix"];
    if kind.is_empty() {
        errors.push(field::Error::required(&path.child("pathType"), "pathType must be specified"));
    } else if !kinds.contains(&kind) {
        errors.push(field::Error::not_supported(&path.child("pathType"), kind, kinds));
    }
    let strict = matches!(kind, "Exact" | "Prefix");
    if (strict || !at.is_empty()) && !at.starts_with('/') {
        errors.push(field::Error::invalid(&path.child("path"), at, "must be an absolute path"));
    } else if strict {
        for bad in ["//", "/./", "/../", "%2f", "%2F"] {
            if at.contains(bad) {
                let detail = format!("must not contain '{bad}'");
                errors.push(field::Error::invalid(&path.child("path"), at, detail));
            }
        }
    }
    validate_backend(errors, &path.child("backend"), &p["backend"]);
}

fn validate_backend(errors: &mut Vec<field::Error>, path: &Path, backend: &Value) {
    match (some(backend, "service"), has(backend, "resource")) {
        (None, false) => {
            errors.push(field::Error::required(path, "resource or service backend is required"));
        }
        (Some(_), true) => {
            errors.push(field::Error::invalid(path, "", "cannot set both resource and service backends"));
        }
        (None, true) => {}
        (Some(service), false) => {
            let path = path.child("service");
            let its_name = text(service, "name");
            if its_name.is_empty() {
                errors.push(field::Error::required(&path.child("name"), ""));
            } else {
                let wrong = names::dns1035_label(its_name, false);
                errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&path.child("name"), its_name, e)));
            }
            let (port, at) = (&service["port"], path.child("port"));
            match (text(port, "name"), number(port, "number")) {
                ("", 0) => errors.push(field::Error::required(&path, "port name or number is required")),
                ("", n) => net::port_number(errors, &at.child("number"), n),
                (n, 0) => errors
                    .extend(names::port_name(n).into_iter().map(|e| field::Error::invalid(&at.child("name"), n, e))),
                _ => errors.push(field::Error::invalid(&path, "", "cannot set both port name & port number")),
            }
        }
    }
}

pub(super) struct IngressClass;

impl Strategy for IngressClass {
    fn default(&self, class: &mut Value) {
        if let Some(parameters) = child(class, "spec").and_then(|s| child(s, "parameters")) {
            or(parameters, "scope", "Cluster");
        }
    }
    fn has_status(&self) -> bool {
        false
    }
    fn has_generation(&self) -> bool {
        true
    }
    fn validate(&self, class: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let (spec, path) = (&class["spec"], Path::root("spec"));
        let (controller, at) = (text(spec, "controller"), path.child("controller"));
        if controller.is_empty() {
            errors.push(field::Error::required(&at, ""));
        } else if controller.len() > 250 {
            errors.push(field::Error::too_long(&at, 250));
        } else {
            match controller.split_once('/') {
                Some((domain, rest)) if !rest.is_empty() => {
                    let wrong = names::dns_subdomain(domain, false);
                    errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&at, domain, e)));
                }
                _ => {
                    let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
                    errors.push(field::Error::invalid(&at, controller, detail));
                }
            }
        }
        if let Some(parameters) = some(spec, "parameters") {
            class_parameters(&mut errors, &path.child("parameters"), parameters);
        }
        errors
    }
    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        if new["spec"]["controller"] == old["spec"]["controller"] {
            return Vec::new();
        }
        let path = Path::root("spec");
        vec![field::Error::invalid(&path.child("controller"), new["spec"]["controller"].clone(), "field is immutable")]
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, Column::new("Controller", "string"), Column::new("Parameters", "string"), AGE] }
    }
    fn cells(&self, class: &Value, now_seconds: i64) -> Vec<Value> {
        let spec = &class["spec"];
        let shown = match &spec["parameters"] {
            Value::Null => NONE.into(),
            p => {
                let group = text(p, "apiGroup");
                let dot = if group.is_empty() { "" } else { "." };
                format!("{}{dot}{group}/{}", text(p, "kind"), text(p, "name"))
            }
        };
        vec![name(class), text(spec, "controller").into(), shown.into(), age(class, now_seconds)]
    }
}

/// `validateIngressClassParametersReference`
fn class_parameters(errors: &mut Vec<field::Error>, path: &Path, parameters: &Value) {
    for key in ["kind", "name"] {
        match text(parameters, key) {
            "" => errors.push(field::Error::required(&path.child(key), "")),
            value => {
                let wrong = names::path_segment(value, false);
                errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&path.child(key), value, e)));
            }
        }
    }
    let (group, namespace, at) = (text(parameters, "apiGroup"), text(parameters, "namespace"), path.child("namespace"));
    if !group.is_empty() {
        let wrong = names::dns_subdomain(group, false);
        errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&path.child("apiGroup"), group, e)));
    }
    match text(parameters, "scope") {
        "Namespace" if namespace.is_empty() => {
            let detail = "`parameters.scope` is set to 'Namespace'";
            errors.push(field::Error::required(&at, detail));
        }
        "Namespace" => {
            let wrong = names::dns_label(namespace, false);
            errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&at, namespace, e)));
        }
        "Cluster" if has(parameters, "namespace") => {
            errors.push(field::Error::forbidden(&at, "`parameters.scope` is set to 'Cluster'"));
        }
        "Cluster" => {}
        "" => errors.push(field::Error::required(&path.child("scope"), "")),
        other => errors.push(field::Error::not_supported(&path.child("scope"), other, &["Cluster", "Namespace"])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::workload::problems;

    #[test]
    fn ingresses_and_classes_are_checked_in_upstreams_words() {
        let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
        let ingress = |annotations: Value, extra: Value| {
            let mut spec = json!({"defaultBackend": backend.clone()});
            spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            json!({"metadata": {"annotations": annotations}, "spec": spec})
        };
        for (object, want) in [
            (
                ingress(
                    json!({}),
                    json!({"ingressClassName": "nginx", "tls": [{"hosts": ["*.a.b"], "secretName": "x"}]}),
                ),
                "",
            ),
            (
                ingress(json!({CLASS: "x"}), json!({"ingressClassName": "y"})),
                "annotations.kubernetes.io/ingress.class: Invalid value: \"x\": can not be set when the class field is also set",
            ),
            (
                ingress(json!({}), json!({"tls": [{"secretName": "A_"}]})),
                "spec.tls[0].secretName: Invalid value: \"A_\": a lowercase RFC 1123",
            ),
        ] {
            let found = problems(&Ingress, object);
            let first = found.first().map(String::as_str).unwrap_or_default();
            assert!(first.starts_with(want) && first.is_empty() == want.is_empty(), "{found:?}");
        }
        let class = |spec: Value| problems(&IngressClass, json!({ "spec": spec }));
        assert_eq!(class(json!({"controller": "x.io/y"})), Vec::<String>::new());
        assert_eq!(
            class(json!({"controller": "y"})),
            ["spec.controller: Invalid value: \"y\": must be a domain-prefixed path (such as \"acme.io/foo\")"]
        );
        assert_eq!(
            class(json!({"controller": "x.io/y", "parameters": {"kind": "K", "name": "n", "scope": "Namespace"}})),
            ["spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"]
        );
    }
}
