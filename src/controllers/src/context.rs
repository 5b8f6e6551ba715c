//! What every controller is given.

use std::sync::Arc;

use api::{Gvr, Registry};
use client::{Client, Clock, Informers, Recorder, now_rfc3339};
use ipnet::IpNet;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::csr::Signing;

/// What differs from cluster to cluster.
#[derive(Clone)]
pub struct Config {
    /// PEM of the CA that signs the API server's certificate: `kube-root-ca.crt`.
    pub root_ca: String,
    /// `--cluster-cidr`: one network for each IP family. Empty: nodes get no pod networks.
    pub cluster_cidrs: Vec<IpNet>,
    /// Prefix lengths of a node's network, IPv4 and IPv6.
    pub node_prefix: (u8, u8),
    /// A node is lost when its lease is older: `--node-monitor-grace-period`.
    pub node_grace: jiff::SignedDuration,
    /// Above so many terminated pods the oldest are deleted: `--terminated-pod-gc-threshold`. 0: never.
    pub terminated_pods: usize,
    /// Whether nodes that wait for a cloud provider get skiff's own: unless `--disable-cloud-controller`.
    pub cloud_nodes: bool,
    /// Whether every service account gets a Secret with a token, as before Kubernetes 1.24.
    pub token_secrets: bool,
    /// What approved certificate requests are signed with; `None`: they are left to others.
    pub signing: Option<Signing>,
    /// The kinds that namespace deletion and garbage collection look after.
    pub registry: Kinds,
}

/// The kinds that are served, now and as they change.
pub type Kinds = watch::Receiver<Arc<Registry>>;

impl Config {
    /// Upstream's defaults.
    pub fn new(root_ca: String, cluster_cidrs: Vec<IpNet>, registry: Kinds) -> Config {
        Config {
            root_ca,
            cluster_cidrs,
            node_prefix: (24, 64),
            node_grace: jiff::SignedDuration::from_secs(40),
            terminated_pods: 12500,
            cloud_nodes: true,
            token_secrets: false,
            signing: None,
            registry,
        }
    }

    /// The resources that can be listed, watched and deleted: namespaced ones, or all.
    pub(crate) fn deletable(&self, namespaced_only: bool) -> Vec<(Gvr, String)> {
        let able = |k: &api::Kind| ["list", "watch", "delete"].iter().all(|v| k.verbs.iter().any(|have| have == v));
        let registry = self.registry.borrow().clone();
        let kinds = registry.kinds().iter();
        kinds.filter(|k| able(k) && (k.namespaced() || !namespaced_only)).map(|k| (k.gvr(), k.kind.clone())).collect()
    }
}

/// Clones share everything.
#[derive(Clone)]
pub struct Context {
    pub client: Arc<dyn Client>,
    pub informers: Informers,
    pub clock: Arc<dyn Clock>,
    pub recorder: Recorder,
    pub config: Arc<Config>,
}

impl Context {
    /// `client` must be allowed everything. Informers follow until `stop`.
    pub fn new(client: Arc<dyn Client>, clock: Arc<dyn Clock>, config: Config, stop: CancellationToken) -> Context {
        Context {
            informers: Informers::new(client.clone(), stop),
            recorder: Recorder::new(client.clone(), clock.clone(), "kube-controller-manager", ""),
            client,
            clock,
            config: Arc::new(config),
        }
    }
    /// `metav1.Now()` as it goes into a tree.
    pub fn now(&self) -> String {
        now_rfc3339(&*self.clock)
    }
}
