//! The used part of resource quotas: upstream's `pkg/controller/resourcequota`. Admission counts what comes; this counts
//! what is there.

mod usage;

use std::sync::Arc;

use api::k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use api::{Gvr, Object, Resource};
use client::{Change, Controller, Informer, ObjectKey, Requeue, WorkQueue};
use serde_json::{Map, json};
use tokio_util::sync::CancellationToken;

use crate::{Context, Error, pods, status};
use usage::Usage;

struct Quotas {
    ctx: Context,
    quotas: Informer,
    counted: Vec<(Gvr, Informer)>,
}

/// Runs until `stop`.
pub async fn run(ctx: Context, stop: CancellationToken) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let kinds = ctx.config.deletable(true).into_iter().map(|(r, _)| r);
    let counted = kinds.filter(|r| r.resource != "events").map(|r| (r.clone(), ctx.informers.get(r))).collect();
    let this = Arc::new(Quotas { quotas: ctx.informers.of::<ResourceQuota>(), counted, ctx });
    let q = queue.clone();
    this.quotas.on_change(move |c| q.add(ObjectKey::of(c.object())));
    for (resource, informer) in &this.counted {
        let kind = match resource {
            r if *r == Pod::gvr() => Counted::Pods,
            r if *r == Service::gvr() || *r == PersistentVolumeClaim::gvr() => Counted::Sized,
            _ => Counted::Other,
        };
        let (q, quotas) = (queue.clone(), this.quotas.clone());
        informer.on_change(move |c| {
            if matters(c, kind) {
                quotas.list(Some(c.object().namespace())).iter().for_each(|o| q.add(ObjectKey::of(o)));
            }
        });
    }
    this.quotas.synced().await;
    for (_, informer) in &this.counted {
        informer.synced().await;
    }
    let controller = Controller { name: "resourcequota-controller", workers: 2, queue };
    controller
        .run(stop, move |key| {
            let this = this.clone();
            async move { this.sync(&key).await }
        })
        .await;
}

/// Coming and going counts; a pod's end does; a changed spec may.
fn matters(change: &Change, kind: Counted) -> bool {
    let (Some(old), Some(new)) = (&change.old, &change.new) else { return true };
    let ended = |o: &Object| o.view::<Pod>().is_ok_and(pods::is_terminated);
    match kind {
        Counted::Pods => ended(old) != ended(new) || old.meta().generation != new.meta().generation,
        // these have no generation, and what they count may change
        Counted::Sized => true,
        Counted::Other => false,
    }
}

#[derive(Clone, Copy)]
enum Counted {
    Pods,
    Sized,
    Other,
}

impl Quotas {
    async fn sync(&self, key: &ObjectKey) -> Result<Requeue, Error> {
        let Some(object) = self.quotas.get(&key.namespace, &key.name) else { return Ok(None) };
        let quota = object.view::<ResourceQuota>()?;
        let Some(spec) = &quota.spec else { return Ok(None) };
        let scoped = usage::is_scoped(spec);
        let all = self.counted.iter().flat_map(|(resource, informer)| {
            informer.list(Some(&key.namespace)).into_iter().map(move |o| (resource, o))
        });
        let used = usage::sum(all.filter_map(|(resource, o)| {
            if *resource == Pod::gvr() {
                return o.view::<Pod>().ok().filter(|p| usage::in_scope(spec, p)).map(usage::of_pod);
            }
            (!scoped).then(|| of(resource, &o))
        }));
        let mut shown = Map::new();
        for name in spec.hard.iter().flatten().map(|(name, _)| name) {
            shown.insert(name.clone(), json!(used.get(name).copied().unwrap_or_default().to_string()));
        }
        let status = json!({"hard": object.tree()["spec"]["hard"], "used": shown});
        // names that are no longer limited go
        let old = object.tree()["status"].take();
        let mut patch = status.clone();
        for part in ["hard", "used"] {
            for name in old[part].as_object().into_iter().flatten().map(|(n, _)| n) {
                if status[part][name].is_null() {
                    patch[part][name] = api::Value::Null;
                }
            }
        }
        match status::write::<ResourceQuota>(&*self.ctx.client, &object, patch).await {
            Err(e) if !e.is_gone() => Err(e),
            _ => Ok(None),
        }
    }
}

fn of(resource: &Gvr, object: &Object) -> Usage {
    match (resource.group.as_str(), resource.resource.as_str()) {
        ("", "services") => object.view::<Service>().map(usage::of_service).unwrap_or_default(),
        ("", "persistentvolumeclaims") => usage::of_claim(&object.tree()),
        (group, plural) => usage::of_other(plural, group),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, kind, settle};
    use api::k8s_openapi::api::core::v1::ConfigMap;

    #[tokio::test(start_paused = true)]
    async fn used_follows_what_is_there() {
        let bench = Bench::with(|c| {
            c.registry = Arc::new(kind::registry([kind::of::<Pod>(), kind::of::<ConfigMap>(), kind::of::<Service>()]));
        });
        bench.start(run);
        bench.fake.seed(ResourceQuota::gvr(), json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q", "namespace": "n"},
            "spec": {"hard": {"pods": "5", "requests.cpu": "2", "limits.memory": "1Gi", "configmaps": "3", "count/pods": "9", "services.nodeports": "1"}}}));
        let pod = |name: &str, phase: &str| {
            bench.fake.seed(Pod::gvr(), json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n"},
                "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "250m"}, "limits": {"memory": "64Mi"}}}]},
                "status": {"phase": phase}}));
        };
        pod("a", "Running");
        pod("b", "Pending");
        pod("c", "Succeeded");
        bench.fake.seed(ConfigMap::gvr(), json!({"metadata": {"name": "m", "namespace": "n"}}));
        bench.fake.seed(
            Service::gvr(),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "n"},
            "spec": {"type": "NodePort", "ports": [{"port": 80}]}}),
        );
        settle().await;
        let used = || bench.fake.tree(&ResourceQuota::gvr(), "n", "q")["status"]["used"].take();
        assert_eq!(
            used(),
            json!({"pods": "2", "requests.cpu": "500m", "limits.memory": "128Mi", "configmaps": "1", "count/pods": "3", "services.nodeports": "1"})
        );
        bench.fake.edit(&Pod::gvr(), "n", "a", |p| p["status"]["phase"] = json!("Failed"));
        bench.fake.remove(&ConfigMap::gvr(), "n", "m");
        settle().await;
        assert_eq!(
            (&used()["pods"], &used()["configmaps"], &used()["requests.cpu"]),
            (&json!("1"), &json!("0"), &json!("250m"))
        );
    }
}
