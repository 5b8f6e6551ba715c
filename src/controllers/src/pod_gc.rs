//! Pods that nobody will ever clean up: of nodes that are gone, too many terminated ones, terminating ones that never got a
//! node or whose node is out of service. Upstream's `pkg/controller/podgc`.

use std::sync::Arc;
use std::time::Duration;

use api::k8s_openapi::api::core::v1::{Node, Pod};
use api::{Object, Resource};
use client::{Change, Controller, DeleteOptions, Index, Informer, ObjectKey, Requeue, Target, WorkQueue};
use tokio_util::sync::CancellationToken;

use crate::node::eviction::{by_node, disrupt};
use crate::{Context, Error, pods};

/// A node that vanished may come back so long.
const QUARANTINE: Duration = Duration::from_secs(40);
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
/// Stands for the check of the number of terminated pods; no namespace has this name.
const THRESHOLD: &str = "*";

struct Collector {
    ctx: Context,
    pods: Informer,
    nodes: Informer,
    by_node: Index,
    terminated: Index,
}

/// Index of terminated pods.
fn terminated(pod: &Object) -> Vec<Box<str>> {
    if pod.view::<Pod>().is_ok_and(pods::is_terminated) { vec!["".into()] } else { Vec::new() }
}

/// Runs until `stop`.
pub async fn run(ctx: Context, stop: CancellationToken) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let pods = ctx.informers.of::<Pod>();
    let this = Arc::new(Collector {
        nodes: ctx.informers.of::<Node>(),
        by_node: pods.index(by_node),
        terminated: pods.index(terminated),
        pods,
        ctx,
    });
    this.nodes.synced().await;
    let (q, me) = (queue.clone(), this.clone());
    this.nodes.on_change(move |c| me.node_changed(c, &q));
    let (q, me) = (queue.clone(), this.clone());
    this.pods.on_change(move |c| me.pod_changed(c, &q));
    this.pods.synced().await;
    let controller = Controller { name: "pod-garbage-collector", workers: 2, queue };
    controller
        .run(stop, move |key| {
            let this = this.clone();
            async move { if &*key.namespace == THRESHOLD { this.thin_out().await } else { this.sync(&key).await } }
        })
        .await;
}

fn out_of_service(node: &Object) -> bool {
    let Ok(node) = node.view::<Node>() else { return false };
    let ready = node
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten())
        .any(|c| c.type_ == "Ready" && c.status == "True");
    let mut taints = node.spec.iter().flat_map(|s| s.taints.iter().flatten());
    !ready && taints.any(|t| t.key == OUT_OF_SERVICE)
}

impl Collector {
    fn node_changed(&self, change: &Change, queue: &WorkQueue<ObjectKey>) {
        let delay = match &change.new {
            None => QUARANTINE,
            Some(node) if out_of_service(node) => Duration::ZERO,
            Some(_) => return,
        };
        for pod in self.by_node.get(change.object().name()) {
            queue.add_after(ObjectKey::of(&pod), delay);
        }
    }

    fn pod_changed(&self, change: &Change, queue: &WorkQueue<ObjectKey>) {
        let Some(pod) = &change.new else { return };
        match by_node(pod).first() {
            None if pod.meta().is_deleting() => queue.add(ObjectKey::of(pod)),
            None => {}
            Some(node) => match self.nodes.get("", node) {
                None => queue.add_after(ObjectKey::of(pod), QUARANTINE),
                Some(node) if pod.meta().is_deleting() && out_of_service(&node) => queue.add(ObjectKey::of(pod)),
                Some(_) => {}
            },
        }
        let limit = self.ctx.config.terminated_pods;
        if limit > 0 && !terminated(pod).is_empty() && self.terminated.get("").len() > limit {
            queue.add(ObjectKey::new(THRESHOLD, ""));
        }
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Requeue, Error> {
        let Some(pod) = self.pods.get(&key.namespace, &key.name) else { return Ok(None) };
        let Some(name) = by_node(&pod).into_iter().next() else {
            if pod.meta().is_deleting() {
                self.remove(&pod).await?;
            }
            return Ok(None);
        };
        match self.nodes.get("", &name) {
            Some(node) if pod.meta().is_deleting() && out_of_service(&node) => self.remove(&pod).await?,
            Some(_) => {}
            None => match self.ctx.client.get(&Target::one(Node::gvr(), "", &name)).await {
                Err(e) if e.is_not_found() => {
                    disrupt(&self.ctx, &pod, "DeletionByPodGC", "PodGC: node no longer exists", Some("Failed")).await?;
                    self.remove(&pod).await?;
                }
                other => drop(other?),
            },
        }
        Ok(None)
    }

    /// Deletes the oldest terminated pods beyond the threshold.
    async fn thin_out(&self) -> Result<Requeue, Error> {
        let mut all = self.terminated.get("");
        let surplus = all.len().saturating_sub(self.ctx.config.terminated_pods);
        all.sort_by(|a, b| a.meta().creation_timestamp.cmp(&b.meta().creation_timestamp));
        for pod in all.iter().take(surplus) {
            self.remove(pod).await?;
        }
        Ok(None)
    }

    async fn remove(&self, pod: &Object) -> Result<(), Error> {
        let options = DeleteOptions { grace_seconds: Some(0), ..DeleteOptions::of(pod) };
        let target = Target::one(Pod::gvr(), pod.namespace(), pod.name());
        match self.ctx.client.delete(&target, &options).await {
            Err(e) if !e.is_not_found() && !e.is_conflict() => Err(e.into()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, settle};
    use serde_json::json;

    #[tokio::test(start_paused = true)]
    async fn orphans_the_unscheduled_and_the_surplus_go() {
        let bench = Bench::with(|c| c.terminated_pods = 1);
        bench.start(run);
        bench.fake.seed(Node::gvr(), json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}}));
        settle().await;
        let seed = |name: &str, node: &str, phase: &str, created: &str| {
            bench.fake.seed(
                Pod::gvr(),
                json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "namespace": "n", "creationTimestamp": created},
                "spec": {"nodeName": node, "containers": []}, "status": {"phase": phase}}),
            );
        };
        seed("lives", "a", "Running", "2026-01-01T00:00:00Z");
        seed("orphan", "gone", "Running", "2026-01-01T00:00:00Z");
        seed("old", "a", "Succeeded", "2026-01-01T00:00:00Z");
        seed("new", "a", "Failed", "2026-01-01T00:00:05Z");
        bench.fake.seed(
            Pod::gvr(),
            json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": []},
            "metadata": {"name": "unbound", "namespace": "n", "deletionTimestamp": "2026-01-01T00:00:00Z"}}),
        );
        settle().await;
        let left = || bench.fake.objects(&Pod::gvr()).iter().map(|p| p.name().to_owned()).collect::<Vec<_>>();
        assert_eq!(left(), ["lives", "new", "orphan"]);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(left(), ["lives", "new"]);
        bench.fake.remove(&Node::gvr(), "", "a");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(left().is_empty());
    }
}
