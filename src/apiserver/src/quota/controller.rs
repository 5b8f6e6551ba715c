//! Keeps the status of every quota: upstream's `resourcequota` controller.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use api::k8s_openapi::api::core::v1::ResourceQuota;
use api::quantity::Quantity;
use api::{Resource, Status};
use client::{Client, Patch, Target, WorkQueue, WriteOptions};
use parking_lot::Mutex;
use serde_json::{Value, json};
use store::Store;
use tokio_util::sync::CancellationToken;

use super::scope::{Quota, amounts};
use super::{Amounts, QUOTAS};
use crate::Lookup;

/// A burst of changes is counted once.
const SETTLE: Duration = Duration::from_millis(20);

type Key = (String, String);

/// Counts anew when a quota changes, or anything of a resource that some quota counts. Without quotas it watches nothing else.
#[derive(Clone)]
pub struct Controller {
    store: Arc<Store>,
    client: Arc<dyn Client>,
    queue: WorkQueue<Key>,
    followed: Arc<Mutex<HashSet<String>>>,
    stop: CancellationToken,
}

impl Controller {
    pub fn new(store: Arc<Store>, client: Arc<dyn Client>, stop: CancellationToken) -> Controller {
        Controller { store, client, queue: WorkQueue::new(), followed: Arc::default(), stop }
    }

    pub async fn run(self) {
        self.follow(QUOTAS);
        while let Some(key) = self.stop.run_until_cancelled(self.queue.next()).await {
            match self.reconcile(&key).await {
                Ok(()) => self.queue.succeeded(&key),
                Err(error) => {
                    tracing::warn!(namespace = key.0, quota = key.1, %error, "quota status not written");
                    self.queue.failed(key.clone());
                }
            }
            self.queue.done(&key);
        }
    }

    /// From now on, changes of `resource` wake the quotas of their namespace.
    fn follow(&self, resource: &str) {
        if !self.followed.lock().insert(resource.to_owned()) {
            return;
        }
        let (this, resource) = (self.clone(), resource.to_owned());
        tokio::spawn(async move { this.stop.run_until_cancelled(this.keep(&resource)).await });
    }

    async fn keep(&self, resource: &str) {
        loop {
            let revision = self.store.revision();
            self.wake("");
            let Ok(mut watcher) = self.store.watch(resource, revision) else { return };
            loop {
                match watcher.next().await {
                    Ok(events) => {
                        let namespaces: HashSet<&str> = events.iter().map(|e| e.object.namespace()).collect();
                        namespaces.into_iter().for_each(|ns| self.wake(ns));
                    }
                    Err(store::Error::Closed) => return,
                    Err(_) => break,
                }
            }
        }
    }

    fn wake(&self, namespace: &str) {
        for quota in self.store.list(QUOTAS, namespace) {
            self.queue.add_after((quota.namespace().into(), quota.name().into()), SETTLE);
        }
    }

    async fn reconcile(&self, (namespace, name): &Key) -> Result<(), Status> {
        let Some(object) = Lookup::get(&*self.store, QUOTAS, namespace, name) else { return Ok(()) };
        let quota = Quota::read(&object);
        quota.resources().iter().for_each(|r| self.follow(r));
        let status = &object.tree()["status"];
        let used = quota.used(&*self.store);
        if amounts(&status["hard"]) == quota.hard && amounts(&status["used"]) == used {
            return Ok(());
        }
        let target = Target::one(ResourceQuota::gvr(), namespace, name).sub("status");
        // a merge patch keeps what it does not name: names that are limited no more are named, with null
        let gone = |have: &Value, now: &Amounts| -> Vec<String> {
            have.as_object().into_iter().flatten().map(|(k, _)| k.clone()).filter(|k| !now.contains_key(k)).collect()
        };
        let list = |have: &Value, now: &Amounts| -> Value {
            let set = now.iter().map(|(k, q): (&String, &Quantity)| (k.clone(), json!(q.to_string())));
            set.chain(gone(have, now).into_iter().map(|k| (k, Value::Null))).collect::<serde_json::Map<_, _>>().into()
        };
        let patch = json!({"status": {
            "hard": list(&status["hard"], &quota.hard), "used": list(&status["used"], &used)}});
        match self.client.patch(&target, Patch::Merge(patch), &WriteOptions::default()).await {
            Err(e) if !e.is_not_found() => Err(e),
            _ => Ok(()),
        }
    }
}
