//! What objects count against a quota, as pure functions: upstream's `pkg/quota/v1/evaluator/core`.

use std::collections::BTreeMap;

use api::Value;
use api::k8s_openapi::api::core::v1::{Pod, ResourceQuotaSpec, Service};
use api::quantity::{Format, Quantity};

use crate::pods;

/// By resource name, as in `status.used`.
pub type Usage = BTreeMap<String, Quantity>;

fn add(usage: &mut Usage, name: String, q: Quantity) {
    let sum = usage.get(&name).map_or(q, |have| *have + q);
    usage.insert(name, sum);
}

fn one(usage: &mut Usage, name: &str) {
    add(usage, name.to_owned(), Quantity::new(1, Format::DecimalSi));
}

fn amount(name: &str, n: i64) -> Quantity {
    match name {
        "cpu" => Quantity::from_millis(n, Format::DecimalSi),
        "memory" | "ephemeral-storage" => Quantity::new(n, Format::BinarySi),
        _ if name.starts_with("hugepages-") => Quantity::new(n, Format::BinarySi),
        _ => Quantity::new(n, Format::DecimalSi),
    }
}

/// A pod counts as an object as long as it is there, and with its resources while it is not over.
pub fn of_pod(pod: &Pod) -> Usage {
    let mut usage = Usage::new();
    one(&mut usage, "count/pods");
    if pods::is_terminated(pod) {
        return usage;
    }
    one(&mut usage, "pods");
    for (name, n) in scheduler::pod_requests(pod).0 {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            add(&mut usage, name.clone(), amount(&name, n));
        }
        add(&mut usage, format!("requests.{name}"), amount(&name, n));
    }
    for (name, n) in scheduler::pod_limits(pod).0 {
        add(&mut usage, format!("limits.{name}"), amount(&name, n));
    }
    usage
}

pub fn of_service(service: &Service) -> Usage {
    let mut usage = Usage::new();
    one(&mut usage, "services");
    one(&mut usage, "count/services");
    let Some(spec) = &service.spec else { return usage };
    let kind = spec.type_.as_deref().unwrap_or("ClusterIP");
    let balanced = kind == "LoadBalancer";
    if balanced {
        one(&mut usage, "services.loadbalancers");
    }
    if kind == "NodePort" || (balanced && spec.allocate_load_balancer_node_ports != Some(false)) {
        let ports = spec.ports.as_ref().map_or(0, Vec::len) as i64;
        add(&mut usage, "services.nodeports".into(), Quantity::new(ports, Format::DecimalSi));
    }
    usage
}

pub fn of_claim(tree: &Value) -> Usage {
    let mut usage = Usage::new();
    one(&mut usage, "persistentvolumeclaims");
    one(&mut usage, "count/persistentvolumeclaims");
    let class = tree["spec"]["storageClassName"].as_str();
    if let Some(class) = class {
        one(&mut usage, &format!("{class}.storageclass.storage.k8s.io/persistentvolumeclaims"));
    }
    let asked = &tree["spec"]["resources"]["requests"]["storage"];
    if let (false, Ok(q)) = (asked.is_null(), Quantity::from_tree(asked)) {
        add(&mut usage, "requests.storage".into(), q);
        if let Some(class) = class {
            add(&mut usage, format!("{class}.storageclass.storage.k8s.io/requests.storage"), q);
        }
    }
    usage
}

/// Objects that count by number only.
pub fn of_other(plural: &str, group: &str) -> Usage {
    let mut usage = Usage::new();
    let counted = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
    one(&mut usage, &format!("count/{counted}"));
    if group.is_empty() && matches!(plural, "configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas") {
        one(&mut usage, plural);
    }
    usage
}

pub fn sum(all: impl Iterator<Item = Usage>) -> Usage {
    let mut total = Usage::new();
    all.flatten().for_each(|(name, q)| add(&mut total, name, q));
    total
}

/// Whether a quota's scopes take in a pod; other objects are counted by quotas without scopes only.
pub fn in_scope(quota: &ResourceQuotaSpec, pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    let ends = spec.is_some_and(|s| s.active_deadline_seconds.is_some());
    let best_effort = scheduler::pod_requests(pod).0.is_empty() && scheduler::pod_limits(pod).0.is_empty();
    let priority = spec.and_then(|s| s.priority_class_name.as_deref());
    let holds = |scope: &str, operator: &str, values: &[String]| match scope {
        "Terminating" => ends,
        "NotTerminating" => !ends,
        "BestEffort" => best_effort,
        "NotBestEffort" => !best_effort,
        "PriorityClass" => match operator {
            "In" => priority.is_some_and(|p| values.iter().any(|v| v == p)),
            "NotIn" => !priority.is_some_and(|p| values.iter().any(|v| v == p)),
            "DoesNotExist" => priority.is_none(),
            _ => priority.is_some(),
        },
        _ => false,
    };
    let expressions = quota.scope_selector.iter().flat_map(|s| s.match_expressions.iter().flatten());
    quota.scopes.iter().flatten().all(|s| holds(s, "Exists", &[]))
        && expressions.into_iter().all(|e| holds(&e.scope_name, &e.operator, e.values.as_deref().unwrap_or(&[])))
}

pub fn is_scoped(quota: &ResourceQuotaSpec) -> bool {
    quota.scopes.as_ref().is_some_and(|s| !s.is_empty()) || quota.scope_selector.is_some()
}
