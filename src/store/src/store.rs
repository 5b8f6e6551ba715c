//! The front door: what readers and writers hold.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Instant;

use api::{Draft, Object};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, oneshot};

use crate::backend::{Backend, History, Sqlite};
use crate::index::Index;
use crate::log::{Behind, Log};
use crate::writer::{Proposal, Request, Writer};
use crate::{Error, Event, EventKind, Key, Options, Precondition, Snapshot, Watcher};

/// What a write does to its object.
#[derive(Debug)]
pub enum Change {
    Put(Draft),
    Delete,
}

/// A write that is done.
#[derive(Debug, Clone)]
pub struct Commit {
    /// As it is now; of a deletion the last state, at the deletion's revision.
    pub object: Arc<Object>,
    pub prev: Option<Arc<Object>>,
    /// Of a write that would have changed nothing: the revision at which the object is anyway.
    pub revision: u64,
}

/// A handle; clones are free. The last one to go closes the store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    /// `None` only while dropping.
    queue: Option<mpsc::Sender<Request>>,
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What the writer publishes and readers see.
pub(crate) struct Shared {
    pub index: RwLock<Index>,
    pub log: Log,
    pub history: Arc<dyn History>,
    pub closed: AtomicBool,
    /// A crowd that reads the past at once (500 clients back after a restart) stands in line here, not in 500 threads.
    reading: Semaphore,
    /// Every event up to it is in index and log.
    revision: AtomicU64,
}

impl Store {
    /// Opens the store in the directory `dir`, or makes one. Takes what loading every live object takes.
    ///
    /// Errors with [`Error::Locked`], [`Error::Damaged`], [`Error::Newer`].
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<Store, Error> {
        let backend = Sqlite::open(dir.as_ref(), &options)?;
        Store::with_backend(Box::new(backend), options)
    }

    pub fn with_backend(mut backend: Box<dyn Backend>, options: Options) -> Result<Store, Error> {
        let loaded = backend.load()?;
        let history = backend.history();
        let horizon = history.horizon();
        let log = Log::new(horizon, &options);
        for (resource, latest) in loaded.latest {
            // later deletions may have been forgotten
            log.seed(resource, latest.max(horizon), 0);
        }
        if loaded.lost > 0 {
            for resource in &options.late_flush {
                log.seed(resource.as_str().into(), loaded.lost, loaded.lost);
            }
        }
        let mut index = Index { revision: loaded.revision, ..Default::default() };
        loaded.objects.into_iter().for_each(|(key, object)| index.put(key, object));
        let shared = Arc::new(Shared {
            index: RwLock::new(index),
            log,
            history,
            closed: AtomicBool::new(false),
            reading: Semaphore::new(1),
            revision: AtomicU64::new(loaded.revision),
        });
        let (queue, requests) = mpsc::channel();
        let writer = Writer::new(backend, shared.clone(), &options);
        let writer = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || writer.run(requests))
            .map_err(|e| Error::Storage(format!("its thread: {e}")))?;
        Ok(Store { inner: Arc::new(Inner { queue: Some(queue), shared, writer: Mutex::new(Some(writer)) }) })
    }

    /// Answered when the change is on disk and published, or with the reason why it was not made: [`Error::Exists`],
    /// [`Error::NotFound`], [`Error::Conflict`], or trouble with the disk. Writes of concurrent callers share one fsync.
    ///
    /// Once polled, the write may happen even if the future is dropped.
    pub async fn commit(&self, key: Key, pre: Option<Precondition>, change: Change) -> Result<Commit, Error> {
        let (reply, answer) = oneshot::channel();
        self.inner.send(Request::Commit(Box::new(Proposal { key, pre, change, reply })))?;
        answer.await.map_err(|_| Error::Closed)?
    }

    pub fn get(&self, key: &Key) -> Option<Arc<Object>> {
        self.inner.shared.index.read().get(key).cloned()
    }

    /// The resource as it is now.
    pub fn snapshot(&self, resource: &str) -> Snapshot {
        self.inner.shared.index.read().snapshot(resource)
    }

    /// The resource as it was at `revision`: how a list goes on where its last page ended. Costs what has changed since.
    ///
    /// Errors with [`Error::Compacted`]; a revision of the future gives the present.
    pub async fn snapshot_at(&self, resource: &str, revision: u64) -> Result<Snapshot, Error> {
        let shared = self.inner.shared.clone();
        let (mut now, recent) = {
            // the writer publishes to both under this lock
            let index = shared.index.read();
            let ring = shared.log.ring(resource);
            if revision < ring.lost {
                return Err(Error::Compacted { revision, oldest: ring.lost });
            }
            let recent = match ring.after(revision, usize::MAX) {
                Ok(events) => Ok(events),
                Err(Behind(floor)) => Err((floor, ring.after(floor, usize::MAX).unwrap_or_default())),
            };
            (index.snapshot(resource), recent)
        };
        match recent {
            Ok(_) if revision >= now.revision() => {}
            Ok(events) => now.rewind(revision, &events),
            Err((floor, events)) => {
                now.rewind(floor, &events);
                now.rewind(revision, &shared.past(resource, revision, floor, usize::MAX).await?);
            }
        }
        Ok(now)
    }

    /// Events of `resource` after revision `from`. Errors with [`Error::Compacted`] where those are not all there any more.
    pub fn watch(&self, resource: &str, from: u64) -> Result<Watcher, Error> {
        Watcher::new(self.inner.shared.clone(), resource, from)
    }

    /// Lets go of recent events as far as no watcher is likely to ask for them, which each write does by the way. Watchers that
    /// do find them on disk.
    pub fn forget_old(&self) {
        self.inner.shared.log.sweep(Instant::now());
    }

    /// Whether it takes writes.
    pub fn is_open(&self) -> bool {
        !self.inner.shared.closed.load(Ordering::Acquire)
    }
    /// That of the last published write.
    pub fn revision(&self) -> u64 {
        self.inner.shared.revision()
    }

    /// Brings what is on disk into the form that [`Options::seal`] wants by now: encrypted, with the newest key, or plain. How
    /// many values were not. Nothing else changes: no revision, no event.
    pub async fn reseal(&self) -> Result<usize, Error> {
        let (reply, answer) = oneshot::channel();
        self.inner.send(Request::Reseal(reply))?;
        answer.await.map_err(|_| Error::Closed)?
    }

    /// Flushes, checkpoints and lets go of the directory. Writes that are not answered yet get [`Error::Closed`], as do
    /// watchers once they have seen everything. Reads go on.
    pub async fn close(&self) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.inner.send(Request::Close(reply))?;
        answer.await.map_err(|_| Error::Closed)?
    }
}

impl Inner {
    fn send(&self, request: Request) -> Result<(), Error> {
        self.queue.as_ref().ok_or(Error::Closed)?.send(request).map_err(|_| Error::Closed)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.lock().take()
            && writer.join().is_err()
        {
            tracing::error!("the store's writer has panicked");
        }
    }
}

impl Shared {
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// [`History::events`], off the runtime's threads.
    pub async fn past(
        self: &Arc<Self>,
        resource: &str,
        after: u64,
        upto: u64,
        limit: usize,
    ) -> Result<Vec<Event>, Error> {
        let _turn = self.reading.acquire().await.map_err(|_| Error::Closed)?;
        let (history, resource) = (self.history.clone(), resource.to_string());
        tokio::task::spawn_blocking(move || history.events(&resource, after, upto, limit))
            .await
            .map_err(|e| Error::Storage(e.to_string()))?
    }

    /// Makes a batch visible: to readers, then to watchers.
    pub fn publish(&self, batch: Vec<(Key, Event)>) {
        let now = Instant::now();
        let mut touched = Vec::new();
        {
            let mut index = self.index.write();
            for (key, event) in batch {
                let ring = self.log.ring(&key.resource);
                index.revision = event.revision;
                match event.kind {
                    EventKind::Put => index.put(key, event.object.clone()),
                    EventKind::Delete => index.remove(&key),
                }
                ring.push(now, event);
                if !touched.iter().any(|t| Arc::ptr_eq(t, &ring)) {
                    touched.push(ring);
                }
            }
            self.revision.store(index.revision, Ordering::Release);
        }
        touched.iter().for_each(|ring| ring.wake());
        self.log.trim(now);
    }
}
