//! The loop: informers keep cache and queue up to date; one pod at a time is decided on, and bound in the background.

use std::sync::Arc;

use api::k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolumeClaim, Pod};
use api::{Gvr, Object, Resource, Value};
use client::{
    Change, Client, Clock, DeleteOptions, Informer, Informers, ListOptions, Patch, Precondition, Recorder, Target,
    WriteOptions, now_rfc3339,
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cache::Cache;
use crate::decide::{Decision, decide};
use crate::event::{Event, Plugins};
use crate::node::PodInfo;
use crate::preempt::{Pdbs, Victims, nominated_node, preempt};
use crate::queue::{Next, Queue, Queued};
use crate::volumes::{self, Storage, Volumes};

/// Pods that name another are not ours.
const NAME: &str = "default-scheduler";

#[derive(Default)]
struct State {
    cache: Cache,
    queue: Queue,
}

struct Scheduler {
    client: Arc<dyn Client>,
    clock: Arc<dyn Clock>,
    recorder: Recorder,
    pods: Informer,
    storage: Storage,
    /// None while the API does not serve disruption budgets.
    budgets: Option<Informer>,
    state: Mutex<State>,
    wake: Notify,
}

/// Schedules until `stop`. `client` acts as `system:kube-scheduler`.
pub async fn run(client: Arc<dyn Client>, clock: Arc<dyn Clock>, stop: CancellationToken) {
    let informers = Informers::new(client.clone(), stop.clone());
    let nodes = informers.of::<Node>();
    let namespaces = informers.of::<Namespace>();
    let this = Arc::new(Scheduler {
        recorder: Recorder::new(client.clone(), clock.clone(), NAME, ""),
        pods: informers.of::<Pod>(),
        storage: Storage::new(&informers),
        budgets: budgets(&*client, &informers).await,
        client,
        clock,
        state: Mutex::default(),
        wake: Notify::new(),
    });
    // nodes first: a pod should not be told that there are none
    nodes.synced().await;
    let me = this.clone();
    nodes.on_change(move |c| me.node_changed(c));
    let me = this.clone();
    namespaces.on_change(move |c| me.namespace_changed(c));
    let me = this.clone();
    this.pods.on_change(move |c| me.pod_changed(c));
    for informer in [&this.storage.claims, &this.storage.volumes, &this.storage.classes] {
        let me = this.clone();
        informer.on_change(move |_| {
            me.state.lock().queue.wake(Event::Storage, Instant::now());
            me.wake.notify_one();
        });
        informer.synced().await;
    }
    this.pods.synced().await;
    stop.run_until_cancelled(this.work()).await;
}

async fn budgets(client: &dyn Client, informers: &Informers) -> Option<Informer> {
    let resource = Gvr::new("policy", "v1", "poddisruptionbudgets");
    let options = ListOptions { limit: 1, ..Default::default() };
    client.list(&Target::all(resource.clone()), &options).await.ok()?;
    Some(informers.get(resource))
}

fn assigned(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|n| !n.is_empty())
}

fn is_terminated(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|s| s.phase.as_deref()), Some("Succeeded" | "Failed"))
}

fn is_ours(pod: &Pod) -> bool {
    let name = pod.spec.as_ref().and_then(|s| s.scheduler_name.as_deref());
    matches!(name, None | Some("" | NAME))
}

fn is_gated(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|s| s.scheduling_gates.as_ref()).is_some_and(|g| !g.is_empty())
}

impl Scheduler {
    fn node_changed(&self, change: &Change) {
        let mut guard = self.state.lock();
        let State { cache, queue } = &mut *guard;
        let now = Instant::now();
        match (&change.old, &change.new) {
            (old, Some(new)) => {
                if let Err(error) = cache.put_node(new.clone()) {
                    tracing::warn!(node = new.name(), %error, "cannot read the node");
                    return;
                }
                match old {
                    None => queue.wake(Event::NodeAdded, now),
                    Some(old) => node_events(old, new).into_iter().for_each(|e| queue.wake(e, now)),
                }
            }
            (Some(old), None) => cache.remove_node(old.name()),
            (None, None) => {}
        }
        drop(guard);
        self.wake.notify_one();
    }

    fn namespace_changed(&self, change: &Change) {
        let mut s = self.state.lock();
        match &change.new {
            Some(ns) => drop(s.cache.namespaces.insert(ns.name().to_owned(), ns.meta().labels.clone())),
            None => drop(s.cache.namespaces.remove(change.object().name())),
        }
        if change.old.as_ref().zip(change.new.as_ref()).is_some_and(|(a, b)| a.meta().labels != b.meta().labels) {
            s.queue.wake(Event::Namespace, Instant::now());
            self.wake.notify_one();
        }
    }

    fn pod_changed(&self, change: &Change) {
        let mut guard = self.state.lock();
        let State { cache, queue } = &mut *guard;
        let now = Instant::now();
        let mut gone = |uid: &str| {
            queue.remove(uid);
            cache.nominations.remove(uid);
            if cache.remove_pod(uid) {
                queue.wake(Event::PodRemoved, now);
            }
        };
        if let Some(old) = &change.old
            && change.new.as_ref().is_none_or(|n| n.uid() != old.uid())
        {
            gone(old.uid());
        }
        let Some(object) = &change.new else {
            drop(guard);
            return self.wake.notify_one();
        };
        let pod = match object.view::<Pod>() {
            Ok(pod) => pod,
            Err(error) => return tracing::warn!(pod = object.name(), %error, "cannot read the pod"),
        };
        let old = change.old.as_ref().filter(|o| o.uid() == object.uid()).and_then(|o| o.view::<Pod>().ok());
        if is_terminated(pod) {
            gone(object.uid());
        } else if let Some(node) = assigned(pod) {
            queue.remove(object.uid());
            cache.nominations.remove(object.uid());
            if let Err(error) = cache.put_pod(object.clone(), node) {
                tracing::warn!(pod = object.name(), %error, "cannot read the pod");
            }
            if old.is_none_or(|o| assigned(o).is_none() || o.metadata.labels != pod.metadata.labels) {
                queue.wake(Event::PodPlaced, now);
            } else if old.is_some_and(|o| o.spec != pod.spec) {
                // resized in place, perhaps to less
                queue.wake(Event::PodRemoved, now);
            }
        } else if object.meta().is_deleting() || !is_ours(pod) {
            queue.remove(object.uid());
            cache.nominations.remove(object.uid());
        } else if !cache.is_assumed(object.uid()) {
            match PodInfo::new(object.clone()) {
                Ok(info) => {
                    let info = Arc::new(info);
                    if let Some(node) = nominated_node(pod) {
                        cache.nominations.add(info.clone(), node);
                    }
                    enqueue(queue, info, old, now);
                }
                Err(error) => tracing::warn!(pod = object.name(), %error, "cannot read the pod"),
            }
        }
        drop(guard);
        self.wake.notify_one();
    }

    async fn work(self: &Arc<Self>) {
        loop {
            let next = self.state.lock().queue.next(Instant::now());
            match next {
                Next::Pod(queued) => {
                    self.schedule(queued);
                    // lets bindings go out while the queue is long
                    tokio::task::yield_now().await;
                }
                Next::At(at) => tokio::select! {
                    _ = self.wake.notified() => {}
                    _ = tokio::time::sleep_until(at) => {}
                },
                Next::Idle => self.wake.notified().await,
            }
        }
    }

    fn schedule(self: &Arc<Self>, queued: Queued) {
        let mut guard = self.state.lock();
        let State { cache, queue } = &mut *guard;
        let volumes = Volumes::of(&queued.pod, &self.storage);
        match decide(&queued.pod, cache, &volumes) {
            Decision::Node(node) => {
                let waiting = volumes.map(|v| v.waiting).unwrap_or_default();
                if !waiting.is_empty() {
                    // bound claims wake it again
                    queue.unschedulable(queued, Plugins::VOLUMES, Instant::now());
                    drop(guard);
                    let me = self.clone();
                    tokio::spawn(async move { me.select_node(&waiting, &node).await });
                    return;
                }
                cache.nominations.remove(queued.pod.object.uid());
                cache.assume(queued.pod.clone(), &node);
                drop(guard);
                let me = self.clone();
                tokio::spawn(async move { me.bind(queued, node).await });
            }
            Decision::Nowhere(nowhere) => {
                let fine = Volumes::default();
                let pdbs = Pdbs::new(&self.budgets.as_ref().map(|b| b.list(None)).unwrap_or_default());
                let preempted = match nowhere.nodes {
                    0 => Err(String::new()),
                    _ => preempt(&queued.pod, cache, volumes.as_ref().unwrap_or(&fine), &nowhere, &pdbs),
                };
                let (text, victims) = match preempted {
                    Ok(victims) => (String::new(), Some(victims)),
                    Err(text) => (text, None),
                };
                let (pod, message) = (queued.pod.clone(), nowhere.message(&text));
                if let Some(v) = &victims {
                    cache.nominations.add(pod.clone(), &v.node);
                }
                queue.unschedulable(queued, nowhere.rejected_by(), Instant::now());
                drop(guard);
                let me = self.clone();
                tokio::spawn(async move {
                    me.explain(&pod.object, &message, victims.as_ref().map(|v| v.node.as_str())).await;
                    if let Some(victims) = victims {
                        me.drive_off(&pod.object, victims).await;
                    }
                });
            }
        }
    }

    /// Tells the provisioner of waiting claims which node it is.
    async fn select_node(&self, claims: &[Arc<Object>], node: &str) {
        for claim in claims.iter().filter(|c| volumes::selected(c) != Some(node)) {
            let target = Target::one(PersistentVolumeClaim::gvr(), claim.namespace(), claim.name());
            let patch = Patch::Merge(volumes::selection(node));
            if let Err(error) = self.client.patch(&target, patch, &WriteOptions::default()).await {
                tracing::warn!(claim = claim.name(), namespace = claim.namespace(), %error, "cannot select a node for the claim");
            }
        }
    }

    /// Deletes the victims of `pod`: their going wakes it.
    async fn drive_off(&self, pod: &Object, victims: Victims) {
        for victim in victims.pods.iter().filter(|v| !v.is_deleting()) {
            let v = &victim.object;
            let text = format!("Preempted by pod {} on node {}", pod.uid(), victims.node);
            self.recorder.normal::<Pod>(v, "Preempted", text);
            let message = format!("{NAME}: preempting to accommodate a higher priority pod");
            let now = now_rfc3339(&*self.clock);
            let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
                "message": message, "lastTransitionTime": now});
            let target = Target::one(Pod::gvr(), v.namespace(), v.name());
            // the other conditions are the kubelet's
            let patch = Patch::Strategic(json!({"status": {"conditions": [condition]}}));
            let marked = self.client.patch(&target.clone().sub("status"), patch, &WriteOptions::default()).await;
            let precondition = Precondition { uid: Some(v.uid().into()), revision: None };
            let options = DeleteOptions { precondition, ..Default::default() };
            let deleted = self.client.delete(&target, &options).await;
            for error in marked.err().into_iter().chain(deleted.err()).filter(|e| !e.is_not_found()) {
                tracing::warn!(pod = v.name(), namespace = v.namespace(), %error, "cannot preempt");
            }
        }
    }

    async fn bind(&self, queued: Queued, node: String) {
        let pod = &queued.pod.object;
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": pod.name(), "namespace": pod.namespace(), "uid": pod.uid()},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let target = Target::one(Pod::gvr(), pod.namespace(), pod.name()).sub("binding");
        match self.client.create(&target, binding, &WriteOptions::default()).await {
            Ok(_) => {
                tracing::debug!(pod = pod.name(), namespace = pod.namespace(), node, "scheduled");
                let text = format!("Successfully assigned {}/{} to {node}", pod.namespace(), pod.name());
                self.recorder.normal::<Pod>(pod, "Scheduled", text);
            }
            Err(error) => {
                let mut s = self.state.lock();
                s.cache.forget(pod.uid());
                s.queue.wake(Event::PodRemoved, Instant::now());
                // it may be gone, or bound by another
                if self.waits(pod) {
                    tracing::warn!(pod = pod.name(), namespace = pod.namespace(), node, %error, "binding failed");
                    s.queue.failed(queued.clone(), Instant::now());
                }
                drop(s);
                self.wake.notify_one();
            }
        }
    }

    /// Whether the pod is still there and without a node.
    fn waits(&self, pod: &Object) -> bool {
        self.pods.get(pod.namespace(), pod.name()).is_some_and(|now| {
            now.uid() == pod.uid()
                && !now.meta().is_deleting()
                && now.view::<Pod>().is_ok_and(|p| assigned(p).is_none())
        })
    }

    /// Says on the pod, and in an event, why it has no node.
    async fn explain(&self, pod: &Object, message: &str, nominated: Option<&str>) {
        self.recorder.warning::<Pod>(pod, "FailedScheduling", message);
        let Some(newest) = self.pods.get(pod.namespace(), pod.name()).filter(|p| p.uid() == pod.uid()) else { return };
        let status = newest.tree()["status"].take();
        if let Some(patch) = condition(&status, "Unschedulable", message, nominated, &now_rfc3339(&*self.clock)) {
            let target = Target::one(Pod::gvr(), pod.namespace(), pod.name()).sub("status");
            let result = self.client.patch(&target, Patch::Strategic(patch), &WriteOptions::default()).await;
            if let Err(error) = result
                && !error.is_not_found()
            {
                tracing::warn!(pod = pod.name(), namespace = pod.namespace(), %error, "cannot write the condition");
            }
        }
    }
}

fn enqueue(queue: &mut Queue, info: Arc<PodInfo>, old: Option<&Pod>, now: Instant) {
    let pod = info.pod();
    let gated = is_gated(pod);
    // the scheduler's own status writes are no reason to try again
    let changed = old.is_none_or(|o| o.spec != pod.spec || o.metadata.labels != pod.metadata.labels);
    if queue.update(info.clone(), changed && !gated) {
        return;
    }
    if gated { queue.add_gated(info, now) } else { queue.add(info, now) }
}

/// What of a node changed that can matter to a pod: heartbeats do not.
fn node_events(old: &Object, new: &Object) -> Vec<Event> {
    let (Ok(a), Ok(b)) = (old.view::<Node>(), new.view::<Node>()) else { return Vec::new() };
    let allocatable = |n: &Node| n.status.as_ref().and_then(|s| s.allocatable.clone());
    let taints = |n: &Node| n.spec.as_ref().and_then(|s| s.taints.clone());
    let cordoned = |n: &Node| n.spec.as_ref().and_then(|s| s.unschedulable);
    let mut events = Vec::new();
    if allocatable(a) != allocatable(b) {
        events.push(Event::NodeAllocatable);
    }
    if old.meta().labels != new.meta().labels {
        events.push(Event::NodeLabels);
    }
    if taints(a) != taints(b) {
        events.push(Event::NodeTaints);
    }
    if cordoned(a) != cordoned(b) {
        events.push(Event::NodeUnschedulable);
    }
    events
}

/// The patch that sets `PodScheduled` to false, unless it says so already.
fn condition(status: &Value, reason: &str, message: &str, nominated: Option<&str>, now: &str) -> Option<Value> {
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let old = conditions.iter().find(|c| c["type"] == "PodScheduled");
    let same_node = nominated.is_none_or(|n| status["nominatedNodeName"] == n);
    if same_node && old.is_some_and(|c| c["status"] == "False" && c["reason"] == reason && c["message"] == message) {
        return None;
    }
    let since = old.filter(|c| c["status"] == "False").and_then(|c| c["lastTransitionTime"].as_str()).unwrap_or(now);
    let new = json!({"type": "PodScheduled", "status": "False", "reason": reason, "message": message,
        "lastProbeTime": null, "lastTransitionTime": since});
    let mut patch = json!({"status": {"conditions": [new]}});
    if let Some(node) = nominated {
        patch["status"]["nominatedNodeName"] = json!(node);
    }
    Some(patch)
}

#[cfg(test)]
mod tests;
