//! Which of the nodes that would do is best? Each plugin gives 0 to 100; weights are upstream's defaults.

mod basic;
mod pods;

use crate::node::{NodeInfo, PodInfo};
use crate::term::Namespaces;

/// The sum of all plugins for each node.
pub fn totals(pod: &PodInfo, nodes: &[&NodeInfo], all: &[&NodeInfo], namespaces: &Namespaces) -> Vec<i64> {
    let mut sums = vec![0; nodes.len()];
    let mut add = |weight: i64, scores: Vec<i64>| {
        sums.iter_mut().zip(scores).for_each(|(sum, score)| *sum += weight * score);
    };
    add(3, normalised(nodes.iter().map(|n| basic::intolerable(pod, n)).collect(), true));
    add(2, normalised(nodes.iter().map(|n| basic::preferred(pod, n)).collect(), false));
    add(2, pods::spread(pod, nodes, all));
    add(2, pods::affinity(pod, nodes, all, namespaces));
    add(1, nodes.iter().map(|n| basic::least_allocated(pod, n)).collect());
    add(1, nodes.iter().map(|n| basic::balanced(pod, n)).collect());
    add(1, nodes.iter().map(|n| basic::images(pod, n, nodes, all.len())).collect());
    sums
}

/// `DefaultNormalizeScore`: the largest becomes 100; or, `reverse`, 0.
fn normalised(scores: Vec<i64>, reverse: bool) -> Vec<i64> {
    let max = scores.iter().copied().max().unwrap_or(0);
    let scale = |s: i64| match (max, reverse) {
        (0, true) => 100,
        (0, false) => s,
        (max, reverse) => {
            let scaled = 100 * s / max;
            if reverse { 100 - scaled } else { scaled }
        }
    };
    scores.into_iter().map(scale).collect()
}
