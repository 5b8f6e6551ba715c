//! One sync of one deployment: upstream's `syncDeployment` with `sync.go`, `rolling.go` and `recreate.go`.

use api::k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet};
use api::k8s_openapi::api::core::v1::Pod;
use api::{Object, Resource, Value};
use client::{DeleteOptions, Index, Patch, Recorder, Target, WriteOptions};
use jiff::SignedDuration;
use serde_json::json;
use std::sync::Arc;

use super::is_rolling;
use super::math::Goal;
use super::progress::{self, Counters, Progress};
use super::sets::{self, DESIRED, HASH_LABEL, MAX, REVISION, Set};
use crate::status::{self, Conditions};
use crate::{Context, Error, hash, pods};

pub struct Rollout<'a> {
    ctx: &'a Context,
    recorder: &'a Recorder,
    pods: &'a Index,
    object: Arc<Object>,
    deployment: &'a Deployment,
    spec: &'a DeploymentSpec,
    goal: Goal,
    new: Option<Set>,
    /// The oldest first.
    old: Vec<Set>,
    conditions: Conditions,
    collisions: Option<i32>,
    /// The time of this sync as it goes into a tree.
    stamp: String,
}

static EMPTY: std::sync::LazyLock<DeploymentSpec> = std::sync::LazyLock::new(DeploymentSpec::default);

fn goal(d: &Deployment, spec: &DeploymentSpec) -> Goal {
    let replicas = spec.replicas.unwrap_or(1);
    let rolling = spec.strategy.as_ref().and_then(|s| s.rolling_update.as_ref());
    if is_rolling(d) {
        Goal::rolling(
            replicas,
            rolling.and_then(|r| r.max_surge.as_ref()),
            rolling.and_then(|r| r.max_unavailable.as_ref()),
        )
    } else {
        Goal::recreate(replicas)
    }
}

impl<'a> Rollout<'a> {
    pub fn new(
        ctx: &'a Context,
        recorder: &'a Recorder,
        pods: &'a Index,
        object: Arc<Object>,
        deployment: &'a Deployment,
        all: Vec<Set>,
    ) -> Rollout<'a> {
        let spec = deployment.spec.as_ref().unwrap_or(&EMPTY);
        let (new, old) = sets::split(all, &spec.template);
        let collisions = deployment.status.as_ref().and_then(|s| s.collision_count);
        let conditions = Conditions::of(&object.tree()["status"]);
        let goal = goal(deployment, spec);
        Rollout {
            ctx,
            recorder,
            pods,
            object,
            deployment,
            spec,
            goal,
            new,
            old,
            conditions,
            collisions,
            stamp: ctx.now(),
        }
    }

    /// What remains after this asks to be called again at a date, or for nothing.
    pub async fn sync(&mut self) -> Result<Option<SignedDuration>, Error> {
        if self.object.meta().is_deleting() {
            return self.write_status(false).await;
        }
        self.note_pause();
        let paused = self.spec.paused == Some(true);
        if paused || self.is_scaling() {
            self.sync_revision(false).await?;
            self.scale().await?;
            if paused {
                self.clean_up().await?;
            }
            return self.write_status(false).await;
        }
        if is_rolling(self.deployment) {
            self.roll().await?
        } else {
            self.recreate().await?
        }
        self.write_status(true).await
    }

    async fn roll(&mut self) -> Result<(), Error> {
        self.sync_revision(true).await?;
        let Some(new) = self.new.clone() else { return Ok(()) };
        let all: i32 = self.old.iter().map(Set::replicas).sum::<i32>() + new.replicas();
        let wanted =
            if new.replicas() > self.goal.replicas { self.goal.replicas } else { self.goal.grown(new.replicas(), all) };
        if wanted != new.replicas() {
            self.new = Some(self.resize(&new, wanted).await?);
            return Ok(());
        }
        let sizes: Vec<_> = self.old.iter().map(Set::size).collect();
        let wanted = self.goal.shrunk(&sizes, new.size());
        if self.resize_old(&wanted).await? {
            return Ok(());
        }
        self.clean_up_if_complete().await
    }

    async fn recreate(&mut self) -> Result<(), Error> {
        self.sync_revision(false).await?;
        if self.resize_old(&vec![0; self.old.len()]).await? || self.old_pods_run() {
            return Ok(());
        }
        if self.new.is_none() {
            self.sync_revision(true).await?;
        }
        if let Some(new) = self.new.clone()
            && new.replicas() != self.goal.replicas
        {
            self.new = Some(self.resize(&new, self.goal.replicas).await?);
        }
        self.clean_up_if_complete().await
    }

    /// Sets each old replica set to its wanted size; whether there was something to do.
    async fn resize_old(&mut self, wanted: &[i32]) -> Result<bool, Error> {
        let mut changed = false;
        for (i, wanted) in wanted.iter().enumerate() {
            if self.old[i].replicas() != *wanted {
                let set = self.old[i].clone();
                self.old[i] = self.resize(&set, *wanted).await?;
                changed = true;
            }
        }
        Ok(changed)
    }

    fn old_pods_run(&self) -> bool {
        if self.old.iter().any(|s| s.actual() > 0) {
            return true;
        }
        let running = |o: &Arc<Object>| o.view::<Pod>().is_ok_and(|p| !pods::is_terminated(p));
        self.old.iter().any(|s| self.pods.get(s.0.uid()).iter().any(running))
    }

    /// The user changed `replicas`: the annotations of active replica sets still say what was wanted before.
    fn is_scaling(&self) -> bool {
        let active = self.old.iter().chain(&self.new).filter(|s| s.replicas() > 0);
        active.filter_map(|s| s.number(DESIRED)).any(|desired| desired != self.goal.replicas)
    }

    /// `scale`: to the new size without changing what is rolled out.
    async fn scale(&mut self) -> Result<(), Error> {
        let active: Vec<Set> = self.old.iter().chain(&self.new).filter(|s| s.replicas() > 0).cloned().collect();
        let only = match active.as_slice() {
            [] => self.new.clone().or_else(|| self.old.last().cloned()),
            [one] => Some(one.clone()),
            _ => None,
        };
        if active.len() < 2 {
            if let Some(set) = only {
                self.apply(&set, self.goal.replicas).await?;
            }
            return Ok(());
        }
        let saturated = self.new.as_ref().is_some_and(|s| {
            let n = self.goal.replicas;
            s.replicas() == n && s.number(DESIRED) == Some(n) && s.available() == n
        });
        if saturated {
            return self.resize_old(&vec![0; self.old.len()]).await.map(drop);
        }
        if !self.goal.rolling {
            return Ok(());
        }
        let total: i32 = active.iter().map(Set::replicas).sum();
        let grows = self.goal.replicas > 0 && self.goal.max_replicas() > total;
        let mut sized = active;
        sets::oldest_first(&mut sized);
        if grows {
            // of equals the newest grows first, and the oldest shrinks first
            sized.reverse();
        }
        sized.sort_by_key(|s| std::cmp::Reverse(s.replicas()));
        let sizes: Vec<_> = sized.iter().map(Set::size).collect();
        let current = Counters::of(self.deployment.status.as_ref()).replicas;
        for (set, wanted) in sized.iter().zip(self.goal.proportional(&sizes, current)) {
            self.apply(set, wanted).await?;
        }
        Ok(())
    }

    async fn apply(&mut self, set: &Set, wanted: i32) -> Result<(), Error> {
        let resized = self.resize(set, wanted).await?;
        for known in self.old.iter_mut().chain(&mut self.new) {
            if known.0.uid() == resized.0.uid() {
                *known = resized.clone();
            }
        }
        Ok(())
    }

    /// `scaleReplicaSet`: the size, and what the annotations say of it.
    async fn resize(&self, set: &Set, wanted: i32) -> Result<Set, Error> {
        let was = set.replicas();
        let (desired, max) = (self.goal.replicas, self.goal.max_replicas());
        if was == wanted && set.number(DESIRED) == Some(desired) && set.number(MAX) == Some(max) {
            return Ok(set.clone());
        }
        let patch = json!({
            "metadata": {"annotations": {DESIRED: desired.to_string(), MAX: max.to_string()}},
            "spec": {"replicas": wanted},
        });
        let written = self.patch_set(set, patch).await?;
        if was != wanted {
            let direction = if wanted > was { "up" } else { "down" };
            let text = format!("Scaled {direction} replica set {} from {was} to {wanted}", set.name());
            self.recorder.normal::<Deployment>(&self.object, "ScalingReplicaSet", text);
        }
        Ok(written)
    }

    async fn patch_set(&self, set: &Set, mut patch: Value) -> Result<Set, Error> {
        patch["metadata"]["resourceVersion"] = json!(set.0.revision().to_string());
        let target = Target::one(ReplicaSet::gvr(), set.0.namespace(), set.name());
        Ok(Set(self.ctx.client.patch(&target, Patch::Merge(patch), &WriteOptions::default()).await?))
    }

    /// `getAllReplicaSetsAndSyncRevision`: makes the new replica set if there is none and `create`, keeps its revision and
    /// annotations, and the deployment's, up to date.
    async fn sync_revision(&mut self, create: bool) -> Result<(), Error> {
        let revision = self.old.iter().map(Set::revision).max().unwrap_or(0) + 1;
        match self.new.clone() {
            Some(set) => {
                let known = set.0.view::<ReplicaSet>()?.metadata.annotations.clone().unwrap_or_default();
                let missing = sets::annotations(self.deployment, &known, revision, None);
                let min_ready = self.spec.min_ready_seconds.unwrap_or(0);
                if !missing.is_empty() || set.min_ready_seconds() != min_ready {
                    let patch = json!({"metadata": {"annotations": missing}, "spec": {"minReadySeconds": min_ready}});
                    self.new = Some(self.patch_set(&set, patch).await?);
                }
                if self.spec.progress_deadline_seconds.is_some_and(|s| s != i32::MAX)
                    && self.conditions.get("Progressing").is_none()
                {
                    let text = format!("Found new replica set {:?}", set.name());
                    self.progressing("True", "FoundNewReplicaSet", &text);
                }
            }
            None if create => self.create_set(revision).await?,
            None => return Ok(()),
        }
        let wanted = self.new.as_ref().and_then(|s| s.annotation(REVISION)).unwrap_or_default().to_owned();
        let known = self.deployment.metadata.annotations.as_ref().and_then(|a| a.get(REVISION));
        if known != Some(&wanted) {
            let patch = Patch::Merge(json!({"metadata": {"annotations": {REVISION: wanted}}}));
            let target = Target::one(Deployment::gvr(), self.object.namespace(), self.object.name());
            self.ctx.client.patch(&target, patch, &WriteOptions::default()).await?;
        }
        Ok(())
    }

    fn progressing(&mut self, status: &str, reason: &str, message: &str) {
        progress::set(&mut self.conditions, "Progressing", status, reason, message, &self.stamp);
    }

    fn has_deadline(&self) -> bool {
        self.spec.progress_deadline_seconds.is_some_and(|s| s != i32::MAX)
    }

    async fn create_set(&mut self, revision: i64) -> Result<(), Error> {
        let template = self.object.tree()["spec"]["template"].take();
        let hash = hash::of(&template, self.collisions);
        let name = format!("{}-{hash}", self.object.name());
        let tree = self.set_tree(template, &name, &hash, revision);
        let replicas = tree["spec"]["replicas"].as_i64().unwrap_or(0);
        let target = Target::within(ReplicaSet::gvr(), self.object.namespace());
        let made = self.ctx.client.create(&target, tree, &WriteOptions::default()).await;
        let (set, known) = match made {
            Ok(set) => (Set(set), false),
            Err(e) if e.is_already_exists() => {
                let target = Target::one(ReplicaSet::gvr(), self.object.namespace(), &name);
                let set = Set(self.ctx.client.get(&target).await?);
                let mine = set.0.meta().controller().is_some_and(|o| *o.uid == *self.object.uid());
                if !mine || !set.is_of(&self.spec.template) {
                    // the cache was stale, or two templates have one hash: the next try takes another
                    let count = self.collisions.unwrap_or(0) + 1;
                    status::write::<Deployment>(&*self.ctx.client, &self.object, json!({"collisionCount": count}))
                        .await?;
                    return Err(e.into());
                }
                (set, true)
            }
            Err(e) => {
                if !crate::error::is_terminating_namespace(&e) {
                    let text = format!("Failed to create new replica set {name:?}: {e}");
                    if self.has_deadline() {
                        self.progressing("False", "ReplicaSetCreateError", &text);
                        self.write_status(false).await?;
                    }
                    self.recorder.warning::<Deployment>(&self.object, "ReplicaSetCreateError", text);
                }
                return Err(e.into());
            }
        };
        if !known {
            if replicas > 0 {
                let text = format!("Scaled up replica set {name} from 0 to {replicas}");
                self.recorder.normal::<Deployment>(&self.object, "ScalingReplicaSet", text);
            }
            if self.has_deadline() {
                self.progressing("True", "NewReplicaSetCreated", &format!("Created new replica set {name:?}"));
            }
        }
        self.new = Some(set);
        Ok(())
    }

    fn set_tree(&self, mut template: Value, name: &str, hash: &str, revision: i64) -> Value {
        if let Some(metadata) = template["metadata"].as_object_mut() {
            metadata.retain(|_, v| !v.is_null());
        }
        template["metadata"]["labels"][HASH_LABEL] = json!(hash);
        let mut selector = self.object.tree()["spec"]["selector"].take();
        selector["matchLabels"][HASH_LABEL] = json!(hash);
        let all: i32 = self.old.iter().map(Set::replicas).sum();
        let size = (self.goal.replicas, self.goal.max_replicas());
        let annotations = sets::annotations(self.deployment, &Default::default(), revision, Some(size));
        json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": name, "namespace": self.object.namespace(), "labels": template["metadata"]["labels"],
                "annotations": annotations, "ownerReferences": [pods::controller_ref::<Deployment>(&self.object)],
            },
            "spec": {
                "replicas": self.goal.grown(0, all), "minReadySeconds": self.spec.min_ready_seconds.unwrap_or(0),
                "selector": selector, "template": template,
            },
        })
    }

    /// `checkPausedConditions`
    fn note_pause(&mut self) {
        let reason = self.conditions.get("Progressing").and_then(|c| c["reason"].as_str()).unwrap_or("").to_owned();
        if !self.has_deadline() || reason == progress::TIMED_OUT {
            return;
        }
        match (self.spec.paused == Some(true), reason == "DeploymentPaused") {
            (true, false) => self.progressing("Unknown", "DeploymentPaused", "Deployment is paused"),
            (false, true) => self.progressing("Unknown", "DeploymentResumed", "Deployment is resumed"),
            _ => {}
        }
    }

    async fn clean_up_if_complete(&self) -> Result<(), Error> {
        let was = Counters::of(self.deployment.status.as_ref());
        if was.complete(&self.goal, self.object.meta().generation) { self.clean_up().await } else { Ok(()) }
    }

    /// `cleanupDeployment`: forgets the oldest revisions beyond the history limit.
    async fn clean_up(&self) -> Result<(), Error> {
        let Some(limit) = self.spec.revision_history_limit.filter(|n| *n != i32::MAX) else { return Ok(()) };
        let mut candidates: Vec<&Set> = self.old.iter().filter(|s| !s.0.meta().is_deleting()).collect();
        candidates.sort_by_key(|s| s.revision());
        let surplus = candidates.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        for set in candidates.into_iter().take(surplus) {
            if set.actual() != 0 || set.replicas() != 0 || !set.observed() {
                continue;
            }
            let target = Target::one(ReplicaSet::gvr(), set.0.namespace(), set.name());
            let options = DeleteOptions::of(&set.0);
            match self.ctx.client.delete(&target, &options).await {
                Err(e) if !e.is_not_found() => return Err(e.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// `syncRolloutStatus` when rolling out, `syncDeploymentStatus` else.
    async fn write_status(&mut self, rolling_out: bool) -> Result<Option<SignedDuration>, Error> {
        let deadline = self.spec.progress_deadline_seconds.filter(|_| self.has_deadline());
        let failure = self.new.iter().chain(&self.old).find_map(Set::failure);
        let generation = self.object.meta().generation;
        let progress = Progress {
            deployment: &self.object,
            goal: self.goal,
            deadline: deadline.map(|s| SignedDuration::from_secs(s.into())),
            was: Counters::of(self.deployment.status.as_ref()),
            is: Counters::now(generation, self.new.as_ref(), &self.old),
            new: self.new.as_ref(),
            failure,
            now: self.ctx.clock.now(),
            stamp: &self.stamp,
        };
        progress.availability(&mut self.conditions);
        if rolling_out {
            progress.rollout(&mut self.conditions);
        }
        let again = if rolling_out { progress.look_again(&self.conditions) } else { None };
        let status = progress.is.value(self.collisions, self.conditions.clone());
        status::write::<Deployment>(&*self.ctx.client, &self.object, status).await?;
        Ok(again)
    }
}
