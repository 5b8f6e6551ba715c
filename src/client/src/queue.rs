//! The one work queue: keyed, deduplicating, delaying, with back-off. Upstream's `util/workqueue`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

const BACKOFF_FIRST: Duration = Duration::from_millis(5);
const BACKOFF_MAX: Duration = Duration::from_secs(1000);

struct State<K> {
    ready: VecDeque<K>,
    /// In `ready`, or to be put there once done.
    dirty: HashSet<K>,
    processing: HashSet<K>,
    delayed: BTreeMap<Instant, BTreeSet<K>>,
    due: HashMap<K, Instant>,
    failures: HashMap<K, u32>,
}

/// A key is handed to at most one worker at a time; one added while it is worked on comes again afterwards.
pub struct WorkQueue<K> {
    state: Arc<Mutex<State<K>>>,
    wake: Arc<Notify>,
}

impl<K> Clone for WorkQueue<K> {
    fn clone(&self) -> Self {
        WorkQueue { state: self.state.clone(), wake: self.wake.clone() }
    }
}

impl<K: Clone + Eq + Hash + Ord> Default for WorkQueue<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Clone + Eq + Hash + Ord> WorkQueue<K> {
    pub fn new() -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            processing: HashSet::new(),
            delayed: BTreeMap::new(),
            due: HashMap::new(),
            failures: HashMap::new(),
        };
        WorkQueue { state: Arc::new(Mutex::new(state)), wake: Arc::new(Notify::new()) }
    }

    pub fn add(&self, key: K) {
        let mut s = self.state.lock();
        s.add(key);
        drop(s);
        self.wake.notify_one();
    }

    /// Adds after `delay`, or earlier if that was asked before.
    pub fn add_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let at = Instant::now() + delay;
        let mut s = self.state.lock();
        match s.due.get(&key) {
            Some(old) if *old <= at => return,
            Some(old) => {
                let old = *old;
                s.forget_due(&key, old);
            }
            None => {}
        }
        s.due.insert(key.clone(), at);
        s.delayed.entry(at).or_default().insert(key);
        drop(s);
        self.wake.notify_one();
    }

    /// Adds after a delay that doubles with each failure since [`WorkQueue::succeeded`]: 5 ms to 1000 s, as upstream.
    /// Returns how often it has failed in a row.
    pub fn failed(&self, key: K) -> u32 {
        let n = {
            let mut s = self.state.lock();
            let n = s.failures.entry(key.clone()).or_default();
            *n = n.saturating_add(1);
            *n
        };
        let delay = BACKOFF_FIRST.saturating_mul(1u32.checked_shl(n - 1).unwrap_or(u32::MAX)).min(BACKOFF_MAX);
        self.add_after(key, delay);
        n
    }

    /// Keys waiting to be worked on, delayed ones not counted.
    pub fn len(&self) -> usize {
        self.state.lock().ready.len()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets the failures of a key.
    pub fn succeeded(&self, key: &K) {
        self.state.lock().failures.remove(key);
    }

    /// The next key, once there is one. Call [`WorkQueue::done`] when it has been worked on.
    pub async fn next(&self) -> K {
        loop {
            let notified = self.wake.notified();
            let next_due = {
                let mut s = self.state.lock();
                s.promote(Instant::now());
                if let Some(key) = s.ready.pop_front() {
                    s.dirty.remove(&key);
                    s.processing.insert(key.clone());
                    let more = !s.ready.is_empty();
                    drop(s);
                    if more {
                        self.wake.notify_one();
                    }
                    return key;
                }
                s.delayed.keys().next().copied()
            };
            match next_due {
                Some(at) => tokio::select! { _ = notified => {}, _ = tokio::time::sleep_until(at) => {} },
                None => notified.await,
            }
        }
    }

    pub fn done(&self, key: &K) {
        let mut s = self.state.lock();
        s.processing.remove(key);
        if s.dirty.contains(key) {
            s.ready.push_back(key.clone());
            drop(s);
            self.wake.notify_one();
        }
    }
}

impl<K: Clone + Eq + Hash + Ord> State<K> {
    fn add(&mut self, key: K) {
        if let Some(at) = self.due.get(&key).copied() {
            self.forget_due(&key, at);
        }
        if self.dirty.insert(key.clone()) && !self.processing.contains(&key) {
            self.ready.push_back(key);
        }
    }
    fn forget_due(&mut self, key: &K, at: Instant) {
        self.due.remove(key);
        if let Some(set) = self.delayed.get_mut(&at) {
            set.remove(key);
            if set.is_empty() {
                self.delayed.remove(&at);
            }
        }
    }
    fn promote(&mut self, now: Instant) {
        while let Some(entry) = self.delayed.first_entry().filter(|e| *e.key() <= now) {
            for key in entry.remove() {
                self.due.remove(&key);
                self.add(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_added_while_worked_on_comes_again() {
        let q = WorkQueue::new();
        q.add("a");
        q.add("a");
        let k = q.next().await;
        q.add("a");
        assert!(tokio::time::timeout(Duration::from_secs(1), q.next()).await.is_err(), "one worker a key");
        q.done(&k);
        assert_eq!(q.next().await, "a");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_back_off_and_an_earlier_date_wins() {
        let q = WorkQueue::new();
        let start = Instant::now();
        q.add_after("a", Duration::from_secs(9));
        q.add_after("a", Duration::from_secs(3));
        q.add_after("a", Duration::from_secs(6));
        assert_eq!(q.next().await, "a");
        assert_eq!(start.elapsed().as_secs(), 3);
        q.done(&"a");
        for n in 0..3 {
            let before = Instant::now();
            q.failed("a");
            q.next().await;
            q.done(&"a");
            assert!(before.elapsed() >= BACKOFF_FIRST * (1 << n));
        }
    }
}
