//! The config maps and secrets that pods of this node use, each followed by its name and only while a pod uses it.
//! Upstream's watching `configmap.Manager` and `secret.Manager`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use api::k8s_openapi::api::core::v1::{ConfigMap, PodSpec, Secret};
use api::{Gvr, Object, Resource};
use client::{Client, Informer, Selector};
use parking_lot::Mutex;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::reach::Reach;

/// How long a first look at an object may take before the pod is asked to come again.
const PATIENCE: Duration = Duration::from_secs(10);
/// And how long what was remembered of it.
const MEMORY: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum What {
    ConfigMap(String),
    Secret(String),
}

impl What {
    fn gvr(&self) -> Gvr {
        match self {
            What::ConfigMap(_) => ConfigMap::gvr(),
            What::Secret(_) => Secret::gvr(),
        }
    }
    pub fn name(&self) -> &str {
        match self {
            What::ConfigMap(n) | What::Secret(n) => n,
        }
    }
}

type Key = (String, What);

struct Entry {
    informer: Informer,
    users: Arc<Mutex<BTreeSet<String>>>,
    _stop: DropGuard,
}

pub(crate) struct Objects {
    client: Arc<dyn Client>,
    entries: Mutex<HashMap<Key, Entry>>,
    /// Called with a pod's uid when one of its objects has changed.
    wake: Arc<dyn Fn(&str) + Send + Sync>,
    stop: CancellationToken,
}

impl Objects {
    pub fn new(client: Arc<dyn Client>, wake: Arc<dyn Fn(&str) + Send + Sync>, stop: CancellationToken) -> Objects {
        Objects { client, entries: Mutex::default(), wake, stop }
    }

    /// Follows what the pod uses; returns when each has been looked up once, or when there is nobody to ask: then what the
    /// client remembers has come already.
    pub async fn follow(&self, uid: &str, namespace: &str, all: &BTreeSet<What>, reach: &Reach) {
        let mut fresh = Vec::new();
        {
            let mut entries = self.entries.lock();
            for what in all {
                let entry =
                    entries.entry((namespace.to_owned(), what.clone())).or_insert_with(|| self.start(namespace, what));
                entry.users.lock().insert(uid.to_owned());
                if !entry.informer.has_synced() {
                    fresh.push(entry.informer.clone());
                }
            }
        }
        let all_synced = async {
            for informer in fresh {
                informer.synced().await;
            }
        };
        let nobody = async {
            reach.gone().await;
            tokio::time::sleep(MEMORY).await;
        };
        tokio::select! {
            () = all_synced => {}
            () = nobody => {}
            () = tokio::time::sleep(PATIENCE) => {}
        }
    }

    fn start(&self, namespace: &str, what: &What) -> Entry {
        let stop = self.stop.child_token();
        let selector = Selector { namespace: namespace.into(), ..Selector::all(what.gvr()) }
            .fields(format!("metadata.name={}", what.name()));
        let informer = Informer::start(self.client.clone(), selector, stop.clone());
        let users: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let (who, wake) = (users.clone(), self.wake.clone());
        informer.on_change(move |_| {
            for uid in who.lock().iter() {
                wake(uid);
            }
        });
        Entry { informer, users, _stop: stop.drop_guard() }
    }

    /// The pod is gone.
    pub fn release(&self, uid: &str) {
        self.entries.lock().retain(|_, e| {
            let mut users = e.users.lock();
            !users.remove(uid) || !users.is_empty()
        });
    }

    pub fn get(&self, namespace: &str, what: &What) -> Option<Arc<Object>> {
        let entries = self.entries.lock();
        entries.get(&(namespace.to_owned(), what.clone()))?.informer.get(namespace, what.name())
    }
}

/// Everything that the pod's variables and volumes are made from.
pub(crate) fn used(spec: &PodSpec) -> BTreeSet<What> {
    let mut all = BTreeSet::new();
    let mut map = |n: &str| all.insert(What::ConfigMap(n.to_owned()));
    let containers = super::pod::spec::containers(spec);
    for c in &containers {
        for e in c.container.env.iter().flatten() {
            if let Some(r) = e.value_from.as_ref().and_then(|f| f.config_map_key_ref.as_ref()) {
                map(&r.name);
            }
        }
        for r in c.container.env_from.iter().flatten().filter_map(|e| e.config_map_ref.as_ref()) {
            map(&r.name);
        }
    }
    for v in spec.volumes.iter().flatten() {
        if let Some(c) = &v.config_map {
            map(&c.name);
        }
        for s in v.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
            if let Some(c) = &s.config_map {
                map(&c.name);
            }
        }
    }
    let mut secret = |n: &str| all.insert(What::Secret(n.to_owned()));
    for c in &containers {
        for e in c.container.env.iter().flatten() {
            if let Some(r) = e.value_from.as_ref().and_then(|f| f.secret_key_ref.as_ref()) {
                secret(&r.name);
            }
        }
        for r in c.container.env_from.iter().flatten().filter_map(|e| e.secret_ref.as_ref()) {
            secret(&r.name);
        }
    }
    for v in spec.volumes.iter().flatten() {
        if let Some(n) = v.secret.as_ref().and_then(|s| s.secret_name.as_deref()) {
            secret(n);
        }
        for s in v.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
            if let Some(c) = &s.secret {
                secret(&c.name);
            }
        }
    }
    all
}

/// One namespace of [`Objects`].
pub(crate) struct InNamespace<'a> {
    pub objects: &'a Objects,
    pub namespace: &'a str,
}

impl super::pod::env::Lookup for InNamespace<'_> {
    fn config_map(&self, name: &str) -> Option<Arc<Object>> {
        self.objects.get(self.namespace, &What::ConfigMap(name.into()))
    }
    fn secret(&self, name: &str) -> Option<Arc<Object>> {
        self.objects.get(self.namespace, &What::Secret(name.into()))
    }
}

/// The revisions of the objects, to see cheaply whether any has changed.
pub(crate) fn revisions(objects: &Objects, namespace: &str, all: &BTreeSet<What>) -> BTreeMap<What, u64> {
    all.iter().filter_map(|w| Some((w.clone(), objects.get(namespace, w)?.revision()))).collect()
}
