//! What to create and delete on each node, as a pure function: upstream's `podsShouldBeOnNode` and `rollingUpdate`.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::Object;
use api::k8s_openapi::api::core::v1::Pod;
use jiff::Timestamp;
use scheduler::DaemonFit;

use crate::{history, pods};

/// One node, and the daemon pods that are there or on their way there.
pub struct Place {
    pub fit: DaemonFit,
    pub pods: Vec<Arc<Object>>,
}

impl Place {
    pub fn should_run(&self) -> bool {
        self.fit.wanted && self.fit.may_come
    }
    fn may_continue(&self) -> bool {
        self.fit.wanted && self.fit.may_stay
    }
}

/// How an update goes on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    /// Old pods go only when somebody deletes them.
    pub on_delete: bool,
    pub max_unavailable: usize,
    pub max_surge: usize,
    pub min_ready_seconds: i32,
}

#[derive(Default)]
pub struct Plan {
    /// Names of nodes.
    pub create: Vec<String>,
    pub delete: Vec<Arc<Object>>,
    /// Pods that failed: they are deleted and come again.
    pub failed: Vec<Arc<Object>>,
}

fn view(o: &Object) -> Option<&Pod> {
    o.view::<Pod>().ok()
}

fn available(o: &Object, pace: &Pace, now: Timestamp) -> bool {
    view(o).is_some_and(|p| !pods::is_deleting(p) && pods::available(p, pace.min_ready_seconds, now) == Ok(true))
}

fn is_new(o: &Object, hash: &str) -> bool {
    o.meta().labels.get(history::HASH_LABEL).is_some_and(|h| **h == *hash)
}

pub fn plan(places: &BTreeMap<String, Place>, hash: &str, pace: Pace, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let mut outdated: Vec<(&String, Arc<Object>, bool)> = Vec::new();
    let (mut unavailable, mut surging) = (0, 0);
    for (node, place) in places {
        let (dead, live): (Vec<_>, Vec<_>) =
            place.pods.iter().cloned().partition(|o| view(o).is_some_and(pods::is_terminated));
        plan.failed.extend(dead.iter().filter(|o| !o.meta().is_deleting()).cloned());
        let (going, mut here): (Vec<_>, Vec<_>) = live.into_iter().partition(|o| o.meta().is_deleting());
        if !place.may_continue() {
            plan.delete.extend(here);
            continue;
        }
        here.sort_by(|a, b| a.meta().creation_timestamp.cmp(&b.meta().creation_timestamp));
        let (new, old): (Vec<_>, Vec<_>) = here.into_iter().partition(|o| is_new(o, hash));
        if new.is_empty() && old.is_empty() {
            // the last one must be gone first, and the failed ones too
            if place.should_run() {
                unavailable += 1;
                if going.is_empty() && dead.is_empty() {
                    plan.create.push(node.clone());
                }
            }
            continue;
        }
        let ready = new.iter().chain(&old).any(|o| available(o, &pace, now));
        unavailable += usize::from(!ready && place.should_run());
        match (new.split_first(), old.split_first()) {
            (Some((first, others)), None) => {
                let _ = first;
                plan.delete.extend(others.iter().cloned());
            }
            // an update by surge: the old one goes once the new one is available
            (Some((first, others)), Some(_)) => {
                plan.delete.extend(others.iter().cloned());
                if pace.max_surge == 0 || available(first, &pace, now) {
                    plan.delete.extend(old.iter().cloned());
                } else {
                    surging += 1;
                }
            }
            (None, Some((first, others))) => {
                plan.delete.extend(others.iter().cloned());
                outdated.push((node, first.clone(), ready));
            }
            (None, None) => {}
        }
    }
    if pace.on_delete {
        return plan;
    }
    // what does not work anyway is replaced at once
    let mut budget = pace.max_unavailable.saturating_sub(unavailable);
    let mut surge = pace.max_surge.saturating_sub(surging);
    for (node, pod, ready) in outdated {
        if !ready {
            plan.delete.push(pod);
        } else if pace.max_surge > 0 {
            if surge > 0 && places[node].should_run() {
                surge -= 1;
                plan.create.push(node.clone());
            }
        } else if budget > 0 {
            budget -= 1;
            plan.delete.push(pod);
        }
    }
    plan
}
