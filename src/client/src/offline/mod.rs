//! What a node has read, kept on disk, so that it starts without a server ("fail static").
//!
//! ```text
//!   informer ──list, watch──► Offline ──► HttpClient
//!                               │ no answer: as it was last        ▲ changes, some seconds later, as they add up
//!                               └────────── dir/<what>.log ────────┘
//! ```
//!
//! A *set* is what one list selects; a get is the set of one name. Informers of the same set share its objects. While the server answers, its answers pass through and are
//! remembered; when it cannot be reached ([`is_unreachable`], never another failure), `list` and `get` answer what was last
//! known, and `watch` and all writes fail as they do without this. A list that was answered from here is not followed on: the
//! first watch that reaches the server again says `Expired`, and the informer lists anew.
//!
//! Written is only what has changed, once for all changes of two seconds, to a file per set that is appended to and now and
//! then written anew. What happened in the last seconds before a power cut may be missing; what is torn is not read. Leases,
//! Events and heartbeats of nodes are not written at all. Files are 0600: there are secrets among them.

mod file;
mod set;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::{Draft, Gvr, Object, Status, Value};
use async_trait::async_trait;
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    Aggregated, Client, DeleteOptions, List, ListOptions, Patch, Target, Watch, WatchEvent, WriteOptions,
    is_unreachable,
};
use set::{Set, What};

/// Changes of so long are written together.
const DELAY: Duration = Duration::from_secs(2);
/// The revision of a list that no server gave.
const FROM_DISK: u64 = u64::MAX;
/// What is not looked for any more is dropped: at most so often, and not before the node has looked for all that it needs.
const PRUNE: Duration = Duration::from_secs(24 * 3600);
const SETTLED: Duration = Duration::from_secs(3600);
/// So old a token is kept in place of a newer one: without a server neither is good for much, but pods start with it.
const TOKEN_KEPT: SignedDuration = SignedDuration::from_hours(24);
/// What a token from disk is said to live: soon a server is asked again.
const TOKEN_LIFE: SignedDuration = SignedDuration::from_secs(60);

/// A [`Client`] that remembers. Clones share the memory.
#[derive(Clone)]
pub struct Offline {
    inner: Arc<dyn Client>,
    disk: Arc<Disk>,
}

struct Disk {
    dir: PathBuf,
    /// Those that are in use, or have changes to write.
    sets: Mutex<HashMap<What, Arc<Mutex<Set>>>>,
    changed: Notify,
    /// Held while files are written: in order.
    writing: tokio::sync::Mutex<()>,
    begun: Instant,
    pruned: Mutex<Option<Instant>>,
}

impl Offline {
    /// Remembers in `dir`, which is made. Writes until `stop`, and then what is left. Must be called within a runtime.
    pub fn open(inner: Arc<dyn Client>, dir: &Path, stop: CancellationToken) -> io::Result<Offline> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?;
        let disk = Arc::new(Disk {
            dir: dir.to_owned(),
            sets: Mutex::default(),
            changed: Notify::new(),
            writing: tokio::sync::Mutex::default(),
            begun: Instant::now(),
            pruned: Mutex::default(),
        });
        let writer = disk.clone();
        tokio::spawn(async move {
            while stop.run_until_cancelled(writer.changed.notified()).await.is_some() {
                stop.run_until_cancelled(tokio::time::sleep(DELAY)).await;
                writer.clone().flush().await;
            }
            writer.flush().await;
        });
        Ok(Offline { inner, disk })
    }

    /// Writes at once what waits to be written.
    pub async fn flush(&self) {
        self.disk.clone().flush().await;
    }

    /// The answer of `known` where there is no server.
    async fn or_known<T>(
        &self,
        answer: Result<T, Status>,
        known: impl AsyncFnOnce() -> Option<T>,
    ) -> Result<T, Status> {
        match answer {
            Err(error) if is_unreachable(&error) => known().await.ok_or(error),
            answer => answer,
        }
    }

    async fn token(&self, target: &Target, tree: Value, options: &WriteOptions) -> Result<Arc<Object>, Status> {
        let what = What::token(target, &tree["spec"]);
        let now = Timestamp::now();
        match self.inner.create(target, tree, options).await {
            Ok(answer) => {
                let set = self.disk.set(&what).await;
                let kept = set.lock().objects().first().and_then(|o| created(o)).filter(|at| *at + TOKEN_KEPT > now);
                if kept.is_none() {
                    self.disk.learn(&set, &[named(&answer, target, now)?]);
                }
                Ok(answer)
            }
            answer => {
                let known = async || {
                    let object = self.disk.known(&what).await?.first().cloned()?;
                    let mut tree = object.tree();
                    tree["status"]["expirationTimestamp"] = json!((now + TOKEN_LIFE).to_string());
                    Draft::encode(&tree).ok().map(|draft| Arc::new(draft.at(0)))
                };
                self.or_known(answer, known).await
            }
        }
    }
}

/// What a server answers a `TokenRequest`, with a name and a date to keep it by.
fn named(answer: &Object, target: &Target, now: Timestamp) -> Result<Arc<Object>, Status> {
    let mut tree = answer.tree();
    tree["metadata"]["name"] = json!(target.name);
    tree["metadata"]["namespace"] = json!(target.namespace);
    tree["metadata"]["creationTimestamp"] = json!(now.to_string());
    // the revision tells it from the one before
    Ok(Arc::new(Draft::encode(&tree)?.at(now.as_second().unsigned_abs())))
}

fn created(object: &Object) -> Option<Timestamp> {
    object.meta().creation_timestamp.as_ref()?.parse().ok()
}

/// Whether it is worth keeping.
fn is_kept(resource: &Gvr) -> bool {
    !matches!(&*resource.resource, "leases" | "events" | "certificatesigningrequests")
}

#[async_trait]
impl Client for Offline {
    async fn get(&self, target: &Target) -> Result<Arc<Object>, Status> {
        let answer = self.inner.get(target).await;
        if !target.subresource.is_empty() || !is_kept(&target.resource) {
            return answer;
        }
        let what = What::one(target);
        match &answer {
            Ok(object) if !self.disk.follows(target) => {
                let set = self.disk.set(&what).await;
                self.disk.learn(&set, std::slice::from_ref(object));
            }
            Err(error) if error.is_not_found() => {
                if let Some(set) = self.disk.loaded(&what).await {
                    self.disk.learn(&set, &[]);
                }
            }
            _ => {}
        }
        self.or_known(answer, async || {
            let own = self.disk.known(&what).await.and_then(|objects| objects.first().cloned());
            own.into_iter().chain(self.disk.find(target)).max_by_key(|o| o.revision())
        })
        .await
    }

    async fn list(&self, target: &Target, options: &ListOptions) -> Result<List, Status> {
        let mut answer = self.inner.list(target, options).await;
        if options.limit > 0 || options.next.is_some() || !is_kept(&target.resource) {
            return answer;
        }
        let what = What::many(target, options);
        if let Ok(list) = &mut answer {
            let set = self.disk.set(&what).await;
            self.disk.learn(&set, &list.items);
            list.items = set.lock().objects().to_vec();
        }
        self.or_known(answer, async || {
            let items = self.disk.known(&what).await?;
            Some(List { items, revision: FROM_DISK, next: None })
        })
        .await
    }

    async fn watch(&self, target: &Target, options: &ListOptions, from: u64) -> Result<Watch, Status> {
        if from == FROM_DISK {
            let one = ListOptions { limit: 1, ..options.clone() };
            self.inner.list(target, &one).await?;
            return Err(Status::expired("the server is back, and what was known may be old"));
        }
        let watch = self.inner.watch(target, options, from).await?;
        if !is_kept(&target.resource) {
            return Ok(watch);
        }
        let (set, disk) = (self.disk.set(&What::many(target, options)).await, self.disk.clone());
        Ok(Box::pin(watch.map(move |mut event| {
            let mut set = set.lock();
            let changed = match &mut event {
                Ok(WatchEvent::Added(o) | WatchEvent::Modified(o)) => {
                    let changed = set.put(o.clone());
                    *o = set.shared(o.clone());
                    changed
                }
                Ok(WatchEvent::Deleted(o)) => set.remove(o),
                Ok(WatchEvent::Bookmark(_)) | Err(_) => false,
            };
            if changed {
                disk.changed.notify_one();
            }
            event
        })))
    }

    async fn create(&self, target: &Target, tree: Value, options: &WriteOptions) -> Result<Arc<Object>, Status> {
        if target.resource.resource == "serviceaccounts" && target.subresource == "token" {
            return self.token(target, tree, options).await;
        }
        self.inner.create(target, tree, options).await
    }
    async fn update(&self, target: &Target, tree: Value, options: &WriteOptions) -> Result<Arc<Object>, Status> {
        self.inner.update(target, tree, options).await
    }
    async fn patch(&self, target: &Target, patch: Patch, options: &WriteOptions) -> Result<Arc<Object>, Status> {
        self.inner.patch(target, patch, options).await
    }
    async fn delete(&self, target: &Target, options: &DeleteOptions) -> Result<Arc<Object>, Status> {
        self.inner.delete(target, options).await
    }
    fn aggregated(&self) -> Vec<Aggregated> {
        self.inner.aggregated()
    }
    fn aggregated_changes(&self) -> tokio::sync::watch::Receiver<()> {
        self.inner.aggregated_changes()
    }
}

impl Disk {
    /// The set, from memory, from disk, or as yet unknown.
    async fn set(&self, what: &What) -> Arc<Mutex<Set>> {
        if let Some(set) = self.sets.lock().get(what) {
            return set.clone();
        }
        let (path, header) = (self.dir.join(what.file_name()), what.header());
        let read = tokio::task::spawn_blocking(move || file::read(&path, &header)).await;
        let fresh = Arc::new(Mutex::new(Set::new(what, read.ok().flatten())));
        let mut sets = self.sets.lock();
        // what nobody follows is on disk when it is asked for again; the few large ones are followed, also between two watches
        sets.retain(|what, set| !what.is_small() || Arc::strong_count(set) > 1 || set.lock().is_dirty());
        sets.entry(what.clone()).or_insert(fresh).clone()
    }

    /// The set, if anything has ever been learnt of it.
    async fn loaded(&self, what: &What) -> Option<Arc<Mutex<Set>>> {
        let set = self.set(what).await;
        let known = set.lock().is_known();
        known.then_some(set)
    }

    async fn known(&self, what: &What) -> Option<Vec<Arc<Object>>> {
        Some(self.loaded(what).await?.lock().objects().to_vec())
    }

    /// What a server says is all of the set.
    fn learn(&self, set: &Mutex<Set>, items: &[Arc<Object>]) {
        if set.lock().replace(items) {
            self.changed.notify_one();
        }
    }

    /// Whether a watch keeps this object up to date already.
    fn follows(&self, target: &Target) -> bool {
        let sets = self.sets.lock();
        sets.iter().any(|(what, set)| {
            what.resource == target.resource && Arc::strong_count(set) > 1 && set.lock().get(target).is_some()
        })
    }

    /// The object in any set that is in use.
    fn find(&self, target: &Target) -> Option<Arc<Object>> {
        let sets = self.sets.lock();
        let of_kind = sets.iter().filter(|(what, _)| what.resource == target.resource);
        of_kind.filter_map(|(_, set)| set.lock().get(target).cloned()).max_by_key(|o| o.revision())
    }

    async fn flush(self: Arc<Self>) {
        let disk = self.clone();
        let _writing = disk.writing.lock().await;
        let dirty: Vec<_> = self.sets.lock().values().filter(|set| set.lock().is_dirty()).cloned().collect();
        if dirty.is_empty() {
            return;
        }
        let written = tokio::task::spawn_blocking(move || {
            for set in dirty {
                let Some(work) = set.lock().work() else { continue };
                if let Err(error) = work.write(&self.dir) {
                    tracing::warn!(%error, file = work.name(), "what is to be known without a server was not written");
                    set.lock().failed();
                }
            }
            self.prune();
        });
        if let Err(error) = written.await {
            tracing::error!(%error, "the writer ended");
        }
    }

    /// Drops the files of what has not been looked for in long.
    fn prune(&self) {
        {
            let mut last = self.pruned.lock();
            if self.begun.elapsed() < SETTLED || last.is_some_and(|at| at.elapsed() < PRUNE) {
                return;
            }
            *last = Some(Instant::now());
        }
        let used: Vec<String> = self.sets.lock().keys().map(What::file_name).collect();
        if let Err(error) = file::prune(&self.dir, |name| used.iter().any(|u| u == name)) {
            tracing::warn!(%error, "old files of the offline cache stay");
        }
    }
}
