//! TaintToleration, NodeAffinity, NodeResourcesFit (least allocated), NodeResourcesBalancedAllocation, ImageLocality.

use crate::filter::{term_matches, tolerates};
use crate::node::{NodeInfo, PodInfo};

/// How many `PreferNoSchedule` taints the pod does not tolerate.
pub fn intolerable(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let tolerations = || pod.spec().tolerations.iter().flatten();
    let soft = node.taints().iter().filter(|t| t.effect == "PreferNoSchedule");
    soft.filter(|t| !tolerations().any(|own| tolerates(own, t))).count() as i64
}

/// The weights of the preferred node affinity terms that match.
pub fn preferred(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let affinity = pod.spec().affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let terms = affinity.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref());
    let matching = terms.into_iter().flatten().filter(|t| t.weight != 0 && term_matches(&t.preference, node));
    matching.map(|t| i64::from(t.weight)).sum()
}

/// `(asked with this pod, allocatable)` of CPU and memory.
fn usage(pod: &PodInfo, node: &NodeInfo) -> [(i64, i64); 2] {
    [
        (node.scored.0 + pod.scored.0, node.allocatable.get("cpu")),
        (node.scored.1 + pod.scored.1, node.allocatable.get("memory")),
    ]
}

pub fn least_allocated(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let share = |(asked, have): (i64, i64)| {
        if have <= 0 || asked > have { 0 } else { ((have - asked) as i128 * 100 / have as i128) as i64 }
    };
    let counted: Vec<i64> = usage(pod, node).into_iter().filter(|u| u.1 > 0).map(share).collect();
    if counted.is_empty() { 0 } else { counted.iter().sum::<i64>() / counted.len() as i64 }
}

/// The closer the shares of CPU and memory, the better. Counts real requests, not the defaults.
pub fn balanced(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let share = |name: &str| {
        let have = node.allocatable.get(name);
        let asked = node.requested.get(name) + pod.requests.get(name);
        if have <= 0 { 0.0 } else { (asked as f64 / have as f64).min(1.0) }
    };
    let deviation = (share("cpu") - share("memory")).abs() / 2.0;
    ((1.0 - deviation) * 100.0) as i64
}

/// The bytes of the pod's images that are on the node, spread-weighted: `ImageLocality`.
pub fn images(pod: &PodInfo, node: &NodeInfo, nodes: &[&NodeInfo], all_nodes: usize) -> i64 {
    const MIN: i64 = 23 * 1024 * 1024;
    const MAX_PER_CONTAINER: i64 = 1000 * 1024 * 1024;
    let spec = pod.spec();
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let (mut sum, mut count) = (0i64, 0i64);
    for image in containers.filter_map(|c| c.image.as_deref()) {
        count += 1;
        let name = canonical(image);
        if let Some(size) = node.images.get(name.as_str()).or_else(|| node.images.get(image)) {
            let on =
                nodes.iter().filter(|n| n.images.contains_key(name.as_str()) || n.images.contains_key(image)).count();
            sum += (*size as f64 * on as f64 / all_nodes.max(1) as f64) as i64;
        }
    }
    let max = MAX_PER_CONTAINER * count.max(1);
    100 * (sum.clamp(MIN, max) - MIN) / (max - MIN)
}

/// With a tag, as nodes report images.
fn canonical(image: &str) -> String {
    let after_registry = image.rfind('/').map_or(0, |i| i + 1);
    let tagged = image[after_registry..].contains([':', '@']);
    if tagged { image.to_owned() } else { format!("{image}:latest") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, pod};
    use serde_json::json;

    #[test]
    fn an_emptier_evener_node_with_the_image_is_better() {
        let asks = |cpu: &str, memory: &str| {
            pod(
                "p",
                json!({"spec": {"containers": [{"name": "c", "image": "redis", "resources":
                {"requests": {"cpu": cpu, "memory": memory}}}]}}),
            )
        };
        let p = asks("1", "2Gi");
        let empty = node("a", json!({}));
        let mut busy = node("b", json!({}));
        busy.add(asks("2", "0"));
        assert_eq!((least_allocated(&p, &empty), least_allocated(&p, &busy)), (75, 50));
        assert_eq!((balanced(&p, &empty), balanced(&p, &busy)), (100, 75));
        let has = node("c", json!({"status": {"images": [{"names": ["redis:latest"], "sizeBytes": 500_000_000}]}}));
        assert!(images(&p, &has, &[&has], 1) > images(&p, &empty, &[&empty], 1));
    }
}
