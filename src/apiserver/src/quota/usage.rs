//! What one object costs: upstream's `quota/v1/evaluator`.

use std::collections::BTreeMap;

use api::Value;
use api::kinds::pod;
use api::quantity::{Format, Quantity};

pub type Amounts = BTreeMap<String, Quantity>;

const CLASS: &str = ".storageclass.storage.k8s.io/";

/// Of the resources that can be counted by their plain name: `resourcequotas`, `secrets`, …
fn plain(resource: &str) -> bool {
    matches!(
        resource,
        "pods"
            | "services"
            | "configmaps"
            | "secrets"
            | "persistentvolumeclaims"
            | "replicationcontrollers"
            | "resourcequotas"
    )
}

/// The stored resource that a quota's `name` counts; `None` for a name that counts nothing.
pub fn resource_of(name: &str) -> Option<String> {
    if let Some(counted) = name.strip_prefix("count/") {
        // `deployments.apps` is stored as `apps/deployments`
        return Some(match counted.split_once('.') {
            Some((plural, group)) => format!("{group}/{plural}"),
            None => counted.to_owned(),
        });
    }
    let claims = || Some("persistentvolumeclaims".to_owned());
    match name {
        "cpu" | "memory" | "ephemeral-storage" => Some("pods".into()),
        "requests.storage" => claims(),
        _ if name.contains(CLASS) => claims(),
        _ if name.starts_with("requests.") || name.starts_with("limits.") || name.starts_with("hugepages-") => {
            Some("pods".into())
        }
        _ if name.starts_with("services.") => Some("services".into()),
        _ if plain(name) => Some(name.to_owned()),
        _ => None,
    }
}

fn count(n: usize) -> Quantity {
    Quantity::new(n as i64, Format::DecimalSi)
}

/// What `tree`, stored under `resource`, counts for under each name.
pub fn usage(resource: &str, tree: &Value) -> Amounts {
    let mut out = Amounts::new();
    let counted = match resource.split_once('/') {
        Some((group, plural)) => format!("count/{plural}.{group}"),
        None => format!("count/{resource}"),
    };
    out.insert(counted, count(1));
    match resource {
        "pods" => pods(tree, &mut out),
        "services" => services(tree, &mut out),
        "persistentvolumeclaims" => claims(tree, &mut out),
        _ if plain(resource) => drop(out.insert(resource.to_owned(), count(1))),
        _ => {}
    }
    out
}

/// A pod that has ended, or is past its grace period, costs nothing but its place in etcd.
fn is_over(tree: &Value) -> bool {
    matches!(tree["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) || {
        let deleted = tree["metadata"]["deletionTimestamp"].as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok());
        // the timestamp is when the grace period ends
        deleted.is_some_and(|at| at < jiff::Timestamp::now())
    }
}

fn pods(tree: &Value, out: &mut Amounts) {
    if is_over(tree) {
        return;
    }
    out.insert("pods".into(), count(1));
    for (name, q) in pod::resources(tree, "requests") {
        if matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-") {
            out.insert(name.to_owned(), q);
        }
        out.insert(format!("requests.{name}"), q);
    }
    for (name, q) in pod::resources(tree, "limits") {
        if matches!(name, "cpu" | "memory" | "ephemeral-storage") {
            out.insert(format!("limits.{name}"), q);
        }
    }
}

fn services(tree: &Value, out: &mut Amounts) {
    out.insert("services".into(), count(1));
    let ports = tree["spec"]["ports"].as_array().map_or(0, Vec::len);
    match tree["spec"]["type"].as_str() {
        Some("NodePort") => drop(out.insert("services.nodeports".into(), count(ports))),
        Some("LoadBalancer") => {
            out.insert("services.loadbalancers".into(), count(1));
            if tree["spec"]["allocateLoadBalancerNodePorts"] != false {
                out.insert("services.nodeports".into(), count(ports));
            }
        }
        _ => {}
    }
}

fn claims(tree: &Value, out: &mut Amounts) {
    out.insert("persistentvolumeclaims".into(), count(1));
    let class = tree["spec"]["storageClassName"].as_str().filter(|c| !c.is_empty());
    if let Some(class) = class {
        out.insert(format!("{class}{CLASS}persistentvolumeclaims"), count(1));
    }
    if let Ok(storage) = Quantity::from_tree(&tree["spec"]["resources"]["requests"]["storage"]) {
        out.insert("requests.storage".into(), storage);
        if let Some(class) = class {
            out.insert(format!("{class}{CLASS}requests.storage"), storage);
        }
    }
}
