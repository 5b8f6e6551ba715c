//! Namespace deletion: everything in it goes, then its finalizer. Upstream's `namespaced_resources_deleter.go`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use api::k8s_openapi::api::core::v1::{Namespace, Pod};
use api::{Gvr, Object, Resource};
use client::{
    Controller, DeleteOptions, Informer, ListOptions, ObjectKey, Precondition, Propagation, Requeue, Target, WorkQueue,
    WriteOptions,
};
use futures::StreamExt;
use parking_lot::Mutex;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::status::{self, Conditions};
use crate::{Context, Error};

const FINALIZER: &str = "kubernetes";
/// Nothing says when the last object that a finalizer holds has gone: so long until the next look, doubling.
const LOOK_FIRST: Duration = Duration::from_millis(20);
const LOOK_MAX: Duration = Duration::from_secs(15);
/// Deletes under way at once.
const AT_ONCE: usize = 32;

struct Deleter {
    ctx: Context,
    namespaces: Informer,
    /// How often each was found not empty.
    looks: Mutex<HashMap<String, u32>>,
}

/// Runs until `stop`.
pub async fn run(ctx: Context, stop: CancellationToken) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let this = Arc::new(Deleter { namespaces: ctx.informers.of::<Namespace>(), looks: Mutex::default(), ctx });
    let q = queue.clone();
    this.namespaces.on_change(move |c| {
        if c.new.as_ref().is_some_and(|n| n.meta().is_deleting()) {
            q.add(ObjectKey::of(c.object()));
        }
    });
    // the last pod of a terminating namespace is what is waited for most
    let (q, me) = (queue.clone(), this.clone());
    this.ctx.informers.of::<Pod>().on_change(move |c| {
        if c.new.is_none() && me.namespaces.get("", c.object().namespace()).is_some_and(|n| n.meta().is_deleting()) {
            q.add(ObjectKey::new("", c.object().namespace()));
        }
    });
    this.namespaces.synced().await;
    let controller = Controller { name: "namespace-controller", workers: 4, queue };
    controller
        .run(stop, move |key| {
            let this = this.clone();
            async move { this.sync(&key.name).await }
        })
        .await;
}

/// What is left after everything has been told to go.
#[derive(Default)]
struct Left {
    objects: BTreeMap<String, usize>,
    finalizers: BTreeMap<String, usize>,
    errors: Vec<String>,
}

impl Deleter {
    async fn sync(&self, name: &str) -> Result<Requeue, Error> {
        let Some(ns) = self.namespaces.get("", name).filter(|n| n.meta().is_deleting()) else {
            self.looks.lock().remove(name);
            return Ok(None);
        };
        let ours = |f: &api::Value| f == FINALIZER;
        let finalizers = ns.tree()["spec"]["finalizers"].as_array().cloned().unwrap_or_default();
        if !finalizers.iter().any(ours) {
            return Ok(None);
        }
        let kinds = self.ctx.config.deletable(true);
        // pods first: what they use should outlive them
        let (pods, rest): (Vec<_>, Vec<_>) = kinds.into_iter().partition(|(r, _)| *r == Pod::gvr());
        let mut left = Left::default();
        for (resource, _) in pods.iter().chain(&rest) {
            self.empty(resource, name, &mut left).await;
        }
        self.report(&ns, &left).await?;
        if let Some(error) = left.errors.first() {
            return Err(api::Status::internal(error).into());
        }
        if !left.objects.is_empty() {
            let mut looks = self.looks.lock();
            let n = looks.entry(name.to_owned()).and_modify(|n| *n += 1).or_default();
            return Ok(Some(LOOK_FIRST.saturating_mul(1 << (*n).min(16)).min(LOOK_MAX)));
        }
        self.looks.lock().remove(name);
        let mut tree = self.ctx.client.get(&Target::one(Namespace::gvr(), "", name)).await?.tree();
        if let Some(all) = tree["spec"]["finalizers"].as_array_mut() {
            all.retain(|f| !ours(f));
        }
        let target = Target::one(Namespace::gvr(), "", name).sub("finalize");
        match self.ctx.client.update(&target, tree, &WriteOptions::default()).await {
            Err(e) if !e.is_not_found() => Err(e.into()),
            _ => Ok(None),
        }
    }

    /// Deletes all objects of a kind that are not going yet; notes those that remain.
    async fn empty(&self, resource: &Gvr, namespace: &str, left: &mut Left) {
        let client = &self.ctx.client;
        let list = match client.list(&Target::within(resource.clone(), namespace), &ListOptions::default()).await {
            Ok(list) => list,
            Err(e) if e.is_not_found() || e.reason == api::Reason::MethodNotAllowed => return,
            Err(e) => return left.errors.push(format!("{resource}: {e}")),
        };
        let deletes = futures::stream::iter(list.items).map(|object| async move {
            if object.meta().is_deleting() {
                return Ok(Some(object));
            }
            let target = Target::one(resource.clone(), namespace, object.name());
            let options = DeleteOptions {
                propagation: Some(Propagation::Background),
                precondition: Precondition { uid: Some(object.uid().into()), revision: None },
                ..Default::default()
            };
            match client.delete(&target, &options).await {
                Ok(last) => Ok(last.meta().is_deleting().then_some(last)),
                Err(e) if e.is_not_found() || e.is_conflict() => Ok(None),
                Err(e) => Err(e),
            }
        });
        let mut deletes = deletes.buffer_unordered(AT_ONCE);
        while let Some(result) = deletes.next().await {
            match result {
                Ok(None) => {}
                Ok(Some(object)) => {
                    let plural = format!("{}.{}", resource.resource, resource.group);
                    *left.objects.entry(plural).or_default() += 1;
                    for f in &object.meta().finalizers {
                        *left.finalizers.entry(f.to_string()).or_default() += 1;
                    }
                }
                Err(e) => left.errors.push(format!("{resource}: {e}")),
            }
        }
    }

    /// The five conditions of a terminating namespace.
    async fn report(&self, ns: &Object, left: &Left) -> Result<(), Error> {
        let counted = |all: &BTreeMap<String, usize>, f: fn(&str, usize) -> String| {
            all.iter().map(|(k, n)| f(k, *n)).collect::<Vec<_>>().join(", ")
        };
        let remaining = counted(&left.objects, |k, n| format!("{k} has {n} resource instances"));
        let held = counted(&left.finalizers, |k, n| format!("{k} in {n} resource instances"));
        let failed = left.errors.join(", ");
        let mut conditions = Conditions::of(&ns.tree()["status"]);
        for (kind, bad, reasons, text) in [
            (
                "NamespaceDeletionDiscoveryFailure",
                false,
                ["ResourcesDiscovered", ""],
                "All resources successfully discovered".to_owned(),
            ),
            (
                "NamespaceDeletionGroupVersionParsingFailure",
                false,
                ["ParsedGroupVersions", ""],
                "All legacy kube types successfully parsed".to_owned(),
            ),
            (
                "NamespaceDeletionContentFailure",
                !failed.is_empty(),
                ["ContentDeleted", "ContentDeletionFailed"],
                if failed.is_empty() {
                    "All content successfully deleted, may be waiting on finalization".into()
                } else {
                    format!("Failed to delete all resource types, {} remaining: {failed}", left.errors.len())
                },
            ),
            (
                "NamespaceContentRemaining",
                !remaining.is_empty(),
                ["ContentRemoved", "SomeResourcesRemain"],
                if remaining.is_empty() {
                    "All content successfully removed".into()
                } else {
                    format!("Some resources are remaining: {remaining}")
                },
            ),
            (
                "NamespaceFinalizersRemaining",
                !held.is_empty(),
                ["ContentHasNoFinalizers", "SomeFinalizersRemain"],
                if held.is_empty() {
                    "All content-preserving finalizers finished".into()
                } else {
                    format!("Some content in the namespace has finalizers remaining: {held}")
                },
            ),
        ] {
            let (status, reason) = if bad { ("True", reasons[1]) } else { ("False", reasons[0]) };
            if conditions.get(kind).is_some_and(|c| c["message"] != text) {
                conditions.remove(kind);
            }
            conditions.set(kind, status, reason, &text, &self.ctx.now(), &[]);
        }
        let status = json!({"phase": "Terminating", "conditions": conditions.value()});
        match status::write::<Namespace>(&*self.ctx.client, ns, status).await {
            Err(e) if !e.is_gone() => Err(e),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, kind, settle};
    use api::k8s_openapi::api::core::v1::ConfigMap;
    use client::Client;

    #[tokio::test(start_paused = true)]
    async fn content_goes_first_then_the_namespace() {
        let bench =
            Bench::with(|c| c.registry = kind::fixed(kind::registry([kind::of::<ConfigMap>(), kind::of::<Pod>()])));
        bench.start(run);
        bench.fake.seed(Namespace::gvr(), json!({"metadata": {"name": "n"}, "spec": {"finalizers": ["kubernetes"]}}));
        bench.fake.seed(ConfigMap::gvr(), json!({"metadata": {"name": "a", "namespace": "n"}}));
        bench.fake.seed(ConfigMap::gvr(), json!({"metadata": {"name": "b", "namespace": "n", "finalizers": ["x/y"]}}));
        bench.fake.seed(ConfigMap::gvr(), json!({"metadata": {"name": "a", "namespace": "other"}}));
        settle().await;
        assert_eq!(bench.fake.objects(&ConfigMap::gvr()).len(), 3);
        bench.fake.delete(&Target::one(Namespace::gvr(), "", "n"), &DeleteOptions::default()).await.unwrap();
        settle().await;
        let ns = bench.fake.tree(&Namespace::gvr(), "", "n");
        let conditions = Conditions::of(&ns["status"]);
        assert_eq!(
            conditions.get("NamespaceContentRemaining").unwrap()["message"],
            "Some resources are remaining: configmaps. has 1 resource instances"
        );
        assert_eq!(conditions.get("NamespaceFinalizersRemaining").unwrap()["reason"], "SomeFinalizersRemain");
        bench.fake.edit(&ConfigMap::gvr(), "n", "b", |m| m["metadata"]["finalizers"] = json!([]));
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(bench.fake.objects(&ConfigMap::gvr()).len(), 1);
        assert!(bench.fake.objects(&Namespace::gvr()).is_empty());
    }
}
