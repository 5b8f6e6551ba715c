//! Nodes: lost ones are marked, tainted, and their pods driven off; new ones get their pod network. Upstream's
//! `pkg/controller/nodelifecycle`, `tainteviction` and `nodeipam`.

pub mod eviction;
mod ipam;
mod taints;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api::k8s_openapi::api::coordination::v1::Lease;
use api::k8s_openapi::api::core::v1::{Node, Pod};
use api::{Object, Resource};
use client::{
    Change, Controller, Index, Informer, ObjectKey, Patch, Recorder, Requeue, Target, WorkQueue, WriteOptions,
};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::status::Conditions;
use crate::{Context, Error, pods};

const LEASES: &str = "kube-node-lease";
const NAME: &str = "node-controller";

struct Lifecycle {
    ctx: Context,
    recorder: Recorder,
    nodes: Informer,
    pods: Index,
    /// When this process last saw a sign of life, by node. Its own clock: the nodes' may differ.
    seen: Mutex<HashMap<String, Timestamp>>,
    /// No node is ready: more likely it is this side that is cut off, and nobody is driven off. Upstream's master
    /// disruption mode.
    disrupted: AtomicBool,
    queue: WorkQueue<ObjectKey>,
    allocator: ipam::Allocator,
}

/// Runs until `stop`.
pub async fn run(ctx: Context, stop: CancellationToken) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let nodes = ctx.informers.of::<Node>();
    let pods = ctx.informers.of::<Pod>();
    let leases = ctx.informers.of::<Lease>();
    let this = Arc::new(Lifecycle {
        recorder: ctx.recorder.component(NAME),
        pods: pods.index(eviction::by_node),
        seen: Mutex::default(),
        disrupted: AtomicBool::new(false),
        queue: queue.clone(),
        allocator: ipam::Allocator::new(ctx.clone(), nodes.clone()),
        nodes: nodes.clone(),
        ctx,
    });
    let (q, me) = (queue.clone(), this.clone());
    nodes.on_change(move |c| me.node_changed(c, &q));
    let me = this.clone();
    leases.on_change(move |c| me.lease_changed(c));
    nodes.synced().await;
    pods.synced().await;
    leases.synced().await;
    // one worker: networks are given one at a time
    let controller = Controller { name: NAME, workers: 1, queue };
    controller
        .run(stop, move |key| {
            let this = this.clone();
            async move { this.sync(&key).await }
        })
        .await;
}

/// What a kubelet says in a node's status: a change of it is a sign of life.
fn heartbeat(node: &Node) -> Option<Timestamp> {
    let all = node.status.as_ref()?.conditions.as_ref()?;
    all.iter().find(|c| c.type_ == "Ready")?.last_heartbeat_time.as_ref().map(|t| t.0)
}

impl Lifecycle {
    fn node_changed(&self, change: &Change, queue: &WorkQueue<ObjectKey>) {
        let name = change.object().name();
        let beat = |o: &Option<Arc<Object>>| o.as_ref().and_then(|o| heartbeat(o.view::<Node>().ok()?));
        match &change.new {
            None => drop(self.seen.lock().remove(name)),
            Some(_) if change.old.is_none() || beat(&change.old) != beat(&change.new) => self.alive(name),
            Some(_) => {}
        }
        queue.add(ObjectKey::of(change.object()));
    }

    fn lease_changed(&self, change: &Change) {
        let Some(lease) = change.new.as_ref().filter(|l| l.namespace() == LEASES) else { return };
        let renewed = |o: &Object| o.view::<Lease>().ok().and_then(|l| l.spec.as_ref()?.renew_time.clone());
        if change.old.as_ref().is_none_or(|old| renewed(old) != renewed(lease)) {
            self.alive(lease.name());
        }
    }

    fn alive(&self, node: &str) {
        self.seen.lock().insert(node.to_owned(), self.ctx.clock.now());
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Requeue, Error> {
        self.allocator.sync(key).await?;
        let Some(object) = self.nodes.get("", &key.name) else { return Ok(None) };
        let now = self.ctx.clock.now();
        let seen = *self.seen.lock().entry(key.name.to_string()).or_insert(now);
        let grace = self.ctx.config.node_grace;
        let left = grace - now.duration_since(seen);
        let node = object.view::<Node>()?;
        let ready = taints::condition(node, "Ready");
        if !left.is_positive() && ready != Some("Unknown") {
            // the write wakes us again: then come the taints
            return self.mark_unknown(&object, node).await.map(|()| None);
        }
        self.look_around();
        self.taint(&object, node).await?;
        if ready != Some("True") {
            self.mark_pods_not_ready(&object).await?;
        }
        Ok(left.is_positive().then(|| crate::after(left)))
    }

    /// Sees whether any node is ready; when that turns, all nodes' taints do.
    fn look_around(&self) {
        let nodes = self.nodes.list(None);
        let ready = |o: &Arc<Object>| o.view::<Node>().is_ok_and(|n| taints::condition(n, "Ready") == Some("True"));
        let disrupted = !nodes.iter().any(ready);
        if self.disrupted.swap(disrupted, Ordering::Relaxed) != disrupted {
            if disrupted && nodes.len() > 1 {
                tracing::warn!("no node is ready: nothing is evicted");
            }
            nodes.iter().for_each(|o| self.queue.add(ObjectKey::of(o)));
        }
    }

    /// Its conditions say that nothing is known of it any more.
    async fn mark_unknown(&self, object: &Object, node: &Node) -> Result<(), Error> {
        let tree = object.tree();
        let (mut conditions, stamp) = (Conditions::of(&tree["status"]), self.ctx.now());
        for kind in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
            let old = conditions.get(kind).cloned();
            let (reason, message, beat) = match &old {
                Some(c) => {
                    ("NodeStatusUnknown", "Kubelet stopped posting node status.", c["lastHeartbeatTime"].clone())
                }
                None => (
                    "NodeStatusNeverUpdated",
                    "Kubelet never posted node status.",
                    json!(object.meta().creation_timestamp),
                ),
            };
            if old.is_some_and(|c| c["status"] == "Unknown") {
                continue;
            }
            conditions.set(kind, "Unknown", reason, message, &stamp, &[]);
            if let Some(c) = conditions.0.last_mut() {
                c["lastHeartbeatTime"] = beat;
            }
        }
        tracing::warn!(node = object.name(), "node is lost");
        let text = format!("Node {} status is now: NodeNotReady", object.name());
        if taints::condition(node, "Ready") == Some("True") {
            self.recorder.normal::<Node>(object, "NodeNotReady", text);
        }
        // by revision: the kubelet may be back this very moment
        let patch = json!({"metadata": {"resourceVersion": object.revision().to_string()}, "status": {"conditions": conditions.value()}});
        let target = Target::one(Node::gvr(), "", object.name()).sub("status");
        match self.ctx.client.patch(&target, Patch::Merge(patch), &WriteOptions::default()).await {
            Err(e) if !e.is_not_found() => Err(e.into()),
            _ => Ok(()),
        }
    }

    async fn taint(&self, object: &Object, node: &Node) -> Result<(), Error> {
        let tree = object.tree();
        let evict = !self.disrupted.load(Ordering::Relaxed);
        let wanted = taints::wanted(node, &tree, &self.ctx.now(), evict);
        if tree["spec"]["taints"].as_array().map_or(wanted.is_empty(), |old| *old == wanted) {
            return Ok(());
        }
        let taints = if wanted.is_empty() { api::Value::Null } else { json!(wanted) };
        let patch = json!({"metadata": {"resourceVersion": object.revision().to_string()}, "spec": {"taints": taints}});
        let target = Target::one(Node::gvr(), "", object.name());
        match self.ctx.client.patch(&target, Patch::Merge(patch), &WriteOptions::default()).await {
            Err(e) if !e.is_not_found() => Err(e.into()),
            _ => Ok(()),
        }
    }

    /// Pods of a node that is not ready get no traffic.
    async fn mark_pods_not_ready(&self, node: &Object) -> Result<(), Error> {
        for object in self.pods.get(node.name()) {
            let pod = object.view::<Pod>()?;
            if !pods::is_ready(pod) {
                continue;
            }
            self.recorder.warning::<Pod>(&object, "NodeNotReady", "Node is not ready");
            let condition = json!({"type": "Ready", "status": "False", "lastTransitionTime": self.ctx.now()});
            eviction::patch_status(&self.ctx, &object, json!({"status": {"conditions": [condition]}})).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
