//! What pods ask for and nodes have: upstream's `framework.Resource` and `resourcehelper.PodRequests`.

use std::collections::BTreeMap;

use api::k8s_openapi::api::core::v1::{Container, Node, Pod};
use api::k8s_openapi::apimachinery::pkg::api::resource::Quantity as Typed;
use api::quantity::Quantity;

/// What a container without requests counts as in scores, that nodes fill evenly: `DefaultMilliCPURequest`, `…Memory…`.
const DEFAULT_MILLI_CPU: i64 = 100;
const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// By resource name. CPU counts in thousandths, all else in units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources(pub BTreeMap<String, i64>);

type List = BTreeMap<String, Typed>;

fn amount(name: &str, q: &Typed) -> i64 {
    let Ok(q) = Quantity::try_from(q) else { return 0 };
    if name == "cpu" { q.millis() } else { q.value() }
}

impl Resources {
    pub fn of(list: Option<&List>) -> Resources {
        Resources(list.into_iter().flatten().map(|(k, q)| (k.clone(), amount(k, q))).collect())
    }
    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }
    pub fn add(&mut self, other: &Resources) {
        for (k, v) in &other.0 {
            let sum = self.0.entry(k.clone()).or_default();
            *sum = sum.saturating_add(*v);
        }
    }
    pub fn subtract(&mut self, other: &Resources) {
        for (k, v) in &other.0 {
            let sum = self.0.entry(k.clone()).or_default();
            *sum = sum.saturating_sub(*v);
        }
    }
    /// The larger of each.
    fn max(&mut self, other: &Resources) {
        for (k, v) in &other.0 {
            let own = self.0.entry(k.clone()).or_default();
            *own = (*own).max(*v);
        }
    }
}

fn is_sidecar(c: &Container) -> bool {
    c.restart_policy.as_deref() == Some("Always")
}

fn plain(c: &Container) -> Resources {
    Resources::of(c.resources.as_ref().and_then(|r| r.requests.as_ref()))
}

/// With the defaults that scores use.
fn nonzero(c: &Container) -> Resources {
    let mut r = plain(c);
    r.0.entry("cpu".into()).or_insert(DEFAULT_MILLI_CPU);
    r.0.entry("memory".into()).or_insert(DEFAULT_MEMORY);
    r
}

/// Sidecars run beside everything that starts after them; other init containers run alone.
fn total(pod: &Pod, of: fn(&Container) -> Resources) -> Resources {
    let Some(spec) = &pod.spec else { return Resources::default() };
    let mut sum = Resources::default();
    for c in &spec.containers {
        sum.add(&of(c));
    }
    let (mut sidecars, mut peak) = (Resources::default(), Resources::default());
    for c in spec.init_containers.iter().flatten() {
        let mut own = of(c);
        if is_sidecar(c) {
            sum.add(&own);
            sidecars.add(&own);
            own = sidecars.clone();
        } else {
            own.add(&sidecars);
        }
        peak.max(&own);
    }
    sum.max(&peak);
    sum
}

/// Requests of the whole pod override the sum (PodLevelResources); overhead comes on top.
fn with_pod(pod: &Pod, mut sum: Resources) -> Resources {
    let Some(spec) = &pod.spec else { return sum };
    if let Some(whole) = spec.resources.as_ref().and_then(|r| r.requests.as_ref()) {
        sum.0.extend(Resources::of(Some(whole)).0);
    }
    sum.add(&Resources::of(spec.overhead.as_ref()));
    sum
}

/// What the pod must find free on its node.
pub fn requests(pod: &Pod) -> Resources {
    with_pod(pod, total(pod, plain))
}

/// `(milli CPU, bytes of memory)` for scores.
pub fn scored_requests(pod: &Pod) -> (i64, i64) {
    let r = with_pod(pod, total(pod, nonzero));
    (r.get("cpu"), r.get("memory"))
}

pub fn allocatable(node: &Node) -> Resources {
    Resources::of(node.status.as_ref().and_then(|s| s.allocatable.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Resource;
    use serde_json::json;

    #[test]
    fn init_containers_sidecars_and_overhead_count() {
        let c = |cpu: &str| json!({"name": "c", "resources": {"requests": {"cpu": cpu}}});
        let sidecar = json!({"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "100m"}}});
        for (init, overhead, want) in [
            (json!([]), json!({}), 1000),
            (json!([c("2")]), json!({}), 2000),
            (json!([sidecar]), json!({}), 1100),
            (json!([sidecar, c("2")]), json!({}), 2100),
            (json!([c("1100m"), sidecar]), json!({}), 1100),
            (json!([]), json!({"cpu": "50m"}), 1050),
        ] {
            let tree = json!({"metadata": {}, "spec":
                {"containers": [c("500m"), c("0.5")], "initContainers": init, "overhead": overhead}});
            let pod = Pod::from_value(tree).unwrap();
            assert_eq!(requests(&pod).get("cpu"), want);
        }
    }
}
