//! Nodes.

use serde_json::{Value, json};

use super::super::net;
use super::taint;
use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::resources::{round_list, validate_amount};
use crate::kinds::table::{NONE, UNKNOWN, join, name};
use crate::kinds::tree::{child, entries, flag, has, items, number, text};
use crate::names;
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
        let (path, metadata, spec) = (Path::root("spec"), Path::root("metadata"), &node["spec"]);
        // upstream's path
        taint::validate(&mut errors, &metadata.child("taints"), items(spec, "taints"));
        amounts(&mut errors, node);
        let swap = &node["status"]["nodeInfo"]["swap"];
        if has(swap, "capacity") && number(swap, "capacity") <= 0 {
            let at = metadata.child("nodeSwapStatus");
            let detail = "must be greater than zero";
            errors.push(field::Error::invalid(&at.child("capacity"), swap["capacity"].clone(), detail));
        }
        features(&mut errors, node);
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
    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        self.validate_update(new, old)
    }

    /// `ValidateNodeUpdate`
    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let (path, status) = (Path::root("spec"), Path::root("status"));
        let (spec, was) = (&new["spec"], &old["spec"]);
        amounts(&mut errors, new);
        features(&mut errors, new);
        let addresses = items(&new["status"], "addresses");
        for i in (0..addresses.len()).filter(|i| addresses[..*i].contains(&addresses[*i])) {
            errors.push(field::Error::duplicate(&status.child("addresses").index(i), addresses[i].clone()));
        }
        let (now, before, at) = (items(spec, "podCIDRs"), items(was, "podCIDRs"), path.child("podCIDRs"));
        let detail = "node updates may not change podCIDR except from \"\" to valid";
        if !before.is_empty() && now.len() != before.len() {
            errors.push(field::Error::forbidden(&at, detail));
        } else {
            let changed = now.iter().zip(before).filter(|(n, b)| n != b).count();
            errors.extend((0..changed).map(|_| field::Error::forbidden(&at, detail)));
        }
        if !text(was, "providerID").is_empty() && text(spec, "providerID") != text(was, "providerID") {
            let detail = "node updates may not change providerID except from \"\" to valid";
            errors.push(field::Error::forbidden(&path.child("providerID"), detail));
        }
        if has(spec, "configSource") {
            config_source(&mut errors, &path.child("configSource"), &spec["configSource"], true);
        }
        let config = status.child("config");
        for key in ["assigned", "active", "lastKnownGood"] {
            let source = &new["status"]["config"][key];
            if !source.is_null() {
                config_source(&mut errors, &config.child(key), source, false);
            }
        }
        taint::validate(&mut errors, &Path::root("metadata").child("taints"), items(spec, "taints"));
        if text(spec, "externalID") != text(was, "externalID") {
            errors.push(field::Error::forbidden(&path.child("externalID"), "may not be updated"));
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

/// `ValidateNodeResources`
fn amounts(errors: &mut Vec<field::Error>, node: &Value) {
    let status = Path::root("status");
    for list in ["capacity", "allocatable"] {
        let path = status.child(list);
        for (name, amount) in entries(&node["status"], list) {
            validate_amount(errors, &path.child(name), name, amount);
        }
    }
}

/// `validateNodeDeclaredFeatures`
fn features(errors: &mut Vec<field::Error>, node: &Value) {
    let word = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_alphanumeric());
    let status = Path::root("status");
    let list = status.child("declaredFeatures");
    let all: Vec<&str> = items(&node["status"], "declaredFeatures").iter().filter_map(Value::as_str).collect();
    for (i, feature) in all.iter().enumerate() {
        if feature.len() > 253 {
            let detail = format!("invalid feature name {feature:?}: must be no more than 253 characters");
            errors.push(field::Error::invalid(&list.index(i), *feature, detail));
        } else if !feature.starts_with(|c: char| c.is_ascii_uppercase()) || !feature.split('/').all(word) {
            let detail = format!(
                "invalid feature name {feature:?}: must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
            );
            errors.push(field::Error::invalid(&list.index(i), *feature, detail));
        }
        match all.get(i + 1) {
            Some(next) if next == feature => errors.push(field::Error::duplicate(&list.index(i + 1), *next)),
            Some(next) if feature > next => {
                let detail = "list must be sorted alphabetically";
                errors.push(field::Error::invalid(&list.index(i + 1), *next, detail));
            }
            _ => {}
        }
    }
}

/// `validateNodeConfigSourceSpec` and `validateNodeConfigSourceStatus`: what old kubelets took their configuration from.
fn config_source(errors: &mut Vec<field::Error>, path: &Path, source: &Value, of_spec: bool) {
    let (map, at) = (&source["configMap"], path.child("configMap"));
    if map.is_null() {
        let detail = "exactly one reference subfield must be non-nil";
        return errors.push(field::Error::invalid(path, source.clone(), detail));
    }
    for key in ["uid", "resourceVersion"] {
        match (of_spec, text(map, key).is_empty()) {
            (true, false) => {
                errors.push(field::Error::forbidden(&at.child(key), &format!("{key} must not be set in spec")));
            }
            (false, true) => errors.push(field::Error::required(&at.child(key), "")),
            _ => {}
        }
    }
    for (key, rule) in [
        ("namespace", (|n| names::dns_label(n, false)) as fn(&str) -> Vec<String>),
        ("name", |n| names::dns_subdomain(n, false)),
        ("kubeletConfigKey", names::config_map_key),
    ] {
        match text(map, key) {
            "" => errors.push(field::Error::required(&at.child(key), "")),
            value => errors.extend(rule(value).iter().map(|e| field::Error::invalid(&at.child(key), value, e))),
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
        assert_eq!(texts(Node.validate_update(&other, &one)), [format!("spec.podCIDRs: {detail}")]);
        let address = json!({"type": "InternalIP", "address": "10.0.0.1"});
        let status = json!({"status": {"capacity": {"cpu": "-1"}, "addresses": [address, address]}});
        let fields: Vec<String> =
            Node.validate_status_update(&status, &json!({})).into_iter().map(|e| e.field).collect();
        assert_eq!(fields, ["status.capacity.cpu", "status.addresses[1]"]);
    }

    #[test]
    fn taints_are_checked() {
        let node = |taints: Value| Node.validate(&json!({"spec": {"taints": taints}}));
        assert!(node(json!([{"key": "a", "effect": "NoSchedule"}])).is_empty());
        assert_eq!(
            node(json!([{"key": "a", "effect": "X"}]))[0].to_string(),
            r#"metadata.taints[0].effect: Unsupported value: "X": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute""#
        );
        let twice = json!([{"key": "a", "effect": "NoSchedule"}, {"key": "a", "value": "b", "effect": "NoSchedule"}]);
        assert_eq!(
            node(twice)[0].to_string(),
            r#"metadata.taints[1]: Duplicate value: {"effect":"NoSchedule","key":"a","value":"b"}: taints must be unique by key and effect pair"#
        );
    }

    #[test]
    fn what_a_node_says_of_itself_is_checked() {
        let features = |all: Value| json!({"status": {"declaredFeatures": all}});
        let source = |map: Value| json!({"spec": {"configSource": {"configMap": map}}});
        let map = json!({"namespace": "n", "name": "m", "kubeletConfigKey": "k"});
        for (node, want) in [
            (features(json!(["A", "B/c"])), ""),
            (
                features(json!(["B", "A", "A"])),
                "status.declaredFeatures[1]: Invalid value: \"A\": list must be sorted alphabetically; \
                 status.declaredFeatures[2]: Duplicate value: \"A\"",
            ),
            (
                json!({"status": {"capacity": {"pods": "1500m"}}}),
                r#"status.capacity.pods: Invalid value: "1500m": must be an integer"#,
            ),
            (source(map.clone()), ""),
            (
                json!({"spec": {"configSource": {}}}),
                "spec.configSource: Invalid value: {}: exactly one reference subfield must be non-nil",
            ),
            (
                source(json!({"namespace": "n", "name": "m", "uid": "u"})),
                "spec.configSource.configMap.uid: Forbidden: uid must not be set in spec; \
                 spec.configSource.configMap.kubeletConfigKey: Required value",
            ),
            (
                json!({"status": {"config": {"active": {"configMap": map}}}}),
                "status.config.active.configMap.uid: Required value; status.config.active.configMap.resourceVersion: Required value",
            ),
            (json!({"spec": {"externalID": "x"}}), "spec.externalID: Forbidden: may not be updated"),
        ] {
            let errors = Node.validate_update(&node, &json!({}));
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "), want);
        }
        let errors = Node.validate(&features(json!(["a"])));
        assert!(
            errors[0]
                .to_string()
                .starts_with(r#"status.declaredFeatures[0]: Invalid value: "a": invalid feature name "a": must"#)
        );
        let swap = json!({"status": {"nodeInfo": {"swap": {"capacity": 0}}}});
        assert_eq!(
            Node.validate(&swap)[0].to_string(),
            "metadata.nodeSwapStatus.capacity: Invalid value: 0: must be greater than zero"
        );
    }
}
