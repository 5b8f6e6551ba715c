//! The taints that follow from a node's conditions, as a pure function: upstream's `doNoScheduleTaintingPass` and
//! `processTaintBaseEviction`.

use api::Value;
use api::k8s_openapi::api::core::v1::Node;
use serde_json::json;

pub const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// `(condition, its status, taint)`
const BY_CONDITION: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];
const CORDONED: &str = "node.kubernetes.io/unschedulable";

pub fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a str> {
    let all = node.status.as_ref()?.conditions.as_ref()?;
    all.iter().find(|c| c.type_ == kind).map(|c| c.status.as_str())
}

/// The `spec.taints` the node should have, from those it has (`tree` is the node's); with `evict` also those that drive pods
/// off.
pub fn wanted(node: &Node, tree: &Value, now: &str, evict: bool) -> Vec<Value> {
    let mut want: Vec<(&str, &str)> = Vec::new();
    for (kind, status, key) in BY_CONDITION {
        if condition(node, kind) == Some(status) {
            want.push((key, "NoSchedule"));
            if kind == "Ready" && evict {
                want.push((key, "NoExecute"));
            }
        }
    }
    if node.spec.as_ref().is_some_and(|s| s.unschedulable == Some(true)) {
        want.push((CORDONED, "NoSchedule"));
    }
    let ours = |t: &Value| {
        let key = t["key"].as_str().unwrap_or("");
        match t["effect"].as_str() {
            Some("NoSchedule") => key == CORDONED || BY_CONDITION.iter().any(|(_, _, k)| *k == key),
            Some("NoExecute") => key == NOT_READY || key == UNREACHABLE,
            _ => false,
        }
    };
    let old = tree["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let is = |t: &Value, w: &(&str, &str)| t["key"] == w.0 && t["effect"] == w.1;
    let mut taints: Vec<Value> = old.into_iter().filter(|t| !ours(t) || want.iter().any(|w| is(t, w))).collect();
    for w in &want {
        if !taints.iter().any(|t| is(t, w)) {
            taints.push(json!({"key": w.0, "effect": w.1, "timeAdded": now}));
        }
    }
    taints
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Resource;

    #[test]
    fn taints_follow_conditions_and_foreign_ones_stay() {
        let of = |ready: &str, cordoned: bool, taints: Value| {
            let tree = json!({"metadata": {"name": "n"}, "spec": {"unschedulable": cordoned, "taints": taints},
                "status": {"conditions": [{"type": "Ready", "status": ready}, {"type": "DiskPressure", "status": "True"}]}});
            let keys = wanted(&Node::from_value(tree.clone()).unwrap(), &tree, "now", ready != "Unknown");
            keys.iter()
                .map(|t| {
                    format!(
                        "{}:{}",
                        t["key"].as_str().unwrap().rsplit('/').next().unwrap(),
                        t["effect"].as_str().unwrap()
                    )
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(of("True", false, json!([])), ["disk-pressure:NoSchedule"]);
        let unreachable = json!([{"key": UNREACHABLE, "effect": "NoExecute"}, {"key": "mine", "effect": "NoExecute"}]);
        assert_eq!(
            of("True", true, unreachable),
            ["mine:NoExecute", "disk-pressure:NoSchedule", "unschedulable:NoSchedule"]
        );
        assert_eq!(
            of("False", false, json!([])),
            ["not-ready:NoSchedule", "not-ready:NoExecute", "disk-pressure:NoSchedule"]
        );
        let evicting = json!([{"key": UNREACHABLE, "effect": "NoExecute"}]);
        assert_eq!(of("Unknown", false, evicting), ["unreachable:NoSchedule", "disk-pressure:NoSchedule"]);
    }
}
