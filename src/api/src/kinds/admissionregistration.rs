//! `admissionregistration.k8s.io`: webhook configurations.

use serde_json::{Value, json};

use super::def::cluster;
use super::table::name;
use super::tree::{child, has, items, items_mut, or, text};
use super::workload::validate_label_selector;
use crate::field::{self, Path};
use crate::strategy::{AGE, Column, NAME, age};
use crate::{Kind, Strategy, names};

const GROUP: &str = "admissionregistration.k8s.io";

pub(super) fn kinds() -> Vec<Kind> {
    let of = |kind: &str, plural: &str, mutating| {
        cluster(GROUP, "v1", kind, plural, Webhooks { mutating }).category("api-extensions")
    };
    vec![
        of("MutatingWebhookConfiguration", "mutatingwebhookconfigurations", true),
        of("ValidatingWebhookConfiguration", "validatingwebhookconfigurations", false),
    ]
}

struct Webhooks {
    mutating: bool,
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
            for rule in items_mut(hook, "rules") {
                or(rule, "scope", "*");
            }
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

    fn validate(&self, object: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let list = Path::root("webhooks");
        let hooks = items(object, "webhooks");
        for (i, hook) in hooks.iter().enumerate() {
            let path = list.index(i);
            let its_name = text(hook, "name");
            if its_name.is_empty() {
                errors.push(field::Error::required(&path.child("name"), ""));
            } else {
                let at = path.child("name");
                let wrong = names::dns_subdomain(its_name, false);
                errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&at, its_name, e)));
                if its_name.split('.').count() < 3 {
                    let detail = "should be a domain with at least three segments separated by dots";
                    errors.push(field::Error::invalid(&at, its_name, detail));
                }
            }
            if hooks[..i].iter().any(|h| text(h, "name") == its_name) {
                errors.push(field::Error::duplicate(&path.child("name"), its_name));
            }
            for (key, values) in [
                ("failurePolicy", &["Fail", "Ignore"][..]),
                ("matchPolicy", &["Equivalent", "Exact"]),
                ("sideEffects", &["None", "NoneOnDryRun"]),
            ] {
                let value = text(hook, key);
                if value.is_empty() {
                    let detail = format!("must specify one of {}", values.join(", "));
                    errors.push(field::Error::required(&path.child(key), &detail));
                } else if !values.contains(&value) {
                    errors.push(field::Error::not_supported(&path.child(key), value, values));
                }
            }
            let timeout = hook["timeoutSeconds"].as_i64().unwrap_or(10);
            if !(1..=30).contains(&timeout) {
                let detail = "the timeout value must be between 1 and 30 seconds";
                errors.push(field::Error::invalid(&path.child("timeoutSeconds"), timeout, detail));
            }
            for key in ["namespaceSelector", "objectSelector"] {
                validate_label_selector(&mut errors, &path.child(key), &hook[key]);
            }
            client(&mut errors, &path.child("clientConfig"), &hook["clientConfig"]);
            let rules = path.child("rules");
            for (j, rule) in items(hook, "rules").iter().enumerate() {
                for key in ["operations", "apiGroups", "apiVersions", "resources"] {
                    if items(rule, key).is_empty() {
                        errors.push(field::Error::required(&rules.index(j).child(key), ""));
                    }
                }
            }
            if items(hook, "admissionReviewVersions").is_empty() {
                let detail = "must specify one of v1, v1beta1";
                errors.push(field::Error::required(&path.child("admissionReviewVersions"), detail));
            }
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, Column::new("Webhooks", "integer"), AGE] }
    }
    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        vec![name(object), items(object, "webhooks").len().into(), age(object, now_seconds)]
    }
}

/// A url or a service, one of them.
fn client(errors: &mut Vec<field::Error>, path: &Path, config: &Value) {
    match (has(config, "url"), has(config, "service")) {
        (a, b) if a == b => {
            errors.push(field::Error::required(path, "exactly one of url or service is required"));
        }
        (true, _) if !text(config, "url").starts_with("https://") => {
            let detail = "'https' is the only allowed URL scheme; desired format: https://host[/path]";
            errors.push(field::Error::invalid(&path.child("url"), text(config, "url"), detail));
        }
        (_, true) => {
            let at = path.child("service");
            for key in ["name", "namespace"] {
                if text(&config["service"], key).is_empty() {
                    let detail = format!("service {key} is required");
                    errors.push(field::Error::required(&at.child(key), &detail));
                }
            }
        }
        _ => {}
    }
}
