//! Whom a quota counts, and how much it allows.

use api::kinds::pod;
use api::quantity::Quantity;
use api::{Object, Value};

use super::usage::{Amounts, resource_of, usage};
use crate::Lookup;

struct Term {
    scope: String,
    operator: String,
    values: Vec<String>,
}

/// A ResourceQuota, read.
pub struct Quota {
    pub namespace: String,
    pub name: String,
    pub hard: Amounts,
    terms: Vec<Term>,
}

fn strings(v: &Value) -> Vec<String> {
    v.as_array().into_iter().flatten().filter_map(|s| s.as_str().map(str::to_owned)).collect()
}

pub fn amounts(list: &Value) -> Amounts {
    let list = list.as_object().into_iter().flatten();
    list.filter_map(|(k, v)| Some((k.clone(), Quantity::from_tree(v).ok()?))).collect()
}

impl Quota {
    pub fn read(object: &Object) -> Quota {
        let tree = object.tree();
        let spec = &tree["spec"];
        let plain = strings(&spec["scopes"]).into_iter();
        let plain = plain.map(|scope| Term { scope, operator: "Exists".into(), values: Vec::new() });
        let selected = spec["scopeSelector"]["matchExpressions"].as_array().into_iter().flatten().map(|e| Term {
            scope: e["scopeName"].as_str().unwrap_or_default().into(),
            operator: e["operator"].as_str().unwrap_or_default().into(),
            values: strings(&e["values"]),
        });
        Quota {
            namespace: object.namespace().into(),
            name: object.name().into(),
            terms: plain.chain(selected).collect(),
            hard: amounts(&spec["hard"]),
        }
    }

    /// The stored resources that it counts objects of.
    pub fn resources(&self) -> Vec<String> {
        let mut all: Vec<String> = self.hard.keys().filter_map(|n| resource_of(n)).collect();
        all.sort();
        all.dedup();
        all
    }

    /// Whether an object is within its scopes; only pods have any.
    pub fn counts(&self, resource: &str, tree: &Value) -> bool {
        self.terms.iter().all(|t| resource == "pods" && t.selects(tree))
    }

    /// What an object costs of that which this quota limits.
    pub fn cost(&self, resource: &str, tree: &Value) -> Amounts {
        if !self.counts(resource, tree) {
            return Amounts::new();
        }
        usage(resource, tree).into_iter().filter(|(k, _)| self.hard.contains_key(k)).collect()
    }

    /// What the namespace uses of one resource, as the store has it; `but` names an object that is left out.
    pub fn used_of(&self, lookup: &dyn Lookup, resource: &str, but: &str) -> Amounts {
        let mut used = Amounts::new();
        for object in lookup.list(resource, &self.namespace).iter().filter(|o| o.name() != but) {
            add(&mut used, self.cost(resource, &object.tree()));
        }
        used
    }

    /// All that it limits, with what is used of it.
    pub fn used(&self, lookup: &dyn Lookup) -> Amounts {
        let mut used: Amounts = self.hard.keys().map(|k| (k.clone(), Quantity::ZERO)).collect();
        for resource in self.resources() {
            add(&mut used, self.used_of(lookup, &resource, ""));
        }
        used
    }
}

pub fn add(sum: &mut Amounts, more: Amounts) {
    for (name, q) in more {
        *sum.entry(name).or_default() += q;
    }
}

impl Term {
    fn selects(&self, pod: &Value) -> bool {
        let best_effort = || pod::qos(pod) == "BestEffort";
        let ends = || pod["spec"]["activeDeadlineSeconds"].as_i64().is_some_and(|s| s >= 0);
        match self.scope.as_str() {
            "Terminating" => ends(),
            "NotTerminating" => !ends(),
            "BestEffort" => best_effort(),
            "NotBestEffort" => !best_effort(),
            "PriorityClass" => {
                let class = pod["spec"]["priorityClassName"].as_str().unwrap_or_default();
                let listed = self.values.iter().any(|v| v == class);
                match self.operator.as_str() {
                    "In" => listed,
                    "NotIn" => !listed,
                    "Exists" => !class.is_empty(),
                    _ => class.is_empty(),
                }
            }
            "CrossNamespacePodAffinity" => crosses_namespaces(pod),
            _ => false,
        }
    }
}

/// Whether an affinity term of the pod looks into other namespaces: `crossNamespacePodAffinityTerms`.
fn crosses_namespaces(pod: &Value) -> bool {
    let affinity = &pod["spec"]["affinity"];
    let crosses = |term: &Value| {
        term["namespaces"].as_array().is_some_and(|n| !n.is_empty()) || term["namespaceSelector"].is_object()
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let terms = |key: &str| affinity[*kind][key].as_array().into_iter().flatten().collect::<Vec<_>>();
        terms("requiredDuringSchedulingIgnoredDuringExecution").into_iter().any(crosses)
            || terms("preferredDuringSchedulingIgnoredDuringExecution")
                .into_iter()
                .any(|t| crosses(&t["podAffinityTerm"]))
    })
}
