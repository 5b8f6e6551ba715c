//! Which of the nodes that would do is best? Each plugin gives 0 to 100; weights are upstream's defaults.

mod basic;

use crate::filter::Cycle;
use crate::node::NodeInfo;

/// The sum of all plugins for each node.
pub fn totals(cycle: &Cycle, nodes: &[&NodeInfo], all_nodes: usize) -> Vec<i64> {
    let mut sums = vec![0; nodes.len()];
    let mut add = |weight: i64, scores: Vec<i64>| {
        sums.iter_mut().zip(scores).for_each(|(sum, score)| *sum += weight * score);
    };
    let pod = cycle.pod;
    add(3, normalised(nodes.iter().map(|n| basic::intolerable(pod, n)).collect(), true));
    add(2, normalised(nodes.iter().map(|n| basic::preferred(pod, n)).collect(), false));
    add(1, nodes.iter().map(|n| basic::least_allocated(pod, n)).collect());
    add(1, nodes.iter().map(|n| basic::balanced(pod, n)).collect());
    add(1, nodes.iter().map(|n| basic::images(pod, n, nodes, all_nodes)).collect());
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
