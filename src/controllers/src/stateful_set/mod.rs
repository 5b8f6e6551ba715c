//! StatefulSets: pods with names, in order, each with its own storage. Upstream's `pkg/controller/statefulset`.

mod plan;
mod pods;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetSpec};
use api::k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use api::labels::Selector;
use api::{Object, Resource, Value};
use client::{
    Controller, DeleteOptions, Index, Informer, ObjectKey, Patch, Recorder, Requeue, Target, WorkQueue, WriteOptions,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::claim::{by_owner, claim};
use crate::deployment::scaled;
use crate::pods::controller_key;
use crate::{Context, Error, history, status};
use plan::{Goal, plan};
use pods::{is_healthy, ordinal, revision};

const NAME: &str = "statefulset-controller";

struct StatefulSets {
    ctx: Context,
    recorder: Recorder,
    sets: Informer,
    pods: Index,
    pod_cache: Informer,
    revisions: Index,
    claims: Informer,
}

/// Runs until `stop`.
pub async fn run(ctx: Context, stop: CancellationToken) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let (pods, revisions) = (ctx.informers.of::<Pod>(), ctx.informers.of::<ControllerRevision>());
    let this = Arc::new(StatefulSets {
        recorder: ctx.recorder.component(NAME),
        sets: ctx.informers.of::<StatefulSet>(),
        pods: pods.index(by_owner),
        pod_cache: pods.clone(),
        revisions: revisions.index(by_owner),
        claims: ctx.informers.of::<PersistentVolumeClaim>(),
        ctx,
    });
    let q = queue.clone();
    this.sets.on_change(move |c| q.add(ObjectKey::of(c.object())));
    let q = queue.clone();
    pods.on_change(move |c| {
        for o in [&c.old, &c.new].into_iter().flatten() {
            controller_key::<StatefulSet>(o).into_iter().for_each(|key| q.add(key));
        }
    });
    for informer in [&this.sets, &pods, &revisions, &this.claims] {
        informer.synced().await;
    }
    let controller = Controller { name: NAME, workers: 2, queue };
    controller
        .run(stop, move |key| {
            let this = this.clone();
            async move { this.sync(key).await }
        })
        .await;
}

fn retention(spec: &StatefulSetSpec) -> (bool, bool) {
    let policy = spec.persistent_volume_claim_retention_policy.as_ref();
    let deletes = |p: Option<&String>| p.is_some_and(|p| p == "Delete");
    (deletes(policy.and_then(|p| p.when_deleted.as_ref())), deletes(policy.and_then(|p| p.when_scaled.as_ref())))
}

impl StatefulSets {
    async fn sync(&self, key: ObjectKey) -> Result<Requeue, Error> {
        let Some(object) = self.sets.get(&key.namespace, &key.name).filter(|s| !s.meta().is_deleting()) else {
            return Ok(None);
        };
        let set = object.view::<StatefulSet>()?;
        let Some(spec) = &set.spec else { return Ok(None) };
        let client = &*self.ctx.client;
        let (tree, selector) = (object.tree(), Selector::from_typed(Some(&spec.selector))?);
        let known =
            claim::<StatefulSet>(client, &object, &selector, &self.revisions, &ControllerRevision::gvr()).await?;
        let collisions = set.status.as_ref().and_then(|s| s.collision_count);
        let template = &tree["spec"]["template"];
        let update = history::current::<StatefulSet>(client, &object, template, &known, collisions).await?;
        let current_name = set.status.as_ref().and_then(|s| s.current_revision.clone());
        let current = known.iter().find(|r| Some(r.name()) == current_name.as_deref()).unwrap_or(&update).clone();
        let claimed = claim::<StatefulSet>(client, &object, &selector, &self.pods, &Pod::gvr()).await?;
        let pods: BTreeMap<i32, Arc<Object>> =
            claimed.into_iter().filter_map(|p| Some((ordinal(object.name(), p.name())?, p))).collect();

        let goal = goal(spec, &update);
        let plan = plan(&goal, &pods, self.ctx.clock.now());
        let mut result = Ok(());
        for i in &plan.create {
            let old = goal.partition.is_some_and(|p| *i < p);
            let revision = if old { &current } else { &update };
            result = self.create(&object, spec, &tree, revision, *i).await;
            if result.is_err() {
                break;
            }
        }
        for pod in &plan.delete {
            if retention(spec).1 && plan.condemned.iter().any(|c| c.uid() == pod.uid()) {
                self.give_claims_to(&object, &tree, pod).await?;
            }
            self.delete(&object, pod).await?;
        }
        self.write_status(&object, spec, &pods, &current, &update).await?;
        let live = pods.values().map(|p| revision(p).to_owned()).chain([current.name().into(), update.name().into()]);
        let live: BTreeSet<String> = live.filter_map(|n| Some(n.rsplit_once('-')?.1.to_owned())).collect();
        history::truncate(client, &known, &live, spec.revision_history_limit).await?;
        match result {
            Err(e) if !e.is_gone() => Err(e),
            _ => Ok(plan.wait.map(crate::after)),
        }
    }

    async fn create(
        &self,
        set: &Arc<Object>,
        spec: &StatefulSetSpec,
        tree: &Value,
        revision: &Object,
        i: i32,
    ) -> Result<(), Error> {
        let name = format!("{}-{i}", set.name());
        let (client, options) = (&self.ctx.client, WriteOptions::default());
        for mut claim in pods::claims(set, tree, i) {
            let claim_name = claim["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            if self.claims.get(set.namespace(), &claim_name).is_some() {
                continue;
            }
            if retention(spec).0 {
                let mut owner = crate::pods::controller_ref::<StatefulSet>(set);
                owner.as_object_mut().map(|o| o.remove("blockOwnerDeletion"));
                claim["metadata"]["ownerReferences"] = json!([owner]);
            }
            let text = format!("create Claim {claim_name} Pod {name} in StatefulSet {}", set.name());
            match client.create(&Target::within(PersistentVolumeClaim::gvr(), set.namespace()), claim, &options).await {
                Ok(_) => self.recorder.normal::<StatefulSet>(set, "SuccessfulCreate", format!("{text} success")),
                Err(e) if e.is_already_exists() => {}
                Err(e) => {
                    self.recorder.warning::<StatefulSet>(set, "FailedCreate", format!("{text} failed error: {e}"));
                    return Err(e.into());
                }
            }
        }
        let text = format!("create Pod {name} in StatefulSet {}", set.name());
        let pod = pods::pod(set, tree, revision, i);
        match client.create(&Target::within(Pod::gvr(), set.namespace()), pod, &options).await {
            Ok(_) => self.recorder.normal::<StatefulSet>(set, "SuccessfulCreate", format!("{text} successful")),
            // the cache lags behind, unless it is somebody else's
            Err(e) if e.is_already_exists() => {
                let theirs = self.pod_cache.get(set.namespace(), &name);
                if theirs.is_some_and(|p| p.meta().controller().is_none_or(|o| *o.uid != *set.uid())) {
                    self.recorder.warning::<StatefulSet>(set, "FailedCreate", format!("{text} failed error: {e}"));
                    return Err(e.into());
                }
            }
            Err(e) => {
                if !crate::error::is_terminating_namespace(&e) {
                    self.recorder.warning::<StatefulSet>(set, "FailedCreate", format!("{text} failed error: {e}"));
                }
                return Err(e.into());
            }
        }
        Ok(())
    }

    async fn delete(&self, set: &Object, pod: &Object) -> Result<(), Error> {
        let options = DeleteOptions::of(pod);
        match self.ctx.client.delete(&Target::one(Pod::gvr(), pod.namespace(), pod.name()), &options).await {
            Ok(_) => {
                let text = format!("delete Pod {} in StatefulSet {} successful", pod.name(), set.name());
                self.recorder.normal::<StatefulSet>(set, "SuccessfulDelete", text);
                Ok(())
            }
            Err(e) if e.is_not_found() || e.is_conflict() => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// `whenScaled: Delete`: the claims of a pod that is one too many go with it.
    async fn give_claims_to(&self, set: &Object, tree: &Value, pod: &Object) -> Result<(), Error> {
        let Some(i) = ordinal(set.name(), pod.name()) else { return Ok(()) };
        for wanted in pods::claims(set, tree, i) {
            let name = wanted["metadata"]["name"].as_str().unwrap_or_default();
            let Some(claim) = self.claims.get(set.namespace(), name) else { continue };
            if claim.meta().owner_references.iter().any(|o| *o.uid == *pod.uid()) {
                continue;
            }
            let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": pod.name(), "uid": pod.uid()});
            let metadata = json!({"ownerReferences": [owner], "resourceVersion": claim.revision().to_string()});
            let target = Target::one(PersistentVolumeClaim::gvr(), claim.namespace(), name);
            self.ctx
                .client
                .patch(&target, Patch::Merge(json!({"metadata": metadata})), &WriteOptions::default())
                .await?;
        }
        Ok(())
    }

    async fn write_status(
        &self,
        set: &Object,
        spec: &StatefulSetSpec,
        pods: &BTreeMap<i32, Arc<Object>>,
        current: &Object,
        update: &Object,
    ) -> Result<(), Error> {
        let now = self.ctx.clock.now();
        let count = |f: &dyn Fn(&Arc<Object>) -> bool| pods.values().filter(|p| f(p)).count() as i32;
        let min_ready = spec.min_ready_seconds.unwrap_or(0);
        let is_available = |p: &Arc<Object>| {
            is_healthy(p) && p.view::<Pod>().is_ok_and(|p| crate::pods::available(p, min_ready, now) == Ok(true))
        };
        let ready = count(&|p| is_healthy(p));
        let of = |r: &Object| count(&|p| revision(p) == r.name() && !p.meta().is_deleting());
        let (replicas, updated, mut current_replicas) = (count(&|_| true), of(update), of(current));
        let rolling = spec.update_strategy.as_ref().and_then(|s| s.type_.as_deref()) != Some("OnDelete");
        let mut current_name = current.name();
        // the update is complete: what was new is current now
        if rolling && updated == replicas && ready == replicas {
            (current_name, current_replicas) = (update.name(), updated);
        }
        let status = json!({
            "observedGeneration": set.meta().generation, "replicas": replicas,
            "readyReplicas": status::omit_zero(ready), "availableReplicas": count(&is_available),
            "currentReplicas": status::omit_zero(current_replicas), "updatedReplicas": status::omit_zero(updated),
            "currentRevision": current_name, "updateRevision": update.name(), "collisionCount": 0,
        });
        match status::write::<StatefulSet>(&*self.ctx.client, set, status).await {
            Err(e) if !e.is_gone() => Err(e),
            _ => Ok(()),
        }
    }
}

fn goal<'a>(spec: &StatefulSetSpec, update: &'a Object) -> Goal<'a> {
    let start = spec.ordinals.as_ref().and_then(|o| o.start).unwrap_or(0);
    let replicas = spec.replicas.unwrap_or(1);
    let strategy = spec.update_strategy.as_ref();
    let rolling = strategy.and_then(|s| s.rolling_update.as_ref());
    let on_delete = strategy.and_then(|s| s.type_.as_deref()) == Some("OnDelete");
    let unavailable = rolling.and_then(|r| r.max_unavailable.as_ref()).map_or(1, |v| scaled(Some(v), replicas, true));
    Goal {
        ordinals: start..start.saturating_add(replicas),
        ordered: spec.pod_management_policy.as_deref() != Some("Parallel"),
        partition: (!on_delete).then(|| start.saturating_add(rolling.and_then(|r| r.partition).unwrap_or(0))),
        min_ready_seconds: spec.min_ready_seconds.unwrap_or(0),
        update: update.name(),
        max_unavailable: usize::try_from(unavailable).unwrap_or(0).max(1),
    }
}

#[cfg(test)]
mod tests;
