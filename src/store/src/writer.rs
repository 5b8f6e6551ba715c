//! The one thread that changes anything: takes what is queued as one batch, checks it, has the backend commit it, publishes.
//! While it waits for the disk, the queue fills for the next batch: that is the whole of group commit.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use api::Object;
use tokio::sync::oneshot;

use crate::backend::{Backend, Write};
use crate::store::Shared;
use crate::{Change, Commit, Error, Event, EventKind, Key, Options, Precondition};

/// More than this in one transaction gains nothing and keeps the first caller waiting.
const BATCH: usize = 1024;
/// After maintenance failed.
const PAUSE: Duration = Duration::from_secs(2);

pub(crate) enum Request {
    Commit(Box<Proposal>),
    Reseal(oneshot::Sender<Result<usize, Error>>),
    Close(oneshot::Sender<Result<(), Error>>),
}

pub(crate) struct Proposal {
    pub key: Key,
    pub pre: Option<Precondition>,
    pub change: Change,
    pub reply: oneshot::Sender<Result<Commit, Error>>,
}

pub(crate) struct Writer {
    backend: Box<dyn Backend>,
    shared: Arc<Shared>,
    late: HashSet<Arc<str>>,
    /// One copy of each resource's and namespace's name.
    names: HashSet<Arc<str>>,
    /// Writes to a key that the last batch had already: they are checked against what it did to it.
    held: VecDeque<Proposal>,
    /// No maintenance before: it failed.
    pause: Option<Instant>,
}

enum Next {
    Batch,
    Reseal(oneshot::Sender<Result<usize, Error>>),
    Close(Option<oneshot::Sender<Result<(), Error>>>),
    Due,
}

impl Writer {
    pub fn new(backend: Box<dyn Backend>, shared: Arc<Shared>, options: &Options) -> Writer {
        let late = options.late_flush.iter().map(|r| r.as_str().into()).collect();
        Writer { backend, shared, late, names: HashSet::new(), held: VecDeque::new(), pause: None }
    }

    pub fn run(mut self, requests: Receiver<Request>) {
        let mut batch = Vec::new();
        let reply = loop {
            let next = self.collect(&requests, &mut batch);
            self.commit(&mut batch);
            match next {
                Next::Close(reply) => break reply,
                Next::Reseal(reply) => drop(reply.send(self.backend.reseal())),
                Next::Batch | Next::Due => {}
            }
            if self.due().is_some_and(|at| at <= Instant::now())
                && let Err(error) = self.backend.work()
            {
                tracing::warn!(%error, "store: flushing or compacting failed, will try again");
                self.pause = Some(Instant::now() + PAUSE);
            }
        };
        let closed = self.backend.close();
        if let Err(error) = &closed {
            tracing::error!(%error, "closing the store");
        }
        self.shared.closed.store(true, Ordering::Release);
        self.shared.log.wake_all();
        // the backend, and with it the lock, goes before the answer
        drop(self.backend);
        if let Some(reply) = reply {
            let _ = reply.send(closed);
        }
    }

    fn due(&self) -> Option<Instant> {
        let at = self.backend.due()?;
        Some(self.pause.map_or(at, |pause| at.max(pause)))
    }

    /// Waits for something to do, then takes all that is there.
    fn collect(&mut self, requests: &Receiver<Request>, batch: &mut Vec<Proposal>) -> Next {
        batch.extend(self.held.drain(..));
        if batch.is_empty() {
            let first = match self.due() {
                None => requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => requests.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match first {
                Ok(Request::Commit(p)) => batch.push(*p),
                Ok(Request::Reseal(reply)) => return Next::Reseal(reply),
                Ok(Request::Close(reply)) => return Next::Close(Some(reply)),
                Err(RecvTimeoutError::Timeout) => return Next::Due,
                Err(RecvTimeoutError::Disconnected) => return Next::Close(None),
            }
        }
        while batch.len() < BATCH {
            match requests.try_recv() {
                Ok(Request::Commit(p)) => batch.push(*p),
                Ok(Request::Reseal(reply)) => return Next::Reseal(reply),
                Ok(Request::Close(reply)) => return Next::Close(Some(reply)),
                Err(_) => break,
            }
        }
        Next::Batch
    }

    fn commit(&mut self, batch: &mut Vec<Proposal>) {
        let (mut writes, mut replies) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        let mut keys = HashSet::with_capacity(batch.len());
        for p in batch.drain(..) {
            if keys.contains(&p.key) {
                self.held.push_back(p);
                continue;
            }
            let current = self.shared.index.read().get(&p.key).cloned();
            if let Some(answer) = settle(&p, current.as_ref()) {
                let _ = p.reply.send(answer);
                continue;
            }
            let key = intern(&mut self.names, p.key);
            keys.insert(key.clone());
            let draft = match p.change {
                Change::Put(draft) => {
                    let meta = draft.meta();
                    debug_assert_eq!(
                        (&*meta.namespace, &*meta.name),
                        (&*key.namespace, &*key.name),
                        "the key is the object's"
                    );
                    Some(draft)
                }
                Change::Delete => None,
            };
            writes.push(Write { late: self.late.contains(&key.resource), key, prev: current, draft });
            replies.push(p.reply);
        }
        if writes.is_empty() {
            return;
        }
        let objects = match self.backend.commit(&writes) {
            Ok(objects) => objects,
            Err(error) => {
                tracing::error!(%error, writes = writes.len(), "store: a batch failed");
                replies.into_iter().for_each(|reply| drop(reply.send(Err(error.clone()))));
                return;
            }
        };
        let mut events = Vec::with_capacity(writes.len());
        let mut answers = Vec::with_capacity(writes.len());
        for (Write { key, prev, draft, .. }, object) in writes.into_iter().zip(objects) {
            let revision = object.revision();
            let kind = if draft.is_some() { EventKind::Put } else { EventKind::Delete };
            events.push((key, Event { kind, revision, object: object.clone(), prev: prev.clone() }));
            answers.push(Commit { object, prev, revision });
        }
        self.shared.publish(events);
        for (reply, commit) in replies.into_iter().zip(answers) {
            let _ = reply.send(Ok(commit));
        }
    }
}

fn intern(names: &mut HashSet<Arc<str>>, key: Key) -> Key {
    let mut one = |s: Arc<str>| match names.get(&s) {
        Some(known) => known.clone(),
        None => {
            names.insert(s.clone());
            s
        }
    };
    Key { resource: one(key.resource), namespace: one(key.namespace), name: key.name }
}

/// The answer to a write that must not, or need not, be made.
fn settle(p: &Proposal, current: Option<&Arc<Object>>) -> Option<Result<Commit, Error>> {
    match (p.pre, current) {
        (Some(Precondition::Absent), Some(current)) => return Some(Err(Error::Exists { current: current.clone() })),
        (Some(Precondition::Revision(_)), None) => return Some(Err(Error::NotFound)),
        (Some(Precondition::Revision(r)), Some(current)) if current.revision() != r => {
            return Some(Err(Error::Conflict { current: current.clone() }));
        }
        _ => {}
    }
    match (&p.change, current) {
        (Change::Delete, None) => Some(Err(Error::NotFound)),
        (Change::Put(draft), Some(current)) if draft.same_as(current) => {
            let (object, revision) = (current.clone(), current.revision());
            Some(Ok(Commit { prev: Some(object.clone()), object, revision }))
        }
        _ => None,
    }
}
