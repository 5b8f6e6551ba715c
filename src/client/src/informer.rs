//! A set of objects kept at hand: list once, then follow the watch.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use api::{Gvr, Object, Status};
use futures::StreamExt;
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Client, ListOptions, Target, WatchEvent, is_unreachable};

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
    /// The object that is no more: also where another of its name has come in its place.
    pub fn gone(&self) -> Option<&Arc<Object>> {
        self.old.as_ref().filter(|old| self.new.as_ref().is_none_or(|new| new.uid() != old.uid()))
    }
    /// The newest state that is known.
    pub fn object(&self) -> &Arc<Object> {
        self.new.as_ref().or(self.old.as_ref()).expect("a change has an old or a new object")
    }
}

/// A watch that has lasted so long was a good one, though nothing happened.
const LASTED: Duration = Duration::from_secs(5);

/// Between tries: the first comes at once, then 50 ms and twice that each time, with jitter. A server that is away or busy is
/// asked every second at least, so that a node is back soon after it; what is refused may wait longer.
#[derive(Default)]
struct Backoff {
    tries: u32,
}

impl Backoff {
    fn reset(&mut self) {
        self.tries = 0;
    }
    async fn wait(&mut self, error: Option<&Status>) {
        let away = error.is_none_or(|e| e.code >= 429 || e.is_expired());
        let limit = Duration::from_secs(if away { 1 } else { 15 });
        self.tries += 1;
        if self.tries > 1 {
            let full = Duration::from_millis(50 << (self.tries - 2).min(10)).min(limit);
            tokio::time::sleep(full.mul_f64(0.5 + rand::random::<f64>() * 0.5)).await;
        }
    }
}

type Key = (Box<str>, Box<str>);
type Handler = Box<dyn Fn(&Change) + Send + Sync>;
/// Under which names an index finds an object.
type Keys = fn(&Object) -> Vec<Box<str>>;

type Indexed = HashMap<Box<str>, BTreeMap<Key, Arc<Object>>>;

#[derive(Default)]
struct Cache {
    objects: BTreeMap<Key, Arc<Object>>,
    indexes: Vec<(Keys, Indexed)>,
}

struct Shared {
    cache: RwLock<Cache>,
    /// Held for reading from before the cache changes until the handlers know: a handler that is added meanwhile is told
    /// of each object exactly once. Always locked before `cache`.
    handlers: RwLock<Vec<Handler>>,
    synced: watch::Sender<bool>,
    stop: CancellationToken,
}

impl Cache {
    fn insert(&mut self, key: Key, object: Arc<Object>) -> Option<Arc<Object>> {
        let old = self.objects.insert(key.clone(), object.clone());
        for (keys, map) in &mut self.indexes {
            if let Some(old) = &old {
                unindex(*keys, map, &key, old);
            }
            for name in keys(&object) {
                map.entry(name).or_default().insert(key.clone(), object.clone());
            }
        }
        old
    }
    fn remove(&mut self, key: &Key) -> Option<Arc<Object>> {
        let old = self.objects.remove(key)?;
        for (keys, map) in &mut self.indexes {
            unindex(*keys, map, key, &old);
        }
        Some(old)
    }
}

fn unindex(keys: Keys, map: &mut Indexed, key: &Key, old: &Object) {
    for name in keys(old) {
        if let Some(set) = map.get_mut(&name) {
            set.remove(key);
            if set.is_empty() {
                map.remove(&name);
            }
        }
    }
}

/// Finds the objects of an informer by something else than their name: upstream's `Indexer`. See [`Informer::index`].
#[derive(Clone)]
pub struct Index {
    shared: Arc<Shared>,
    slot: usize,
}

impl Index {
    /// By namespace and name.
    pub fn get(&self, key: &str) -> Vec<Arc<Object>> {
        let cache = self.shared.cache.read();
        cache.indexes[self.slot].1.get(key).map_or(Vec::new(), |set| set.values().cloned().collect())
    }
}

/// Index by the uid of the controlling owner.
pub fn by_controller(object: &Object) -> Vec<Box<str>> {
    object.meta().controller().map(|o| o.uid.clone()).into_iter().collect()
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
            cache: RwLock::default(),
            handlers: RwLock::default(),
            synced: watch::channel(false).0,
            stop: stop.clone(),
        });
        let informer = Informer { shared };
        let follower = informer.clone();
        tokio::spawn(async move { stop.run_until_cancelled(follower.follow(client, selector)).await });
        informer
    }

    /// Calls `handler` for all present objects and then for every change. It must not block: put a key into a queue.
    pub fn on_change(&self, handler: impl Fn(&Change) + Send + Sync + 'static) {
        let mut handlers = self.shared.handlers.write();
        let present: Vec<_> = self.shared.cache.read().objects.values().cloned().collect();
        for object in present {
            handler(&Change { old: None, new: Some(object) });
        }
        handlers.push(Box::new(handler));
    }

    /// An index by `keys`, kept up to date with the cache. The same function shares one index.
    pub fn index(&self, keys: Keys) -> Index {
        let mut cache = self.shared.cache.write();
        let known = cache.indexes.iter().position(|(k, _)| std::ptr::fn_addr_eq(*k, keys));
        let slot = known.unwrap_or_else(|| {
            let mut map = Indexed::new();
            for (key, object) in &cache.objects {
                for name in keys(object) {
                    map.entry(name).or_default().insert(key.clone(), object.clone());
                }
            }
            cache.indexes.push((keys, map));
            cache.indexes.len() - 1
        });
        Index { shared: self.shared.clone(), slot }
    }

    pub fn has_synced(&self) -> bool {
        *self.shared.synced.borrow()
    }

    /// Waits until the first list has arrived, or until it never will since the informer has been stopped.
    pub async fn synced(&self) {
        let mut synced = self.shared.synced.subscribe();
        // the sender lives as long as `self`
        let _ = self.shared.stop.run_until_cancelled(synced.wait_for(|s| *s)).await;
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.shared.cache.read().objects.get(&(namespace.into(), name.into())).cloned()
    }

    /// All, or those of one namespace, by namespace and name.
    pub fn list(&self, namespace: Option<&str>) -> Vec<Arc<Object>> {
        let objects = &self.shared.cache.read().objects;
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
        let mut backoff = Backoff::default();
        loop {
            match client.list(&target, &options).await {
                Ok(list) => {
                    self.replace(list.items);
                    let _ = self.shared.synced.send_replace(true);
                    self.drain(&*client, &target, &options, list.revision, &mut backoff).await;
                }
                Err(error) => {
                    // that there is no server is said once, by whoever looks for it
                    if !is_unreachable(&error) {
                        tracing::warn!(resource = %selector.resource, %error, "list failed");
                    }
                    backoff.wait(Some(&error)).await;
                }
            }
        }
    }

    /// Follows watches from `revision` until one must list anew. A server that is away is waited for: its history mostly
    /// reaches back to `revision`.
    async fn drain(
        &self,
        client: &dyn Client,
        target: &Target,
        options: &ListOptions,
        mut revision: u64,
        backoff: &mut Backoff,
    ) {
        let mut refused = 0;
        while refused < 5 {
            let begun = Instant::now();
            let mut end = None;
            match client.watch(target, options, revision).await {
                Ok(mut watch) => {
                    while let Some(event) = watch.next().await {
                        match event {
                            Ok(WatchEvent::Bookmark(r)) => revision = r,
                            Ok(WatchEvent::Added(o) | WatchEvent::Modified(o)) => {
                                revision = o.revision();
                                self.put(o);
                            }
                            Ok(WatchEvent::Deleted(o)) => {
                                revision = o.revision();
                                self.remove(o);
                            }
                            Err(error) => {
                                end = Some(error);
                                break;
                            }
                        }
                        refused = 0;
                        backoff.reset();
                    }
                    if begun.elapsed() > LASTED {
                        backoff.reset();
                    }
                }
                Err(error) => end = Some(error),
            }
            refused += u32::from(end.as_ref().is_some_and(|e| !is_unreachable(e)));
            backoff.wait(end.as_ref()).await;
            if end.is_some_and(|e| e.is_expired()) {
                return;
            }
        }
    }

    fn put(&self, object: Arc<Object>) {
        let handlers = self.shared.handlers.read();
        let old = self.shared.cache.write().insert(key(&object), object.clone());
        tell(&handlers, Change { old, new: Some(object) });
    }

    /// The handlers get the last state, as it was at the deletion.
    fn remove(&self, last: Arc<Object>) {
        let handlers = self.shared.handlers.read();
        self.shared.cache.write().remove(&key(&last));
        tell(&handlers, Change { old: Some(last), new: None });
    }

    /// One object after the other, so that what handlers are told and what `get` answers never differ by more than one.
    fn replace(&self, items: Vec<Arc<Object>>) {
        let fresh: BTreeMap<Key, Arc<Object>> = items.into_iter().map(|o| (key(&o), o)).collect();
        let gone: Vec<Arc<Object>> = {
            let cache = self.shared.cache.read();
            cache.objects.iter().filter(|(k, _)| !fresh.contains_key(*k)).map(|(_, o)| o.clone()).collect()
        };
        for object in gone {
            self.remove(object);
        }
        for (k, object) in fresh {
            let known = self.shared.cache.read().objects.get(&k).map(|o| o.revision());
            if known != Some(object.revision()) {
                self.put(object);
            }
        }
    }
}

fn tell(handlers: &[Handler], change: Change) {
    for handler in handlers {
        handler(&change);
    }
}

fn key(o: &Object) -> Key {
    (o.namespace().into(), o.name().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{FakeClient, Verb};
    use crate::unreachable;
    use serde_json::json;

    fn pods() -> Gvr {
        Gvr::new("", "v1", "pods")
    }

    /// How often a verb is called in ten minutes in which all calls of it are answered with `status`.
    async fn calls(verb: Verb, status: Status) -> usize {
        let fake = FakeClient::new();
        let count = Arc::new(parking_lot::Mutex::new(0));
        let seen = count.clone();
        fake.react(move |v, _| {
            (v == verb).then(|| {
                *seen.lock() += 1;
                status.clone()
            })
        });
        let stop = CancellationToken::new();
        let _informer = Informer::start(fake.arc(), Selector::all(pods()), stop.clone());
        tokio::time::sleep(Duration::from_secs(600)).await;
        stop.cancel();
        *count.lock()
    }

    #[tokio::test(start_paused = true)]
    async fn tries_are_spaced() {
        let forbidden = Status::forbidden("", "pods", "", "no");
        for (verb, status, most) in [
            (Verb::List, unreachable("x"), 1300),
            (Verb::Watch, unreachable("x"), 1300),
            (Verb::Watch, Status::expired("x"), 1300),
            (Verb::List, forbidden.clone(), 100),
            (Verb::Watch, forbidden, 100),
        ] {
            let n = calls(verb, status.clone()).await;
            assert!((40..most).contains(&n), "{verb:?} {status}: {n}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_was_away_is_followed_on_without_a_list() {
        let fake = FakeClient::new();
        let away = Arc::new(parking_lot::Mutex::new(false));
        let lists = Arc::new(parking_lot::Mutex::new(0));
        let (state, count) = (away.clone(), lists.clone());
        fake.react(move |verb, _| {
            *count.lock() += usize::from(verb == Verb::List);
            state.lock().then(|| unreachable("away"))
        });
        let stop = CancellationToken::new();
        let informer = Informer::start(fake.arc(), Selector::all(pods()), stop.clone());
        informer.synced().await;
        *away.lock() = true;
        fake.break_watches(unreachable("broken"));
        fake.seed(pods(), json!({"metadata": {"name": "a", "namespace": "n"}}));
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert!(informer.get("n", "a").is_none());
        *away.lock() = false;
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert!(informer.get("n", "a").is_some());
        assert_eq!(*lists.lock(), 1);
        stop.cancel();
    }
}
