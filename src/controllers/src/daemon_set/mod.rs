//! DaemonSets: one pod on each node that fits. Upstream's `pkg/controller/daemon`.

mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetSpec};
use api::k8s_openapi::api::core::v1::{Node, Pod};
use api::labels::Selector;
use api::{Draft, Object, Resource, Value};
use client::{
    Change, Controller, DeleteOptions, Index, Informer, ObjectKey, Recorder, Requeue, Target, WorkQueue, WriteOptions,
};
use scheduler::{NodeInfo, PodInfo};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::claim::{by_owner, claim};
use crate::deployment::scaled;
use crate::expectations::Expectations;
use crate::{Context, Error, history, pods, status};
use plan::{Pace, Place, plan};

const NAME: &str = "daemonset-controller";
/// `(taint, effect)` that every daemon pod tolerates.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

struct DaemonSets {
    ctx: Context,
    recorder: Recorder,
    sets: Informer,
    nodes: Informer,
    pods: Index,
    revisions: Index,
    expectations: Expectations,
}

/// Runs until `stop`.
pub async fn run(ctx: Context, stop: CancellationToken) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let (pods, revisions) = (ctx.informers.of::<Pod>(), ctx.informers.of::<ControllerRevision>());
    let this = Arc::new(DaemonSets {
        recorder: ctx.recorder.component(NAME),
        sets: ctx.informers.of::<DaemonSet>(),
        nodes: ctx.informers.of::<Node>(),
        pods: pods.index(by_owner),
        revisions: revisions.index(by_owner),
        expectations: Expectations::default(),
        ctx,
    });
    let (q, me) = (queue.clone(), this.clone());
    this.sets.on_change(move |c| {
        if c.new.is_none() {
            me.expectations.forget(&ObjectKey::of(c.object()));
        }
        q.add(ObjectKey::of(c.object()));
    });
    let (q, me) = (queue.clone(), this.clone());
    pods.on_change(move |c| me.expectations.pod_changed::<DaemonSet>(c).into_iter().for_each(|key| q.add(key)));
    let (q, me) = (queue.clone(), this.clone());
    this.nodes.on_change(move |c| {
        if node_matters(c) {
            me.sets.list(None).iter().for_each(|s| q.add(ObjectKey::of(s)));
        }
    });
    for informer in [&this.sets, &this.nodes, &pods, &revisions] {
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

/// Labels, taints and whether it is there decide; heartbeats do not.
fn node_matters(change: &Change) -> bool {
    let (Some(old), Some(new)) = (&change.old, &change.new) else { return true };
    let spec = |o: &Object| o.view::<Node>().ok().and_then(|n| n.spec.clone());
    old.meta().labels != new.meta().labels || spec(old) != spec(new)
}

/// Where a pod is, or is meant to go.
fn node_of(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    if let Some(node) = spec.node_name.as_ref().filter(|n| !n.is_empty()) {
        return Some(node.clone());
    }
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let terms = &affinity.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms;
    let mut fields = terms.iter().flat_map(|t| t.match_fields.iter().flatten());
    fields.find(|f| f.key == "metadata.name")?.values.as_ref()?.first().cloned()
}

fn pace(spec: &DaemonSetSpec, nodes: i32) -> Pace {
    let strategy = spec.update_strategy.as_ref();
    let rolling = strategy.and_then(|s| s.rolling_update.as_ref());
    let count = |n: i32| usize::try_from(n).unwrap_or(0);
    let surge = scaled(rolling.and_then(|r| r.max_surge.as_ref()), nodes, true);
    let unavailable = rolling.and_then(|r| r.max_unavailable.as_ref()).map(|v| scaled(Some(v), nodes, true));
    Pace {
        on_delete: strategy.and_then(|s| s.type_.as_deref()) == Some("OnDelete"),
        max_surge: count(surge),
        max_unavailable: count(unavailable.unwrap_or(i32::from(surge == 0))).max(usize::from(surge == 0)),
        min_ready_seconds: spec.min_ready_seconds.unwrap_or(0),
    }
}

impl DaemonSets {
    async fn sync(&self, key: ObjectKey) -> Result<Requeue, Error> {
        let Some(object) = self.sets.get(&key.namespace, &key.name) else { return Ok(None) };
        let set = object.view::<DaemonSet>()?;
        let Some(spec) = set.spec.as_ref().filter(|_| !object.meta().is_deleting()) else { return Ok(None) };
        let selector = Selector::from_typed(Some(&spec.selector))?;
        if selector.is_everything() {
            let text = "This daemon set is selecting all pods. A non-empty selector is required.";
            self.recorder.warning::<DaemonSet>(&object, "SelectingAll", text);
            return Ok(None);
        }
        let client = &*self.ctx.client;
        let template = object.tree()["spec"]["template"].take();
        let collisions = set.status.as_ref().and_then(|s| s.collision_count);
        let known = claim::<DaemonSet>(client, &object, &selector, &self.revisions, &ControllerRevision::gvr()).await?;
        let revision = history::current::<DaemonSet>(client, &object, &template, &known, collisions).await?;
        let hash = history::hash_of(&revision).to_owned();
        let satisfied = self.expectations.satisfied(&key);
        let pods = claim::<DaemonSet>(client, &object, &selector, &self.pods, &Pod::gvr()).await?;
        let places = self.places(&object, &template, &pods)?;
        let wanted = places.values().filter(|p| p.should_run()).count() as i32;
        let pace = pace(spec, wanted);
        let result = if satisfied { self.act(&key, &object, &template, &hash, &places, pace).await } else { Ok(()) };
        let live = pods.iter().filter_map(|p| p.meta().labels.get(history::HASH_LABEL)).map(|h| h.to_string());
        let live: BTreeSet<String> = live.chain([hash.clone()]).collect();
        history::truncate(client, &known, &live, spec.revision_history_limit).await?;
        let again = self.write_status(&object, &places, &hash, pace).await?;
        match result {
            Err(e) if !e.is_gone() => Err(e),
            _ => Ok(again),
        }
    }

    fn places(&self, set: &Object, template: &Value, pods: &[Arc<Object>]) -> Result<BTreeMap<String, Place>, Error> {
        let mut on: BTreeMap<String, Vec<Arc<Object>>> = BTreeMap::new();
        for pod in pods {
            if let Some(node) = pod.view::<Pod>().ok().and_then(node_of) {
                on.entry(node).or_default().push(pod.clone());
            }
        }
        let mut places = BTreeMap::new();
        for node in self.nodes.list(None) {
            let mut tree = pods::from_template(template, json!({}), "", set.namespace());
            tree["metadata"] = json!({"name": set.name(), "namespace": set.namespace()});
            tolerate(&mut tree);
            let pod = PodInfo::new(Arc::new(Draft::encode(&tree)?.at(0)))?;
            let fit = scheduler::daemon_fit(&pod, &NodeInfo::new(node.clone())?);
            places.insert(node.name().to_owned(), Place { fit, pods: on.remove(node.name()).unwrap_or_default() });
        }
        // pods of nodes that are gone are the pod collector's
        Ok(places)
    }

    async fn act(
        &self,
        key: &ObjectKey,
        set: &Arc<Object>,
        template: &Value,
        hash: &str,
        places: &BTreeMap<String, Place>,
        pace: Pace,
    ) -> Result<(), Error> {
        let plan = plan(places, hash, pace, self.ctx.clock.now());
        for pod in &plan.failed {
            let node = pod.view::<Pod>().ok().and_then(node_of).unwrap_or_default();
            let text = format!(
                "Found failed daemon pod {}/{} on node {node}, will try to kill it",
                pod.namespace(),
                pod.name()
            );
            self.recorder.warning::<DaemonSet>(set, "FailedDaemonPod", text);
        }
        for pod in plan.failed.iter().chain(&plan.delete) {
            self.delete(key, set, pod).await?;
        }
        self.expectations.expect_creations(key, plan.create.len());
        let mut left = plan.create.len();
        for node in &plan.create {
            let target = Target::within(Pod::gvr(), set.namespace());
            match self.ctx.client.create(&target, daemon_pod(set, template, hash, node), &WriteOptions::default()).await
            {
                Ok(pod) => {
                    self.recorder.normal::<DaemonSet>(set, "SuccessfulCreate", format!("Created pod: {}", pod.name()))
                }
                Err(e) => {
                    self.expectations.created(key, left);
                    if !crate::error::is_terminating_namespace(&e) {
                        self.recorder.warning::<DaemonSet>(set, "FailedCreate", format!("Error creating: {e}"));
                    }
                    return Err(e.into());
                }
            }
            left -= 1;
        }
        Ok(())
    }

    async fn delete(&self, key: &ObjectKey, set: &Object, pod: &Object) -> Result<(), Error> {
        self.expectations.expect_deletion(key, pod.uid());
        let options = DeleteOptions::of(pod);
        match self.ctx.client.delete(&Target::one(Pod::gvr(), pod.namespace(), pod.name()), &options).await {
            Ok(_) => {
                self.recorder.normal::<DaemonSet>(set, "SuccessfulDelete", format!("Deleted pod: {}", pod.name()));
                Ok(())
            }
            Err(e) => {
                self.expectations.deleted(key, pod.uid());
                if e.is_not_found() || e.is_conflict() { Ok(()) } else { Err(e.into()) }
            }
        }
    }

    async fn write_status(
        &self,
        set: &Object,
        places: &BTreeMap<String, Place>,
        hash: &str,
        pace: Pace,
    ) -> Result<Requeue, Error> {
        let now = self.ctx.clock.now();
        let (mut desired, mut current, mut misscheduled, mut ready, mut updated, mut available) = (0, 0, 0, 0, 0, 0);
        let mut wait = None;
        for place in places.values() {
            let here: Vec<&Pod> =
                place.pods.iter().filter_map(|o| o.view::<Pod>().ok()).filter(|p| !pods::is_terminated(p)).collect();
            if !place.should_run() {
                misscheduled += i32::from(!here.is_empty());
                continue;
            }
            desired += 1;
            current += i32::from(!here.is_empty());
            ready += i32::from(here.iter().any(|p| pods::is_ready(p) && !pods::is_deleting(p)));
            let is_new = |p: &&Pod| {
                p.metadata.labels.as_ref().and_then(|l| l.get(history::HASH_LABEL)).is_some_and(|h| h == hash)
            };
            updated += i32::from(here.iter().any(is_new));
            let states: Vec<_> = here.iter().map(|p| pods::available(p, pace.min_ready_seconds, now)).collect();
            available += i32::from(states.contains(&Ok(true)));
            wait = states.into_iter().filter_map(Result::err).chain(wait).min();
        }
        let status = json!({
            "desiredNumberScheduled": desired, "currentNumberScheduled": current, "numberMisscheduled": misscheduled,
            "numberReady": ready, "updatedNumberScheduled": status::omit_zero(updated),
            "numberAvailable": status::omit_zero(available), "numberUnavailable": status::omit_zero(desired - available),
            "observedGeneration": set.meta().generation,
        });
        match status::write::<DaemonSet>(&*self.ctx.client, set, status).await {
            Err(e) if !e.is_gone() => Err(e),
            _ => Ok(wait.map(crate::after)),
        }
    }
}

/// What the cluster's own taints say does not keep a daemon off.
fn tolerate(pod: &mut Value) {
    let host_network = pod["spec"]["hostNetwork"] == true;
    let mut all = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    let network = host_network.then_some(("node.kubernetes.io/network-unavailable", "NoSchedule"));
    for (key, effect) in TOLERATED.into_iter().chain(network) {
        let toleration = json!({"key": key, "operator": "Exists", "effect": effect});
        if !all.contains(&toleration) {
            all.push(toleration);
        }
    }
    pod["spec"]["tolerations"] = Value::Array(all);
}

/// Bound to its node by affinity, so that the scheduler puts it there.
fn daemon_pod(set: &Object, template: &Value, hash: &str, node: &str) -> Value {
    let owner = pods::controller_ref::<DaemonSet>(set);
    let mut pod = pods::from_template(template, owner, &pods::prefix(set.name()), set.namespace());
    pod["metadata"]["labels"][history::HASH_LABEL] = json!(hash);
    let generation = set.tree()["metadata"]["annotations"]["deprecated.daemonset.template.generation"].take();
    if !generation.is_null() {
        pod["metadata"]["labels"]["pod-template-generation"] = generation;
    }
    tolerate(&mut pod);
    let here = json!([{"key": "metadata.name", "operator": "In", "values": [node]}]);
    let required = &mut pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    match required["nodeSelectorTerms"].as_array_mut().filter(|t| !t.is_empty()) {
        Some(terms) => terms.iter_mut().for_each(|t| t["matchFields"] = here.clone()),
        None => *required = json!({"nodeSelectorTerms": [{ "matchFields": here }]}),
    }
    pod
}

#[cfg(test)]
mod tests;
