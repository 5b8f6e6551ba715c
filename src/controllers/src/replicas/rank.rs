//! Which pod goes first: upstream's `ActivePodsWithRanks`.

use std::cmp::{Ordering, Reverse};

use api::k8s_openapi::api::core::v1::Pod;
use jiff::Timestamp;

use crate::pods;

/// The smaller goes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    assigned: bool,
    phase: u8,
    ready: bool,
    /// `controller.kubernetes.io/pod-deletion-cost`
    cost: i32,
    /// How many related pods share its node: the more, the sooner.
    beside: Reverse<usize>,
    ready_for: Age,
    restarts: Reverse<i32>,
    age: Age,
    uid: String,
}

/// Ages compare by their order of magnitude only, so that old pods go in random order: `LogarithmicScaleDown`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Age(Option<i64>);

impl Age {
    fn of(since: Option<Timestamp>, now: Timestamp) -> Age {
        Age(since.map(|t| now.duration_since(t).as_nanos().clamp(0, i64::MAX.into()) as i64))
    }
    fn magnitude(&self) -> i64 {
        match self.0 {
            None => -1,
            Some(n) if n <= 0 => 0,
            Some(n) => i64::from(n.ilog2()),
        }
    }
}
impl Ord for Age {
    fn cmp(&self, other: &Self) -> Ordering {
        self.magnitude().cmp(&other.magnitude())
    }
}
impl PartialOrd for Age {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Rank {
    pub fn of(pod: &Pod, beside: usize, now: Timestamp) -> Rank {
        let ready = pods::is_ready(pod);
        let cost = pod.metadata.annotations.as_ref().and_then(|a| a.get("controller.kubernetes.io/pod-deletion-cost"));
        Rank {
            assigned: pod.spec.as_ref().is_some_and(|s| s.node_name.as_deref().is_some_and(|n| !n.is_empty())),
            phase: match pods::phase(pod) {
                "Running" => 2,
                "Unknown" => 1,
                _ => 0,
            },
            ready,
            cost: cost.and_then(|c| c.parse().ok()).unwrap_or(0),
            beside: Reverse(beside),
            ready_for: Age::of(if ready { pods::ready_since(pod) } else { None }, now),
            restarts: Reverse(pods::restarts(pod)),
            age: Age::of(pod.metadata.creation_timestamp.as_ref().map(|t| t.0), now),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::{Resource, Value};
    use serde_json::json;

    #[test]
    fn the_least_useful_goes_first() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        let pod = |change: Value| {
            let mut tree = json!({
                "metadata": {"name": "p", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {"nodeName": "n", "containers": []},
                "status": {"phase": "Running", "containerStatuses": [], "conditions":
                    [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:10Z"}]}});
            crate::status::merge(&mut tree, &change);
            Pod::from_value(tree).unwrap()
        };
        let ready_at = |t: &str| {
            json!({"status": {"conditions":
            [{"type": "Ready", "status": "True", "lastTransitionTime": t}]}})
        };
        let last = Rank::of(&pod(json!({})), 1, now);
        for (what, pod, beside) in [
            ("unassigned", pod(json!({"spec": {"nodeName": null}})), 1),
            ("pending", pod(json!({"status": {"phase": "Pending"}})), 1),
            ("not ready", pod(json!({"status": {"conditions": []}})), 1),
            (
                "cheaper",
                pod(json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-5"}}})),
                1,
            ),
            ("doubled up", pod(json!({})), 2),
            ("ready for less", pod(ready_at("2026-01-01T23:00:00Z")), 1),
            ("younger", pod(json!({"metadata": {"creationTimestamp": "2026-01-01T23:59:00Z"}})), 1),
        ] {
            assert!(Rank::of(&pod, beside, now) < last, "{what}");
        }
    }
}
