//! How many pods a disruption budget lets go: upstream's `pkg/controller/disruption`. Works on trees.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use api::k8s_openapi::api::core::v1::{Pod, ReplicationController};
use api::k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use api::labels::Selector;
use api::{Gvr, Object, OwnerReference, Value};
use client::{Controller, Informer, ObjectKey, Requeue, Target, WorkQueue, WriteOptions};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::deployment::scaled;
use crate::status::{self, Conditions};
use crate::{Context, Error, pods};

/// A pod whose eviction was granted is gone by then, or will not go: `DeletionTimeout`.
const DISRUPTED: Duration = Duration::from_secs(120);

fn budgets() -> Gvr {
    Gvr::new("policy", "v1", "poddisruptionbudgets")
}

struct Disruption {
    ctx: Context,
    budgets: Informer,
    pods: Informer,
    /// By kind.
    owners: BTreeMap<&'static str, Informer>,
}

/// Runs until `stop`.
pub async fn run(ctx: Context, stop: CancellationToken) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let owners = BTreeMap::from([
        ("Deployment", ctx.informers.of::<Deployment>()),
        ("ReplicaSet", ctx.informers.of::<ReplicaSet>()),
        ("StatefulSet", ctx.informers.of::<StatefulSet>()),
        ("ReplicationController", ctx.informers.of::<ReplicationController>()),
    ]);
    let this =
        Arc::new(Disruption { budgets: ctx.informers.get(budgets()), pods: ctx.informers.of::<Pod>(), owners, ctx });
    let q = queue.clone();
    this.budgets.on_change(move |c| q.add(ObjectKey::of(c.object())));
    let (q, me) = (queue.clone(), this.clone());
    this.pods.on_change(move |c| {
        for budget in me.budgets.list(Some(c.object().namespace())) {
            let selector =
                Selector::from_tree(&budget.tree()["spec"]["selector"]).unwrap_or_else(|_| Selector::nothing());
            if [&c.old, &c.new].into_iter().flatten().any(|p| selector.matches(&p.meta().labels)) {
                q.add(ObjectKey::of(&budget));
            }
        }
    });
    this.budgets.synced().await;
    this.pods.synced().await;
    for informer in this.owners.values() {
        informer.synced().await;
    }
    let controller = Controller { name: "disruption-controller", workers: 1, queue };
    controller
        .run(stop, move |key| {
            let this = this.clone();
            async move { this.sync(&key).await }
        })
        .await;
}

fn limit(v: &Value) -> Option<IntOrString> {
    match v {
        Value::Number(n) => Some(IntOrString::Int(i32::try_from(n.as_i64()?).ok()?)),
        Value::String(s) => Some(IntOrString::String(s.clone())),
        _ => None,
    }
}

impl Disruption {
    /// The replicas that the controllers of these pods want in sum.
    fn wanted(&self, pods: &[Arc<Object>]) -> i32 {
        let mut seen: BTreeMap<Box<str>, i32> = BTreeMap::new();
        for pod in pods {
            if let Some((uid, replicas)) = pod.meta().controller().and_then(|o| self.scale(pod.namespace(), o)) {
                seen.insert(uid, replicas);
            }
        }
        seen.values().sum()
    }

    /// The topmost owner and its `spec.replicas`.
    fn scale(&self, namespace: &str, owner: &OwnerReference) -> Option<(Box<str>, i32)> {
        let object = self.owners.get(&*owner.kind)?.get(namespace, &owner.name).filter(|o| o.uid() == &*owner.uid)?;
        if let Some(above) = object.meta().controller().and_then(|o| self.scale(namespace, o)) {
            return Some(above);
        }
        let replicas = object.tree()["spec"]["replicas"].as_i64().unwrap_or(1);
        Some((owner.uid.clone(), i32::try_from(replicas).unwrap_or(i32::MAX)))
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Requeue, Error> {
        let Some(budget) = self.budgets.get(&key.namespace, &key.name) else { return Ok(None) };
        let tree = budget.tree();
        let selector = Selector::from_tree(&tree["spec"]["selector"])?;
        let alive = |o: &Arc<Object>| o.view::<Pod>().is_ok_and(|p| !pods::is_terminated(p));
        let mut pods = self.pods.list(Some(&key.namespace));
        pods.retain(|p| selector.matches(&p.meta().labels) && alive(p));
        let count = pods.len() as i32;
        let (expected, desired) = match (limit(&tree["spec"]["maxUnavailable"]), limit(&tree["spec"]["minAvailable"])) {
            (Some(max), _) => {
                let wanted = self.wanted(&pods);
                (wanted, (wanted - scaled(Some(&max), wanted, true)).max(0))
            }
            (None, Some(IntOrString::Int(n))) => (count, n),
            (None, min) => {
                let wanted = self.wanted(&pods);
                (wanted, scaled(min.as_ref(), wanted, true))
            }
        };
        let now = self.ctx.clock.now();
        let (disrupted, again) = still_disrupted(&tree["status"]["disruptedPods"], &pods, now);
        let healthy = |o: &&Arc<Object>| {
            let ready = o.view::<Pod>().is_ok_and(|p| pods::is_ready(p) && !pods::is_deleting(p));
            ready && !disrupted.contains_key(o.name())
        };
        let current = pods.iter().filter(healthy).count() as i32;
        let allowed = if expected > 0 { (current - desired).max(0) } else { 0 };
        self.write(&budget, &tree, (expected, desired, current, allowed), disrupted).await?;
        Ok(again)
    }

    async fn write(
        &self,
        budget: &Object,
        tree: &Value,
        (expected, desired, current, allowed): (i32, i32, i32, i32),
        disrupted: BTreeMap<String, Value>,
    ) -> Result<(), Error> {
        let mut conditions = Conditions::of(&tree["status"]);
        let (state, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
        let generation = budget.meta().generation;
        conditions.set("DisruptionAllowed", state, reason, "", &self.ctx.now(), &[]);
        conditions.0.iter_mut().for_each(|c| c["observedGeneration"] = json!(generation));
        let mut new = tree["status"].clone();
        let status = json!({"expectedPods": expected, "desiredHealthy": desired, "currentHealthy": current,
            "disruptionsAllowed": allowed, "observedGeneration": generation, "conditions": conditions.value()});
        status::merge(&mut new, &status);
        new["disruptedPods"] = if disrupted.is_empty() { Value::Null } else { json!(disrupted) };
        if let Some(n) = new.as_object_mut() {
            n.retain(|_, v| !v.is_null());
        }
        if new == tree["status"] {
            return Ok(());
        }
        // evictions write here too: never over one that is newer
        let mut whole = tree.clone();
        whole["status"] = new;
        let target = Target::one(budgets(), budget.namespace(), budget.name()).sub("status");
        match self.ctx.client.update(&target, whole, &WriteOptions::default()).await {
            Err(e) if !e.is_not_found() => Err(e.into()),
            _ => Ok(()),
        }
    }
}

/// Pods whose eviction was granted and that are still there; and when the first of them is given up.
fn still_disrupted(noted: &Value, pods: &[Arc<Object>], now: Timestamp) -> (BTreeMap<String, Value>, Requeue) {
    let (mut still, mut again) = (BTreeMap::new(), None);
    for (name, at) in noted.as_object().into_iter().flatten() {
        let there = pods.iter().any(|p| p.name() == name && !p.meta().is_deleting());
        let end = at.as_str().and_then(|t| t.parse::<Timestamp>().ok());
        let end = end.and_then(|t| t.checked_add(SignedDuration::from_secs(DISRUPTED.as_secs() as i64)).ok());
        if let Some(left) = end.map(|e| e.duration_since(now)).filter(|l| there && l.is_positive()) {
            still.insert(name.clone(), at.clone());
            let left = crate::after(left);
            again = Some(again.map_or(left, |a: Duration| a.min(left)));
        }
    }
    (still, again)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, settle};
    use api::Resource;

    #[tokio::test(start_paused = true)]
    async fn the_budget_follows_its_pods() {
        let bench = Bench::new();
        bench.start(run);
        let set = bench.fake.seed(
            ReplicaSet::gvr(),
            json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": "r", "namespace": "n"}, "spec": {"replicas": 4, "selector": {}}}),
        );
        for i in 0..3 {
            bench.fake.seed(Pod::gvr(), json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("p{i}"), "namespace": "n",
                "labels": {"app": "x"}, "ownerReferences": [pods::controller_ref::<ReplicaSet>(&set)]}, "spec": {"containers": []},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}));
        }
        for (name, spec, want) in [
            ("min", json!({"minAvailable": 2}), [3, 2, 3, 1]),
            ("half", json!({"minAvailable": "50%"}), [4, 2, 3, 1]),
            ("max", json!({"maxUnavailable": 1}), [4, 3, 3, 0]),
            ("most", json!({"maxUnavailable": "75%"}), [4, 1, 3, 2]),
        ] {
            let mut tree = json!({"metadata": {"name": name, "namespace": "n"}, "spec": spec});
            tree["spec"]["selector"] = json!({"matchLabels": {"app": "x"}});
            bench.fake.seed(budgets(), tree);
            settle().await;
            let s = bench.fake.tree(&budgets(), "n", name)["status"].take();
            let got = ["expectedPods", "desiredHealthy", "currentHealthy", "disruptionsAllowed"]
                .map(|k| s[k].as_i64().unwrap());
            assert_eq!(got, want, "{name}");
        }
        bench.fake.edit(&Pod::gvr(), "n", "p0", |p| p["status"]["conditions"][0]["status"] = json!("False"));
        settle().await;
        let s = bench.fake.tree(&budgets(), "n", "min")["status"].take();
        assert_eq!((&s["disruptionsAllowed"], &s["conditions"][0]["reason"]), (&json!(0), &json!("InsufficientPods")));
    }
}
