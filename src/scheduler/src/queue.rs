//! Pods that wait for a node: upstream's `backend/queue`.
//!
//! ```text
//!   new pod ──► active ──pop──► scheduling ──no node──► unschedulable ──an event that could help──► backoff ──► active
//!                  ▲                └────────error────► backoff ──────────────────────────────────────┘
//! ```
//! While nothing is active, a pod that an event has woken need not wait out its back-off.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::event::{Event, Plugins};
use crate::node::PodInfo;

const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub struct Queued {
    pub pod: Arc<PodInfo>,
    /// How often it found no node, or an error.
    pub attempts: u32,
    since: Instant,
    /// Orders pods that came at the same instant.
    sequence: u64,
}

/// Higher priority first, then the one that waits longer.
type Rank = (Reverse<i32>, Instant, u64);

impl Queued {
    fn rank(&self) -> Rank {
        (Reverse(self.pod.priority()), self.since, self.sequence)
    }
    fn uid(&self) -> Box<str> {
        self.pod.object.uid().into()
    }
}

struct Waiting {
    queued: Queued,
    rejected_by: Plugins,
    failed_at: Instant,
}

struct Backoff {
    queued: Queued,
    until: Instant,
    /// Woken by an event, rather than put off by an error.
    woken: bool,
}

#[derive(Default)]
pub struct Queue {
    active: BTreeMap<Rank, Queued>,
    backoff: HashMap<Box<str>, Backoff>,
    unschedulable: HashMap<Box<str>, Waiting>,
    ranks: HashMap<Box<str>, Rank>,
    sequence: u64,
}

pub enum Next {
    Pod(Queued),
    /// Nothing before that.
    At(Instant),
    Idle,
}

fn backoff(attempts: u32) -> Duration {
    BACKOFF_FIRST.saturating_mul(1 << attempts.saturating_sub(1).min(8)).min(BACKOFF_MAX)
}

impl Queue {
    /// A pod that is new to the scheduler.
    pub fn add(&mut self, pod: Arc<PodInfo>, now: Instant) {
        self.remove(pod.object.uid());
        self.sequence += 1;
        self.activate(Queued { pod, attempts: 0, since: now, sequence: self.sequence });
    }
    /// A pod that must not be scheduled before its gates are gone.
    pub fn add_gated(&mut self, pod: Arc<PodInfo>, now: Instant) {
        self.remove(pod.object.uid());
        self.sequence += 1;
        let queued = Queued { pod, attempts: 0, since: now, sequence: self.sequence };
        self.put_off(queued, Plugins::GATES, now);
    }
    /// A newer state of a waiting pod. `retry`: the change could help.
    pub fn update(&mut self, pod: Arc<PodInfo>, retry: bool) -> bool {
        let uid: Box<str> = pod.object.uid().into();
        if let Some(rank) = self.ranks.remove(&uid) {
            if let Some(mut queued) = self.active.remove(&rank) {
                queued.pod = pod;
                self.activate(queued);
            }
            return true;
        }
        if let Some(b) = self.backoff.get_mut(&uid) {
            b.queued.pod = pod;
            return true;
        }
        let Some(mut waiting) = self.unschedulable.remove(&uid) else { return false };
        waiting.queued.pod = pod;
        if retry {
            self.activate(waiting.queued);
        } else {
            self.unschedulable.insert(uid, waiting);
        }
        true
    }
    pub fn remove(&mut self, uid: &str) {
        if let Some(rank) = self.ranks.remove(uid) {
            self.active.remove(&rank);
        }
        self.backoff.remove(uid);
        self.unschedulable.remove(uid);
    }

    /// No node would have it, for what these plugins said.
    pub fn unschedulable(&mut self, mut queued: Queued, rejected_by: Plugins, now: Instant) {
        queued.attempts += 1;
        self.put_off(queued, rejected_by, now);
    }
    /// Something failed that has nothing to do with nodes.
    pub fn failed(&mut self, mut queued: Queued, now: Instant) {
        queued.attempts += 1;
        let until = now + backoff(queued.attempts);
        self.backoff.insert(queued.uid(), Backoff { queued, until, woken: false });
    }

    /// Wakes what `event` could help.
    pub fn wake(&mut self, event: Event, now: Instant) {
        let helped = event.helps();
        let uids: Vec<Box<str>> = self
            .unschedulable
            .iter()
            .filter(|(_, w)| w.rejected_by.intersects(helped) && !w.rejected_by.intersects(Plugins::GATES))
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in uids {
            let Some(w) = self.unschedulable.remove(&uid) else { continue };
            let until = w.failed_at + backoff(w.queued.attempts);
            if until <= now {
                self.activate(w.queued);
            } else {
                self.backoff.insert(uid, Backoff { queued: w.queued, until, woken: true });
            }
        }
    }

    pub fn next(&mut self, now: Instant) -> Next {
        let due: Vec<Box<str>> = self.backoff.iter().filter(|(_, b)| b.until <= now).map(|(u, _)| u.clone()).collect();
        for uid in due {
            if let Some(b) = self.backoff.remove(&uid) {
                self.activate(b.queued);
            }
        }
        if let Some((_, queued)) = self.active.pop_first() {
            self.ranks.remove(queued.pod.object.uid());
            return Next::Pod(queued);
        }
        let woken = self.backoff.iter().filter(|(_, b)| b.woken).min_by_key(|(_, b)| b.queued.rank());
        if let Some(uid) = woken.map(|(uid, _)| uid.clone())
            && let Some(b) = self.backoff.remove(&uid)
        {
            return Next::Pod(b.queued);
        }
        self.backoff.values().map(|b| b.until).min().map_or(Next::Idle, Next::At)
    }

    fn activate(&mut self, queued: Queued) {
        self.ranks.insert(queued.uid(), queued.rank());
        self.active.insert(queued.rank(), queued);
    }
    fn put_off(&mut self, queued: Queued, rejected_by: Plugins, now: Instant) {
        self.unschedulable.insert(queued.uid(), Waiting { queued, rejected_by, failed_at: now });
    }
}
