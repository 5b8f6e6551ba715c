//! One scheduling decision, a pure function of the pod and the cache: filter, then score.

use std::collections::BTreeMap;

use crate::cache::Cache;
use crate::event::Plugins;
use crate::filter::{self, Cycle, Rejection};
use crate::node::{NodeInfo, PodInfo};
use crate::preempt::nominated_node;
use crate::score;
use crate::volumes::Volumes;

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

pub fn decide(pod: &PodInfo, cache: &Cache, volumes: &Result<Volumes, Rejection>) -> Decision {
    let nodes = cache.nodes().len();
    let nowhere = |r| Decision::Nowhere(Nowhere { nodes, rejections: BTreeMap::new(), pod: Some(r) });
    // without the devices that it asks for it would run, and fail
    if pod.spec().resource_claims.as_ref().is_some_and(|claims| !claims.is_empty()) {
        return nowhere(Rejection::devices());
    }
    let volumes = match volumes {
        Ok(volumes) => volumes,
        Err(r) => return nowhere(r.clone()),
    };
    let cycle = Cycle::new(pod, cache.nodes(), &cache.namespaces, volumes);
    let (mut feasible, mut rejections): (Vec<&NodeInfo>, _) = (Vec::new(), BTreeMap::new());
    for node in cache.nodes() {
        // with the pods that are awaited there, and without: they may never come
        let awaited = cache.nominations.with(node, pod);
        let checked = awaited.map_or(Ok(()), |then| filter::check(&cycle, &then));
        match checked.and_then(|()| filter::check(&cycle, node)) {
            Ok(()) => feasible.push(node),
            Err(r) => drop(rejections.insert(node.name().to_owned(), r)),
        }
    }
    match feasible.as_slice() {
        [] => Decision::Nowhere(Nowhere { nodes, rejections, pod: None }),
        [only] => Decision::Node(only.name().to_owned()),
        many => Decision::Node(best(pod, many, cache)),
    }
}

/// Of equals one by chance; the node it was nominated for if that will do.
fn best(pod: &PodInfo, nodes: &[&NodeInfo], cache: &Cache) -> String {
    if let Some(name) = nominated_node(pod.pod()).filter(|n| nodes.iter().any(|f| f.name() == *n)) {
        return name.to_owned();
    }
    let all: Vec<&NodeInfo> = cache.nodes().collect();
    let scores = score::totals(pod, nodes, &all, &cache.namespaces);
    let max = scores.iter().copied().max().unwrap_or(0);
    let top: Vec<&&NodeInfo> = nodes.iter().zip(&scores).filter(|(_, s)| **s == max).map(|(n, _)| n).collect();
    top[rand::random_range(0..top.len())].name().to_owned()
}
