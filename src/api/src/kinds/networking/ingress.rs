//! Ingresses and their classes.

use serde_json::{Value, json};

use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::metadata::domain_prefixed_path;
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
        let mut errors = check(ingress, None);
        let annotated = text(&ingress["metadata"]["annotations"], CLASS);
        let both = has(&ingress["metadata"]["annotations"], CLASS) && has(&ingress["spec"], "ingressClassName");
        if both && annotated != text(&ingress["spec"], "ingressClassName") {
            let annotations = Path::root("annotations");
            let detail = "must match `ingressClassName` when both are specified";
            errors.push(field::Error::invalid(&annotations.child(CLASS), annotated, detail));
        }
        errors
    }
    fn check_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        check(new, Some(&old["spec"]))
    }

    /// `ValidateIngressLoadBalancerStatus`
    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let status = Path::root("status");
        let balancer = status.child("loadBalancer");
        let list = balancer.child("ingress");
        let points = |of: &Value| items(&of["status"]["loadBalancer"], "ingress").to_vec();
        let known = points(old);
        for (i, point) in points(new).iter().enumerate() {
            let at = list.index(i);
            let (ip, host) = (text(point, "ip"), text(point, "hostname"));
            if !ip.is_empty() && !known.iter().any(|k| text(k, "ip") == ip) {
                net::ip(&mut errors, &at.child("ip"), ip);
            }
            if !host.is_empty() {
                let at = at.child("hostname");
                let wrong = names::dns_subdomain(host, false);
                errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&at, host, e)));
                if net::sloppy(host).is_some() {
                    errors.push(field::Error::invalid(&at, host, "must be a DNS name, not an IP address"));
                }
            }
        }
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

/// `ValidateIngressSpec`. What was wrong in names of secrets and below wildcard hosts may stay so.
fn check(ingress: &Value, old: Option<&Value>) -> Vec<field::Error> {
    let mut errors = Vec::new();
    let (spec, path) = (&ingress["spec"], &Path::root("spec"));
    let rules = items(spec, "rules");
    if rules.is_empty() && !has(spec, "defaultBackend") {
        let detail = "either `defaultBackend` or `rules` must be specified";
        errors.push(field::Error::invalid(path, spec.get("rules").cloned().unwrap_or_default(), detail));
    }
    if let Some(backend) = some(spec, "defaultBackend") {
        validate_backend(&mut errors, &path.child("defaultBackend"), backend);
    }
    let was_wrong = |rule: &Value| {
        let mut found = Vec::new();
        validate_paths(&mut found, &Path::nil(), rule);
        text(rule, "host").contains('*') && !found.is_empty()
    };
    let lenient = old.is_some_and(|old| items(old, "rules").iter().any(was_wrong));
    let list = path.child("rules");
    for (i, rule) in rules.iter().enumerate() {
        let (path, host) = (list.index(i), text(rule, "host"));
        if !host.is_empty() {
            let at = path.child("host");
            if net::sloppy(host).is_some() {
                errors.push(field::Error::invalid(&at, host, "must be a DNS name, not an IP address"));
            }
            validate_host(&mut errors, &at, host);
        }
        if !(host.contains('*') && lenient) {
            validate_paths(&mut errors, &path, rule);
        }
    }
    let secrets = |spec: &Value| {
        items(spec, "tls")
            .iter()
            .map(|tls| text(tls, "secretName").to_owned())
            .filter(|s| !s.is_empty())
            .collect::<Vec<_>>()
    };
    let is_wrong = |secret: &String| !names::dns_subdomain(secret, false).is_empty();
    let lenient = old.is_some_and(|old| secrets(old).iter().any(is_wrong));
    let list = path.child("tls");
    for (i, tls) in items(spec, "tls").iter().enumerate() {
        let path = list.index(i);
        let (hosts, secret) = (path.child("hosts"), text(tls, "secretName"));
        for (j, host) in items(tls, "hosts").iter().filter_map(Value::as_str).enumerate() {
            validate_host(&mut errors, &hosts.index(j), host);
        }
        if !secret.is_empty() && !lenient {
            let wrong = names::dns_subdomain(secret, false);
            errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&path.child("secretName"), secret, e)));
        }
    }
    if has(spec, "ingressClassName") {
        let (class, at) = (text(spec, "ingressClassName"), path.child("ingressClassName"));
        let wrong = names::dns_subdomain(class, false);
        errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&at, class, e)));
    }
    errors
}

/// A name, or all below one: `IsWildcardDNS1123Subdomain`.
fn validate_host(errors: &mut Vec<field::Error>, path: &Path, host: &str) {
    if !host.contains('*') {
        let wrong = names::dns_subdomain(host, false);
        return errors.extend(wrong.into_iter().map(|e| field::Error::invalid(path, host, e)));
    }
    if host.len() > 253 {
        errors.push(field::Error::invalid(path, host, names::too_long(253)));
    }
    // the length has been said
    let fits = |rest: &str| names::dns_subdomain(rest, false).iter().all(|e| *e == names::too_long(253));
    if !host.strip_prefix("*.").is_some_and(fits) {
        let what = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
        let regex = "\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
        errors.push(field::Error::invalid(path, host, names::regex_error(what, regex, &["*.example.com"])));
    }
}

/// `validateHTTPIngressRuleValue`
fn validate_paths(errors: &mut Vec<field::Error>, path: &Path, rule: &Value) {
    let Some(http) = some(rule, "http") else { return };
    let at = path.child("http");
    let list = at.child("paths");
    if items(http, "paths").is_empty() {
        errors.push(field::Error::required(&list, ""));
    }
    for (i, p) in items(http, "paths").iter().enumerate() {
        validate_path(errors, &list.index(i), p);
    }
}

fn validate_path(errors: &mut Vec<field::Error>, path: &Path, p: &Value) {
    let (kind, value, at) = (text(p, "pathType"), text(p, "path"), path.child("path"));
    if !has(p, "pathType") {
        return errors.push(field::Error::required(&path.child("pathType"), "pathType must be specified"));
    }
    let kinds = &["Exact", "ImplementationSpecific", "Prefix"];
    let strict = matches!(kind, "Exact" | "Prefix");
    if !kinds.contains(&kind) {
        errors.push(field::Error::not_supported(&path.child("pathType"), kind, kinds));
    } else if (strict || !value.is_empty()) && !value.starts_with('/') {
        errors.push(field::Error::invalid(&at, value, "must be an absolute path"));
    }
    if strict {
        for bad in ["//", "/./", "/../", "%2f", "%2F"].iter().filter(|bad| value.contains(*bad)) {
            errors.push(field::Error::invalid(&at, value, format!("must not contain '{bad}'")));
        }
        for bad in ["/..", "/."].iter().filter(|bad| value.ends_with(*bad)) {
            errors.push(field::Error::invalid(&at, value, format!("cannot end with '{bad}'")));
        }
    }
    validate_backend(errors, &path.child("backend"), &p["backend"]);
}

fn validate_backend(errors: &mut Vec<field::Error>, path: &Path, backend: &Value) {
    let (service, resource) = match (some(backend, "service"), some(backend, "resource")) {
        (None, None) => {
            return errors.push(field::Error::invalid(path, "", "resource or service backend is required"));
        }
        (Some(_), Some(_)) => {
            return errors.push(field::Error::invalid(path, "", "cannot set both resource and service backends"));
        }
        both => both,
    };
    if let Some(resource) = resource {
        return typed_reference(errors, &path.child("resource"), resource);
    }
    let (service, at) = (service.unwrap_or(&Value::Null), path.child("service"));
    match text(service, "name") {
        "" => errors.push(field::Error::required(&at.child("name"), "")),
        name => {
            let wrong = names::dns_label(name, false);
            errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&at.child("name"), name, e)));
        }
    }
    let (port, at) = (&service["port"], at.child("port"));
    match (text(port, "name"), number(port, "number")) {
        ("", 0) => errors.push(field::Error::required(path, "port name or number is required")),
        ("", n) => net::port_number(errors, &at.child("number"), n),
        (n, 0) => {
            errors.extend(names::port_name(n).into_iter().map(|e| field::Error::invalid(&at.child("name"), n, e)));
        }
        _ => errors.push(field::Error::invalid(path, "", "cannot set both port name & port number")),
    }
}

/// `validateIngressTypedLocalObjectReference`
fn typed_reference(errors: &mut Vec<field::Error>, path: &Path, reference: &Value) {
    if let Some(group) = some(reference, "apiGroup").and_then(Value::as_str) {
        let wrong = names::dns_subdomain(group, false);
        errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&path.child("apiGroup"), group, e)));
    }
    for key in ["kind", "name"] {
        match text(reference, key) {
            "" => errors.push(field::Error::required(&path.child(key), &format!("{key} is required"))),
            value => {
                let wrong = names::path_segment(value, false);
                errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&path.child(key), value, e)));
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
        if controller.len() > 250 {
            errors.push(field::Error::too_long(&at, 250));
        }
        domain_prefixed_path(&mut errors, &at, controller);
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
    typed_reference(errors, path, parameters);
    let (namespace, at) = (text(parameters, "namespace"), path.child("namespace"));
    match text(parameters, "scope") {
        "Namespace" if !has(parameters, "namespace") => {
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
        _ if !has(parameters, "scope") => errors.push(field::Error::required(&path.child("scope"), "")),
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
                "annotations.kubernetes.io/ingress.class: Invalid value: \"x\": must match `ingressClassName` when both are specified",
            ),
            (ingress(json!({CLASS: "x"}), json!({"ingressClassName": "x"})), ""),
            (json!({"spec": {}}), "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"),
            (
                json!({"spec": {"defaultBackend": {}}}),
                "spec.defaultBackend: Invalid value: \"\": resource or service backend is required",
            ),
            (
                json!({"spec": {"defaultBackend": {"service": {"name": "s", "port": {}}}}}),
                "spec.defaultBackend: Required value: port name or number is required",
            ),
            (
                json!({"spec": {"defaultBackend": {"resource": {"name": "s"}}}}),
                "spec.defaultBackend.resource.kind: Required value: kind is required",
            ),
            (
                ingress(json!({}), json!({"rules": [{"host": "a.*.b"}]})),
                "spec.rules[0].host: Invalid value: \"a.*.b\": a wildcard DNS-1123 subdomain must start with '*.', followed by a valid \
                 DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric \
                 character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]",
            ),
            (
                ingress(json!({}), json!({"rules": [{"host": "10.0.0.1"}]})),
                "spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address",
            ),
            (
                ingress(
                    json!({}),
                    json!({"rules": [{"http": {"paths": [{"path": "/a/..", "pathType": "Exact", "backend": backend}]}}]}),
                ),
                "spec.rules[0].http.paths[0].path: Invalid value: \"/a/..\": cannot end with '/..'",
            ),
            (
                ingress(json!({}), json!({"rules": [{"http": {"paths": [{"path": "/"}]}}]})),
                "spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified",
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
        // a service may be named as a label
        assert!(
            problems(&Ingress, json!({"spec": {"defaultBackend": {"service": {"name": "1s", "port": {"number": 1}}}}}))
                .is_empty()
        );
        let old = ingress(json!({}), json!({"tls": [{"secretName": "A_"}], "rules": [{"host": "*.a", "http": {}}]}));
        assert_eq!(Ingress.check_update(&old, &old), []);
        assert_eq!(Ingress.validate(&old).len(), 2);
        let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "x"}, {"hostname": "10.0.0.1"}]}}});
        assert_eq!(
            Ingress.validate_status_update(&status, &json!({})).iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "status.loadBalancer.ingress[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                "status.loadBalancer.ingress[1].hostname: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address",
            ]
        );
        let class = |spec: Value| problems(&IngressClass, json!({ "spec": spec }));
        assert_eq!(
            class(json!({"controller": "", "parameters": {"name": "n"}})),
            ["spec.controller: Required value", "spec.parameters.kind: Required value: kind is required"]
        );
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
