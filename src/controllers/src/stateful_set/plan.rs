//! The next step of a StatefulSet, as a pure function: upstream's `updateStatefulSet`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use api::Object;
use api::k8s_openapi::api::core::v1::Pod;
use jiff::{SignedDuration, Timestamp};

use super::pods::{is_healthy, revision};
use crate::pods;

/// What is wanted.
pub struct Goal<'a> {
    pub ordinals: Range<i32>,
    /// One pod after the other, waiting for each: `OrderedReady`.
    pub ordered: bool,
    /// Pods below this number keep the current revision; `None`: all keep theirs (`OnDelete`).
    pub partition: Option<i32>,
    pub min_ready_seconds: i32,
    pub update: &'a str,
    pub max_unavailable: usize,
}

#[derive(Debug, Default)]
pub struct Plan {
    pub create: Vec<i32>,
    pub delete: Vec<Arc<Object>>,
    /// Pods beyond the wanted ones among `delete`.
    pub condemned: Vec<Arc<Object>>,
    /// A pod becomes available then, if it stays ready.
    pub wait: Option<SignedDuration>,
}

pub fn plan(goal: &Goal, pods: &BTreeMap<i32, Arc<Object>>, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let view = |o: &Arc<Object>| o.view::<Pod>().ok().cloned();
    let mut available = |o: &Arc<Object>| {
        is_healthy(o)
            && view(o).is_some_and(|p| match pods::available(&p, goal.min_ready_seconds, now) {
                Ok(is) => is,
                Err(left) => {
                    plan.wait = Some(plan.wait.map_or(left, |w| w.min(left)));
                    false
                }
            })
    };
    let healthy: BTreeMap<i32, bool> = pods.iter().map(|(i, o)| (*i, available(o))).collect();
    let ok = |i: &i32| healthy.get(i).copied().unwrap_or(false);
    for i in goal.ordinals.clone() {
        match pods.get(&i) {
            None => {
                plan.create.push(i);
                if goal.ordered {
                    return plan;
                }
            }
            Some(pod) if view(pod).is_some_and(|p| pods::is_terminated(&p)) => {
                // it comes again once it is gone
                if !pod.meta().is_deleting() {
                    plan.delete.push(pod.clone());
                }
                if goal.ordered {
                    return plan;
                }
            }
            Some(_) if goal.ordered && !ok(&i) => return fix_broken(goal, pods, plan, &ok),
            Some(_) => {}
        }
    }
    // the highest first; an unhealthy one may go before all are healthy only if it is the lowest unhealthy
    let condemned: Vec<(&i32, &Arc<Object>)> = pods.iter().rev().filter(|(i, _)| !goal.ordinals.contains(*i)).collect();
    let first_unhealthy = pods.keys().find(|i| !ok(i)).copied();
    for (i, pod) in condemned {
        if pod.meta().is_deleting() {
            if goal.ordered {
                return plan;
            }
            continue;
        }
        if goal.ordered && !ok(i) && first_unhealthy != Some(*i) {
            return plan;
        }
        plan.delete.push(pod.clone());
        plan.condemned.push(pod.clone());
        if goal.ordered {
            return plan;
        }
    }
    if plan.create.is_empty() && plan.delete.is_empty() {
        roll(goal, pods, &mut plan, &ok);
    }
    plan
}

/// From the highest number down, so many at a time, each waiting for those above it.
fn roll(goal: &Goal, pods: &BTreeMap<i32, Arc<Object>>, plan: &mut Plan, ok: &impl Fn(&i32) -> bool) {
    let Some(partition) = goal.partition else { return };
    let mut unavailable = 0;
    for (i, pod) in pods.range(partition.max(goal.ordinals.start)..).rev().filter(|(i, _)| goal.ordinals.contains(*i)) {
        if unavailable >= goal.max_unavailable {
            return;
        }
        if pod.meta().is_deleting() {
            unavailable += 1;
        } else if revision(pod) != goal.update {
            plan.delete.push(pod.clone());
            unavailable += 1;
        } else if !ok(i) {
            unavailable += 1;
        }
    }
}

/// A pod of an old revision that never became ready would hold up its own repair: it may be updated meanwhile.
fn fix_broken(goal: &Goal, pods: &BTreeMap<i32, Arc<Object>>, mut plan: Plan, ok: &impl Fn(&i32) -> bool) -> Plan {
    let all_there = goal.ordinals.clone().all(|i| pods.get(&i).is_some_and(|p| !p.meta().is_deleting()));
    if all_there {
        roll(goal, pods, &mut plan, ok);
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Draft;
    use serde_json::json;

    /// `o`: old and healthy, `O`: old and not, `n` and `N`: new, `t`: terminating, `.`: none.
    fn pods(text: &str) -> BTreeMap<i32, Arc<Object>> {
        let mut all = BTreeMap::new();
        for (i, c) in text.chars().enumerate().filter(|(_, c)| *c != '.') {
            let ready = if c.is_lowercase() { "True" } else { "False" };
            let mut tree = json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": format!("p-{i}"), "labels": {"controller-revision-hash": c.to_ascii_lowercase().to_string()}},
                "spec": {"containers": []}, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}});
            if c == 't' {
                tree["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            all.insert(i as i32, Arc::new(Draft::encode(&tree).unwrap().at(1)));
        }
        all
    }

    #[test]
    fn steps() {
        for (text, replicas, ordered, partition, create, delete) in [
            ("", 3, true, Some(0), vec![0], vec![]),
            ("n", 3, true, Some(0), vec![1], vec![]),
            ("N", 3, true, Some(0), vec![], vec![]),
            ("", 3, false, Some(0), vec![0, 1, 2], vec![]),
            ("n.n", 3, true, Some(0), vec![1], vec![]),
            ("nnn", 1, true, Some(0), vec![], vec![2]),
            ("nnt", 1, true, Some(0), vec![], vec![]),
            ("nnn", 1, false, Some(0), vec![], vec![2, 1]),
            ("ooo", 3, true, Some(0), vec![], vec![2]),
            ("oon", 3, true, Some(0), vec![], vec![1]),
            ("ooN", 3, true, Some(0), vec![], vec![]),
            ("ooo", 3, true, Some(2), vec![], vec![2]),
            ("oon", 3, true, Some(2), vec![], vec![]),
            ("ooo", 3, true, None, vec![], vec![]),
            ("ooO", 3, true, Some(0), vec![], vec![2]),
        ] {
            let goal = Goal {
                ordinals: 0..replicas,
                ordered,
                partition,
                min_ready_seconds: 0,
                update: "n",
                max_unavailable: 1,
            };
            let plan = plan(&goal, &pods(text), Timestamp::UNIX_EPOCH);
            let deleted: Vec<i32> = plan.delete.iter().map(|o| o.name()[2..].parse().unwrap()).collect();
            assert_eq!((plan.create, deleted), (create, delete), "{text} to {replicas}");
        }
    }
}
