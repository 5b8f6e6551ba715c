//! What a controller has done and its cache has not shown yet: upstream's `UIDTrackingControllerExpectations`.
//!
//! While anything is outstanding the controller neither creates nor deletes, so a stale cache never makes it overshoot.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use api::{Object, Resource};
use client::{Change, ObjectKey};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::pods::controller_key;

/// An event may have been lost: after this the cache is believed.
const TIMEOUT: Duration = Duration::from_secs(300);

struct Outstanding {
    creations: usize,
    /// By uid: a deletion shows as a deletion timestamp first and as a deletion then, and counts once.
    deletions: HashSet<Box<str>>,
    since: Instant,
}

#[derive(Default)]
pub struct Expectations {
    by_owner: Mutex<HashMap<ObjectKey, Outstanding>>,
    /// The revision at which the controller last wrote an owner, until the cache has it.
    written: Mutex<HashMap<ObjectKey, u64>>,
}

impl Expectations {
    pub fn satisfied(&self, owner: &ObjectKey) -> bool {
        self.by_owner
            .lock()
            .get(owner)
            .is_none_or(|o| (o.creations == 0 && o.deletions.is_empty()) || o.since.elapsed() > TIMEOUT)
    }
    /// Call before creating.
    pub fn expect_creations(&self, owner: &ObjectKey, count: usize) {
        self.with(owner, |o| o.creations += count);
    }
    /// Call before deleting.
    pub fn expect_deletion(&self, owner: &ObjectKey, uid: &str) {
        self.with(owner, |o| _ = o.deletions.insert(uid.into()));
    }
    /// Seen in the cache, or failed.
    pub fn created(&self, owner: &ObjectKey, count: usize) {
        self.settle(owner, |o| o.creations = o.creations.saturating_sub(count));
    }
    /// Seen in the cache, or failed.
    pub fn deleted(&self, owner: &ObjectKey, uid: &str) {
        self.settle(owner, |o| _ = o.deletions.remove(uid));
    }
    /// The owner is gone.
    pub fn forget(&self, owner: &ObjectKey) {
        self.by_owner.lock().remove(owner);
        self.written.lock().remove(owner);
    }

    /// The controller has written the owner itself.
    pub fn wrote(&self, owner: &ObjectKey, revision: u64) {
        self.written.lock().insert(owner.clone(), revision);
    }
    /// Whether the cached owner, at `revision`, is from before that: there is another event of it to come.
    pub fn is_stale(&self, owner: &ObjectKey, revision: u64) -> bool {
        let mut written = self.written.lock();
        let stale = written.get(owner).is_some_and(|w| revision < *w);
        if !stale {
            written.remove(owner);
        }
        stale
    }

    /// What a change of a pod shows of what its controller, a `K`, has done. Returns whom it concerns: the pod's controllers,
    /// before and now.
    pub fn pod_changed<K: Resource>(&self, change: &Change) -> BTreeSet<ObjectKey> {
        let key = |pod: &Option<Arc<Object>>| pod.as_ref().and_then(|o| controller_key::<K>(o));
        let (before, now) = (key(&change.old), key(&change.new));
        // deleted and made again under the same name, while nobody looked
        let replaced = change.old.as_ref().zip(change.new.as_ref()).is_some_and(|(o, n)| o.uid() != n.uid());
        if let (Some(key), Some(old)) = (&before, change.old.as_ref().filter(|_| replaced)) {
            self.deleted(key, old.uid());
        }
        if let Some(key) = now.as_ref().filter(|_| change.old.is_none() || replaced) {
            self.created(key, 1);
        }
        let pod = change.object();
        if let Some(key) = now.as_ref().or(before.as_ref()).filter(|_| change.new.is_none() || pod.meta().is_deleting())
        {
            self.deleted(key, pod.uid());
        }
        before.into_iter().chain(now).collect()
    }

    fn with(&self, owner: &ObjectKey, change: impl FnOnce(&mut Outstanding)) {
        let mut all = self.by_owner.lock();
        let fresh = || Outstanding { creations: 0, deletions: HashSet::new(), since: Instant::now() };
        let entry = all.entry(owner.clone()).or_insert_with(fresh);
        if entry.since.elapsed() > TIMEOUT {
            *entry = fresh();
        }
        entry.since = Instant::now();
        change(entry);
    }
    fn settle(&self, owner: &ObjectKey, change: impl FnOnce(&mut Outstanding)) {
        let mut all = self.by_owner.lock();
        if let Some(entry) = all.get_mut(owner) {
            change(entry);
            if entry.creations == 0 && entry.deletions.is_empty() {
                all.remove(owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_from_before_the_last_write_is_stale() {
        let (e, key) = (Expectations::default(), ObjectKey::new("n", "a"));
        assert!(!e.is_stale(&key, 1));
        e.wrote(&key, 7);
        assert!(e.is_stale(&key, 6));
        assert!(!e.is_stale(&key, 7));
        e.wrote(&key, 9);
        e.forget(&key);
        assert!(!e.is_stale(&key, 8));
    }

    #[tokio::test(start_paused = true)]
    async fn outstanding_work_is_awaited_but_not_for_ever() {
        let (e, key) = (Expectations::default(), ObjectKey::new("n", "a"));
        assert!(e.satisfied(&key));
        e.expect_creations(&key, 2);
        e.expect_deletion(&key, "u");
        e.created(&key, 1);
        e.deleted(&key, "u");
        e.deleted(&key, "u");
        assert!(!e.satisfied(&key));
        e.created(&key, 1);
        assert!(e.satisfied(&key));
        e.expect_creations(&key, 1);
        tokio::time::advance(TIMEOUT + Duration::from_secs(1)).await;
        assert!(e.satisfied(&key));
    }
}
