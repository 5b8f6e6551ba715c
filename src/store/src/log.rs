//! The recent past: a ring of events per resource, and the wake-up of those who wait for its end to grow.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::Object;
use parking_lot::{Mutex, RwLock};
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
    trimmed: Mutex<Instant>,
}

/// How often, at most, quiet rings are looked at; and from when on an event is no longer fresh.
const TRIM: Duration = Duration::from_secs(5);

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
        Log { rings: RwLock::default(), floor, limits, trimmed: Mutex::new(Instant::now()) }
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

    /// Forgets what is too old, also in the rings of resources that no longer change. Called with every batch: a quiet store's
    /// heartbeats are reason enough to look, and no timer is.
    pub fn trim(&self, now: Instant) {
        let mut trimmed = self.trimmed.lock();
        if now.duration_since(*trimmed) < TRIM {
            return;
        }
        *trimmed = now;
        self.sweep(now);
    }

    /// The same at once.
    pub fn sweep(&self, now: Instant) {
        self.rings.read().values().for_each(|ring| ring.recent.write().trim(now, self.limits));
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

/// How many of the last events count by the bytes of their objects alone, views or not: watchers that fall back a little in a
/// burst shall not have to read from the disk.
const FRESH: usize = 512;

struct Recent {
    events: VecDeque<Kept>,
    /// Of the events in the ring together.
    weight: usize,
    /// How many, from the oldest, have been weighed with their views.
    weighed: usize,
    /// Every event of the resource after this revision is in `events`.
    floor: u64,
}

struct Kept {
    at: Instant,
    weight: usize,
    event: Event,
}

impl Recent {
    fn trim(&mut self, now: Instant, limits: Limits) {
        self.weigh(now);
        while let Some(first) = self.events.front() {
            let full = self.events.len() > limits.events || self.weight > limits.bytes;
            if !full && now.duration_since(first.at) <= limits.age {
                break;
            }
            self.floor = first.event.revision;
            self.weight -= first.weight;
            self.weighed = self.weighed.saturating_sub(1);
            self.events.pop_front();
        }
        // a burst's room is given back
        if self.events.capacity() > 64 && self.events.len() < self.events.capacity() / 4 {
            self.events.shrink_to_fit();
        }
    }

    /// Weighs again what is no longer [`FRESH`]: its readers have decoded by now what they decode, which is most of its weight.
    fn weigh(&mut self, now: Instant) {
        let fresh = self.events.len().saturating_sub(FRESH);
        while let Some(kept) = self.events.get_mut(self.weighed)
            && (self.weighed < fresh || now.duration_since(kept.at) >= TRIM)
        {
            // both: where `prev` has an event of its own it counts twice, which is only too much
            let weight = kept.event.object.weight() + kept.event.prev.as_ref().map_or(0, |prev| prev.weight());
            self.weight = self.weight - kept.weight + weight;
            kept.weight = weight;
            self.weighed += 1;
        }
    }
}

/// The ring begins only after the revision in here.
#[derive(Debug)]
pub(crate) struct Behind(pub u64);

impl Ring {
    fn new(floor: u64, lost: u64, limits: Limits) -> Ring {
        let recent = RwLock::new(Recent { events: VecDeque::new(), weight: 0, weighed: 0, floor: floor.max(lost) });
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
        let weight = event.object.json().len();
        r.weight += weight;
        r.events.push_back(Kept { at: now, weight, event });
        r.trim(now, self.limits);
    }

    /// At most `limit` events after `position`.
    pub fn after(&self, position: u64, limit: usize) -> Result<Vec<Event>, Behind> {
        let r = self.recent.read();
        if position < r.floor {
            return Err(Behind(r.floor));
        }
        let start = r.events.partition_point(|kept| kept.event.revision <= position);
        Ok(r.events.range(start..).take(limit).map(|kept| kept.event.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_ring_forgets_too() {
        let log = Log::new(0, &Options::default());
        let (quiet, now) = (log.ring("pods"), Instant::now());
        let tree = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}});
        let object = Arc::new(api::Draft::encode(&tree).expect("an object").at(7));
        quiet.push(now, Event { kind: EventKind::Put, revision: 7, object, prev: None });
        log.trim(now + Duration::from_secs(60));
        assert_eq!(quiet.after(0, 10).expect("all of it").len(), 1);
        log.trim(now + Duration::from_secs(600));
        assert!(matches!(quiet.after(0, 10), Err(Behind(7))));
    }

    #[test]
    fn what_has_been_read_weighs_more() {
        let limits = Options::default();
        let log = Log::new(0, &limits);
        let (ring, now) = (log.ring("pods"), Instant::now());
        let kept = || ring.after(ring.floor(), usize::MAX).expect("all of it").len();
        for revision in 1..=1000 {
            let tree = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}});
            let object = Arc::new(api::Draft::encode(&tree).expect("an object").at(revision));
            object.view::<api::k8s_openapi::api::core::v1::Pod>().expect("a pod");
            ring.push(now, Event { kind: EventKind::Put, revision, object, prev: None });
        }
        let burst = kept();
        assert!((FRESH..1000).contains(&burst), "{burst}");
        log.trim(now + TRIM);
        let after = kept();
        assert!(after < FRESH && after > 100, "{after}");
    }
}
