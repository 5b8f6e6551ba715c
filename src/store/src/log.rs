//! The recent past: a ring of events per resource, and the wake-up of those who wait for its end to grow.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::Object;
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::Options;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// Created, if there is no `prev`; else changed.
    Put,
    Delete,
}

#[derive(Debug, Clone)]
pub struct Event {
    pub kind: EventKind,
    pub revision: u64,
    /// Of a deletion: the last state, with the deletion's revision as its `metadata.resourceVersion`.
    pub object: Arc<Object>,
    /// What was there before: a selector needs it to tell who must hear of the change, and as what.
    pub prev: Option<Arc<Object>>,
}

/// The rings of all resources.
pub(crate) struct Log {
    rings: RwLock<HashMap<Arc<str>, Arc<Ring>>>,
    /// Where the ring of a resource begins of which the log has nothing.
    floor: u64,
    limits: Limits,
}

#[derive(Clone, Copy)]
struct Limits {
    events: usize,
    bytes: usize,
    age: Duration,
}

impl Log {
    /// `floor`: up to it, events may be missing from the backend's log.
    pub fn new(floor: u64, options: &Options) -> Log {
        let limits = Limits { events: options.ring_events, bytes: options.ring_bytes, age: options.keep };
        Log { rings: RwLock::default(), floor, limits }
    }

    /// Of a resource whose latest event, before this process, was at `floor`; those up to `lost` are not in the backend.
    pub fn seed(&self, resource: Arc<str>, floor: u64, lost: u64) {
        self.rings.write().insert(resource, Arc::new(Ring::new(floor, lost, self.limits)));
    }

    pub fn ring(&self, resource: &str) -> Arc<Ring> {
        if let Some(ring) = self.rings.read().get(resource) {
            return ring.clone();
        }
        let mut rings = self.rings.write();
        rings.entry(resource.into()).or_insert_with(|| Arc::new(Ring::new(self.floor, 0, self.limits))).clone()
    }

    /// Lets every watcher look again (at the store's being closed).
    pub fn wake_all(&self) {
        self.rings.read().values().for_each(|ring| ring.wake());
    }
}

pub(crate) struct Ring {
    recent: RwLock<Recent>,
    grown: watch::Sender<()>,
    /// Watches from before this revision are refused: a crash lost events that were flushed late.
    pub lost: u64,
    limits: Limits,
}

struct Recent {
    events: VecDeque<(Instant, Event)>,
    bytes: usize,
    /// Every event of the resource after this revision is in `events`.
    floor: u64,
}

/// The ring begins only after the revision in here.
#[derive(Debug)]
pub(crate) struct Behind(pub u64);

impl Ring {
    fn new(floor: u64, lost: u64, limits: Limits) -> Ring {
        let recent = RwLock::new(Recent { events: VecDeque::new(), bytes: 0, floor: floor.max(lost) });
        Ring { recent, grown: watch::Sender::new(()), lost, limits }
    }

    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.grown.subscribe()
    }
    pub fn wake(&self) {
        self.grown.send_replace(());
    }
    pub fn floor(&self) -> u64 {
        self.recent.read().floor
    }

    /// Appends events in order. Who waits is not woken yet.
    pub fn push(&self, now: Instant, event: Event) {
        let mut r = self.recent.write();
        r.bytes += event.object.json().len();
        r.events.push_back((now, event));
        while let Some((at, first)) = r.events.front() {
            let full = r.events.len() > self.limits.events || r.bytes > self.limits.bytes;
            if !full && now.duration_since(*at) <= self.limits.age {
                break;
            }
            let (revision, bytes) = (first.revision, first.object.json().len());
            r.floor = revision;
            r.bytes -= bytes;
            r.events.pop_front();
        }
    }

    /// At most `limit` events after `position`.
    pub fn after(&self, position: u64, limit: usize) -> Result<Vec<Event>, Behind> {
        let r = self.recent.read();
        if position < r.floor {
            return Err(Behind(r.floor));
        }
        let start = r.events.partition_point(|(_, e)| e.revision <= position);
        Ok(r.events.range(start..).take(limit).map(|(_, e)| e.clone()).collect())
    }
}
