//! The agent's own view of services and their endpoints, from which the proxy and DNS answer.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::Object;
use api::k8s_openapi::api::core::v1::Service;
use api::k8s_openapi::api::discovery::v1::EndpointSlice;
use client::{Client, Informer, Selector};
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const SERVICE_NAME: &str = "kubernetes.io/service-name";

type Key = (Box<str>, Box<str>);
/// The slices of each service, by name.
type ByService = HashMap<Key, BTreeMap<Box<str>, Arc<Object>>>;

/// Services and endpoint slices, indexed by the service they belong to. Clones share it.
#[derive(Clone)]
pub struct Services {
    services: Informer,
    endpoints: Informer,
    by_service: Arc<RwLock<ByService>>,
    changed: Arc<watch::Sender<u64>>,
}

impl Services {
    pub fn start(client: Arc<dyn Client>, stop: CancellationToken) -> Services {
        let services = Informer::start(client.clone(), Selector::of::<Service>(), stop.clone());
        let endpoints = Informer::start(client, Selector::of::<EndpointSlice>(), stop);
        let this = Services {
            services: services.clone(),
            endpoints: endpoints.clone(),
            by_service: Arc::default(),
            changed: Arc::new(watch::channel(0).0),
        };
        let changed = this.changed.clone();
        services.on_change(move |_| changed.send_modify(|n| *n += 1));
        let (index, changed) = (this.by_service.clone(), this.changed.clone());
        endpoints.on_change(move |change| {
            let mut index = index.write();
            if let Some((key, name)) = change.old.as_ref().and_then(|o| owner(o))
                && let Some(slices) = index.get_mut(&key)
            {
                slices.remove(&name);
                if slices.is_empty() {
                    index.remove(&key);
                }
            }
            if let Some((object, (key, name))) = change.new.as_ref().and_then(|o| Some((o, owner(o)?))) {
                index.entry(key).or_default().insert(name, object.clone());
            }
            drop(index);
            changed.send_modify(|n| *n += 1);
        });
        this
    }

    /// Waits until both lists have arrived.
    pub async fn synced(&self) {
        self.services.synced().await;
        self.endpoints.synced().await;
    }

    /// Changes whenever a service or its endpoints did.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub fn all(&self) -> Vec<Arc<Object>> {
        self.services.list(None)
    }
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.services.get(namespace, name)
    }
    pub fn has_namespace(&self, namespace: &str) -> bool {
        !self.services.list(Some(namespace)).is_empty()
    }
    /// The slices of one service, by name.
    pub fn slices(&self, namespace: &str, name: &str) -> Vec<Arc<Object>> {
        let index = self.by_service.read();
        index.get(&(namespace.into(), name.into())).map(|s| s.values().cloned().collect()).unwrap_or_default()
    }
}

fn owner(slice: &Object) -> Option<(Key, Box<str>)> {
    let service = slice.meta().labels.get(SERVICE_NAME)?;
    Some(((slice.namespace().into(), service.clone()), slice.name().into()))
}
