//! A watch is a position in the log: first in the backend's, then in the ring.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;

use crate::log::{Behind, Ring};
use crate::store::Shared;
use crate::{Error, Event};

/// Events handed out at once: enough that waking up is cheap per event, few enough that a socket is fed soon.
const BATCH: usize = 256;

/// Gives every event of one resource after the revision at which it was made, in order. Holds no copy of what is to come:
/// it may be as slow as it likes, until its position is compacted.
pub struct Watcher {
    shared: Arc<Shared>,
    resource: Arc<str>,
    ring: Arc<Ring>,
    grown: watch::Receiver<()>,
    position: u64,
}

impl Watcher {
    pub(crate) fn new(shared: Arc<Shared>, resource: &str, position: u64) -> Result<Watcher, Error> {
        let ring = shared.log.ring(resource);
        let horizon = shared.history.horizon();
        if position < ring.lost || (position < ring.floor() && position < horizon) {
            return Err(Error::Compacted { revision: position, oldest: horizon.max(ring.lost) });
        }
        let grown = ring.subscribe();
        Ok(Watcher { shared, resource: resource.into(), ring, grown, position })
    }

    /// The next events, at least one; waits for it. Dropping the future loses nothing.
    ///
    /// Errors end the watch: [`Error::Compacted`] if it has been slower than compaction, [`Error::Closed`] with the store.
    pub async fn next(&mut self) -> Result<Vec<Event>, Error> {
        loop {
            self.grown.borrow_and_update();
            let closed = self.shared.closed.load(Ordering::Acquire);
            let events = match self.ring.after(self.position, BATCH) {
                Ok(events) => events,
                Err(Behind(floor)) => {
                    let events = self.shared.past(&self.resource, self.position, floor, BATCH).await?;
                    if events.is_empty() {
                        self.position = floor;
                        continue;
                    }
                    events
                }
            };
            if let Some(last) = events.last() {
                self.position = last.revision;
                return Ok(events);
            }
            if closed || self.grown.changed().await.is_err() {
                return Err(Error::Closed);
            }
        }
    }

    /// What [`Watcher::next`] would give at once out of memory; empty if it would wait or read the disk.
    pub fn try_next(&mut self) -> Vec<Event> {
        let events = self.ring.after(self.position, BATCH).unwrap_or_default();
        if let Some(last) = events.last() {
            self.position = last.revision;
        }
        events
    }

    /// The revision up to which every event of the resource has been handed out: what a bookmark says. The store's own
    /// revision if none is waiting, else that of the last event given.
    pub fn progress(&mut self) -> u64 {
        // read first: every event up to it is in the ring by then
        let revision = self.shared.revision();
        if revision > self.position && matches!(self.ring.after(self.position, 1), Ok(e) if e.is_empty()) {
            self.position = revision;
        }
        self.position
    }
}
