//! Deployments: from one template to the next, pod by pod. Upstream's `pkg/controller/deployment`.
//!
//! A deployment writes ReplicaSets only; those make the pods. [`math`] decides sizes, [`sets`] revisions, [`progress`] the
//! status; [`rollout`] applies them.

mod math;
mod progress;
mod rollout;
mod sets;

use std::sync::Arc;

use api::k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use api::k8s_openapi::api::core::v1::Pod;
use api::labels::Selector;
use api::{Object, Resource};
use client::{Change, Controller, Index, Informer, ObjectKey, Recorder, Requeue, WorkQueue};
use tokio_util::sync::CancellationToken;

use crate::claim::{by_owner, claim};
use crate::pods::controller_key;
use crate::{Context, Error};
pub use math::scaled;
use rollout::Rollout;
use sets::Set;

const NAME: &str = "deployment-controller";

struct Deployments {
    ctx: Context,
    recorder: Recorder,
    deployments: Informer,
    sets: Informer,
    by_owner: Index,
    pods: Index,
}

/// Runs the controller until `stop`.
pub async fn run(ctx: Context, stop: CancellationToken) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let pods = ctx.informers.of::<Pod>();
    let sets = ctx.informers.of::<ReplicaSet>();
    let this = Arc::new(Deployments {
        recorder: ctx.recorder.component(NAME),
        deployments: ctx.informers.of::<Deployment>(),
        by_owner: sets.index(by_owner),
        pods: pods.index(by_owner),
        sets,
        ctx,
    });
    let q = queue.clone();
    this.deployments.on_change(move |c| q.add(ObjectKey::of(c.object())));
    let (q, me) = (queue.clone(), this.clone());
    this.sets.on_change(move |c| me.set_changed(c, &q));
    let (q, me) = (queue.clone(), this.clone());
    pods.on_change(move |c| me.pod_changed(c, &q));
    this.deployments.synced().await;
    this.sets.synced().await;
    pods.synced().await;
    let controller = Controller { name: NAME, workers: 4, queue };
    controller
        .run(stop, move |key| {
            let this = this.clone();
            async move { this.sync(key).await }
        })
        .await;
}

impl Deployments {
    fn set_changed(&self, change: &Change, queue: &WorkQueue<ObjectKey>) {
        let set = change.object();
        let owner = controller_key::<Deployment>(set);
        if let Some(old) = change.old.as_ref().and_then(|o| controller_key::<Deployment>(o))
            && Some(&old) != owner.as_ref()
        {
            queue.add(old);
        }
        match owner {
            Some(owner) => queue.add(owner),
            None if set.meta().controller().is_none() && change.new.is_some() => {
                for d in self.deployments.list(Some(set.namespace())) {
                    let matches = d.view::<Deployment>().ok().and_then(|d| selector(d).ok());
                    if matches.is_some_and(|s| !s.is_everything() && s.matches(&set.meta().labels)) {
                        queue.add(ObjectKey::of(&d));
                    }
                }
            }
            None => {}
        }
    }

    /// A deployment that recreates waits for the last old pod to go.
    fn pod_changed(&self, change: &Change, queue: &WorkQueue<ObjectKey>) {
        let ended = |o: &Arc<Object>| o.view::<Pod>().is_ok_and(crate::pods::is_terminated);
        let gone = match (&change.old, &change.new) {
            (Some(_), None) => true,
            (Some(old), Some(new)) => ended(new) && !ended(old),
            _ => false,
        };
        if !gone {
            return;
        }
        let pod = change.object();
        let owner = controller_key::<ReplicaSet>(pod)
            .and_then(|key| self.sets.get(&key.namespace, &key.name))
            .and_then(|set| controller_key::<Deployment>(&set));
        if let Some(key) = owner
            && let Some(d) = self.deployments.get(&key.namespace, &key.name)
            && d.view::<Deployment>().is_ok_and(|d| !is_rolling(d))
        {
            queue.add(key);
        }
    }

    async fn sync(&self, key: ObjectKey) -> Result<Requeue, Error> {
        let Some(object) = self.deployments.get(&key.namespace, &key.name) else { return Ok(None) };
        let deployment = object.view::<Deployment>()?;
        let selector = selector(deployment)?;
        if selector.is_everything() {
            let text = "This deployment is selecting all pods. A non-empty selector is required.";
            self.recorder.warning::<Deployment>(&object, "SelectingAll", text);
            return Ok(None);
        }
        let client = &*self.ctx.client;
        let all = claim::<Deployment>(client, &object, &selector, &self.by_owner, &ReplicaSet::gvr()).await?;
        let mut rollout = Rollout::new(
            &self.ctx,
            &self.recorder,
            &self.pods,
            object.clone(),
            deployment,
            all.into_iter().map(Set).collect(),
        );
        let result = rollout.sync().await;
        match result {
            Err(e) if e.is_gone() => Ok(None),
            other => Ok(other?.map(crate::after)),
        }
    }
}

fn selector(d: &Deployment) -> Result<Selector, Error> {
    Ok(Selector::from_typed(d.spec.as_ref().map(|s| &s.selector))?)
}

fn is_rolling(d: &Deployment) -> bool {
    let strategy = d.spec.as_ref().and_then(|s| s.strategy.as_ref()).and_then(|s| s.type_.as_deref());
    strategy != Some("Recreate")
}

#[cfg(test)]
mod tests;
