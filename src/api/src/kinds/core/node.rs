//! Nodes.

use serde_json::{Value, json};

use super::super::net;
use super::taint;
use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::resources::round_list;
use crate::kinds::table::{NONE, UNKNOWN, join, name};
use crate::kinds::tree::{child, entries, flag, has, items, text};
use crate::quantity::Quantity;
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
        // one field and a list of the same: `Convert_v1_NodeSpec_To_core_NodeSpec`
        if let Some(spec) = child(node, "spec") {
            match (text(spec, "podCIDR"), items(spec, "podCIDRs")) {
                ("", [first, ..]) => spec["podCIDR"] = first.clone(),
                (one, []) if !one.is_empty() => spec["podCIDRs"] = json!([one]),
                (one, [first, ..]) if first != one => spec["podCIDRs"] = json!([one]),
                _ => {}
            }
        }
    }

    /// A kubelet registers its node with the status it has.
    fn prepare_create(&self, _node: &mut Value) {}

    fn validate(&self, node: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let (path, spec) = (Path::root("spec"), &node["spec"]);
        taint::validate(&mut errors, &path.child("taints"), items(spec, "taints"));
        amounts(&mut errors, node);
        let (list, at) = (items(spec, "podCIDRs"), path.child("podCIDRs"));
        let networks: Vec<_> = list
            .iter()
            .enumerate()
            .filter_map(|(i, n)| net::cidr(&mut errors, &at.index(i), n.as_str().unwrap_or_default()))
            .collect();
        let families = networks.iter().filter(|n| n.addr().is_ipv6()).count();
        if list.len() > 2 || networks.len() == 2 && families != 1 {
            let detail = "may specify no more than one CIDR for each IP family";
            errors.push(field::Error::invalid(&at, list.to_vec(), detail));
        }
        errors
    }
    fn check_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        taint::validate(&mut errors, &Path::root("spec").child("taints"), items(&new["spec"], "taints"));
        errors.extend(self.validate_update(new, old));
        errors
    }
    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        self.validate_update(new, old)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let path = Path::root("spec");
        let (spec, was) = (&new["spec"], &old["spec"]);
        amounts(&mut errors, new);
        let addresses = items(&new["status"], "addresses");
        let (status, doubled) = (Path::root("status"), |i: usize| addresses[..i].contains(&addresses[i]));
        for i in (0..addresses.len()).filter(|i| doubled(*i)) {
            errors.push(field::Error::duplicate(&status.child("addresses").index(i), addresses[i].clone()));
        }
        let (now, before, at) = (items(spec, "podCIDRs"), items(was, "podCIDRs"), path.child("podCIDRs"));
        let detail = "node updates may not change podCIDR except from \"\" to valid";
        if !before.is_empty() && now.len() != before.len() {
            errors.push(field::Error::forbidden(&at, detail));
        } else {
            for (i, _) in now.iter().zip(before).enumerate().filter(|(_, (n, b))| n != b) {
                errors.push(field::Error::forbidden(&at.index(i), detail));
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

/// `validateNodeResources`
fn amounts(errors: &mut Vec<field::Error>, node: &Value) {
    let status = Path::root("status");
    for list in ["capacity", "allocatable"] {
        let path = status.child(list);
        for (name, amount) in entries(&node["status"], list) {
            if Quantity::from_tree(amount).is_ok_and(|q| q < Quantity::default()) {
                let detail = "must be greater than or equal to 0";
                errors.push(field::Error::invalid(&path.key(name), amount.clone(), detail));
            }
        }
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
    fn networks_and_amounts_are_checked() {
        let made = |spec: Value| {
            let mut node = json!({ "spec": spec });
            Node.default(&mut node);
            node
        };
        assert_eq!(made(json!({"podCIDR": "10.0.0.0/24"}))["spec"]["podCIDRs"], json!(["10.0.0.0/24"]));
        assert_eq!(made(json!({"podCIDRs": ["10.0.0.0/24"]}))["spec"]["podCIDR"], "10.0.0.0/24");
        let texts = |all: Vec<field::Error>| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        let two = made(json!({"podCIDRs": ["10.0.0.0/24", "10.0.1.0/24"]}));
        assert_eq!(
            texts(Node.validate(&two)),
            [
                r#"spec.podCIDRs: Invalid value: ["10.0.0.0/24","10.0.1.0/24"]: may specify no more than one CIDR for each IP family"#
            ]
        );
        let dual = made(json!({"podCIDRs": ["10.0.0.0/24", "fd00::/64"]}));
        assert!(Node.validate(&dual).is_empty());
        let one = made(json!({"podCIDR": "10.0.0.0/24"}));
        let detail = "Forbidden: node updates may not change podCIDR except from \"\" to valid";
        assert_eq!(texts(Node.validate_update(&one, &dual)), [format!("spec.podCIDRs: {detail}")]);
        let other = made(json!({"podCIDR": "10.1.0.0/24"}));
        assert_eq!(texts(Node.validate_update(&other, &one)), [format!("spec.podCIDRs[0]: {detail}")]);
        let address = json!({"type": "InternalIP", "address": "10.0.0.1"});
        let status = json!({"status": {"capacity": {"cpu": "-1"}, "addresses": [address, address]}});
        let fields: Vec<String> =
            Node.validate_status_update(&status, &json!({})).into_iter().map(|e| e.field).collect();
        assert_eq!(fields, ["status.capacity[cpu]", "status.addresses[1]"]);
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
