//! API servers behind this one: upstream's kube-aggregator.
//!
//! ```text
//!   kinds, CRDs ──► local ──► APIServices of this server (automanaged)
//!   APIServices with a service ──► follow ──► table: group, version ─► Remote ──┬─ availability: check, condition
//!                                                                             ├─ proxy: /apis/G/V…, as X-Remote-User
//!                                                                             └─ discovery, OpenAPI: merged
//! ```
//!
//! Without a remote APIService the table is empty: a request costs one relaxed load, and nothing is watched but APIServices.

mod availability;
mod connect;
mod follow;
mod local;
mod openapi;
pub(crate) mod priority;
mod proxy;
mod remote;
mod within;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use api::Status;
use client::{Client, NodeDialer, Patch, Target, WriteOptions};
use parking_lot::RwLock;
use serde_json::json;
use tokio::sync::watch;

use crate::resource_metrics::ResourceMetrics;
use crate::{Engine, Server, User};
use connect::Connector;
pub(crate) use openapi::Others;
pub(crate) use proxy::{is_long_running, serve};
pub(crate) use remote::Remote;
pub(crate) use within::Within;

/// How the store names APIServices.
const RESOURCE: &str = "apiregistration.k8s.io/apiservices";
const PLACE: (&str, &str, &str) = (GROUP, "v1", "apiservices");
pub(crate) const GROUP: &str = "apiregistration.k8s.io";

type Table = BTreeMap<(String, String), Arc<Remote>>;

/// Which groups and versions others serve.
#[derive(Default)]
pub(crate) struct Aggregation {
    /// There is something in the table.
    any: AtomicBool,
    table: RwLock<Arc<Table>>,
    /// The table, or what somebody in it serves, is another.
    changes: watch::Sender<()>,
    /// This server's own `metrics.k8s.io`, where it has one.
    metrics: OnceLock<ResourceMetrics>,
}

impl Aggregation {
    pub fn find(&self, group: &str, version: &str) -> Option<Arc<Remote>> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        self.table.read().get(&(group.to_owned(), version.to_owned())).cloned()
    }
    /// Who serves a path below `/apis/G/V`, or that itself.
    pub fn find_path(&self, path: &str) -> Option<Arc<Remote>> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let mut parts = path.strip_prefix("/apis/")?.split('/');
        self.find(parts.next()?, parts.next()?)
    }
    pub fn all(&self) -> Arc<Table> {
        self.table.read().clone()
    }
    pub fn metrics(&self) -> Option<&ResourceMetrics> {
        self.metrics.get()
    }
    fn set(&self, table: Table) {
        let any = !table.is_empty();
        *self.table.write() = Arc::new(table);
        self.any.store(any, Ordering::Relaxed);
        self.changed();
    }
    fn changed(&self) {
        self.changes.send_replace(());
    }
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
}

/// Who this server is to the API servers behind it.
pub struct FrontProxy {
    /// Shown by this server.
    pub identity: pki::Identity,
    /// The name on it.
    pub name: &'static str,
    /// Vouches for it: PEM.
    pub authority: String,
    /// Vouches for this server's own clients: PEM.
    pub client_authority: String,
    /// Whether `metrics.k8s.io` is served from the kubelets.
    pub resource_metrics: bool,
}

impl Server {
    /// Serves other API servers' groups by way of their APIServices, and keeps those of this server's own. Once, after the
    /// manifests are applied, within a runtime.
    pub async fn aggregate(&self, dialer: Arc<dyn NodeDialer>, front: FrontProxy) -> Result<(), Status> {
        let client = self.client(User::system("system:apiserver"));
        crate::admission::exempt(tell(&*client, &front)).await?;
        let (engine, aggregation, stop) = (self.engine().clone(), self.aggregation().clone(), self.stop().clone());
        if front.resource_metrics {
            let _ = aggregation.metrics.set(ResourceMetrics::new(dialer.clone()));
        }
        let connector = Arc::new(Connector::new(dialer, engine.store().clone(), front.identity));
        tokio::spawn(local::run(engine.clone(), client, front.resource_metrics, stop.clone()));
        tokio::spawn(follow::run(engine, aggregation, connector, stop));
        Ok(())
    }
}

/// The ConfigMap by which API servers behind this one know whom to believe: upstream's
/// `clusterauthenticationtrust` controller.
async fn tell(client: &dyn Client, front: &FrontProxy) -> Result<(), Status> {
    let list = |text: &str| json!([text]).to_string();
    let tree = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": {
            "client-ca-file": front.client_authority,
            "requestheader-allowed-names": list(front.name),
            "requestheader-client-ca-file": front.authority,
            "requestheader-extra-headers-prefix": list("X-Remote-Extra-"),
            "requestheader-group-headers": list("X-Remote-Group"),
            "requestheader-uid-headers": list("X-Remote-Uid"),
            "requestheader-username-headers": list("X-Remote-User"),
        },
    });
    let maps = api::Gvr::new("", "v1", "configmaps");
    let target = Target::one(maps.clone(), "kube-system", "extension-apiserver-authentication");
    match client.patch(&target, Patch::Merge(tree.clone()), &WriteOptions::default()).await {
        Err(status) if status.is_not_found() => {
            client.create(&Target::within(maps, "kube-system"), tree, &WriteOptions::default()).await.map(drop)
        }
        done => done.map(drop),
    }
}

/// Changes an APIService in place.
async fn modify(
    engine: &Engine,
    name: &str,
    change: impl Fn(&mut api::Value) -> Result<(), Status> + Send + Sync,
) -> Result<(), Status> {
    let attributes = crate::Attributes {
        user: User::system("system:apiserver"),
        verb: crate::Verb::Update,
        group: PLACE.0.into(),
        version: PLACE.1.into(),
        resource: PLACE.2.into(),
        subresource: "status".into(),
        namespace: String::new(),
        name: name.into(),
        path: String::new(),
    };
    engine.modify(&attributes, PLACE, name, false, change).await.map(drop)
}
