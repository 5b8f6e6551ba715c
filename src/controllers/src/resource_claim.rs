//! Claims to devices: made from the templates that pods name, given back by pods that are done. Upstream's
//! `pkg/controller/resourceclaim`. Works on trees.

use std::sync::Arc;

use api::k8s_openapi::api::core::v1::Pod;
use api::{Gvr, Object, Resource, Value};
use client::{Controller, Informer, ObjectKey, Patch, Requeue, Target, WorkQueue, WriteOptions};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{Context, Error, pods};

/// Which of a pod's claims this is.
const OF_CLAIM: &str = "resource.kubernetes.io/pod-claim-name";
/// Whoever allocates keeps a claim with it until the devices are free.
const PROTECTION: &str = "resource.kubernetes.io/delete-protection";

fn claims() -> Gvr {
    Gvr::new("resource.k8s.io", "v1", "resourceclaims")
}
fn templates() -> Gvr {
    Gvr::new("resource.k8s.io", "v1", "resourceclaimtemplates")
}

struct ResourceClaims {
    ctx: Context,
    claims: Informer,
    templates: Informer,
    pods: Informer,
}

/// Runs until `stop`.
pub async fn run(ctx: Context, stop: CancellationToken) {
    let (of_pods, of_claims): (WorkQueue<ObjectKey>, WorkQueue<ObjectKey>) = (WorkQueue::new(), WorkQueue::new());
    let (claims, templates) = (ctx.informers.get(claims()), ctx.informers.get(templates()));
    let this = Arc::new(ResourceClaims { claims, templates, pods: ctx.informers.of::<Pod>(), ctx });
    let (q, used, me) = (of_pods.clone(), of_claims.clone(), this.clone());
    this.pods.on_change(move |c| {
        let pod = c.object();
        if asks(pod).is_some() {
            q.add(ObjectKey::of(pod));
        }
        // one that is done or gone uses nothing
        if c.new.as_ref().is_none_or(|p| p.view::<Pod>().is_ok_and(pods::is_terminated)) {
            for claim in me.claims.list(Some(pod.namespace())).iter().filter(|c| is_of(c, pod) || uses(c, pod)) {
                used.add(ObjectKey::of(claim));
            }
        }
    });
    let (q, used) = (of_pods.clone(), of_claims.clone());
    this.claims.on_change(move |c| {
        let claim = c.object();
        used.add(ObjectKey::of(claim));
        if let Some(owner) = claim.meta().controller().filter(|o| &*o.kind == "Pod") {
            q.add(ObjectKey::new(claim.namespace(), &owner.name));
        }
    });
    let (q, me) = (of_pods.clone(), this.clone());
    this.templates.on_change(move |c| {
        let template = c.object();
        let names = |p: &Object| {
            asks(p).is_some_and(|all| all.iter().any(|c| c["resourceClaimTemplateName"] == template.name()))
        };
        for pod in me.pods.list(Some(template.namespace())).iter().filter(|p| names(p)) {
            q.add(ObjectKey::of(pod));
        }
    });
    for informer in [&this.pods, &this.claims, &this.templates] {
        informer.synced().await;
    }
    let pods = Controller { name: "resource-claim-controller", workers: 1, queue: of_pods };
    let used = Controller { name: "resource-claim-release", workers: 1, queue: of_claims };
    let (one, other) = (this.clone(), this);
    tokio::join!(
        pods.run(stop.clone(), move |key| {
            let this = one.clone();
            async move { this.sync_pod(&key).await }
        }),
        used.run(stop, move |key| {
            let this = other.clone();
            async move { this.sync_claim(&key).await }
        })
    );
}

/// `spec.resourceClaims`, of the few pods that have any.
fn asks(pod: &Object) -> Option<Vec<Value>> {
    let any = pod.view::<Pod>().ok()?.spec.as_ref()?.resource_claims.as_ref().is_some_and(|c| !c.is_empty());
    if any { pod.tree()["spec"]["resourceClaims"].as_array().cloned() } else { None }
}

fn is_of(claim: &Object, pod: &Object) -> bool {
    claim.meta().controller().is_some_and(|o| &*o.uid == pod.uid())
}

fn uses(claim: &Object, pod: &Object) -> bool {
    let tree = claim.tree();
    tree["status"]["reservedFor"].as_array().into_iter().flatten().any(|c| c["uid"] == pod.uid())
}

impl ResourceClaims {
    async fn sync_pod(&self, key: &ObjectKey) -> Result<Requeue, Error> {
        let Some(pod) = self.pods.get(&key.namespace, &key.name) else { return Ok(None) };
        let done = pod.view::<Pod>().is_ok_and(|p| !pods::is_active(p));
        let Some(asked) = asks(&pod).filter(|_| !done) else { return Ok(None) };
        let tree = pod.tree();
        let noted = tree["status"]["resourceClaimStatuses"].as_array().cloned().unwrap_or_default();
        let mut statuses = Vec::new();
        for ask in asked.iter().filter(|a| a["resourceClaimTemplateName"].is_string()) {
            let name = ask["name"].as_str().unwrap_or_default();
            let template = ask["resourceClaimTemplateName"].as_str().unwrap_or_default();
            if let Some(claim) = self.claim_for(&pod, name, template).await? {
                statuses.push(json!({"name": name, "resourceClaimName": claim.name()}));
            } else {
                statuses.extend(noted.iter().find(|s| s["name"] == name).cloned());
            }
        }
        if statuses != noted {
            let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"resourceClaimStatuses": statuses}});
            let target = Target::one(Pod::gvr(), pod.namespace(), pod.name()).sub("status");
            match self.ctx.client.patch(&target, Patch::Merge(patch), &WriteOptions::default()).await {
                Err(e) if !e.is_not_found() => return Err(e.into()),
                _ => {}
            }
        }
        Ok(None)
    }

    /// The pod's claim of this name, made if there is none; `None` while the template is missing.
    async fn claim_for(&self, pod: &Object, name: &str, template: &str) -> Result<Option<Arc<Object>>, Error> {
        let mut mine = self.claims.list(Some(pod.namespace()));
        mine.retain(|c| is_of(c, pod) && c.tree()["metadata"]["annotations"][OF_CLAIM] == name);
        if let Some(claim) = mine.pop() {
            return Ok(Some(claim));
        }
        let Some(template) = self.templates.get(pod.namespace(), template) else {
            let why = format!("PodResourceClaim {name}: resource claim template {template:?}: not found");
            self.ctx.recorder.warning::<Pod>(pod, "FailedResourceClaimCreation", why);
            return Ok(None);
        };
        let spec = template.tree()["spec"].take();
        let mut metadata = json!({"generateName": format!("{}-{name}-", pod.name()), "namespace": pod.namespace(),
            "labels": spec["metadata"]["labels"], "annotations": spec["metadata"]["annotations"],
            "ownerReferences": [pods::controller_ref::<Pod>(pod)]});
        if metadata["annotations"].is_null() {
            metadata["annotations"] = json!({});
        }
        metadata["annotations"][OF_CLAIM] = name.into();
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.retain(|_, v| !v.is_null());
        }
        let claim = json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": metadata, "spec": spec["spec"]});
        let target = Target::within(claims(), pod.namespace());
        match self.ctx.client.create(&target, claim, &WriteOptions::default()).await {
            Ok(claim) => Ok(Some(claim)),
            Err(e) => {
                let why = format!("PodResourceClaim {name}: {e}");
                self.ctx.recorder.warning::<Pod>(pod, "FailedResourceClaimCreation", why);
                Err(e.into())
            }
        }
    }

    /// Takes those who use a claim no more out of it; a claim that was made for a pod goes with the pod's end.
    async fn sync_claim(&self, key: &ObjectKey) -> Result<Requeue, Error> {
        let Some(claim) = self.claims.get(&key.namespace, &key.name) else { return Ok(None) };
        let mut tree = claim.tree();
        let running = |name: &str, uid: &str| {
            let pod = self.pods.get(&key.namespace, name).filter(|p| p.uid() == uid);
            pod.is_some_and(|p| p.view::<Pod>().is_ok_and(|p| !pods::is_terminated(p)))
        };
        let all = tree["status"]["reservedFor"].as_array().cloned().unwrap_or_default();
        let text = |c: &Value, key: &str| c[key].as_str().unwrap_or_default().to_owned();
        let of_pods = |c: &Value| c["resource"] == "pods" && text(c, "apiGroup").is_empty();
        let kept: Vec<Value> =
            all.iter().filter(|c| !of_pods(c) || running(&text(c, "name"), &text(c, "uid"))).cloned().collect();
        let owner = claim.meta().controller().filter(|o| &*o.kind == "Pod");
        let over = owner.is_some_and(|o| !running(&o.name, &o.uid));
        let free = kept.is_empty() && (over || claim.meta().is_deleting()) && tree["status"]["allocation"].is_object();
        if kept.len() < all.len() || free {
            tree["status"]["reservedFor"] = kept.clone().into();
            if free {
                tree["status"]["allocation"] = Value::Null;
            }
            let target = Target::one(claims(), claim.namespace(), claim.name());
            let client = &self.ctx.client;
            let mut claim = client.update(&target.clone().sub("status"), tree, &WriteOptions::default()).await?;
            let left: Vec<&str> = claim.meta().finalizers.iter().map(|f| &**f).filter(|f| *f != PROTECTION).collect();
            if free && left.len() < claim.meta().finalizers.len() {
                let mut tree = claim.tree();
                tree["metadata"]["finalizers"] = json!(left);
                claim = client.update(&target, tree, &WriteOptions::default()).await?;
            }
            tracing::debug!(claim = claim.name(), "is used by fewer");
        }
        if over && kept.is_empty() && !claim.meta().is_deleting() {
            let options = client::DeleteOptions::of(&claim);
            let target = Target::one(claims(), claim.namespace(), claim.name());
            match self.ctx.client.delete(&target, &options).await {
                Err(e) if !e.is_not_found() && !e.is_conflict() => return Err(e.into()),
                _ => {}
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, settle};

    #[tokio::test(start_paused = true)]
    async fn a_pods_claim_lives_as_long_as_the_pod_runs() {
        let bench = Bench::new();
        bench.start(run);
        bench.fake.seed(Pod::gvr(), json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"},
            "spec": {"containers": [], "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "t"}]}, "status": {"phase": "Pending"}}));
        settle().await;
        assert!(bench.fake.objects(&claims()).is_empty(), "there is no template yet");
        bench.fake.seed(
            templates(),
            json!({"metadata": {"name": "t", "namespace": "n"},
            "spec": {"metadata": {"labels": {"a": "b"}}, "spec": {"devices": {"requests": [{"name": "r"}]}}}}),
        );
        settle().await;
        let all = bench.fake.objects(&claims());
        let claim = all.first().expect("a claim").tree();
        assert_eq!(
            (all.len(), &claim["metadata"]["annotations"][OF_CLAIM], &claim["metadata"]["labels"]["a"]),
            (1, &json!("gpu"), &json!("b"))
        );
        assert_eq!(claim["spec"]["devices"]["requests"][0]["name"], "r");
        let name = claim["metadata"]["name"].as_str().unwrap().to_owned();
        let pod = bench.fake.tree(&Pod::gvr(), "n", "p");
        assert_eq!(pod["status"]["resourceClaimStatuses"], json!([{"name": "gpu", "resourceClaimName": name}]));
        let uid = pod["metadata"]["uid"].clone();
        bench.fake.edit(&claims(), "n", &name, |c| {
            c["status"] = json!({"allocation": {}, "reservedFor": [{"resource": "pods", "name": "p", "uid": uid}]});
        });
        settle().await;
        assert_eq!(bench.fake.tree(&claims(), "n", &name)["status"]["reservedFor"].as_array().map(Vec::len), Some(1));
        bench.fake.edit(&Pod::gvr(), "n", "p", |p| p["status"]["phase"] = json!("Succeeded"));
        settle().await;
        assert!(bench.fake.objects(&claims()).is_empty(), "its pod is done");
    }
}
