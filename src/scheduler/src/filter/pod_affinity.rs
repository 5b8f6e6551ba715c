//! InterPodAffinity, required terms: those of the pod, and the anti-affinity of the pods that are there.

use std::collections::HashMap;

use super::Rejection;
use crate::event::Plugins;
use crate::node::{NodeInfo, PodInfo};
use crate::term::Namespaces;

/// How many pods, by topology key and value.
type Counts = HashMap<(String, String), usize>;

#[derive(Default)]
pub struct State {
    /// Pods there that do not want the pod beside them.
    existing_anti: Counts,
    affinity: Counts,
    anti: Counts,
    /// The pod matches its own affinity: the first of a group may go anywhere.
    matches_itself: bool,
}

fn count(counts: &mut Counts, node: &NodeInfo, key: &str) {
    if let Some(value) = node.label(key) {
        *counts.entry((key.to_owned(), value.to_owned())).or_default() += 1;
    }
}

fn at(counts: &Counts, node: &NodeInfo, key: &str) -> bool {
    node.label(key).is_some_and(|v| counts.contains_key(&(key.to_owned(), v.to_owned())))
}

impl State {
    pub fn of<'a>(pod: &PodInfo, nodes: impl Iterator<Item = &'a NodeInfo>, namespaces: &Namespaces) -> State {
        let mut state = State::default();
        let own = &pod.terms;
        state.matches_itself = own.affinity.iter().all(|t| t.matches(&pod.object, namespaces));
        let wants = !own.affinity.is_empty() || !own.anti_affinity.is_empty();
        for node in nodes.filter(|n| wants || n.with_terms > 0) {
            for there in &node.pods {
                for term in there.terms.anti_affinity.iter().filter(|t| t.matches(&pod.object, namespaces)) {
                    count(&mut state.existing_anti, node, &term.topology_key);
                }
                if !own.affinity.is_empty() && own.affinity.iter().all(|t| t.matches(&there.object, namespaces)) {
                    own.affinity.iter().for_each(|t| count(&mut state.affinity, node, &t.topology_key));
                }
                for term in own.anti_affinity.iter().filter(|t| t.matches(&there.object, namespaces)) {
                    count(&mut state.anti, node, &term.topology_key);
                }
            }
        }
        state
    }

    pub fn check(&self, pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
        let own = &pod.terms;
        let labelled = own.affinity.iter().all(|t| node.label(&t.topology_key).is_some());
        let beside = own.affinity.iter().all(|t| at(&self.affinity, node, &t.topology_key));
        let first = self.affinity.is_empty() && self.matches_itself;
        if !own.affinity.is_empty() && !(labelled && (beside || first)) {
            let reason = "node(s) didn't match pod affinity rules";
            return Err(Rejection::unresolvable(Plugins::POD_AFFINITY, reason));
        }
        if own.anti_affinity.iter().any(|t| at(&self.anti, node, &t.topology_key)) {
            return Err(Rejection::new(Plugins::POD_AFFINITY, "node(s) didn't match pod anti-affinity rules"));
        }
        if self.existing_anti.keys().any(|(k, v)| node.label(k) == Some(v)) {
            let reason = "node(s) didn't satisfy existing pods anti-affinity rules";
            return Err(Rejection::new(Plugins::POD_AFFINITY, reason));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, pod};
    use api::Value;
    use serde_json::json;

    fn with(name: &str, kind: &str, selector: Value) -> std::sync::Arc<PodInfo> {
        let terms = json!([{"topologyKey": "zone", "labelSelector": selector}]);
        pod(
            name,
            json!({"metadata": {"labels": {"app": name}},
            "spec": {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}}),
        )
    }

    #[test]
    fn pods_attract_and_repel() {
        let mut a = node("a", json!({"metadata": {"labels": {"zone": "1"}}}));
        let b = node("b", json!({"metadata": {"labels": {"zone": "2"}}}));
        let c = node("c", json!({}));
        a.add(pod("web", json!({"metadata": {"labels": {"app": "web"}}})));
        a.add(with("lonely", "podAntiAffinity", json!({"matchLabels": {"app": "noisy"}})));
        let nodes = [a, b, c];
        let check = |p: &PodInfo| {
            let state = State::of(p, nodes.iter(), &Namespaces::new());
            nodes.iter().map(|n| state.check(p, n).is_ok()).collect::<Vec<_>>()
        };
        assert_eq!(check(&with("x", "podAffinity", json!({"matchLabels": {"app": "web"}}))), [true, false, false]);
        assert_eq!(check(&with("x", "podAntiAffinity", json!({"matchLabels": {"app": "web"}}))), [false, true, true]);
        assert_eq!(check(&pod("noisy", json!({"metadata": {"labels": {"app": "noisy"}}}))), [false, true, true]);
        // the first of a group has nobody to be beside of, but needs the topology
        assert_eq!(check(&with("x", "podAffinity", json!({"matchLabels": {"app": "x"}}))), [true, true, false]);
        assert_eq!(check(&with("x", "podAffinity", json!({"matchLabels": {"app": "y"}}))), [false, false, false]);
    }
}
