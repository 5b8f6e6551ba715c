//! ReplicaSets and ReplicationControllers: so many pods of a template. Upstream's `pkg/controller/replicaset`, which serves
//! both kinds too.

mod rank;

use std::collections::HashMap;
use std::sync::Arc;

use api::k8s_openapi::api::apps::v1::ReplicaSet;
use api::k8s_openapi::api::core::v1::{Pod, ReplicationController};
use api::labels::{Labels, Selector};
use api::{Object, Resource, Value};
use client::{Change, Controller, DeleteOptions, Index, Informer, ObjectKey, Requeue, Target, WorkQueue, WriteOptions};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::claim::{by_owner, claim};
use crate::expectations::Expectations;
use crate::pods::{self, controller_key};
use crate::status::{self, Conditions, omit_zero};
use crate::{Context, Error, batch};

/// Pods made or deleted in one sync.
const BURST: usize = 500;

/// What the two kinds have in common.
pub trait Replicated: Resource {
    fn replicas(&self) -> i32;
    fn min_ready_seconds(&self) -> i32;
    fn selector(&self) -> Result<Selector, Error>;
    const CONTROLLER: &'static str;
}

impl Replicated for ReplicaSet {
    const CONTROLLER: &'static str = "replicaset-controller";
    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
    }
    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0)
    }
    fn selector(&self) -> Result<Selector, Error> {
        Ok(Selector::from_typed(self.spec.as_ref().map(|s| &s.selector))?)
    }
}

impl Replicated for ReplicationController {
    const CONTROLLER: &'static str = "replication-controller";
    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
    }
    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0)
    }
    fn selector(&self) -> Result<Selector, Error> {
        let set = self.spec.as_ref().and_then(|s| s.selector.as_ref());
        Ok(set.filter(|s| !s.is_empty()).map_or_else(Selector::nothing, Selector::from_set))
    }
}

struct Replicas {
    ctx: Context,
    recorder: client::Recorder,
    owners: Informer,
    /// The owners by what controls them: a Deployment's ReplicaSets.
    siblings: Index,
    pods: Index,
    expectations: Expectations,
}

/// Runs the controller of one of the two kinds.
pub async fn run<K: Replicated>(ctx: Context, stop: CancellationToken) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let owners = ctx.informers.of::<K>();
    let pod_informer = ctx.informers.of::<Pod>();
    let this = Arc::new(Replicas {
        recorder: ctx.recorder.component(K::CONTROLLER),
        siblings: owners.index(by_owner),
        pods: pod_informer.index(by_owner),
        owners: owners.clone(),
        expectations: Expectations::default(),
        ctx,
    });
    let (q, me) = (queue.clone(), this.clone());
    owners.on_change(move |c| {
        let key = ObjectKey::of(c.object());
        // the new one of the same name starts afresh
        let replaced = c.old.as_ref().zip(c.new.as_ref()).is_some_and(|(o, n)| o.uid() != n.uid());
        if c.new.is_none() || replaced {
            me.expectations.forget(&key);
        }
        q.add(key);
    });
    let (q, me) = (queue.clone(), this.clone());
    pod_informer.on_change(move |c| me.pod_changed::<K>(c, &q));
    this.owners.synced().await;
    pod_informer.synced().await;
    let controller = Controller { name: K::CONTROLLER, workers: 4, queue };
    controller
        .run(stop, move |key| {
            let this = this.clone();
            async move { this.sync::<K>(key).await }
        })
        .await;
}

impl Replicas {
    fn pod_changed<K: Replicated>(&self, change: &Change, queue: &WorkQueue<ObjectKey>) {
        let (pod, now) = (change.object(), change.new.as_ref().and_then(|o| controller_key::<K>(o)));
        for owner in self.expectations.pod_changed::<K>(change) {
            if Some(&owner) != now.as_ref() || matters(change) {
                queue.add(owner);
            }
        }
        if change.new.is_some() && pod.meta().controller().is_none() && orphan_matters(change) {
            for set in self.owners.list(Some(pod.namespace())) {
                let matches = set.view::<K>().ok().and_then(|s| s.selector().ok());
                if matches.is_some_and(|s| !s.is_everything() && s.matches(&pod.meta().labels)) {
                    queue.add(ObjectKey::of(&set));
                }
            }
        }
    }

    async fn sync<K: Replicated>(&self, key: ObjectKey) -> Result<Requeue, Error> {
        let Some(object) = self.owners.get(&key.namespace, &key.name) else {
            self.expectations.forget(&key);
            return Ok(None);
        };
        let set = object.view::<K>()?;
        let selector = set.selector()?;
        let satisfied = self.expectations.satisfied(&key);
        let client = &*self.ctx.client;
        let all = claim::<K>(client, &object, &selector, &self.pods, &Pod::gvr()).await?;
        let active: Vec<Arc<Object>> =
            all.iter().filter(|o| o.view::<Pod>().is_ok_and(pods::is_active)).cloned().collect();
        let terminating =
            all.iter().filter(|o| o.view::<Pod>().is_ok_and(|p| pods::is_deleting(p) && !pods::is_terminated(p)));
        let terminating = terminating.count() as i32;
        let managed = if satisfied && !object.meta().is_deleting() {
            self.manage::<K>(&key, &object, set.replicas(), &active).await
        } else {
            Ok(())
        };
        let again = self.write_status::<K>(&object, set, &active, terminating, managed.as_ref().err()).await?;
        match managed {
            Err(e) if !e.is_gone() => Err(e),
            _ => Ok(again),
        }
    }

    /// `manageReplicas`: creates what is missing, deletes what is too many.
    async fn manage<K: Replicated>(
        &self,
        key: &ObjectKey,
        set: &Arc<Object>,
        replicas: i32,
        active: &[Arc<Object>],
    ) -> Result<(), Error> {
        let wanted = usize::try_from(replicas).unwrap_or(0);
        if active.len() < wanted {
            let count = (wanted - active.len()).min(BURST);
            let template = set.tree()["spec"]["template"].take();
            let owner = pods::controller_ref::<K>(set);
            let pod = pods::from_template(&template, owner, &pods::prefix(set.name()), set.namespace());
            self.expectations.expect_creations(key, count);
            let (made, error) = batch::slow_start(count, || self.create::<K>(set, pod.clone())).await;
            self.expectations.created(key, count - made);
            error.map_or(Ok(()), Err)
        } else {
            let count = (active.len() - wanted).min(BURST);
            let victims = if count == 0 { Vec::new() } else { self.victims(set, active, count) };
            for pod in &victims {
                self.expectations.expect_deletion(key, pod.uid());
            }
            let results = futures::future::join_all(victims.iter().map(|p| self.delete::<K>(key, set, p))).await;
            results.into_iter().collect()
        }
    }

    async fn create<K: Replicated>(&self, set: &Object, pod: Value) -> Result<(), Error> {
        let target = Target::within(Pod::gvr(), set.namespace());
        match self.ctx.client.create(&target, pod, &WriteOptions::default()).await {
            Ok(pod) => {
                self.recorder.normal::<K>(set, "SuccessfulCreate", format!("Created pod: {}", pod.name()));
                Ok(())
            }
            Err(e) => {
                if !crate::error::is_terminating_namespace(&e) {
                    self.recorder.warning::<K>(set, "FailedCreate", format!("Error creating: {e}"));
                }
                Err(e.into())
            }
        }
    }

    async fn delete<K: Replicated>(&self, key: &ObjectKey, set: &Object, pod: &Object) -> Result<(), Error> {
        let target = Target::one(Pod::gvr(), pod.namespace(), pod.name());
        let options = DeleteOptions::of(pod);
        match self.ctx.client.delete(&target, &options).await {
            Ok(_) => {
                self.recorder.normal::<K>(set, "SuccessfulDelete", format!("Deleted pod: {}", pod.name()));
                Ok(())
            }
            Err(e) => {
                self.expectations.deleted(key, pod.uid());
                // it is gone, or another has its name
                if e.is_not_found() || e.is_conflict() {
                    return Ok(());
                }
                self.recorder.warning::<K>(set, "FailedDelete", format!("Error deleting: {e}"));
                Err(e.into())
            }
        }
    }

    /// The pods that go first.
    fn victims(&self, set: &Object, active: &[Arc<Object>], count: usize) -> Vec<Arc<Object>> {
        let mut on_node: HashMap<&str, usize> = HashMap::new();
        let siblings = match set.meta().controller() {
            Some(owner) => self.siblings.get(&owner.uid),
            None => Vec::new(),
        };
        let mut related: Vec<Arc<Object>> = siblings.iter().flat_map(|s| self.pods.get(s.uid())).collect();
        if related.is_empty() {
            related = active.to_vec();
        }
        for pod in related.iter().filter_map(|o| o.view::<Pod>().ok()).filter(|p| pods::is_active(p)) {
            if let Some(node) = pod.spec.as_ref().and_then(|s| s.node_name.as_deref()) {
                *on_node.entry(node).or_default() += 1;
            }
        }
        let now = self.ctx.clock.now();
        let mut ranked: Vec<(rank::Rank, Arc<Object>)> = active
            .iter()
            .filter_map(|o| {
                let pod = o.view::<Pod>().ok()?;
                let node = pod.spec.as_ref().and_then(|s| s.node_name.as_deref());
                let beside = node.and_then(|n| on_node.get(n)).copied().unwrap_or(0);
                Some((rank::Rank::of(pod, beside, now), o.clone()))
            })
            .collect();
        ranked.sort_by(|a, b| a.0.cmp(&b.0));
        ranked.into_iter().take(count).map(|(_, o)| o).collect()
    }

    async fn write_status<K: Replicated>(
        &self,
        object: &Arc<Object>,
        set: &K,
        active: &[Arc<Object>],
        terminating: i32,
        failure: Option<&Error>,
    ) -> Result<Requeue, Error> {
        let tree = object.tree();
        let labels = &tree["spec"]["template"]["metadata"]["labels"];
        let template = Selector::from_set(
            labels.as_object().into_iter().flatten().map(|(k, v)| (k.as_str(), v.as_str().unwrap_or_default())),
        );
        let now = self.ctx.clock.now();
        let (mut labelled, mut ready, mut available, mut wait) = (0, 0, 0, None);
        for o in active {
            let pod = o.view::<Pod>()?;
            labelled += i32::from(matches(&template, &o.meta().labels));
            ready += i32::from(pods::is_ready(pod));
            match pods::available(pod, set.min_ready_seconds(), now) {
                Ok(is) => available += i32::from(is),
                Err(left) => wait = wait.map_or(Some(left), |w| Some(left.min(w))),
            }
        }
        let mut conditions = Conditions::of(&tree["status"]);
        match failure {
            Some(e) => {
                let creating = (active.len() as i32) < set.replicas();
                let reason = if creating { "FailedCreate" } else { "FailedDelete" };
                conditions.set("ReplicaFailure", "True", reason, &e.to_string(), &self.ctx.now(), &[]);
            }
            None => conditions.remove("ReplicaFailure"),
        }
        let mut status = json!({
            "replicas": active.len(), "fullyLabeledReplicas": omit_zero(labelled), "readyReplicas": omit_zero(ready),
            "availableReplicas": omit_zero(available), "observedGeneration": object.meta().generation,
            "conditions": conditions.value(),
        });
        if K::KIND == "ReplicaSet" {
            status["terminatingReplicas"] = json!(terminating);
        }
        status::write::<K>(&*self.ctx.client, object, status)
            .await
            .or_else(|e| if e.is_gone() { Ok(None) } else { Err(e) })?;
        Ok(wait.map(crate::after))
    }
}

fn matches(selector: &Selector, labels: &impl Labels) -> bool {
    selector.matches(labels)
}

/// Whether a change of an owned pod can change anything here: most status writes of a kubelet do not.
fn matters(change: &Change) -> bool {
    let (Some(old), Some(new)) = (&change.old, &change.new) else { return true };
    let (Ok(a), Ok(b)) = (old.view::<Pod>(), new.view::<Pod>()) else { return true };
    pods::phase(a) != pods::phase(b)
        || pods::is_ready(a) != pods::is_ready(b)
        || pods::ready_since(a) != pods::ready_since(b)
        || pods::is_deleting(a) != pods::is_deleting(b)
        || a.metadata.labels != b.metadata.labels
        || a.metadata.owner_references != b.metadata.owner_references
}

fn orphan_matters(change: &Change) -> bool {
    let (Some(old), Some(new)) = (&change.old, &change.new) else { return true };
    old.meta().labels != new.meta().labels || old.meta().owner_references != new.meta().owner_references
}

#[cfg(test)]
mod tests;
