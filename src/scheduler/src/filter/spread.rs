//! PodTopologySpread, hard constraints.

use std::collections::BTreeMap;

use api::k8s_openapi::api::core::v1::TopologySpreadConstraint;
use api::labels::Selector;

use super::{Rejection, node_affinity, tolerates};
use crate::event::Plugins;
use crate::node::{NodeInfo, PodInfo};
use crate::term::with_keys;

const REASON: &str = "node(s) didn't match pod topology spread constraints";
const NO_LABEL: &str = "node(s) didn't match pod topology spread constraints (missing required label)";

/// A parsed constraint.
pub struct Constraint {
    pub key: String,
    pub max_skew: i64,
    min_domains: usize,
    pub selector: Selector,
    honour_affinity: bool,
    honour_taints: bool,
}

impl Constraint {
    fn new(pod: &PodInfo, c: &TopologySpreadConstraint) -> Constraint {
        let empty = BTreeMap::new();
        let labels = pod.pod().metadata.labels.as_ref().unwrap_or(&empty);
        Constraint {
            key: c.topology_key.clone(),
            max_skew: c.max_skew.into(),
            min_domains: usize::try_from(c.min_domains.unwrap_or(1)).unwrap_or(1),
            selector: with_keys(c.label_selector.as_ref(), labels, c.match_label_keys.as_ref(), None),
            honour_affinity: c.node_affinity_policy.as_deref() != Some("Ignore"),
            honour_taints: c.node_taints_policy.as_deref() == Some("Honor"),
        }
    }
    /// Whether the node's pods count: `matchNodeInclusionPolicies`.
    pub fn includes(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        let tolerated = || {
            let hard = node.taints().iter().filter(|t| t.effect != "PreferNoSchedule");
            hard.into_iter().all(|t| pod.spec().tolerations.iter().flatten().any(|own| tolerates(own, t)))
        };
        (!self.honour_affinity || node_affinity(pod, node)) && (!self.honour_taints || tolerated())
    }
    /// How many pods of the node it counts.
    pub fn count(&self, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let counted = |p: &&std::sync::Arc<PodInfo>| {
            p.object.namespace() == pod.object.namespace()
                && !p.is_deleting()
                && self.selector.matches(&p.object.meta().labels)
        };
        node.pods.iter().filter(counted).count() as i64
    }
}

/// The constraints of one kind: `DoNotSchedule`, `ScheduleAnyway`.
pub fn constraints(pod: &PodInfo, when: &str) -> Vec<Constraint> {
    let all = pod.spec().topology_spread_constraints.iter().flatten();
    all.filter(|c| c.when_unsatisfiable == when).map(|c| Constraint::new(pod, c)).collect()
}

#[derive(Default)]
pub struct State {
    constraints: Vec<Constraint>,
    /// Matching pods by domain, for each constraint.
    counts: Vec<BTreeMap<String, i64>>,
}

impl State {
    pub fn of<'a>(pod: &PodInfo, nodes: impl Iterator<Item = &'a NodeInfo>) -> State {
        let constraints = constraints(pod, "DoNotSchedule");
        let mut counts = vec![BTreeMap::new(); constraints.len()];
        if !constraints.is_empty() {
            for node in nodes.filter(|n| constraints.iter().all(|c| n.label(&c.key).is_some())) {
                for (c, counts) in constraints.iter().zip(&mut counts).filter(|(c, _)| c.includes(pod, node)) {
                    let domain = node.label(&c.key).unwrap_or_default().to_owned();
                    *counts.entry(domain).or_insert(0) += c.count(pod, node);
                }
            }
        }
        State { constraints, counts }
    }

    pub fn check(&self, pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
        for (c, counts) in self.constraints.iter().zip(&self.counts) {
            let Some(domain) = node.label(&c.key) else {
                return Err(Rejection::unresolvable(Plugins::SPREAD, NO_LABEL));
            };
            let least = if counts.len() < c.min_domains { 0 } else { counts.values().copied().min().unwrap_or(0) };
            let own = i64::from(c.selector.matches(&pod.object.meta().labels));
            if counts.get(domain).copied().unwrap_or(0) + own - least > c.max_skew {
                return Err(Rejection::new(Plugins::SPREAD, REASON));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, pod};
    use serde_json::json;

    #[test]
    fn domains_differ_by_the_skew_at_most() {
        let labels = json!({"metadata": {"labels": {"app": "web"}}});
        let zone = |name: &str, zone: &str, pods: usize| {
            let mut n = node(name, json!({"metadata": {"labels": {"zone": zone}}}));
            (0..pods).for_each(|i| n.add(pod(&format!("{name}{i}"), labels.clone())));
            n
        };
        let nodes = [zone("a", "1", 2), zone("b", "1", 0), zone("c", "2", 1), node("d", json!({}))];
        let check = |skew: i32, min: i32| {
            let constraint = json!([{"topologyKey": "zone", "maxSkew": skew, "minDomains": min, "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"app": "web"}}}]);
            let p = pod(
                "p",
                json!({"metadata": {"labels": {"app": "web"}}, "spec": {"topologySpreadConstraints": constraint}}),
            );
            let state = State::of(&p, nodes.iter());
            nodes.iter().map(|n| state.check(&p, n).is_ok()).collect::<Vec<_>>()
        };
        assert_eq!(check(1, 1), [false, false, true, false]);
        assert_eq!(check(2, 1), [true, true, true, false]);
        assert_eq!(check(2, 3), [false, false, true, false]);
    }
}
