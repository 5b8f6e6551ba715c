//! Which pods a NoExecute taint drives off, and when: upstream's `tainteviction`.

use std::sync::Arc;

use api::k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use api::{Object, Resource};
use client::{
    Change, Controller, DeleteOptions, Index, Informer, ObjectKey, Patch, Recorder, Requeue, Target, WorkQueue,
    WriteOptions,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{Context, Error, pods};

/// Index of pods by node.
pub fn by_node(pod: &Object) -> Vec<Box<str>> {
    let node = pod.view::<Pod>().ok().and_then(|p| p.spec.as_ref()?.node_name.as_deref());
    node.into_iter().filter(|n| !n.is_empty()).map(Into::into).collect()
}

struct Evictor {
    ctx: Context,
    recorder: Recorder,
    nodes: Informer,
    pods: Informer,
    by_node: Index,
}

/// Runs until `stop`.
pub async fn run(ctx: Context, stop: CancellationToken) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let pods = ctx.informers.of::<Pod>();
    let this = Arc::new(Evictor {
        recorder: ctx.recorder.component("taint-eviction-controller"),
        nodes: ctx.informers.of::<Node>(),
        by_node: pods.index(by_node),
        pods,
        ctx,
    });
    let (q, me) = (queue.clone(), this.clone());
    this.nodes.on_change(move |c| me.node_changed(c, &q));
    let (q, me) = (queue.clone(), this.clone());
    this.pods.on_change(move |c| {
        // a pod that comes to a tainted node, or whose tolerations change
        if let Some(pod) = &c.new
            && by_node(pod).first().and_then(|n| me.nodes.get("", n)).is_some_and(|n| !no_execute(&n).is_empty())
        {
            q.add(ObjectKey::of(pod));
        }
    });
    this.nodes.synced().await;
    this.pods.synced().await;
    let controller = Controller { name: "taint-eviction-controller", workers: 4, queue };
    controller
        .run(stop, move |key| {
            let this = this.clone();
            async move { this.sync(&key).await }
        })
        .await;
}

fn no_execute(node: &Object) -> Vec<&Taint> {
    let taints = node.view::<Node>().ok().and_then(|n| n.spec.as_ref()?.taints.as_ref());
    taints.into_iter().flatten().filter(|t| t.effect == "NoExecute").collect()
}

fn tolerates(t: &Toleration, taint: &Taint) -> bool {
    let is = |have: &Option<String>, want: &str| have.as_deref().is_none_or(|h| h.is_empty() || h == want);
    is(&t.effect, &taint.effect)
        && is(&t.key, &taint.key)
        && match t.operator.as_deref() {
            Some("Exists") => true,
            None | Some("" | "Equal") => t.value.as_deref().unwrap_or("") == taint.value.as_deref().unwrap_or(""),
            Some(_) => false,
        }
}

/// When the pod has to go: now, at a date, or (`None`) not at all.
fn due(pod: &Pod, taints: &[&Taint], now: Timestamp) -> Option<Timestamp> {
    let tolerations = pod.spec.as_ref().and_then(|s| s.tolerations.as_deref()).unwrap_or(&[]);
    let mut due: Option<Timestamp> = None;
    for taint in taints {
        let matching: Vec<_> = tolerations.iter().filter(|t| tolerates(t, taint)).collect();
        let at = if matching.is_empty() {
            Some(now)
        } else {
            // the shortest of those that are limited
            let seconds = matching.iter().filter_map(|t| t.toleration_seconds).min();
            let since = taint.time_added.as_ref().map_or(now, |t| t.0);
            seconds.map(|s| since.checked_add(SignedDuration::from_secs(s.max(0))).unwrap_or(Timestamp::MAX))
        };
        due = match (due, at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
    due
}

impl Evictor {
    fn node_changed(&self, change: &Change, queue: &WorkQueue<ObjectKey>) {
        let Some(node) = &change.new else { return };
        let taints = no_execute(node);
        if taints.is_empty() || change.old.as_ref().is_some_and(|o| no_execute(o) == taints) {
            return;
        }
        for pod in self.by_node.get(node.name()) {
            queue.add(ObjectKey::of(&pod));
        }
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Requeue, Error> {
        let Some(object) = self.pods.get(&key.namespace, &key.name).filter(|p| !p.meta().is_deleting()) else {
            return Ok(None);
        };
        let Some(node) = by_node(&object).first().and_then(|n| self.nodes.get("", n)) else { return Ok(None) };
        let (pod, now) = (object.view::<Pod>()?, self.ctx.clock.now());
        match due(pod, &no_execute(&node), now) {
            None => Ok(None),
            Some(at) if at > now => Ok(Some(crate::after(at.duration_since(now)))),
            Some(_) => self.evict(&object).await.map(|()| None),
        }
    }

    async fn evict(&self, pod: &Object) -> Result<(), Error> {
        let text = format!("Marking for deletion Pod {}/{}", pod.namespace(), pod.name());
        self.recorder.normal::<Pod>(pod, "TaintManagerEviction", text);
        let message = "Taint manager: deleting due to NoExecute taint";
        disrupt(&self.ctx, pod, "DeletionByTaintManager", message, None).await?;
        let options = DeleteOptions::of(pod);
        let target = Target::one(Pod::gvr(), pod.namespace(), pod.name());
        match self.ctx.client.delete(&target, &options).await {
            Err(e) if !e.is_not_found() && !e.is_conflict() => Err(e.into()),
            _ => Ok(()),
        }
    }
}

/// Says in the pod's status why it is about to go: the condition `DisruptionTarget`, and a final phase if wanted. The other
/// conditions are the kubelet's, which may write at the same moment: hence a strategic patch.
pub async fn disrupt(
    ctx: &Context,
    pod: &Object,
    reason: &str,
    message: &str,
    phase: Option<&str>,
) -> Result<(), Error> {
    let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message,
        "lastTransitionTime": ctx.now()});
    let mut patch = json!({"status": {"conditions": [condition]}});
    if let Some(phase) = phase.filter(|_| pod.view::<Pod>().is_ok_and(|p| !pods::is_terminated(p))) {
        patch["status"]["phase"] = json!(phase);
    }
    patch_status(ctx, pod, patch).await
}

/// A strategic patch of a pod's status; that it is gone is fine.
pub async fn patch_status(ctx: &Context, pod: &Object, patch: api::Value) -> Result<(), Error> {
    let target = Target::one(Pod::gvr(), pod.namespace(), pod.name()).sub("status");
    match ctx.client.patch(&target, Patch::Strategic(patch), &WriteOptions::default()).await {
        Err(e) if !e.is_not_found() => Err(e.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_decide_when() {
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
        let taint = Taint {
            key: "k".into(),
            effect: "NoExecute".into(),
            time_added: Some("2026-01-01T00:09:00Z".parse::<Timestamp>().unwrap().into()),
            value: None,
        };
        for (tolerations, want) in [
            (json!([]), Some(0)),
            (json!([{"key": "other", "operator": "Exists"}]), Some(0)),
            (json!([{"operator": "Exists"}]), None),
            (json!([{"key": "k", "operator": "Exists", "tolerationSeconds": 300}]), Some(240)),
            (json!([{"key": "k", "tolerationSeconds": 0}]), Some(-60)),
            (
                json!([{"operator": "Exists", "tolerationSeconds": 90}, {"key": "k", "tolerationSeconds": 300}]),
                Some(30),
            ),
        ] {
            let pod = Pod::from_value(json!({"metadata": {}, "spec": {"containers": [], "tolerations": tolerations}}))
                .unwrap();
            assert_eq!(due(&pod, &[&taint], now).map(|t| t.duration_since(now).as_secs()), want);
        }
    }
}
