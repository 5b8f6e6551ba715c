//! Endpoints and EndpointSlices: where a service's traffic goes. Upstream's `pkg/controller/endpoint`, `endpointslice` and
//! `endpointslicemirroring`, as one reconciler of services.

mod legacy;
mod members;
mod mirror;
mod slices;

use std::sync::Arc;

use api::k8s_openapi::api::core::v1::{Endpoints, Node, Pod, Service};
use api::k8s_openapi::api::discovery::v1::EndpointSlice;
use api::labels::Selector;
use api::{Object, Resource, Value};
use client::{Change, Controller, DeleteOptions, Index, Informer, ObjectKey, Requeue, Target, WorkQueue, WriteOptions};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::expectations::Expectations;
use crate::{Context, Error, pods};
use members::{families, is_headless, publishes_unready, selecting};
use slices::{HEADLESS, MANAGED_BY, SERVICE_NAME};

const SLICES: &str = "endpointslice-controller.k8s.io";
const MIRROR: &str = "endpointslicemirroring-controller.k8s.io";
const ENDPOINTS_MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

struct Controllers {
    ctx: Context,
    services: Informer,
    pods: Informer,
    nodes: Informer,
    endpoints: Informer,
    slices: Index,
    expectations: Expectations,
}

/// Runs until `stop`.
pub async fn run(ctx: Context, stop: CancellationToken) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let slices = ctx.informers.of::<EndpointSlice>();
    let this = Arc::new(Controllers {
        services: ctx.informers.of::<Service>(),
        pods: ctx.informers.of::<Pod>(),
        nodes: ctx.informers.of::<Node>(),
        endpoints: ctx.informers.of::<Endpoints>(),
        slices: slices.index(by_service),
        expectations: Expectations::default(),
        ctx,
    });
    for informer in [&this.services, &this.endpoints] {
        let q = queue.clone();
        informer.on_change(move |c| q.add(ObjectKey::of(c.object())));
    }
    let (q, me) = (queue.clone(), this.clone());
    slices.on_change(move |c| me.slice_changed(c, &q));
    let (q, me) = (queue.clone(), this.clone());
    this.pods.on_change(move |c| me.pod_changed(c, &q));
    for informer in [&this.services, &this.pods, &this.nodes, &this.endpoints, &slices] {
        informer.synced().await;
    }
    let controller = Controller { name: "endpoint-controller", workers: 4, queue };
    controller
        .run(stop, move |key| {
            let this = this.clone();
            async move { this.sync(key).await }
        })
        .await;
}

/// The slices that we manage, by `namespace/service`.
fn by_service(slice: &Object) -> Vec<Box<str>> {
    let labels = &slice.meta().labels;
    match (labels.get(SERVICE_NAME), labels.get(MANAGED_BY).map(|m| &**m)) {
        (Some(service), Some(SLICES | MIRROR)) => vec![format!("{}/{service}", slice.namespace()).into()],
        _ => Vec::new(),
    }
}

impl Controllers {
    fn slice_changed(&self, change: &Change, queue: &WorkQueue<ObjectKey>) {
        for slice in [&change.old, &change.new].into_iter().flatten() {
            for key in by_service(slice) {
                let name = key.split_once('/').map_or("", |(_, n)| n);
                let key = ObjectKey::new(slice.namespace(), name);
                if change.old.is_none() {
                    self.expectations.created(&key, 1);
                }
                queue.add(key);
            }
        }
    }

    fn pod_changed(&self, change: &Change, queue: &WorkQueue<ObjectKey>) {
        if let (Some(old), Some(new)) = (&change.old, &change.new)
            && !members::concerns(old, new)
        {
            return;
        }
        for service in self.services.list(Some(change.object().namespace())) {
            let Some(selector) = selecting(&service).and_then(|s| s.selector.as_ref()) else { continue };
            let matches = |o: &Arc<Object>| {
                selector.iter().all(|(k, v)| o.meta().labels.get(k.as_str()).is_some_and(|have| **have == **v))
            };
            if change.old.as_ref().is_some_and(matches) || change.new.as_ref().is_some_and(matches) {
                queue.add(ObjectKey::of(&service));
            }
        }
    }

    async fn sync(&self, key: ObjectKey) -> Result<Requeue, Error> {
        let result = match self.services.get(&key.namespace, &key.name) {
            None => self.clean_up(&key).await,
            Some(service) => match selecting(&service) {
                Some(_) => self.select(&key, &service).await,
                None => self.mirror(&key, &service).await,
            },
        };
        match result {
            Err(e) if !e.is_gone() => Err(e),
            _ => Ok(None),
        }
    }

    /// The service is gone: its slices go by their owner, its Endpoints do not.
    async fn clean_up(&self, key: &ObjectKey) -> Result<(), Error> {
        self.expectations.forget(key);
        if let Some(e) = self.endpoints.get(&key.namespace, &key.name)
            && e.meta().labels.contains_key(ENDPOINTS_MANAGED_BY)
        {
            self.delete::<Endpoints>(&e).await?;
        }
        for slice in self.slices.get(&key.to_string()) {
            self.delete::<EndpointSlice>(&slice).await?;
        }
        Ok(())
    }

    async fn delete<K: Resource>(&self, object: &Object) -> Result<(), Error> {
        let target = Target::one(K::gvr(), object.namespace(), object.name());
        match self.ctx.client.delete(&target, &DeleteOptions::default()).await {
            Err(e) if !e.is_not_found() => Err(e.into()),
            _ => Ok(()),
        }
    }

    async fn select(&self, key: &ObjectKey, service: &Arc<Object>) -> Result<(), Error> {
        let Some(spec) = selecting(service) else { return Ok(()) };
        let selector = Selector::from_set(spec.selector.iter().flatten());
        let all = self.pods.list(Some(service.namespace()));
        let pods: Vec<_> = all.into_iter().filter(|p| selector.matches(&p.meta().labels)).collect();
        let families = families(spec);
        let zone = |node: &str| {
            let node = self.nodes.get("", node)?;
            node.meta().labels.get("topology.kubernetes.io/zone").map(|z| z.to_string())
        };
        let (mut groups, publish) = (Vec::new(), publishes_unready(spec));
        for family in &families {
            let members = members::of(service, spec, &pods, family);
            if *family == families[0] {
                let (subsets, truncated) = legacy::subsets(spec, &members);
                self.write_endpoints(service, subsets, is_headless(spec), truncated).await?;
            }
            groups.extend(slices::grouped(family, &members, publish, zone));
        }
        let labels = slices::labels(service, service.name(), SLICES, is_headless(spec));
        let template = template::<Service>(service, service.name(), labels);
        self.write_slices(key, groups, families[0], &template).await
    }

    async fn mirror(&self, key: &ObjectKey, service: &Arc<Object>) -> Result<(), Error> {
        let source = self.endpoints.get(&key.namespace, &key.name).filter(|e| mirror::wanted(e));
        match source {
            Some(endpoints) => {
                let groups = mirror::groups(&endpoints);
                if groups.is_empty() {
                    return self.delete_slices(key).await;
                }
                let labels = slices::labels(&endpoints, service.name(), MIRROR, false);
                let template = template::<Endpoints>(&endpoints, service.name(), labels);
                self.write_slices(key, groups, "IPv4", &template).await
            }
            None => self.delete_slices(key).await,
        }
    }

    async fn delete_slices(&self, key: &ObjectKey) -> Result<(), Error> {
        for slice in self.slices.get(&key.to_string()) {
            self.delete::<EndpointSlice>(&slice).await?;
        }
        Ok(())
    }

    async fn write_slices(
        &self,
        key: &ObjectKey,
        groups: Vec<slices::Group>,
        family: &'static str,
        template: &Value,
    ) -> Result<(), Error> {
        // a slice we made is not in the cache yet: its coming wakes us
        if !self.expectations.satisfied(key) {
            return Ok(());
        }
        let plan = slices::plan(groups, family, &self.slices.get(&key.to_string()), template);
        let options = WriteOptions::default();
        for tree in plan.create {
            self.expectations.expect_creations(key, 1);
            let target = Target::within(EndpointSlice::gvr(), &key.namespace);
            if let Err(e) = self.ctx.client.create(&target, tree, &options).await {
                self.expectations.created(key, 1);
                return Err(e.into());
            }
        }
        for tree in plan.update {
            let name = tree["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let target = Target::one(EndpointSlice::gvr(), &key.namespace, &name);
            self.ctx.client.update(&target, tree, &options).await?;
        }
        for slice in plan.delete {
            self.delete::<EndpointSlice>(&slice).await?;
        }
        Ok(())
    }

    async fn write_endpoints(
        &self,
        service: &Object,
        subsets: Vec<Value>,
        headless: bool,
        truncated: bool,
    ) -> Result<(), Error> {
        let mut labels: serde_json::Map<String, Value> =
            service.meta().labels.iter().map(|(k, v)| (k.to_string(), json!(v))).collect();
        labels.insert(ENDPOINTS_MANAGED_BY.into(), json!("endpoint-controller"));
        labels.remove(HEADLESS);
        if headless {
            labels.insert(HEADLESS.into(), json!(""));
        }
        let (labels, subsets) = (Value::Object(labels), Value::Array(subsets));
        let (namespace, name) = (service.namespace(), service.name());
        let existing = self.endpoints.get(namespace, name);
        let options = WriteOptions::default();
        let old = existing.as_ref().map(|e| e.tree());
        let mut tree = old.clone().unwrap_or_else(
            || json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": name, "namespace": namespace}}),
        );
        tree["metadata"]["labels"] = labels;
        match (truncated, tree["metadata"]["annotations"].as_object_mut()) {
            (true, _) => tree["metadata"]["annotations"][OVER_CAPACITY] = json!("truncated"),
            (false, Some(annotations)) => drop(annotations.remove(OVER_CAPACITY)),
            (false, None) => drop(tree["metadata"].as_object_mut().map(|m| m.remove("annotations"))),
        }
        if subsets.as_array().is_some_and(Vec::is_empty) {
            tree.as_object_mut().map(|o| o.remove("subsets"));
        } else {
            tree["subsets"] = subsets;
        }
        match old {
            None => {
                let target = Target::within(Endpoints::gvr(), namespace);
                self.ctx.client.create(&target, tree, &options).await?;
            }
            Some(old) if old != tree => {
                let target = Target::one(Endpoints::gvr(), namespace, name);
                self.ctx.client.update(&target, tree, &options).await?;
            }
            Some(_) => {}
        }
        Ok(())
    }
}

/// The metadata of new slices.
fn template<K: Resource>(owner: &Object, service: &str, labels: Value) -> Value {
    json!({"metadata": {"generateName": pods::prefix(service), "namespace": owner.namespace(), "labels": labels,
        "ownerReferences": [pods::controller_ref::<K>(owner)]}})
}

#[cfg(test)]
mod tests;
