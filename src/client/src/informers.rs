//! One informer a kind for a whole process: upstream's `SharedInformerFactory`.

use std::collections::HashMap;
use std::sync::Arc;

use api::{Gvr, Resource};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{Client, Informer, Selector};

/// Starts an informer at the first request and hands the same one to all who ask later. Clones share.
#[derive(Clone)]
pub struct Informers {
    client: Arc<dyn Client>,
    running: Arc<Mutex<HashMap<Gvr, (Informer, CancellationToken)>>>,
    stop: CancellationToken,
}

impl Informers {
    /// The informers see what `client` may list, and follow until `stop`.
    pub fn new(client: Arc<dyn Client>, stop: CancellationToken) -> Informers {
        Informers { client, running: Arc::default(), stop }
    }
    pub fn of<K: Resource>(&self) -> Informer {
        self.get(K::gvr())
    }
    pub fn get(&self, resource: Gvr) -> Informer {
        let mut running = self.running.lock();
        if let Some((informer, _)) = running.get(&resource) {
            return informer.clone();
        }
        let selector = Selector::all(resource.clone());
        let stop = self.stop.child_token();
        let informer = Informer::start(self.client.clone(), selector, stop.clone());
        running.insert(resource, (informer.clone(), stop));
        informer
    }
    /// Ends the informer of a resource that is no longer served.
    pub fn forget(&self, resource: &Gvr) {
        if let Some((_, stop)) = self.running.lock().remove(resource) {
            stop.cancel();
        }
    }
    /// Waits for all that have been asked for so far.
    pub async fn synced(&self) {
        let all: Vec<Informer> = self.running.lock().values().map(|(i, _)| i.clone()).collect();
        for informer in all {
            informer.synced().await;
        }
    }
}
