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
        let annotated = text(&ingress["metadata"]["annotations"], "kubernetes.io/ingress.class");
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
    let plain = host.strip_prefix("*.").unwrap_or(host);
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
        let path = Path::root("spec");
        if text(&class["spec"], "controller").is_empty() {
            return vec![field::Error::required(&path.child("controller"), "")];
        }
        Vec::new()
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
