//! Pod affinity terms, parsed once: upstream's `framework.AffinityTerm`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use api::k8s_openapi::api::core::v1::{PodAffinityTerm, WeightedPodAffinityTerm};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use api::labels::Selector;
use api::{Object, k8s_openapi::api::core::v1::Pod};

/// Labels by namespace.
pub type Namespaces = HashMap<String, BTreeMap<Box<str>, Box<str>>>;

#[derive(Debug, Clone)]
pub struct Term {
    selector: Selector,
    namespaces: BTreeSet<String>,
    namespace_selector: Option<Selector>,
    pub topology_key: String,
}

/// A selector that also asks for the values which `keys` have in `labels`; `not`: for other ones.
pub fn with_keys(
    selector: Option<&LabelSelector>,
    labels: &BTreeMap<String, String>,
    keys: Option<&Vec<String>>,
    not: Option<&Vec<String>>,
) -> Selector {
    let mut whole = selector.cloned();
    for (keys, operator) in [(keys, "In"), (not, "NotIn")] {
        for key in keys.into_iter().flatten() {
            if let (Some(value), Some(s)) = (labels.get(key), whole.as_mut()) {
                let values = Some(vec![value.clone()]);
                let requirement = LabelSelectorRequirement { key: key.clone(), operator: operator.into(), values };
                s.match_expressions.get_or_insert_default().push(requirement);
            }
        }
    }
    Selector::from_typed(whole.as_ref()).unwrap_or_else(|_| Selector::nothing())
}

impl Term {
    fn new(pod: &Pod, term: &PodAffinityTerm) -> Term {
        let empty = BTreeMap::new();
        let labels = pod.metadata.labels.as_ref().unwrap_or(&empty);
        let mut namespaces: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.extend(pod.metadata.namespace.clone());
        }
        let (keys, not) = (term.match_label_keys.as_ref(), term.mismatch_label_keys.as_ref());
        Term {
            selector: with_keys(term.label_selector.as_ref(), labels, keys, not),
            namespaces,
            namespace_selector: term.namespace_selector.as_ref().and_then(|s| Selector::from_typed(Some(s)).ok()),
            topology_key: term.topology_key.clone(),
        }
    }
    pub fn matches(&self, pod: &Object, namespaces: &Namespaces) -> bool {
        let empty = BTreeMap::new();
        let in_namespace = self.namespaces.contains(pod.namespace())
            || self
                .namespace_selector
                .as_ref()
                .is_some_and(|s| s.matches(namespaces.get(pod.namespace()).unwrap_or(&empty)));
        in_namespace && self.selector.matches(&pod.meta().labels)
    }
}

/// All the terms of a pod.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    pub affinity: Vec<Term>,
    pub anti_affinity: Vec<Term>,
    /// With their weights; those of anti-affinity are negative.
    pub preferred: Vec<(Term, i64)>,
}

impl Terms {
    pub fn of(pod: &Pod) -> Terms {
        let Some(affinity) = pod.spec.as_ref().and_then(|s| s.affinity.as_ref()) else { return Terms::default() };
        let parsed =
            |list: Option<&Vec<PodAffinityTerm>>| list.into_iter().flatten().map(|t| Term::new(pod, t)).collect();
        let weighted = |list: Option<&Vec<WeightedPodAffinityTerm>>, sign: i64| {
            let all = list.into_iter().flatten();
            all.map(|w| (Term::new(pod, &w.pod_affinity_term), sign * i64::from(w.weight))).collect::<Vec<_>>()
        };
        let (with, against) = (affinity.pod_affinity.as_ref(), affinity.pod_anti_affinity.as_ref());
        let mut preferred =
            weighted(with.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref()), 1);
        preferred.extend(weighted(
            against.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref()),
            -1,
        ));
        Terms {
            affinity: parsed(with.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref())),
            anti_affinity: parsed(against.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref())),
            preferred,
        }
    }
    pub fn is_empty(&self) -> bool {
        self.affinity.is_empty() && self.anti_affinity.is_empty() && self.preferred.is_empty()
    }
}
