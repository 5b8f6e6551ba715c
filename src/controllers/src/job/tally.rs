//! What has become of a job's pods, as pure functions: counting without losing or doubling any, the back-off after
//! failures, and whether the job is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::Object;
use api::k8s_openapi::api::batch::v1::{JobSpec, JobStatus};
use api::k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use jiff::{SignedDuration, Timestamp};

use super::indexes;
use super::policy::{self, Action};
use super::retry::Retry;
use crate::pods;

pub const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
pub const INDEX: &str = "batch.kubernetes.io/job-completion-index";

const BACKOFF_FIRST: SignedDuration = SignedDuration::from_secs(10);
const BACKOFF_MAX: SignedDuration = SignedDuration::from_secs(600);

/// The job's pods, sorted by what has become of them.
pub struct Tally {
    pub active: Vec<Arc<Object>>,
    pub terminating: i32,
    pub ready: i32,
    /// Counted in status: those that have their finalizer no more.
    pub succeeded: i32,
    pub failed: i32,
    /// Ended, and still to be counted for good: they hold the finalizer, or are noted in `uncountedTerminatedPods`.
    pub uncounted_succeeded: BTreeSet<String>,
    pub uncounted_failed: BTreeSet<String>,
    /// Those of the above whose finalizer is still there.
    pub held: Vec<Arc<Object>>,
    pub completed_indexes: BTreeSet<u32>,
    pub failed_indexes: BTreeSet<u32>,
    /// By index: the pod that failed last, and has no successor yet. It is neither counted nor let go before.
    pub retries: BTreeMap<u32, Retry>,
    /// What the failure policy says: the message of the first pod that fails the job.
    pub fails_job: Option<String>,
}

pub fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.as_deref() == Some("Indexed")
}

/// Pods are replaced only once they have failed, not when they are merely going.
pub fn replaces_failed_only(spec: &JobSpec) -> bool {
    spec.pod_replacement_policy.as_deref() == Some("Failed")
}

pub fn index_of(pod: &Pod) -> Option<u32> {
    let meta = &pod.metadata;
    let text = meta.annotations.as_ref().and_then(|a| a.get(INDEX)).or_else(|| meta.labels.as_ref()?.get(INDEX))?;
    text.parse().ok()
}

pub fn holds_finalizer(o: &Object) -> bool {
    o.meta().has_finalizer(FINALIZER)
}

fn limit(n: Option<i32>) -> u32 {
    n.and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
}

impl Tally {
    pub fn of(spec: &JobSpec, status: Option<&JobStatus>, all: &[Arc<Object>]) -> Tally {
        let completions = limit(spec.completions);
        let set = |v: Option<&Vec<String>>| v.into_iter().flatten().cloned().collect::<BTreeSet<_>>();
        let uncounted = status.and_then(|s| s.uncounted_terminated_pods.as_ref());
        let (noted_succeeded, noted_failed) =
            (set(uncounted.and_then(|u| u.succeeded.as_ref())), set(uncounted.and_then(|u| u.failed.as_ref())));
        let mut tally = Tally {
            active: Vec::new(),
            terminating: 0,
            ready: 0,
            succeeded: status.and_then(|s| s.succeeded).unwrap_or(0),
            failed: status.and_then(|s| s.failed).unwrap_or(0),
            uncounted_succeeded: BTreeSet::new(),
            uncounted_failed: BTreeSet::new(),
            held: Vec::new(),
            completed_indexes: indexes::parse(
                status.and_then(|s| s.completed_indexes.as_deref()).unwrap_or(""),
                completions,
            ),
            failed_indexes: indexes::parse(status.and_then(|s| s.failed_indexes.as_deref()).unwrap_or(""), completions),
            retries: BTreeMap::new(),
            fails_job: None,
        };
        let held: BTreeSet<&str> = all.iter().filter(|o| holds_finalizer(o)).map(|o| o.uid()).collect();
        // what was noted and has let go since is counted for good now
        for (noted, counter, still) in [
            (noted_succeeded, &mut tally.succeeded, &mut tally.uncounted_succeeded),
            (noted_failed, &mut tally.failed, &mut tally.uncounted_failed),
        ] {
            for uid in noted {
                if held.contains(uid.as_str()) {
                    still.insert(uid);
                } else {
                    *counter += 1;
                }
            }
        }
        for o in all {
            if let Ok(pod) = o.view::<Pod>() {
                tally.sort(spec, o, pod, completions);
            }
        }
        let succeeded_by: BTreeSet<u32> = tally.active.iter().filter_map(|o| index_of(o.view::<Pod>().ok()?)).collect();
        tally.count_retries(|i, tally| {
            succeeded_by.contains(&i) || tally.completed_indexes.contains(&i) || tally.failed_indexes.contains(&i)
        });
        tally
    }

    /// Nothing is tried again: the last failures count as the others do.
    pub fn give_up(&mut self) {
        self.count_retries(|_, _| true);
    }

    fn count_retries(&mut self, is_over: impl Fn(u32, &Tally) -> bool) {
        for (index, retry) in std::mem::take(&mut self.retries) {
            if is_over(index, self) {
                self.hold(&retry.last, retry.counts);
            } else {
                self.retries.insert(index, retry);
            }
        }
    }

    /// A pod to be counted, and then let go.
    fn hold(&mut self, failed: &Arc<Object>, counts: bool) {
        self.held.push(failed.clone());
        if counts {
            self.uncounted_failed.insert(failed.uid().to_owned());
        }
    }

    fn sort(&mut self, spec: &JobSpec, object: &Arc<Object>, pod: &Pod, completions: u32) {
        let (phase, going) = (pods::phase(pod), pods::is_deleting(pod));
        if !pods::is_terminated(pod) {
            if going {
                self.terminating += 1;
            } else {
                self.active.push(object.clone());
                self.ready += i32::from(pods::is_ready(pod));
                return;
            }
        }
        if !holds_finalizer(object) {
            return;
        }
        let indexed = is_indexed(spec);
        let index = index_of(pod).filter(|i| *i < completions);
        if phase == "Succeeded" {
            self.held.push(object.clone());
            match index {
                Some(i) if indexed => drop(self.completed_indexes.insert(i)),
                None if indexed => {}
                _ => drop(self.uncounted_succeeded.insert(object.uid().to_owned())),
            }
        } else if phase == "Failed" || (going && !replaces_failed_only(spec)) {
            let action = policy::action(spec, pod);
            if let Action::FailJob(message) = &action {
                self.fails_job.get_or_insert(message.clone());
            }
            let counts = action != Action::Ignore;
            let Some(index) = index.filter(|_| indexed && spec.backoff_limit_per_index.is_some()) else {
                return self.hold(object, counts);
            };
            let Some(retry) = Retry::of(spec, object, pod, &action) else {
                self.failed_indexes.insert(index);
                return self.hold(object, counts);
            };
            // only the latest has no successor
            let older = match self.retries.remove(&index) {
                Some(other) if other.absolute() > retry.absolute() => {
                    self.retries.insert(index, other);
                    Some(retry)
                }
                other => {
                    self.retries.insert(index, retry);
                    other
                }
            };
            if let Some(older) = older {
                self.hold(&older.last, older.counts);
            }
        }
    }

    pub fn total_succeeded(&self, spec: &JobSpec) -> i32 {
        if is_indexed(spec) {
            self.completed_indexes.len() as i32
        } else {
            self.succeeded + self.uncounted_succeeded.len() as i32
        }
    }
    pub fn total_failed(&self) -> i32 {
        let retried = self.retries.values().filter(|r| r.counts).count();
        self.failed + (self.uncounted_failed.len() + retried) as i32
    }
    pub fn has_uncounted(&self) -> bool {
        !self.held.is_empty() || !self.uncounted_succeeded.is_empty() || !self.uncounted_failed.is_empty()
    }
}

/// How a job ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Complete { reason: &'static str, message: String },
    Failed { reason: &'static str, message: String },
}

impl End {
    fn failed(reason: &'static str, message: impl Into<String>) -> Option<End> {
        Some(End::Failed { reason, message: message.into() })
    }
}

/// Whether the job is over, and why: the failures first, in upstream's order.
pub fn end(spec: &JobSpec, tally: &Tally, started: Option<Timestamp>, now: Timestamp) -> Option<End> {
    if let Some(message) = &tally.fails_job {
        return End::failed("PodFailurePolicy", message.clone());
    }
    let limit = spec.backoff_limit.unwrap_or(6);
    if tally.total_failed() > limit || restarts_exceed(spec, tally, limit) {
        return End::failed("BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
    if deadline(spec, started).is_some_and(|d| d <= now) {
        return End::failed("DeadlineExceeded", "Job was active longer than specified deadline");
    }
    let (done, completions) = (tally.total_succeeded(spec), spec.completions);
    if is_indexed(spec) && spec.backoff_limit_per_index.is_some() {
        let failed = tally.failed_indexes.len() as i32;
        if spec.max_failed_indexes.is_some_and(|max| failed > max) {
            return End::failed(
                "MaxFailedIndexesExceeded",
                "Job has exceeded the specified maximal number of failed indexes",
            );
        }
        if failed > 0 && completions.is_some_and(|n| failed + done >= n) {
            return End::failed("FailedIndexes", "Job has failed indexes");
        }
    }
    if let Some(message) = policy::success(spec, &tally.completed_indexes) {
        return Some(End::Complete { reason: "SuccessPolicy", message });
    }
    let complete = match completions {
        // any success ends it, once the others are done
        None => done > 0 && tally.active.is_empty(),
        Some(n) => done >= n && tally.active.is_empty(),
    };
    let message = "Reached expected number of succeeded pods".to_owned();
    complete.then_some(End::Complete { reason: "CompletionsReached", message })
}

/// With `restartPolicy: OnFailure` the kubelet's restarts are the failures.
fn restarts_exceed(spec: &JobSpec, tally: &Tally, limit: i32) -> bool {
    if spec.template.spec.as_ref().and_then(|s| s.restart_policy.as_deref()) != Some("OnFailure") {
        return false;
    }
    let of = |c: Option<&Vec<ContainerStatus>>| c.into_iter().flatten().map(|c| c.restart_count).sum::<i32>();
    let running = tally.active.iter().filter_map(|o| o.view::<Pod>().ok()?.status.as_ref());
    let restarts: i32 =
        running.map(|s| of(s.init_container_statuses.as_ref()) + of(s.container_statuses.as_ref())).sum();
    if limit == 0 { restarts > 0 } else { restarts >= limit }
}

pub fn deadline(spec: &JobSpec, started: Option<Timestamp>) -> Option<Timestamp> {
    started?.checked_add(SignedDuration::from_secs(spec.active_deadline_seconds?)).ok()
}

/// When a pod ended: the last of its containers, or its last sign of change.
pub fn finished_at(pod: &Pod) -> Option<Timestamp> {
    let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref());
    let ended = |c: &ContainerStatus| Some(c.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()?.0);
    let last = statuses.into_iter().flatten().filter_map(ended).max();
    let deleted = || pod.metadata.deletion_timestamp.as_ref().map(|t| t.0);
    last.or_else(deleted).or_else(|| pods::condition(pod, "Ready")?.last_transition_time.as_ref().map(|t| t.0))
}

/// How long to wait with the next pod after failures in a row: 10 s, doubling to 10 minutes.
pub fn backoff(all: &[Arc<Object>], now: Timestamp) -> Option<SignedDuration> {
    let ended = |phase: &str| {
        let pods = all.iter().filter_map(|o| o.view::<Pod>().ok());
        pods.filter(|p| pods::phase(p) == phase).filter_map(finished_at).collect::<Vec<_>>()
    };
    let success = ended("Succeeded").into_iter().max();
    let failures: Vec<_> = ended("Failed").into_iter().filter(|t| success.is_none_or(|s| *t > s)).collect();
    left(failures.len() as u32, *failures.iter().max()?, now)
}

/// What is left of the wait after so many failures.
pub fn left(failures: u32, last: Timestamp, now: Timestamp) -> Option<SignedDuration> {
    let doubled = 1i32.checked_shl(failures.saturating_sub(1)).filter(|n| *n > 0).unwrap_or(i32::MAX);
    let wait = BACKOFF_FIRST.checked_mul(doubled).unwrap_or(BACKOFF_MAX).min(BACKOFF_MAX);
    let left = wait - now.duration_since(last);
    left.is_positive().then_some(left)
}
