//! InterPodAffinity and PodTopologySpread as scores: by what is around, not by the node alone.

use std::collections::{BTreeMap, HashMap};

use crate::filter::spread::{Constraint, constraints};
use crate::node::{NodeInfo, PodInfo};
use crate::term::{Namespaces, Term};

/// What a required term of a pod that is there counts for a newcomer: `hardPodAffinityWeight`.
const HARD_WEIGHT: i64 = 1;
const HOSTNAME: &str = "kubernetes.io/hostname";
/// The cluster's default constraints: `(topology, skew)`.
const DEFAULTS: [(&str, i64); 2] = [(HOSTNAME, 3), ("topology.kubernetes.io/zone", 5)];

/// Preferred terms, of the pod and of those that are there. 0 to 100.
pub fn affinity(pod: &PodInfo, nodes: &[&NodeInfo], all: &[&NodeInfo], namespaces: &Namespaces) -> Vec<i64> {
    let mut sums: HashMap<(&str, &str), i64> = HashMap::new();
    let own = &pod.terms.preferred;
    for node in all.iter().filter(|n| !own.is_empty() || n.with_terms > 0) {
        let mut add = |term: &Term, weight: i64| {
            if let Some((key, value)) = node.label_entry(&term.topology_key) {
                *sums.entry((key, value)).or_default() += weight;
            }
        };
        for there in &node.pods {
            own.iter().filter(|(t, _)| t.matches(&there.object, namespaces)).for_each(|(t, w)| add(t, *w));
            there
                .terms
                .preferred
                .iter()
                .filter(|(t, _)| t.matches(&pod.object, namespaces))
                .for_each(|(t, w)| add(t, *w));
            there
                .terms
                .affinity
                .iter()
                .filter(|t| t.matches(&pod.object, namespaces))
                .for_each(|t| add(t, HARD_WEIGHT));
        }
    }
    let score = |n: &&NodeInfo| sums.iter().filter(|((k, v), _)| n.label(k) == Some(v)).map(|(_, w)| w).sum::<i64>();
    let scores: Vec<i64> = nodes.iter().map(score).collect();
    let (min, max) = (scores.iter().min().copied().unwrap_or(0), scores.iter().max().copied().unwrap_or(0));
    scores.into_iter().map(|s| if max > min { 100 * (s - min) / (max - min) } else { 0 }).collect()
}

/// Fewer of its kind around is better: the pod's soft constraints, or the defaults. 0 to 100.
pub fn spread(pod: &PodInfo, nodes: &[&NodeInfo], all: &[&NodeInfo]) -> Vec<i64> {
    let own = constraints(pod, "ScheduleAnyway");
    let has_own = pod.spec().topology_spread_constraints.as_ref().is_some_and(|c| !c.is_empty());
    let costs: Vec<Option<f64>> = if has_own {
        let count = |c: &Constraint, n: &NodeInfo| if c.includes(pod, n) { c.count(pod, n) } else { 0 };
        let each: Vec<_> = own.iter().map(|c| (c.key.as_str(), c.max_skew, true)).collect();
        cost(&each, nodes, all, |i, n| count(&own[i], n))
    } else if let Some(controller) = pod.controller() {
        let siblings = |n: &NodeInfo| n.siblings(controller) as i64;
        let each: Vec<_> = DEFAULTS.iter().map(|(key, skew)| (*key, *skew, false)).collect();
        cost(&each, nodes, all, |_, n| siblings(n))
    } else {
        return vec![0; nodes.len()];
    };
    let known = costs.iter().flatten();
    let (min, max) = known.fold((f64::MAX, 0.0f64), |(lo, hi), c| (lo.min(*c), hi.max(*c)));
    let score = |c: Option<f64>| match c {
        None => 0,
        Some(_) if max == 0.0 => 100,
        Some(c) => (100.0 * (max + min - c) / max) as i64,
    };
    costs.into_iter().map(score).collect()
}

/// `(topology key, skew, whether a node without the label is left out)` each. `None`: the node is left out.
fn cost(
    constraints: &[(&str, i64, bool)],
    nodes: &[&NodeInfo],
    all: &[&NodeInfo],
    count: impl Fn(usize, &NodeInfo) -> i64,
) -> Vec<Option<f64>> {
    let mut costs: Vec<Option<f64>> = vec![Some(0.0); nodes.len()];
    for (i, (key, skew, strict)) in constraints.iter().enumerate() {
        let mut domains: BTreeMap<&str, i64> = BTreeMap::new();
        if *key != HOSTNAME {
            nodes.iter().filter_map(|n| n.label(key)).for_each(|d| _ = domains.insert(d, 0));
            for node in all {
                if let Some(n) = node.label(key).and_then(|d| domains.get_mut(d)) {
                    *n += count(i, node);
                }
            }
        }
        let size = if *key == HOSTNAME { nodes.len() } else { domains.len() };
        let weight = (size as f64 + 2.0).ln();
        for (cost, node) in costs.iter_mut().zip(nodes) {
            let around = match node.label(key) {
                Some(_) if *key == HOSTNAME => count(i, node),
                Some(domain) => domains.get(domain).copied().unwrap_or(0),
                None if *strict => {
                    *cost = None;
                    continue;
                }
                None => continue,
            };
            if let Some(c) = cost {
                *c += around as f64 * weight + (skew - 1) as f64;
            }
        }
    }
    costs.into_iter().map(|c| c.map(f64::round)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, pod};
    use serde_json::json;

    #[test]
    fn siblings_spread_and_friends_gather() {
        let owned = json!({"metadata": {"labels": {"app": "web"}, "ownerReferences":
            [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r", "controller": true}]}});
        let mut a = node("a", json!({}));
        a.add(pod("x", owned.clone()));
        let b = node("b", json!({}));
        let all = [&a, &b];
        let scores = spread(&pod("y", owned.clone()), &all, &all);
        assert!(scores[0] < scores[1], "{scores:?}");
        assert_eq!(spread(&pod("single", json!({})), &all, &all), [0, 0]);
        let prefers = |kind: &str| {
            let term = json!([{"weight": 10, "podAffinityTerm": {"topologyKey": HOSTNAME, "labelSelector": {"matchLabels": {"app": "web"}}}}]);
            pod("z", json!({"spec": {"affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution": term}}}}))
        };
        assert_eq!(affinity(&prefers("podAffinity"), &all, &all, &Namespaces::new()), [100, 0]);
        assert_eq!(affinity(&prefers("podAntiAffinity"), &all, &all, &Namespaces::new()), [0, 100]);
    }
}
