//! Claims that a pod uses and volumes that are bound stay, though somebody deletes them: upstream's `pvcprotection` and
//! `pvprotection`. Admission gives them the finalizers; here those are taken off when nothing uses them any more.

use std::sync::Arc;

use api::k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use api::{Object, Resource};
use client::{Controller, Index, Informer, ListOptions, ObjectKey, Requeue, Target, WorkQueue};
use tokio_util::sync::CancellationToken;

use crate::{Context, Error, finalizers};

const CLAIM: &str = "kubernetes.io/pvc-protection";
const VOLUME: &str = "kubernetes.io/pv-protection";

struct Protection {
    ctx: Context,
    claims: Informer,
    volumes: Informer,
    /// Scheduled pods by the claims that they name, `namespace/claim`.
    users: Index,
}

/// The claims of a pod that a kubelet may have mounted, each with whether it is the pod's own (of an ephemeral volume).
fn claims(pod: &Object) -> Vec<(String, bool)> {
    let Ok(view) = pod.view::<Pod>() else { return Vec::new() };
    // kubelets start no pod whose claim is being deleted
    let Some(spec) = view.spec.as_ref().filter(|s| s.node_name.as_ref().is_some_and(|n| !n.is_empty())) else {
        return Vec::new();
    };
    let of = |v: &api::k8s_openapi::api::core::v1::Volume| match (&v.persistent_volume_claim, &v.ephemeral) {
        (Some(claim), _) => Some((claim.claim_name.clone(), false)),
        (None, Some(_)) => Some((format!("{}-{}", pod.name(), v.name), true)),
        (None, None) => None,
    };
    spec.volumes.iter().flatten().filter_map(of).collect()
}

fn by_claim(pod: &Object) -> Vec<Box<str>> {
    claims(pod).into_iter().map(|(claim, _)| format!("{}/{claim}", pod.namespace()).into()).collect()
}

/// `podIsShutDown`: the kubelet has nothing of it any more, though something else holds it.
fn is_shut_down(pod: &Object) -> bool {
    let grace = |p: &Pod| p.metadata.deletion_grace_period_seconds;
    pod.meta().is_deleting() && pod.view::<Pod>().ok().and_then(grace) == Some(0)
}

/// A pod that is shut down may wait for its own claims to go: it does not use them.
fn uses(pod: &Object, claim: &Object) -> bool {
    let own = || claim.meta().controller().is_some_and(|o| *o.uid == *pod.uid()) && !is_shut_down(pod);
    claims(pod).into_iter().any(|(name, ephemeral)| name == claim.name() && (!ephemeral || own()))
}

/// Runs until `stop`.
pub async fn run(ctx: Context, stop: CancellationToken) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let pods = ctx.informers.of::<Pod>();
    let this = Arc::new(Protection {
        claims: ctx.informers.of::<PersistentVolumeClaim>(),
        volumes: ctx.informers.of::<PersistentVolume>(),
        users: pods.index(by_claim),
        ctx,
    });
    for informer in [&this.claims, &this.volumes] {
        let q = queue.clone();
        informer.on_change(move |c| c.new.iter().for_each(|o| q.add(ObjectKey::of(o))));
    }
    let q = queue.clone();
    pods.on_change(move |c| {
        // it let go of what it used, or of what was its own
        let over = c.new.as_ref().filter(|new| is_shut_down(new));
        if let Some(pod) = c.gone().or(over) {
            claims(pod).iter().for_each(|(claim, _)| q.add(ObjectKey::new(pod.namespace(), claim)));
        }
    });
    for informer in [&this.claims, &this.volumes, &pods] {
        informer.synced().await;
    }
    let controller = Controller { name: "storage-protection", workers: 1, queue };
    controller
        .run(stop, move |key| {
            let this = this.clone();
            async move { if key.namespace.is_empty() { this.volume(&key).await } else { this.claim(&key).await } }
        })
        .await;
}

impl Protection {
    async fn claim(&self, key: &ObjectKey) -> Result<Requeue, Error> {
        let Some(claim) = self.claims.get(&key.namespace, &key.name) else { return Ok(None) };
        if !claim.meta().is_deleting() {
            return self.put::<PersistentVolumeClaim>(&claim, CLAIM, true).await;
        }
        if self.users.get(&key.to_string()).iter().any(|pod| uses(pod, &claim)) {
            return Ok(None);
        }
        // the cache may lag behind a pod that just started
        let pods = Target::within(Pod::gvr(), &key.namespace);
        let pods = self.ctx.client.list(&pods, &ListOptions::default()).await?;
        if pods.items.iter().any(|pod| uses(pod, &claim)) {
            return Ok(None);
        }
        self.put::<PersistentVolumeClaim>(&claim, CLAIM, false).await
    }

    async fn volume(&self, key: &ObjectKey) -> Result<Requeue, Error> {
        let Some(volume) = self.volumes.get("", &key.name) else { return Ok(None) };
        if !volume.meta().is_deleting() {
            return self.put::<PersistentVolume>(&volume, VOLUME, true).await;
        }
        if volume.tree()["status"]["phase"] == "Bound" {
            return Ok(None);
        }
        self.put::<PersistentVolume>(&volume, VOLUME, false).await
    }

    /// Puts a finalizer on, or takes it off.
    async fn put<K: Resource>(&self, object: &Object, finalizer: &str, on: bool) -> Result<Requeue, Error> {
        let target = Target::one(K::gvr(), object.namespace(), object.name());
        match finalizers::set(&*self.ctx.client, &target, object, finalizer, on).await {
            // another write came first; it wakes this anew
            Err(Error::Api(e)) if e.is_conflict() => Ok(None),
            done => done.map(|()| None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, settle};
    use client::{Client as _, DeleteOptions};
    use serde_json::json;

    fn held(bench: &Bench, gvr: &api::Gvr) -> Vec<String> {
        bench.fake.objects(gvr).iter().map(|o| format!("{}:{}", o.name(), o.meta().finalizers.join(","))).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_pods_own_claim_does_not_wait_for_it() {
        let bench = Bench::new();
        let (claims, pods) = (PersistentVolumeClaim::gvr(), Pod::gvr());
        let pod = |uid: &str| {
            let volume = json!({"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}});
            json!({"metadata": {"name": "p", "namespace": "n", "uid": uid, "finalizers": ["x/hold"]},
                "spec": {"containers": [], "nodeName": "m", "volumes": [volume]}})
        };
        let claim = |uid: &str| {
            let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid, "controller": true});
            json!({"metadata": {"name": "p-v", "namespace": "n", "ownerReferences": [owner]}})
        };
        let delete = async || {
            let target = Target::one(claims.clone(), "n", "p-v");
            bench.fake.delete(&target, &DeleteOptions::default()).await.unwrap();
        };
        bench.start(run);
        bench.fake.seed(pods.clone(), pod("one"));
        bench.fake.seed(claims.clone(), claim("one"));
        settle().await;
        delete().await;
        settle().await;
        assert_eq!(held(&bench, &claims).len(), 1);
        bench.fake.edit(&pods, "n", "p", |p| {
            p["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            p["metadata"]["deletionGracePeriodSeconds"] = json!(0);
        });
        settle().await;
        assert_eq!(held(&bench, &claims).len(), 0, "the pod is only held by something else");

        // another pod of the name is none of the first one's claim
        bench.fake.seed(pods.clone(), pod("two"));
        bench.fake.seed(claims.clone(), claim("two"));
        settle().await;
        delete().await;
        settle().await;
        assert_eq!(held(&bench, &claims).len(), 1);
        bench.fake.seed(pods.clone(), pod("three"));
        settle().await;
        assert_eq!(held(&bench, &claims).len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_used_stays() {
        let bench = Bench::new();
        let (claims, volumes) = (PersistentVolumeClaim::gvr(), PersistentVolume::gvr());
        for name in ["free", "used"] {
            bench.fake.seed(claims.clone(), json!({"metadata": {"name": name, "namespace": "n"}}));
        }
        let pod = |name: &str, node: &str, claim: &str| {
            let volume = json!({"name": "v", "persistentVolumeClaim": {"claimName": claim}});
            json!({"metadata": {"name": name, "namespace": "n"}, "spec": {"containers": [], "nodeName": node, "volumes": [volume]}})
        };
        bench.fake.seed(Pod::gvr(), pod("runs", "m", "used"));
        // a pod that has no node yet will get none
        bench.fake.seed(Pod::gvr(), pod("waits", "", "free"));
        bench.fake.seed(volumes.clone(), json!({"metadata": {"name": "v"}, "status": {"phase": "Bound"}}));
        bench.start(run);
        settle().await;
        let protected = ["free:kubernetes.io/pvc-protection", "used:kubernetes.io/pvc-protection"];
        assert_eq!(held(&bench, &claims), protected);
        assert_eq!(held(&bench, &volumes), ["v:kubernetes.io/pv-protection"]);
        for name in ["free", "used"] {
            let target = Target::one(claims.clone(), "n", name);
            bench.fake.delete(&target, &DeleteOptions::default()).await.unwrap();
        }
        bench.fake.delete(&Target::one(volumes.clone(), "", "v"), &DeleteOptions::default()).await.unwrap();
        settle().await;
        assert_eq!(held(&bench, &claims), protected[1..]);
        bench.fake.remove(&Pod::gvr(), "n", "runs");
        settle().await;
        assert_eq!(held(&bench, &claims), [""; 0]);
        assert_eq!(held(&bench, &volumes).len(), 1);
        bench.fake.edit(&volumes, "", "v", |v| v["status"]["phase"] = json!("Released"));
        settle().await;
        assert_eq!(held(&bench, &volumes), [""; 0]);
    }
}
