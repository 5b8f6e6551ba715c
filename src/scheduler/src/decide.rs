//! One scheduling decision, a pure function of the pod and the cache: filter, then score.

use std::collections::BTreeMap;

use crate::cache::Cache;
use crate::event::Plugins;
use crate::filter::{self, Cycle, Rejection};
use crate::node::{NodeInfo, PodInfo};
use crate::score;

pub enum Decision {
    Node(String),
    Nowhere(Nowhere),
}

/// Why no node does: upstream's `FitError`.
pub struct Nowhere {
    pub nodes: usize,
    /// By node name.
    pub rejections: BTreeMap<String, Rejection>,
    /// The pod itself cannot be placed, whatever the nodes.
    pub pod: Option<Rejection>,
}

impl Nowhere {
    pub fn rejected_by(&self) -> Plugins {
        let none = if self.nodes == 0 { Plugins::NO_NODE } else { Plugins::NONE };
        self.rejections.values().chain(&self.pod).fold(none, |all, r| all.and(r.by))
    }
    /// `FitError.Error()`; `preemption` is what came of that.
    pub fn message(&self, preemption: &str) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".into();
        }
        let head = format!("0/{} nodes are available", self.nodes);
        let why = match &self.pod {
            Some(r) => r.reasons.join(", "),
            None => histogram(self.rejections.values().flat_map(|r| r.reasons.iter().map(AsRef::as_ref))),
        };
        let tail = if preemption.is_empty() { String::new() } else { format!(" {preemption}") };
        format!("{head}: {why}.{tail}")
    }
}

/// `2 Insufficient cpu, 1 Too many pods`, sorted as text.
pub fn histogram<'a>(reasons: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    reasons.for_each(|r| *counts.entry(r).or_default() += 1);
    let mut texts: Vec<String> = counts.iter().map(|(r, n)| format!("{n} {r}")).collect();
    texts.sort();
    texts.join(", ")
}

pub fn decide(pod: &PodInfo, cache: &Cache) -> Decision {
    let cycle = Cycle { pod };
    let (mut feasible, mut rejections): (Vec<&NodeInfo>, _) = (Vec::new(), BTreeMap::new());
    for node in cache.nodes() {
        match filter::check(&cycle, node) {
            Ok(()) => feasible.push(node),
            Err(r) => drop(rejections.insert(node.name().to_owned(), r)),
        }
    }
    match feasible.as_slice() {
        [] => Decision::Nowhere(Nowhere { nodes: cache.nodes().len(), rejections, pod: None }),
        [only] => Decision::Node(only.name().to_owned()),
        many => Decision::Node(best(&cycle, many, cache.nodes().len())),
    }
}

/// Of equals one by chance.
fn best(cycle: &Cycle, nodes: &[&NodeInfo], all: usize) -> String {
    let scores = score::totals(cycle, nodes, all);
    let max = scores.iter().copied().max().unwrap_or(0);
    let top: Vec<&&NodeInfo> = nodes.iter().zip(&scores).filter(|(_, s)| **s == max).map(|(n, _)| n).collect();
    top[rand::random_range(0..top.len())].name().to_owned()
}
