//! `backoffLimitPerIndex`: an index that has failed is tried again by itself, so often and so late as its own failures say:
//! upstream's `backoff_utils.go` and `indexed_job_utils.go`. A pod carries how often its index had failed before it; the last that
//! failed keeps its finalizer until its successor is there, so that the count is never lost.

use std::sync::Arc;

use api::Object;
use api::k8s_openapi::api::batch::v1::JobSpec;
use api::k8s_openapi::api::core::v1::Pod;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::policy::Action;
use super::tally;

const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
const IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// A failed pod whose index is to be tried again.
pub struct Retry {
    pub last: Arc<Object>,
    /// It counts towards `backoffLimit`, too: no rule says that it shall be ignored.
    pub counts: bool,
    /// Of its index, with this one.
    failures: i32,
    ignored: i32,
    ended: Option<Timestamp>,
}

impl Retry {
    /// Of a failed pod; `None` where its index has failed for good, or is none of its own.
    pub fn of(spec: &JobSpec, object: &Arc<Object>, pod: &Pod, action: &Action) -> Option<Retry> {
        let limit = spec.backoff_limit_per_index?;
        let annotations = pod.metadata.annotations.as_ref();
        let before = |key| annotations.and_then(|a| a.get(key)?.parse::<i32>().ok()).unwrap_or(0).max(0);
        let counts = *action != Action::Ignore;
        let (failures, ignored) =
            (before(FAILURES).saturating_add(counts.into()), before(IGNORED).saturating_add((!counts).into()));
        if *action == Action::FailIndex || (counts && failures > limit) {
            return None;
        }
        Some(Retry { last: object.clone(), counts, failures, ignored, ended: tally::finished_at(pod) })
    }

    /// How often its index has failed, whether it counts or not.
    pub fn absolute(&self) -> i32 {
        self.failures.saturating_add(self.ignored)
    }

    /// How long its successor has to wait.
    pub fn wait(&self, now: Timestamp) -> Option<SignedDuration> {
        tally::left(u32::try_from(self.absolute()).unwrap_or(1), self.ended?, now)
    }
}

/// Notes in an index's next pod how often the index has failed.
pub fn annotate(pod: &mut Value, spec: &JobSpec, retry: Option<&Retry>) {
    if spec.backoff_limit_per_index.is_none() {
        return;
    }
    let annotations = &mut pod["metadata"]["annotations"];
    annotations[FAILURES] = json!(retry.map_or(0, |r| r.failures).to_string());
    if let Some(n) = retry.map(|r| r.ignored).filter(|n| *n > 0) {
        annotations[IGNORED] = json!(n.to_string());
    }
}
