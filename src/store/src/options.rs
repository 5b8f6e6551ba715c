//! What a deployment may tune.

use std::sync::Arc;
use std::time::Duration;

use crate::Seal;

#[derive(Debug, Clone)]
pub struct Options {
    /// Resources ([`api::Kind::store_resource`]) whose writes are answered before they are on disk, since a restart may lose
    /// the last of them without harm.
    pub late_flush: Vec<String>,
    /// How long such a write may wait for a batch that goes to disk anyway.
    pub late_flush_after: Duration,
    /// History younger than this is kept…
    pub keep: Duration,
    /// …as long as it takes fewer bytes than this, or than the live objects do.
    pub keep_bytes: u64,
    /// Events per resource that watchers find in memory.
    pub ring_events: usize,
    /// Bytes of memory that such events hold, per resource ([`api::Object::weight`]).
    pub ring_bytes: usize,
    /// What is encrypted on disk, and how.
    pub seal: Option<Arc<dyn Seal>>,
}

impl Default for Options {
    fn default() -> Options {
        let late = ["coordination.k8s.io/leases", "events", "events.k8s.io/events"];
        Options {
            late_flush: late.map(String::from).into(),
            late_flush_after: Duration::from_secs(5),
            keep: Duration::from_secs(300),
            keep_bytes: 32 << 20,
            ring_events: 4096,
            ring_bytes: 2 << 20,
            seal: None,
        }
    }
}
