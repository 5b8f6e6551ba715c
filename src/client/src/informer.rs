//! A set of objects kept at hand: list once, then follow the watch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::{Gvr, Object};
use futures::StreamExt;
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{Client, ListOptions, Target, WatchEvent};

/// What to keep at hand.
#[derive(Debug, Clone)]
pub struct Selector {
    pub resource: Gvr,
    /// Empty: all namespaces.
    pub namespace: String,
    pub labels: String,
    pub fields: String,
}

impl Selector {
    pub fn all(resource: Gvr) -> Selector {
        Selector { resource, namespace: String::new(), labels: String::new(), fields: String::new() }
    }
    pub fn of<K: api::Resource>() -> Selector {
        Selector::all(K::gvr())
    }
    pub fn fields(self, fields: impl Into<String>) -> Selector {
        Selector { fields: fields.into(), ..self }
    }
}

/// What happened to one object: `old` is absent for a new one, `new` for one that is gone.
#[derive(Clone)]
pub struct Change {
    pub old: Option<Arc<Object>>,
    pub new: Option<Arc<Object>>,
}

impl Change {
    /// The newest state that is known.
    pub fn object(&self) -> &Arc<Object> {
        self.new.as_ref().or(self.old.as_ref()).expect("a change has an old or a new object")
    }
}

type Key = (Box<str>, Box<str>);
type Handler = Box<dyn Fn(&Change) + Send + Sync>;

struct Shared {
    objects: RwLock<BTreeMap<Key, Arc<Object>>>,
    handlers: RwLock<Vec<Handler>>,
    synced: watch::Sender<bool>,
}

/// A cache that follows the API. Clones share it; it follows until `stop` is cancelled.
///
/// Guarantees: after [`Informer::synced`], `get` and `list` answer with a state that once was, never going back for one
/// object; every difference between the state before and after is handed to the handlers, once, in order of revision.
/// Does not guarantee that every intermediate state is seen: reconcile levels, not edges.
#[derive(Clone)]
pub struct Informer {
    shared: Arc<Shared>,
}

impl Informer {
    /// Starts to follow. Handlers added with [`Informer::on_change`] later are first told of all that is there.
    pub fn start(client: Arc<dyn Client>, selector: Selector, stop: CancellationToken) -> Informer {
        let shared = Arc::new(Shared {
            objects: RwLock::default(),
            handlers: RwLock::default(),
            synced: watch::channel(false).0,
        });
        let informer = Informer { shared };
        let follower = informer.clone();
        tokio::spawn(async move { stop.run_until_cancelled(follower.follow(client, selector)).await });
        informer
    }

    /// Calls `handler` for all present objects and then for every change. It must not block: put a key into a queue.
    pub fn on_change(&self, handler: impl Fn(&Change) + Send + Sync + 'static) {
        let mut handlers = self.shared.handlers.write();
        for object in self.shared.objects.read().values() {
            handler(&Change { old: None, new: Some(object.clone()) });
        }
        handlers.push(Box::new(handler));
    }

    /// Waits until the first list has arrived.
    pub async fn synced(&self) {
        // the sender lives as long as `self`
        let _ = self.shared.synced.subscribe().wait_for(|s| *s).await;
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.shared.objects.read().get(&(namespace.into(), name.into())).cloned()
    }

    /// All, or those of one namespace, by namespace and name.
    pub fn list(&self, namespace: Option<&str>) -> Vec<Arc<Object>> {
        let objects = self.shared.objects.read();
        match namespace {
            None => objects.values().cloned().collect(),
            Some(ns) => objects
                .range((Box::from(ns), Box::from(""))..)
                .take_while(|((n, _), _)| &**n == ns)
                .map(|(_, o)| o.clone())
                .collect(),
        }
    }

    async fn follow(self, client: Arc<dyn Client>, selector: Selector) {
        let target = Target::within(selector.resource.clone(), &selector.namespace);
        let options =
            ListOptions { labels: selector.labels.clone(), fields: selector.fields.clone(), ..Default::default() };
        let mut wait = Duration::from_millis(50);
        loop {
            match client.list(&target, &options).await {
                Ok(list) => {
                    wait = Duration::from_millis(50);
                    self.replace(list.items);
                    let _ = self.shared.synced.send_replace(true);
                    self.drain(&*client, &target, &options, list.revision).await;
                }
                Err(error) => tracing::warn!(resource = %selector.resource, %error, "list failed"),
            }
            tokio::time::sleep(wait.mul_f64(1.0 + rand::random::<f64>())).await;
            wait = (wait * 2).min(Duration::from_secs(15));
        }
    }

    /// Follows watches from `revision` until one must list anew.
    async fn drain(&self, client: &dyn Client, target: &Target, options: &ListOptions, mut revision: u64) {
        let mut failures = 0;
        while failures < 5 {
            let mut watch = match client.watch(target, options, revision).await {
                Ok(w) => w,
                Err(e) if e.is_expired() => return,
                Err(_) => {
                    failures += 1;
                    tokio::time::sleep(Duration::from_millis(100 << failures)).await;
                    continue;
                }
            };
            while let Some(event) = watch.next().await {
                let change = match event {
                    Ok(WatchEvent::Bookmark(r)) => {
                        revision = r;
                        continue;
                    }
                    Ok(WatchEvent::Added(o) | WatchEvent::Modified(o)) => {
                        revision = o.revision();
                        self.put(o)
                    }
                    Ok(WatchEvent::Deleted(o)) => {
                        revision = o.revision();
                        let old = self.shared.objects.write().remove(&key(&o));
                        Change { old: Some(old.unwrap_or(o)), new: None }
                    }
                    Err(e) if e.is_expired() => return,
                    Err(_) => break,
                };
                failures = 0;
                self.tell(&change);
            }
            failures += 1;
        }
    }

    fn put(&self, object: Arc<Object>) -> Change {
        let old = self.shared.objects.write().insert(key(&object), object.clone());
        Change { old, new: Some(object) }
    }

    fn tell(&self, change: &Change) {
        for handler in self.shared.handlers.read().iter() {
            handler(change);
        }
    }

    fn replace(&self, items: Vec<Arc<Object>>) {
        let fresh: BTreeMap<Key, Arc<Object>> = items.into_iter().map(|o| (key(&o), o)).collect();
        let old = std::mem::replace(&mut *self.shared.objects.write(), fresh.clone());
        for (k, o) in &old {
            if !fresh.contains_key(k) {
                self.tell(&Change { old: Some(o.clone()), new: None });
            }
        }
        for (k, o) in fresh {
            let was = old.get(&k).cloned();
            if was.as_ref().is_none_or(|w| w.revision() != o.revision()) {
                self.tell(&Change { old: was, new: Some(o) });
            }
        }
    }
}

fn key(o: &Object) -> Key {
    (o.namespace().into(), o.name().into())
}
