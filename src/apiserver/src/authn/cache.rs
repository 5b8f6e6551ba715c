//! A small bounded memory of what was verified, so that a signature is checked once and not for each request.

use std::collections::HashMap;
use std::hash::Hash;

use parking_lot::Mutex;

/// Forgets everything when full: the entries are cheap to make again, and a token that is in use comes back at once.
pub struct Cache<K, V> {
    limit: usize,
    entries: Mutex<HashMap<K, V>>,
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    pub fn new(limit: usize) -> Cache<K, V> {
        Cache { limit, entries: Mutex::default() }
    }
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.entries.lock().get(key).cloned()
    }
    pub fn put(&self, key: K, value: V) {
        let mut entries = self.entries.lock();
        if entries.len() >= self.limit {
            entries.clear();
        }
        entries.insert(key, value);
    }
}
