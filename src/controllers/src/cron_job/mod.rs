//! CronJobs: Jobs by the clock. Upstream's `pkg/controller/cronjob`. Works on trees.

mod schedule;

use std::sync::Arc;

use api::k8s_openapi::api::batch::v1::Job;
use api::{Gvr, Object, Resource, Value};
use client::{
    Controller, DeleteOptions, EventType, Index, Informer, ObjectKey, Patch, Propagation, Recorder, Reference, Requeue,
    Target, WorkQueue, WriteOptions,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::claim::by_owner;
use crate::status::{self, Conditions};
use crate::{Context, Error};
use schedule::Schedule;

const NAME: &str = "cronjob-controller";
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

fn cron_jobs() -> Gvr {
    Gvr::new("batch", "v1", "cronjobs")
}

struct CronJobs {
    ctx: Context,
    recorder: Recorder,
    crons: Informer,
    jobs: Index,
}

/// Runs until `stop`.
pub async fn run(ctx: Context, stop: CancellationToken) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let jobs = ctx.informers.of::<Job>();
    let this = Arc::new(CronJobs {
        recorder: ctx.recorder.component(NAME),
        crons: ctx.informers.get(cron_jobs()),
        jobs: jobs.index(by_owner),
        ctx,
    });
    let q = queue.clone();
    this.crons.on_change(move |c| q.add(ObjectKey::of(c.object())));
    let q = queue.clone();
    jobs.on_change(move |c| {
        if let Some(owner) = c.object().meta().controller().filter(|o| &*o.kind == "CronJob") {
            q.add(ObjectKey::new(c.object().namespace(), &owner.name));
        }
    });
    this.crons.synced().await;
    jobs.synced().await;
    let controller = Controller { name: NAME, workers: 2, queue };
    controller
        .run(stop, move |key| {
            let this = this.clone();
            async move { this.sync(&key).await }
        })
        .await;
}

/// `Complete` or `Failed`, and since when.
fn end(job: &Object) -> Option<(String, Value)> {
    let conditions = Conditions::of(&job.tree()["status"]);
    let over =
        conditions.0.iter().find(|c| (c["type"] == "Complete" || c["type"] == "Failed") && c["status"] == "True")?;
    Some((over["type"].as_str()?.to_owned(), over["lastTransitionTime"].clone()))
}

fn time(v: &Value) -> Option<Timestamp> {
    v.as_str()?.parse().ok()
}

impl CronJobs {
    fn event(&self, cron: &Object, kind: EventType, reason: &str, message: String) {
        let about = Reference {
            api_version: "batch/v1".into(),
            kind: "CronJob".into(),
            namespace: cron.namespace().into(),
            name: cron.name().into(),
            uid: cron.uid().into(),
            resource_version: cron.revision().to_string(),
            field_path: String::new(),
        };
        self.recorder.event(about, kind, reason, message);
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Requeue, Error> {
        let Some(cron) = self.crons.get(&key.namespace, &key.name).filter(|c| !c.meta().is_deleting()) else {
            return Ok(None);
        };
        let tree = cron.tree();
        let mut mine = self.jobs.get(cron.uid());
        mine.sort_by(|a, b| a.meta().creation_timestamp.cmp(&b.meta().creation_timestamp));
        let mut state = self.observe(&cron, &tree["status"], &mine);
        self.forget_old(&tree["spec"], &mine).await?;
        let again = self.run_due(&cron, &tree, &mine, &mut state).await;
        self.write(&cron, &state).await?;
        again
    }

    /// The status as the jobs there say.
    fn observe(&self, cron: &Object, status: &Value, mine: &[Arc<Object>]) -> Value {
        let mut success = status["lastSuccessfulTime"].clone();
        let mut active = Vec::new();
        let known = status["active"].as_array().cloned().unwrap_or_default();
        for job in mine {
            match end(job) {
                None => active.push(reference(job)),
                Some((kind, at)) => {
                    if known.iter().any(|k| k["uid"] == job.uid()) {
                        let text = format!("Saw completed job: {}, condition: {kind}", job.name());
                        self.event(cron, EventType::Normal, "SawCompletedJob", text);
                    }
                    if kind == "Complete" && time(&at) > time(&success) {
                        success = at;
                    }
                }
            }
        }
        json!({"active": active, "lastSuccessfulTime": success, "lastScheduleTime": status["lastScheduleTime"]})
    }

    async fn forget_old(&self, spec: &Value, mine: &[Arc<Object>]) -> Result<(), Error> {
        for (kind, limit) in
            [("Complete", &spec["successfulJobsHistoryLimit"]), ("Failed", &spec["failedJobsHistoryLimit"])]
        {
            let Some(limit) = limit.as_u64() else { continue };
            let over: Vec<_> = mine.iter().filter(|j| end(j).is_some_and(|(k, _)| k == kind)).collect();
            let surplus = over.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
            for job in over.into_iter().take(surplus) {
                self.delete(job).await?;
            }
        }
        Ok(())
    }

    async fn delete(&self, job: &Object) -> Result<(), Error> {
        let options = DeleteOptions { propagation: Some(Propagation::Background), ..Default::default() };
        match self.ctx.client.delete(&Target::one(Job::gvr(), job.namespace(), job.name()), &options).await {
            Err(e) if !e.is_not_found() => Err(e.into()),
            _ => Ok(()),
        }
    }

    /// Makes the job that is due, if one is; returns when the next will be.
    async fn run_due(
        &self,
        cron: &Object,
        tree: &Value,
        mine: &[Arc<Object>],
        state: &mut Value,
    ) -> Result<Requeue, Error> {
        let spec = &tree["spec"];
        if spec["suspend"] == true {
            return Ok(None);
        }
        let name = spec["timeZone"].as_str().unwrap_or("UTC");
        let Some(zone) = api::zone::find(name) else {
            let text = format!("invalid timeZone: {name:?}: unknown time zone {name}");
            self.event(cron, EventType::Warning, "UnknownTimeZone", text);
            return Ok(None);
        };
        let text = spec["schedule"].as_str().unwrap_or_default();
        let schedule = match Schedule::parse(text, zone) {
            Ok(schedule) => schedule,
            Err(e) => {
                self.event(
                    cron,
                    EventType::Warning,
                    "UnparseableSchedule",
                    format!("unparseable schedule: {text:?} : {e}"),
                );
                return Ok(None);
            }
        };
        let now = self.ctx.clock.now();
        let next = schedule.after(now).map(|t| crate::after(t.duration_since(now) + SignedDuration::from_millis(100)));
        let mut from =
            time(&state["lastScheduleTime"]).or_else(|| time(&tree["metadata"]["creationTimestamp"])).unwrap_or(now);
        let deadline = spec["startingDeadlineSeconds"].as_i64();
        if let Some(start) = deadline.and_then(|d| now.checked_sub(SignedDuration::from_secs(d)).ok()) {
            from = from.max(start);
        }
        let (due, missed) = schedule.last_within(from, now);
        if missed > 100 {
            let text = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
            self.event(cron, EventType::Warning, "TooManyMissedTimes", text.into());
        }
        let Some(due) = due else { return Ok(next) };
        let active: Vec<_> = mine.iter().filter(|j| end(j).is_none()).collect();
        match spec["concurrencyPolicy"].as_str() {
            Some("Forbid") if !active.is_empty() => {
                let text = "Not starting job because prior execution is running and concurrency policy is Forbid";
                self.event(cron, EventType::Normal, "JobAlreadyActive", text.into());
                return Ok(next);
            }
            Some("Replace") => {
                for job in &active {
                    self.delete(job).await?;
                }
                state["active"] = json!([]);
            }
            _ => {}
        }
        let job = job(cron, &spec["jobTemplate"], due);
        match self.ctx.client.create(&Target::within(Job::gvr(), cron.namespace()), job, &WriteOptions::default()).await
        {
            Ok(job) => {
                self.event(cron, EventType::Normal, "SuccessfulCreate", format!("Created job {}", job.name()));
                if let Some(active) = state["active"].as_array_mut() {
                    active.push(reference(&job));
                }
            }
            Err(e) if e.is_already_exists() => {}
            Err(e) if crate::error::is_terminating_namespace(&e) => return Ok(None),
            Err(e) => {
                self.event(cron, EventType::Warning, "FailedCreate", format!("Error creating job: {e}"));
                return Err(e.into());
            }
        }
        state["lastScheduleTime"] = json!(due.to_string());
        Ok(next)
    }

    async fn write(&self, cron: &Object, state: &Value) -> Result<(), Error> {
        let mut patch = state.clone();
        if patch["active"].as_array().is_some_and(Vec::is_empty) {
            patch["active"] = Value::Null;
        }
        let old = cron.tree()["status"].take();
        let mut new = old.clone();
        status::merge(&mut new, &patch);
        if new == old || (old.is_null() && new == json!({})) {
            return Ok(());
        }
        let target = Target::one(cron_jobs(), cron.namespace(), cron.name()).sub("status");
        match self.ctx.client.patch(&target, Patch::Merge(json!({"status": patch})), &WriteOptions::default()).await {
            Err(e) if !e.is_not_found() => Err(e.into()),
            _ => Ok(()),
        }
    }
}

fn reference(job: &Object) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "namespace": job.namespace(), "name": job.name(), "uid": job.uid(),
        "resourceVersion": job.revision().to_string()})
}

/// Its name follows from the time, so that none is made twice.
fn job(cron: &Object, template: &Value, due: Timestamp) -> Value {
    let mut annotations = template["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    annotations.insert(SCHEDULED.into(), json!(due.to_string()));
    let labels = template["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": format!("{}-{}", cron.name(), due.as_second() / 60), "namespace": cron.namespace(),
            "labels": labels, "annotations": annotations,
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "CronJob", "name": cron.name(), "uid": cron.uid(),
                "controller": true, "blockOwnerDeletion": true}]},
        "spec": template["spec"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, settle};
    use std::time::Duration;

    fn jobs(bench: &Bench) -> usize {
        bench.fake.objects(&Job::gvr()).len()
    }

    async fn start(change: Value) -> Bench {
        let bench = Bench::new();
        bench.start(run);
        let mut tree = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c", "namespace": "n"},
            "spec": {"schedule": "*/10 * * * *", "concurrencyPolicy": "Allow", "successfulJobsHistoryLimit": 1,
                "jobTemplate": {"spec": {"template": {"spec": {"containers": []}}}}}});
        status::merge(&mut tree, &json!({ "spec": change }));
        bench.fake.seed(cron_jobs(), tree);
        settle().await;
        bench
    }

    #[tokio::test(start_paused = true)]
    async fn jobs_come_on_time_and_old_ones_go() {
        let bench = start(json!({})).await;
        assert_eq!(jobs(&bench), 0);
        tokio::time::sleep(Duration::from_secs(605)).await;
        assert_eq!(jobs(&bench), 1);
        let first = bench.fake.objects(&Job::gvr())[0].name().to_owned();
        let status = bench.fake.tree(&cron_jobs(), "n", "c")["status"].take();
        assert_eq!(
            (&status["lastScheduleTime"], &status["active"][0]["name"]),
            (&json!("2026-01-01T00:10:00Z"), &json!(first))
        );
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_secs(600)).await;
            for job in bench.fake.objects(&Job::gvr()) {
                let now = bench.ctx.now();
                bench.fake.edit(&Job::gvr(), "n", job.name(), |j| {
                    j["status"] = json!({"conditions":
                    [{"type": "Complete", "status": "True", "lastTransitionTime": now}]})
                });
            }
            settle().await;
        }
        assert_eq!(jobs(&bench), 1);
        assert_eq!(bench.fake.tree(&cron_jobs(), "n", "c")["status"]["active"], Value::Null);
        bench.fake.edit(&cron_jobs(), "n", "c", |c| c["spec"]["suspend"] = json!(true));
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(jobs(&bench), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn concurrency_is_as_wished() {
        for (policy, want) in [("Allow", 3), ("Forbid", 1), ("Replace", 1)] {
            let bench = start(json!({"concurrencyPolicy": policy})).await;
            tokio::time::sleep(Duration::from_secs(1830)).await;
            assert_eq!(jobs(&bench), want, "{policy}");
        }
    }
}
