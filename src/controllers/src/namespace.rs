//! Namespace deletion: everything in it goes, then its finalizer. Upstream's `namespaced_resources_deleter.go`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use api::k8s_openapi::api::core::v1::{Namespace, Pod};
use api::{Gvr, Object, Resource, Value};
use client::{
    Aggregated, Controller, DeleteOptions, Informer, ListOptions, ObjectKey, Propagation, Requeue, Target, WorkQueue,
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

/// A resource whose objects go with their namespace.
struct Content {
    resource: Gvr,
    /// All at once, which only other API servers are asked for: each object costs a connection there.
    whole: bool,
}

/// Of what other API servers serve: the namespaced resources that can be deleted, in their preferred versions, and why that
/// may not be all. Upstream's `ServerPreferredNamespacedResources`.
fn elsewhere(all: &[Aggregated]) -> (Vec<Content>, Option<String>) {
    let (mut found, mut failed): (Vec<Content>, Vec<String>) = Default::default();
    for a in all {
        if !a.fresh {
            let version = format!("{}/{}", a.group, a.version);
            failed.push(format!("{version}: stale GroupVersion discovery: {version}"));
        }
        for r in a.resources.iter().filter(|r| r["namespaced"] == true) {
            let can = |verb: &str| r["verbs"].as_array().is_some_and(|all| all.iter().any(|v| v == verb));
            let name = r["name"].as_str().unwrap_or_default();
            let known = found.iter().any(|f| f.resource.group == a.group && f.resource.resource == name);
            if known || name.is_empty() || name.contains('/') || !can("list") {
                continue;
            }
            let whole = can("deletecollection");
            if whole || can("delete") {
                found.push(Content { resource: Gvr::new(&a.group, &a.version, name), whole });
            }
        }
    }
    let count = failed.len();
    let why = format!(
        "Discovery failed for some groups, {count} failing: unable to retrieve the complete list of server APIs: {}",
        failed.join(", ")
    );
    (found, (count > 0).then_some(why))
}

/// What is left after everything has been told to go.
#[derive(Default)]
struct Left {
    objects: BTreeMap<String, usize>,
    finalizers: BTreeMap<String, usize>,
    errors: Vec<String>,
    /// Pods are among them: nothing else has been told to go yet.
    pods: bool,
    /// Why it is not known what there may be.
    undiscovered: Option<String>,
}

impl Deleter {
    async fn sync(&self, name: &str) -> Result<Requeue, Error> {
        let Some(ns) = self.namespaces.get("", name).filter(|n| n.meta().is_deleting()) else {
            self.looks.lock().remove(name);
            return Ok(None);
        };
        let ours = |f: &Value| f == FINALIZER;
        let finalizers = ns.tree()["spec"]["finalizers"].as_array().cloned().unwrap_or_default();
        if !finalizers.iter().any(ours) {
            return Ok(None);
        }
        let own = self.ctx.config.deletable(true).into_iter();
        let mut all: Vec<Content> = own.map(|(resource, _)| Content { resource, whole: false }).collect();
        // pods first: what they use should outlive them
        all.sort_by_key(|c| c.resource != Pod::gvr());
        let (others, undiscovered) = elsewhere(&self.ctx.client.aggregated());
        let mut left = Left { undiscovered, ..Left::default() };
        for content in all.iter().chain(&others) {
            if left.pods {
                break;
            }
            self.empty(content, name, &mut left).await;
            left.pods = content.resource == Pod::gvr() && !left.objects.is_empty();
        }
        self.report(&ns, &left).await?;
        if let Some(error) = left.errors.first().or(left.undiscovered.as_ref()) {
            return Err(api::Status::internal(error).into());
        }
        if left.pods {
            // woken by the last of them
            return Ok(Some(LOOK_MAX));
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
    async fn empty(&self, content: &Content, namespace: &str, left: &mut Left) {
        let (client, resource) = (&self.ctx.client, &content.resource);
        if content.whole {
            let options = DeleteOptions { propagation: Some(Propagation::Background), ..Default::default() };
            match client.delete(&Target::within(resource.clone(), namespace), &options).await {
                Err(e) if !e.is_not_found() && e.reason != api::Reason::MethodNotAllowed => {
                    return left.errors.push(format!("{resource}: {e}"));
                }
                _ => {}
            }
        }
        let list = match client.list(&Target::within(resource.clone(), namespace), &ListOptions::default()).await {
            Ok(list) => list,
            Err(e) if e.is_not_found() || e.reason == api::Reason::MethodNotAllowed => return,
            Err(e) => return left.errors.push(format!("{resource}: {e}")),
        };
        let deletes = futures::stream::iter(list.items).map(|object| async move {
            // what remains of a collection goes by itself
            if content.whole || object.meta().is_deleting() {
                return Ok(Some(object));
            }
            let target = Target::one(resource.clone(), namespace, object.name());
            let options = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::of(&object) };
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
                left.undiscovered.is_some(),
                ["ResourcesDiscovered", "DiscoveryFailed"],
                left.undiscovered.clone().unwrap_or_else(|| "All resources successfully discovered".into()),
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

    #[tokio::test(start_paused = true)]
    async fn nothing_goes_before_the_pods() {
        let bench =
            Bench::with(|c| c.registry = kind::fixed(kind::registry([kind::of::<ConfigMap>(), kind::of::<Pod>()])));
        bench.start(run);
        bench.fake.seed(Namespace::gvr(), json!({"metadata": {"name": "n"}, "spec": {"finalizers": ["kubernetes"]}}));
        bench.fake.seed(ConfigMap::gvr(), json!({"metadata": {"name": "c", "namespace": "n"}}));
        bench.fake.seed(Pod::gvr(), json!({"metadata": {"name": "p", "namespace": "n", "finalizers": ["x/y"]}}));
        settle().await;
        bench.fake.delete(&Target::one(Namespace::gvr(), "", "n"), &DeleteOptions::default()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(bench.fake.objects(&ConfigMap::gvr()).len(), 1);
        bench.fake.edit(&Pod::gvr(), "n", "p", |p| p["metadata"]["finalizers"] = json!([]));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(bench.fake.objects(&ConfigMap::gvr()).is_empty());
        assert!(bench.fake.objects(&Namespace::gvr()).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_others_serve_goes_too_and_a_silent_one_holds_the_namespace() {
        let bench = Bench::new();
        bench.start(run);
        let resources = Arc::new(vec![
            json!({"name": "flunders", "namespaced": true, "verbs": ["list", "delete", "deletecollection"]}),
            json!({"name": "flunders/status", "namespaced": true, "verbs": ["list", "delete"]}),
            json!({"name": "fischers", "namespaced": false, "verbs": ["list", "delete"]}),
            json!({"name": "pods", "namespaced": true, "verbs": ["get", "list"]}),
            json!({"name": "fish", "namespaced": true, "verbs": ["list", "delete"]}),
        ]);
        let of = |fresh: bool, version: &str| Aggregated {
            group: "wardle.example.com".into(),
            version: version.into(),
            fresh,
            resources: resources.clone(),
        };
        let (flunders, fish) =
            (Gvr::new("wardle.example.com", "v1", "flunders"), Gvr::new("wardle.example.com", "v1", "fish"));
        for r in [&flunders, &fish] {
            bench.fake.seed(r.clone(), json!({"metadata": {"name": "a", "namespace": "n"}}));
            bench.fake.seed(r.clone(), json!({"metadata": {"name": "a", "namespace": "other"}}));
        }
        bench.fake.aggregate(vec![of(true, "v1"), of(false, "v1alpha1")]);
        bench.fake.seed(Namespace::gvr(), json!({"metadata": {"name": "n"}, "spec": {"finalizers": ["kubernetes"]}}));
        bench.fake.delete(&Target::one(Namespace::gvr(), "", "n"), &DeleteOptions::default()).await.unwrap();
        settle().await;
        for r in [&flunders, &fish] {
            assert_eq!(bench.fake.objects(r).len(), 1, "{r}");
        }
        let ns = bench.fake.tree(&Namespace::gvr(), "", "n");
        let conditions = Conditions::of(&ns["status"]);
        let failure = conditions.get("NamespaceDeletionDiscoveryFailure").unwrap();
        assert_eq!((&failure["status"], &failure["reason"]), (&json!("True"), &json!("DiscoveryFailed")));
        assert_eq!(
            failure["message"],
            "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: \
             wardle.example.com/v1alpha1: stale GroupVersion discovery: wardle.example.com/v1alpha1"
        );
        bench.fake.aggregate(vec![of(true, "v1")]);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(bench.fake.objects(&Namespace::gvr()).is_empty());
    }
}
