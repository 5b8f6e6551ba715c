//! Nodes.

use serde_json::Value;

use super::taint;
use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::resources::round_list;
use crate::kinds::table::{NONE, UNKNOWN, join, name};
use crate::kinds::tree::{child, entries, flag, has, items, same, text};
use crate::strategy::{AGE, Column, NAME, age};

pub(super) struct Node;

impl Strategy for Node {
    fn default(&self, node: &mut Value) {
        if let Some(status) = child(node, "status") {
            round_list(status, "capacity");
            round_list(status, "allocatable");
            if has(status, "capacity") && !has(status, "allocatable") {
                status["allocatable"] = status["capacity"].clone();
            }
        }
    }

    /// A kubelet registers its node with the status it has.
    fn prepare_create(&self, _node: &mut Value) {}

    fn validate(&self, node: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        taint::validate(&mut errors, &Path::root("spec").child("taints"), items(&node["spec"], "taints"));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let path = Path::root("spec");
        let (spec, was) = (&new["spec"], &old["spec"]);
        for field in ["podCIDR", "podCIDRs"] {
            if has(was, field) && !same(&spec[field], &was[field]) {
                let detail = "node updates may not change podCIDR except from \"\" to valid";
                errors.push(field::Error::forbidden(&path.child(field), detail));
            }
        }
        if !text(was, "providerID").is_empty() && spec["providerID"] != was["providerID"] {
            let detail = "node updates may not change providerID except from \"\" to valid";
            errors.push(field::Error::forbidden(&path.child("providerID"), detail));
        }
        errors
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.unschedulable"]
    }
    fn select_field(&self, node: &Value, _field: &str) -> String {
        flag(&node["spec"], "unschedulable").to_string()
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }
    fn cells(&self, node: &Value, now_seconds: i64) -> Vec<Value> {
        let (status, info) = (&node["status"], &node["status"]["nodeInfo"]);
        let address = |kind: &str| {
            let found = items(status, "addresses").iter().find(|a| text(a, "type") == kind);
            Value::from(found.map_or(NONE, |a| text(a, "address")))
        };
        let known = |key| Value::from(if text(info, key).is_empty() { UNKNOWN } else { text(info, key) });
        vec![
            name(node),
            ready(node).into(),
            join(roles(node)),
            age(node, now_seconds),
            text(info, "kubeletVersion").into(),
            address("InternalIP"),
            address("ExternalIP"),
            known("osImage"),
            known("kernelVersion"),
            known("containerRuntimeVersion"),
        ]
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    Column::new("Status", "string"),
    Column::new("Roles", "string"),
    AGE,
    Column::new("Version", "string"),
    Column::wide("Internal-IP", "string"),
    Column::wide("External-IP", "string"),
    Column::wide("OS-Image", "string"),
    Column::wide("Kernel-Version", "string"),
    Column::wide("Container-Runtime", "string"),
];

fn ready(node: &Value) -> String {
    let condition = items(&node["status"], "conditions").iter().find(|c| text(c, "type") == "Ready");
    let ready = condition.map_or("Unknown", |c| if text(c, "status") == "True" { "Ready" } else { "NotReady" });
    if flag(&node["spec"], "unschedulable") { format!("{ready},SchedulingDisabled") } else { ready.into() }
}

/// `findNodeRoles`, sorted.
fn roles(node: &Value) -> Vec<&str> {
    let mut roles: Vec<&str> = entries(&node["metadata"], "labels")
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => value.as_str(),
            None => None,
        })
        .filter(|r| !r.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    roles
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nodes_read_as_upstreams() {
        let node = json!({"metadata": {"name": "n", "labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "b"}},
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"kubeletVersion": "v1.36.0"},
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}});
        let row = Node.cells(&node, 0);
        assert_eq!(row.len(), COLUMNS.len());
        assert_eq!(row[1], "Ready,SchedulingDisabled");
        assert_eq!(row[2], "b,control-plane");
        assert_eq!([&row[5], &row[6], &row[7]], ["10.0.0.1", "<none>", "<unknown>"]);
        assert_eq!(Node.cells(&json!({"metadata": {}}), 0)[1], "Unknown");
    }

    #[test]
    fn taints_are_checked() {
        let node = |taints: Value| Node.validate(&json!({"spec": {"taints": taints}}));
        assert!(node(json!([{"key": "a", "effect": "NoSchedule"}])).is_empty());
        assert_eq!(
            node(json!([{"key": "a", "effect": "X"}]))[0].to_string(),
            r#"spec.taints[0].effect: Unsupported value: "X": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute""#
        );
        let twice = json!([{"key": "a", "effect": "NoSchedule"}, {"key": "a", "value": "b", "effect": "NoSchedule"}]);
        assert!(node(twice)[0].to_string().starts_with("spec.taints[1]: Duplicate value"));
    }
}
