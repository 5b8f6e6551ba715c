//! Classes of service, and what a pod asks for: upstream's `ComputePodQOS`, `PodRequests` and `PodLimits`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::kinds::tree::{entries, has, items, text};
use crate::quantity::Quantity;

/// `Guaranteed`, `Burstable` or `BestEffort`, of a pod's tree.
pub fn qos(pod: &Value) -> &'static str {
    let spec = &pod["spec"];
    let mut guaranteed = true;
    let (mut requests, mut limits) = (BTreeMap::new(), BTreeMap::new());
    let pod_level = has(spec, "resources");
    let containers = items(spec, "containers").iter().chain(items(spec, "initContainers")).map(|c| &c["resources"]);
    let own = std::iter::once(&spec["resources"]).filter(|_| pod_level);
    for resources in own.chain(containers.filter(|_| !pod_level)) {
        add(&mut requests, amounts(resources, "requests"));
        let found = amounts(resources, "limits");
        guaranteed &= found.contains_key("cpu") && found.contains_key("memory");
        add(&mut limits, found);
    }
    if requests.is_empty() && limits.is_empty() {
        return "BestEffort";
    }
    if guaranteed && requests.len() == limits.len() && requests.iter().all(|(k, v)| limits.get(k) == Some(v)) {
        return "Guaranteed";
    }
    "Burstable"
}

/// The amounts above zero of cpu and memory.
fn amounts<'a>(resources: &'a Value, key: &str) -> BTreeMap<&'a str, Quantity> {
    list(resources, key).filter(|(k, q)| matches!(*k, "cpu" | "memory") && q.sign() > 0).collect()
}

fn list<'a>(resources: &'a Value, key: &str) -> impl Iterator<Item = (&'a str, Quantity)> {
    entries(resources, key).filter_map(|(k, v)| Some((k, Quantity::from_tree(v).ok()?)))
}

fn add<'a>(sum: &mut BTreeMap<&'a str, Quantity>, more: impl IntoIterator<Item = (&'a str, Quantity)>) {
    for (k, q) in more {
        *sum.entry(k).or_default() += q;
    }
}

fn at_least<'a>(sum: &mut BTreeMap<&'a str, Quantity>, other: BTreeMap<&'a str, Quantity>) {
    for (k, q) in other {
        let have = sum.entry(k).or_default();
        *have = (*have).max(q);
    }
}

/// What the containers of a pod's spec need at once: containers and sidecars together, or what one init container needs beside
/// the sidecars started before it, whichever is more.
pub(super) fn of_containers<'a>(spec: &'a Value, which: &str) -> BTreeMap<&'a str, Quantity> {
    let mut sum = BTreeMap::new();
    for c in items(spec, "containers") {
        add(&mut sum, list(&c["resources"], which));
    }
    let (mut sidecars, mut init) = (BTreeMap::new(), BTreeMap::new());
    for c in items(spec, "initContainers") {
        let mut now = sidecars.clone();
        add(&mut now, list(&c["resources"], which));
        if text(c, "restartPolicy") == "Always" {
            add(&mut sum, list(&c["resources"], which));
            sidecars = now.clone();
        }
        at_least(&mut init, now);
    }
    at_least(&mut sum, init);
    sum
}

/// What the pod needs: what it says itself, else its containers; with overhead. `which`: `requests` or `limits`.
pub fn resources<'a>(pod: &'a Value, which: &str) -> BTreeMap<&'a str, Quantity> {
    let spec = &pod["spec"];
    let mut sum = of_containers(spec, which);
    for (k, q) in list(&spec["resources"], which) {
        sum.insert(k, q);
    }
    if which == "requests" {
        add(&mut sum, list(spec, "overhead"));
    } else {
        for (k, q) in list(spec, "overhead") {
            sum.entry(k).and_modify(|v| *v += q);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn classes_of_service() {
        for (containers, want) in [
            (json!([{}]), "BestEffort"),
            (json!([{"resources": {"requests": {"cpu": "0"}}}]), "BestEffort"),
            (json!([{"resources": {"requests": {"cpu": "1"}}}]), "Burstable"),
            (
                json!([{"resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1000m", "memory": "1024Mi"}}}]),
                "Guaranteed",
            ),
            (
                json!([{"resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}}}, {}]),
                "Burstable",
            ),
        ] {
            assert_eq!(qos(&json!({"spec": {"containers": containers}})), want, "{containers}");
        }
    }

    #[test]
    fn requests_take_the_larger_of_init_and_running() {
        let cpu = |n: &str| json!({"requests": {"cpu": n}});
        let pod = json!({"spec": {"containers": [{"resources": cpu("1")}, {"resources": cpu("500m")}],
            "initContainers": [{"resources": cpu("100m"), "restartPolicy": "Always"}, {"resources": cpu("3")}],
            "overhead": {"cpu": "10m"}}});
        assert_eq!(resources(&pod, "requests")["cpu"].to_string(), "3110m");
    }
}
