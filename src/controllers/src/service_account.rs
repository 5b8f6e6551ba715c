//! What every namespace gets: the service account `default` and the config map `kube-root-ca.crt`. Upstream's
//! `serviceaccounts_controller.go` and `rootcacertpublisher`.

use std::sync::Arc;

use api::k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use api::{Resource, Value};
use client::{Controller, Informer, ObjectKey, Patch, Requeue, Target, WorkQueue, WriteOptions};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{Context, Error};

const ACCOUNT: &str = "default";
const CA_MAP: &str = "kube-root-ca.crt";
/// As upstream words it; clients show it.
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
    endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions \
    of Kubernetes clusters.";

struct Publisher {
    ctx: Context,
    namespaces: Informer,
    accounts: Informer,
    maps: Informer,
}

/// Runs both until `stop`.
pub async fn run(ctx: Context, stop: CancellationToken) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let this = Arc::new(Publisher {
        namespaces: ctx.informers.of::<Namespace>(),
        accounts: ctx.informers.of::<ServiceAccount>(),
        maps: ctx.informers.of::<ConfigMap>(),
        ctx,
    });
    let q = queue.clone();
    this.namespaces.on_change(move |c| q.add(ObjectKey::new("", c.object().name())));
    for (informer, name) in [(&this.accounts, ACCOUNT), (&this.maps, CA_MAP)] {
        let q = queue.clone();
        informer.on_change(move |c| {
            if c.object().name() == name {
                q.add(ObjectKey::new("", c.object().namespace()));
            }
        });
    }
    this.namespaces.synced().await;
    this.accounts.synced().await;
    this.maps.synced().await;
    let controller = Controller { name: "serviceaccount-controller", workers: 2, queue };
    controller
        .run(stop, move |key| {
            let this = this.clone();
            async move { this.sync(&key.name).await }
        })
        .await;
}

impl Publisher {
    async fn sync(&self, namespace: &str) -> Result<Requeue, Error> {
        let Some(ns) = self.namespaces.get("", namespace) else { return Ok(None) };
        if ns.meta().is_deleting()
            || ns.view::<Namespace>()?.status.as_ref().is_some_and(|s| s.phase.as_deref() == Some("Terminating"))
        {
            return Ok(None);
        }
        if self.accounts.get(namespace, ACCOUNT).is_none() {
            let tree = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": namespace}});
            self.create(ServiceAccount::gvr(), namespace, tree).await?;
        }
        let data = json!({"ca.crt": self.ctx.config.root_ca});
        match self.maps.get(namespace, CA_MAP) {
            None => {
                let metadata = json!({"name": CA_MAP, "namespace": namespace, "annotations": {"kubernetes.io/description": DESCRIPTION}});
                let tree = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data});
                self.create(ConfigMap::gvr(), namespace, tree).await?;
            }
            Some(map) if map.tree()["data"] != data => {
                let mut tree = map.tree();
                tree["data"] = data;
                let target = Target::one(ConfigMap::gvr(), namespace, CA_MAP);
                self.ctx.client.update(&target, tree, &WriteOptions::default()).await?;
            }
            Some(map)
                if map
                    .view::<ConfigMap>()?
                    .metadata
                    .annotations
                    .as_ref()
                    .is_none_or(|a| !a.contains_key("kubernetes.io/description")) =>
            {
                let patch = json!({"metadata": {"annotations": {"kubernetes.io/description": DESCRIPTION}}});
                let target = Target::one(ConfigMap::gvr(), namespace, CA_MAP);
                self.ctx.client.patch(&target, Patch::Merge(patch), &WriteOptions::default()).await?;
            }
            Some(_) => {}
        }
        Ok(None)
    }

    async fn create(&self, resource: api::Gvr, namespace: &str, tree: Value) -> Result<(), Error> {
        match self.ctx.client.create(&Target::within(resource, namespace), tree, &WriteOptions::default()).await {
            Err(e) if e.is_already_exists() || e.is_not_found() || crate::error::is_terminating_namespace(&e) => Ok(()),
            other => Ok(other.map(drop)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, settle};

    #[tokio::test(start_paused = true)]
    async fn every_namespace_has_both_always() {
        let bench = Bench::new();
        bench.start(run);
        bench.fake.seed(Namespace::gvr(), json!({"metadata": {"name": "n"}}));
        settle().await;
        let ca = || bench.fake.tree(&ConfigMap::gvr(), "n", CA_MAP);
        assert_eq!(ca()["data"], json!({"ca.crt": "PEM"}));
        assert!(!bench.fake.tree(&ServiceAccount::gvr(), "n", ACCOUNT).is_null());
        bench.fake.remove(&ServiceAccount::gvr(), "n", ACCOUNT);
        bench.fake.edit(&ConfigMap::gvr(), "n", CA_MAP, |m| m["data"] = json!({"x": "y"}));
        settle().await;
        assert_eq!(ca()["data"], json!({"ca.crt": "PEM"}));
        assert!(!bench.fake.tree(&ServiceAccount::gvr(), "n", ACCOUNT).is_null());
    }
}
