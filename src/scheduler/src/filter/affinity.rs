//! NodeAffinity: `nodeSelector` and the required node affinity.

use api::k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm};

use super::Rejection;
use crate::event::Plugins;
use crate::node::{NodeInfo, PodInfo};

pub(super) const REASON: &str = "node(s) didn't match Pod's node affinity/selector";

pub fn check(pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
    if node_affinity(pod, node) { Ok(()) } else { Err(Rejection::unresolvable(Plugins::AFFINITY, REASON)) }
}

/// `GetRequiredNodeAffinity(pod).Match(node)`
pub fn node_affinity(pod: &PodInfo, node: &NodeInfo) -> bool {
    let mut wanted = pod.spec().node_selector.iter().flatten();
    if !wanted.all(|(k, v)| node.label(k) == Some(v)) {
        return false;
    }
    let affinity = pod.spec().affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    required.is_none_or(|r| r.node_selector_terms.iter().any(|t| term_matches(t, node)))
}

/// All of a term's requirements; an empty term matches nothing.
pub fn term_matches(term: &NodeSelectorTerm, node: &NodeInfo) -> bool {
    let labels = term.match_expressions.as_deref().unwrap_or(&[]);
    let fields = term.match_fields.as_deref().unwrap_or(&[]);
    if labels.is_empty() && fields.is_empty() {
        return false;
    }
    let field = |key: &str| (key == "metadata.name").then(|| node.name());
    labels.iter().all(|r| requirement(r, node.label(&r.key))) && fields.iter().all(|r| requirement(r, field(&r.key)))
}

fn requirement(r: &NodeSelectorRequirement, actual: Option<&str>) -> bool {
    let values = r.values.as_deref().unwrap_or(&[]);
    let listed = || actual.is_some_and(|a| values.iter().any(|v| v == a));
    let numbers = || Some((actual?.parse::<i64>().ok()?, values.first()?.parse::<i64>().ok()?));
    match r.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => actual.is_some(),
        "DoesNotExist" => actual.is_none(),
        "Gt" => numbers().is_some_and(|(a, b)| a > b),
        "Lt" => numbers().is_some_and(|(a, b)| a < b),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, pod};
    use serde_json::json;

    #[test]
    fn labels_and_fields_select_nodes() {
        let n = node("n1", json!({"metadata": {"labels": {"disk": "ssd", "cores": "8"}}}));
        let required = |terms: serde_json::Value| {
            json!({"spec": {"affinity": {"nodeAffinity":
                {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}}})
        };
        let term = |key: &str, op: &str, values: &[&str]| json!([{"matchExpressions": [{"key": key, "operator": op, "values": values}]}]);
        for (spec, ok) in [
            (json!({}), true),
            (json!({"spec": {"nodeSelector": {"disk": "ssd"}}}), true),
            (json!({"spec": {"nodeSelector": {"disk": "hdd"}}}), false),
            (required(term("disk", "In", &["ssd", "nvme"])), true),
            (required(term("disk", "NotIn", &["ssd"])), false),
            (required(term("gpu", "NotIn", &["x"])), true),
            (required(term("gpu", "DoesNotExist", &[])), true),
            (required(term("cores", "Gt", &["4"])), true),
            (required(term("cores", "Lt", &["4"])), false),
            (required(json!([{}])), false),
            (required(json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}])), true),
            (required(json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}])), false),
        ] {
            assert_eq!(node_affinity(&pod("p", spec.clone()), &n), ok, "{spec}");
        }
    }
}
