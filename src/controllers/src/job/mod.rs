//! Jobs: pods that run to completion. Upstream's `pkg/controller/job` and `ttlafterfinished`.
//!
//! Each pod holds a finalizer until it is counted, so none is lost or counted twice: first its uid is noted in
//! `status.uncountedTerminatedPods`, then the finalizer goes, then the counter rises and the note goes ([`tally`]).

mod indexes;
mod policy;
mod retry;
mod tally;

use std::collections::BTreeSet;
use std::sync::Arc;

use api::k8s_openapi::api::batch::v1::{Job, JobSpec};
use api::k8s_openapi::api::core::v1::Pod;
use api::labels::Selector;
use api::{Object, Resource, Value};
use client::{
    Change, Controller, DeleteOptions, Index, Informer, ObjectKey, Precondition, Propagation, Recorder, Requeue,
    Target, WorkQueue, WriteOptions,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::claim::{by_owner, claim};
use crate::expectations::Expectations;
use crate::pods::controller_key;
use crate::status::{self, Conditions, omit_zero};
use crate::{Context, Error, batch, finalizers, pods};
use tally::{End, FINALIZER, INDEX, Tally, holds_finalizer, is_indexed};

const NAME: &str = "job-controller";
/// Pods made or deleted in one sync.
const BURST: usize = 500;

struct Jobs {
    ctx: Context,
    recorder: Recorder,
    jobs: Informer,
    pod_cache: Informer,
    pods: Index,
    /// Pods that hold the finalizer and whose job may be gone.
    orphans: WorkQueue<ObjectKey>,
    expectations: Expectations,
}

/// Runs until `stop`.
pub async fn run(ctx: Context, stop: CancellationToken) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let pods = ctx.informers.of::<Pod>();
    let this = Arc::new(Jobs {
        recorder: ctx.recorder.component(NAME),
        jobs: ctx.informers.of::<Job>(),
        pods: pods.index(by_owner),
        pod_cache: pods.clone(),
        orphans: WorkQueue::new(),
        expectations: Expectations::default(),
        ctx,
    });
    // jobs first: a pod should not be told that there are none
    this.jobs.synced().await;
    let (q, me) = (queue.clone(), this.clone());
    this.jobs.on_change(move |c| {
        let key = ObjectKey::of(c.object());
        if let Some(gone) = c.gone() {
            me.pods.get(gone.uid()).iter().for_each(|p| me.orphans.add(ObjectKey::of(p)));
            me.expectations.forget(&key);
        }
        q.add(key);
    });
    let (q, me) = (queue.clone(), this.clone());
    pods.on_change(move |c| me.pod_changed(c, &q));
    pods.synced().await;
    let orphans = Controller { name: NAME, workers: 1, queue: this.orphans.clone() };
    let me = this.clone();
    let orphans = orphans.run(stop.clone(), move |key| {
        let me = me.clone();
        async move { me.release_orphan(&key).await }
    });
    let jobs = Controller { name: NAME, workers: 4, queue };
    let jobs = jobs.run(stop, move |key| {
        let this = this.clone();
        async move { this.sync(key).await }
    });
    tokio::join!(orphans, jobs);
}

fn finished(conditions: &Conditions) -> Option<Timestamp> {
    let over =
        conditions.0.iter().find(|c| (c["type"] == "Complete" || c["type"] == "Failed") && c["status"] == "True")?;
    over["lastTransitionTime"].as_str()?.parse().ok()
}

impl Jobs {
    fn pod_changed(&self, change: &Change, queue: &WorkQueue<ObjectKey>) {
        let pod = change.object();
        if change.new.is_some() && holds_finalizer(pod) && self.job_of(pod).is_none() {
            self.orphans.add(ObjectKey::of(pod));
        }
        self.expectations.pod_changed::<Job>(change).into_iter().for_each(|key| queue.add(key));
    }

    /// The job that controls a pod, as cached.
    fn job_of(&self, pod: &Object) -> Option<Arc<Object>> {
        let key = controller_key::<Job>(pod)?;
        let uid = &pod.meta().controller()?.uid;
        self.jobs.get(&key.namespace, &key.name).filter(|j| j.uid() == &**uid)
    }

    /// A pod whose job is gone has nobody to be counted by: `syncOrphanPod`.
    async fn release_orphan(&self, key: &ObjectKey) -> Result<Requeue, Error> {
        let Some(pod) = self.pod_cache.get(&key.namespace, &key.name) else { return Ok(None) };
        if !holds_finalizer(&pod) || self.job_of(&pod).is_some() {
            return Ok(None);
        }
        if let Some(job) = controller_key::<Job>(&pod) {
            match self.ctx.client.get(&Target::one(Job::gvr(), &job.namespace, &job.name)).await {
                Ok(job) if pod.meta().controller().is_some_and(|o| *o.uid == *job.uid()) => return Ok(None),
                Err(e) if !e.is_not_found() => return Err(e.into()),
                _ => {}
            }
        }
        self.remove_finalizer(&pod).await.map(|()| None)
    }

    async fn sync(&self, key: ObjectKey) -> Result<Requeue, Error> {
        let Some(object) = self.jobs.get(&key.namespace, &key.name) else { return Ok(None) };
        // a status from before a pod was counted, beside a pod that has been let go, would have it run again
        if self.expectations.is_stale(&key, object.revision()) {
            return Ok(None);
        }
        let job = object.view::<Job>()?;
        let Some(spec) = &job.spec else { return Ok(None) };
        if spec.managed_by.as_deref().is_some_and(|m| m != "kubernetes.io/job-controller") {
            return Ok(None);
        }
        let mut conditions = Conditions::of(&object.tree()["status"]);
        if let Some(at) = finished(&conditions) {
            return self.after_the_end(&object, spec, at).await;
        }
        let satisfied = self.expectations.satisfied(&key);
        let selector = Selector::from_typed(spec.selector.as_ref())?;
        let all = claim::<Job>(&*self.ctx.client, &object, &selector, &self.pods, &Pod::gvr()).await?;
        let now = self.ctx.clock.now();
        let mut tally = Tally::of(spec, job.status.as_ref(), &all);
        let suspended = spec.suspend == Some(true);
        let mut started = job.status.as_ref().and_then(|s| s.start_time.as_ref()).map(|t| t.0);
        if started.is_none() && !suspended {
            started = Some(now);
        }
        let target = conditions
            .0
            .iter()
            .find(|c| (c["type"] == "FailureTarget" || c["type"] == "SuccessCriteriaMet") && c["status"] == "True");
        let end = match target {
            Some(c) => Some(End::from_target(c)),
            None => tally::end(spec, &tally, started, now),
        };
        if end.is_some() || object.meta().is_deleting() {
            tally.give_up();
        }
        let mut again = None;
        let mut active = tally.active.len();
        let result = if object.meta().is_deleting() || !satisfied {
            Ok(())
        } else if end.is_some() {
            active = 0;
            self.delete_pods(&key, &object, &tally.active).await
        } else if suspended {
            active = 0;
            self.withdraw_pods(&key, &object, &tally.active).await
        } else {
            again = tally::deadline(spec, started).map(|d| d.duration_since(now));
            let (count, wait, result) = self.manage(&key, &object, spec, &tally, &all, now).await;
            active = count;
            again = [again, wait].into_iter().flatten().min();
            result
        };
        self.note_suspension(&object, suspended, &mut conditions);
        if suspended && !conditions.0.is_empty() && end.is_none() {
            started = None;
        }
        if end.is_some() {
            // what is over has begun, suspended or not: its status is refused otherwise
            started.get_or_insert(now);
        }
        self.note_end(&object, end.as_ref(), &tally, active, &mut conditions);
        self.write(&object, spec, &tally, active, started, conditions).await?;
        self.release(&tally).await?;
        match result {
            Err(e) if !e.is_gone() => Err(e),
            _ => Ok(again.map(crate::after)),
        }
    }

    /// Finalizers of late pods go; the job itself after its time to live.
    async fn after_the_end(&self, job: &Object, spec: &JobSpec, at: Timestamp) -> Result<Requeue, Error> {
        for pod in self.pods.get(job.uid()) {
            self.remove_finalizer(&pod).await?;
        }
        let Some(ttl) = spec.ttl_seconds_after_finished.filter(|_| !job.meta().is_deleting()) else { return Ok(None) };
        let due = at.checked_add(SignedDuration::from_secs(ttl.into())).unwrap_or(Timestamp::MAX);
        let left = due.duration_since(self.ctx.clock.now());
        if left.is_positive() {
            return Ok(Some(crate::after(left)));
        }
        let precondition = Precondition { uid: Some(job.uid().into()), revision: Some(job.revision()) };
        let options = DeleteOptions { propagation: Some(Propagation::Foreground), precondition, ..Default::default() };
        match self.ctx.client.delete(&Target::one(Job::gvr(), job.namespace(), job.name()), &options).await {
            Err(e) if !e.is_not_found() => Err(e.into()),
            _ => Ok(None),
        }
    }

    /// `manageJob`: brings the number of active pods to what is wanted. Returns the number that should be active now, and
    /// when to come again for failures' sake.
    async fn manage(
        &self,
        key: &ObjectKey,
        job: &Arc<Object>,
        spec: &JobSpec,
        tally: &Tally,
        all: &[Arc<Object>],
        now: Timestamp,
    ) -> (usize, Option<SignedDuration>, Result<(), Error>) {
        let size = |n: Option<i32>| usize::try_from(n.unwrap_or(1)).unwrap_or(0);
        let (active, done) = (tally.active.len(), usize::try_from(tally.total_succeeded(spec)).unwrap_or(0));
        let wanted = match spec.completions {
            None if done > 0 => active.min(size(spec.parallelism)),
            None => size(spec.parallelism),
            Some(n) => size(spec.parallelism).min(size(Some(n)).saturating_sub(done + tally.failed_indexes.len())),
        };
        if active > wanted {
            let mut victims = tally.active.clone();
            // those that have come least far
            victims.sort_by_key(|o| {
                o.view::<Pod>().map_or((false, false), |p| (pods::phase(p) == "Running", pods::is_ready(p)))
            });
            victims.truncate(active - wanted);
            return (wanted, None, self.withdraw_pods(key, job, &victims).await);
        }
        let replaced_late =
            if tally::replaces_failed_only(spec) { usize::try_from(tally.terminating).unwrap_or(0) } else { 0 };
        let missing = wanted.saturating_sub(active + replaced_late).min(BURST);
        if missing == 0 {
            return (active, None, Ok(()));
        }
        let mut wait = None;
        let template = job.tree()["spec"]["template"].take();
        let trees: Vec<Value> = if is_indexed(spec) {
            let free = self.free_indexes(spec, tally);
            let due = if spec.backoff_limit_per_index.is_some() {
                let waits = |i: &u32| tally.retries.get(i).and_then(|r| r.wait(now));
                wait = free.iter().filter_map(waits).min();
                free.into_iter().filter(|i| waits(i).is_none()).collect()
            } else {
                free
            };
            let pod = |i: u32| {
                let mut pod = indexed_pod(job, &template, i);
                retry::annotate(&mut pod, spec, tally.retries.get(&i));
                pod
            };
            due.into_iter().take(missing).map(pod).collect()
        } else {
            vec![plain_pod(job, &template, &pods::prefix(job.name())); missing]
        };
        if spec.backoff_limit_per_index.is_none()
            && let Some(wait) = tally::backoff(all, now)
        {
            return (active, Some(wait), Ok(()));
        }
        if trees.is_empty() {
            return (active, wait, Ok(()));
        }
        let count = trees.len();
        self.expectations.expect_creations(key, count);
        let next = std::sync::atomic::AtomicUsize::new(0);
        let (made, error) = batch::slow_start(count, || {
            let tree = trees[next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % count].clone();
            async move { self.create(job, tree).await }
        })
        .await;
        self.expectations.created(key, count - made);
        (active + made, wait, error.map_or(Ok(()), Err))
    }

    /// The lowest indexes that no pod has.
    fn free_indexes(&self, spec: &JobSpec, tally: &Tally) -> Vec<u32> {
        let taken: BTreeSet<u32> = tally.active.iter().filter_map(|o| tally::index_of(o.view::<Pod>().ok()?)).collect();
        let all = 0..u32::try_from(spec.completions.unwrap_or(0)).unwrap_or(0);
        let over = |i: &u32| tally.completed_indexes.contains(i) || tally.failed_indexes.contains(i);
        all.filter(|i| !taken.contains(i) && !over(i)).collect()
    }

    async fn create(&self, job: &Object, pod: Value) -> Result<(), Error> {
        match self.ctx.client.create(&Target::within(Pod::gvr(), job.namespace()), pod, &WriteOptions::default()).await
        {
            Ok(pod) => {
                self.recorder.normal::<Job>(job, "SuccessfulCreate", format!("Created pod: {}", pod.name()));
                Ok(())
            }
            Err(e) => {
                if !crate::error::is_terminating_namespace(&e) {
                    self.recorder.warning::<Job>(job, "FailedCreate", format!("Error creating: {e}"));
                }
                Err(e.into())
            }
        }
    }

    /// Deletes pods that shall not count as failed: upstream's `deleteJobPods`.
    async fn withdraw_pods(&self, key: &ObjectKey, job: &Object, victims: &[Arc<Object>]) -> Result<(), Error> {
        for pod in victims {
            self.remove_finalizer(pod).await?;
        }
        self.delete_pods(key, job, victims).await
    }

    /// Deletes pods, which count as failed once they have ended: upstream's `deleteActivePods`.
    async fn delete_pods(&self, key: &ObjectKey, job: &Object, victims: &[Arc<Object>]) -> Result<(), Error> {
        for pod in victims {
            self.expectations.expect_deletion(key, pod.uid());
            let options = DeleteOptions::of(pod);
            match self.ctx.client.delete(&Target::one(Pod::gvr(), pod.namespace(), pod.name()), &options).await {
                Ok(_) => self.recorder.normal::<Job>(job, "SuccessfulDelete", format!("Deleted pod: {}", pod.name())),
                Err(e) => {
                    self.expectations.deleted(key, pod.uid());
                    if !e.is_not_found() && !e.is_conflict() {
                        return Err(e.into());
                    }
                }
            }
        }
        Ok(())
    }

    fn note_suspension(&self, job: &Object, suspended: bool, conditions: &mut Conditions) {
        let was = conditions.get("Suspended").is_some_and(|c| c["status"] == "True");
        let (status, reason, message) =
            if suspended { ("True", "JobSuspended", "Job suspended") } else { ("False", "JobResumed", "Job resumed") };
        if suspended == was {
            return;
        }
        let now = self.ctx.now();
        conditions.set("Suspended", status, reason, message, &now, &[("lastProbeTime", &now)]);
        let event = if suspended { "Suspended" } else { "Resumed" };
        self.recorder.normal::<Job>(job, event, message);
    }

    /// First the condition that says how it will end, then, when no pod is left to count, the one that says it has.
    fn note_end(&self, job: &Object, end: Option<&End>, tally: &Tally, active: usize, conditions: &mut Conditions) {
        let Some(end) = end else { return };
        let now = self.ctx.now();
        let (target, last, reason, message) = end.parts();
        conditions.set(target, "True", reason, message, &now, &[("lastProbeTime", &now)]);
        let quiet = active == 0 && tally.active.is_empty() && tally.terminating == 0 && !tally.has_uncounted();
        if !quiet {
            return;
        }
        conditions.set(last, "True", reason, message, &now, &[("lastProbeTime", &now)]);
        match end {
            End::Complete { .. } => self.recorder.normal::<Job>(job, "Completed", "Job completed"),
            End::Failed { .. } => self.recorder.warning::<Job>(job, reason, message),
        }
    }

    async fn write(
        &self,
        job: &Object,
        spec: &JobSpec,
        tally: &Tally,
        active: usize,
        started: Option<Timestamp>,
        conditions: Conditions,
    ) -> Result<(), Error> {
        let complete = conditions.get("Complete").is_some_and(|c| c["status"] == "True");
        let over = finished(&conditions).is_some();
        let whole = |t: Timestamp| t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let text = |s: String| if s.is_empty() { Value::Null } else { json!(s) };
        let list = |l: &BTreeSet<String>| if l.is_empty() { Value::Null } else { json!(l) };
        let indexed = is_indexed(spec);
        let succeeded = if indexed { tally.completed_indexes.len() as i32 } else { tally.succeeded };
        let status = json!({
            "active": omit_zero(active as i32), "ready": if over { json!(0) } else { json!(tally.ready.min(active as i32)) },
            "terminating": tally.terminating,
            "succeeded": omit_zero(succeeded), "failed": omit_zero(tally.failed),
            "startTime": started.map(whole), "completionTime": complete.then(|| self.ctx.now()),
            "completedIndexes": if indexed { text(indexes::format(&tally.completed_indexes)) } else { Value::Null },
            "failedIndexes": if spec.backoff_limit_per_index.is_some() { json!(indexes::format(&tally.failed_indexes)) } else { Value::Null },
            "uncountedTerminatedPods": {"succeeded": list(&tally.uncounted_succeeded), "failed": list(&tally.uncounted_failed)},
            "conditions": conditions.value(),
        });
        match status::write::<Job>(&*self.ctx.client, job, status).await {
            Ok(Some(written)) => {
                // of one that has gone meanwhile nobody would forget it
                let key = ObjectKey::of(job);
                if self.jobs.get(&key.namespace, &key.name).is_some_and(|now| now.uid() == written.uid()) {
                    self.expectations.wrote(&key, written.revision());
                }
                Ok(())
            }
            Err(e) if !e.is_gone() => Err(e),
            _ => Ok(()),
        }
    }

    /// What is noted in status may let go.
    async fn release(&self, tally: &Tally) -> Result<(), Error> {
        for pod in &tally.held {
            self.remove_finalizer(pod).await?;
        }
        Ok(())
    }

    async fn remove_finalizer(&self, pod: &Object) -> Result<(), Error> {
        let target = Target::one(Pod::gvr(), pod.namespace(), pod.name());
        finalizers::set(&*self.ctx.client, &target, pod, FINALIZER, false).await
    }
}

impl End {
    /// What it will come to, the last condition, reason and message.
    fn parts(&self) -> (&'static str, &'static str, &str, &str) {
        match self {
            End::Complete { reason, message } => ("SuccessCriteriaMet", "Complete", reason, message),
            End::Failed { reason, message } => ("FailureTarget", "Failed", reason, message),
        }
    }
    /// From the condition set by an earlier sync.
    fn from_target(c: &Value) -> End {
        const REASONS: [&str; 7] = [
            "PodFailurePolicy",
            "BackoffLimitExceeded",
            "DeadlineExceeded",
            "MaxFailedIndexesExceeded",
            "FailedIndexes",
            "SuccessPolicy",
            "CompletionsReached",
        ];
        let reason = REASONS.into_iter().find(|r| c["reason"] == *r).unwrap_or("");
        let message = c["message"].as_str().unwrap_or("").to_owned();
        if c["type"] == "FailureTarget" { End::Failed { reason, message } } else { End::Complete { reason, message } }
    }
}

fn plain_pod(job: &Object, template: &Value, prefix: &str) -> Value {
    let mut pod = pods::from_template(template, pods::controller_ref::<Job>(job), prefix, job.namespace());
    let mut finalizers = pod["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    if !finalizers.contains(&json!(FINALIZER)) {
        finalizers.push(json!(FINALIZER));
    }
    pod["metadata"]["finalizers"] = Value::Array(finalizers);
    pod
}

/// It knows its index by annotation, label, host name and environment.
fn indexed_pod(job: &Object, template: &Value, index: u32) -> Value {
    let name = format!("{}-{index}", job.name());
    let mut pod = plain_pod(job, template, &format!("{name}-"));
    pod["metadata"]["annotations"][INDEX] = json!(index.to_string());
    pod["metadata"]["labels"][INDEX] = json!(index.to_string());
    pod["spec"]["hostname"] = json!(name);
    let env = json!({"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef":
        {"apiVersion": "v1", "fieldPath": format!("metadata.labels['{INDEX}']")}}});
    for key in ["containers", "initContainers"] {
        for container in pod["spec"][key].as_array_mut().into_iter().flatten() {
            let has =
                container["env"].as_array().is_some_and(|e| e.iter().any(|v| v["name"] == "JOB_COMPLETION_INDEX"));
            match container["env"].as_array_mut() {
                _ if has => {}
                Some(all) => all.push(env.clone()),
                None => container["env"] = json!([env.clone()]),
            }
        }
    }
    // indexing made it null where there are none
    if let Some(spec) = pod["spec"].as_object_mut() {
        spec.retain(|_, v| !v.is_null());
    }
    pod
}

#[cfg(test)]
mod tests;
