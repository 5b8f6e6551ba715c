//! What reaches a pod's worker: the newest object, and what its side tasks (pulls, hooks, kills, probes) have to tell.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::Object;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::actions::Health;
use super::status::Failure;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Pull {
    Running,
    /// The image's id.
    Done(String),
    Failed {
        reason: &'static str,
        message: String,
        at: Instant,
    },
}

/// The node wants the pod to end for good.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub failure: Failure,
    /// At most; the pod's own may be less.
    pub grace_seconds: i64,
}

#[derive(Default)]
pub(crate) struct Inbox {
    /// The newest that is known.
    pub object: Option<Arc<Object>>,
    pub order: Option<Order>,
    /// The API server has it no more.
    pub gone: bool,
    /// By container name.
    pub pulls: BTreeMap<String, Pull>,
    /// postStart hooks by container id; `Some` is a failure's text.
    pub hooks: BTreeMap<String, Option<String>>,
    /// Ids of running hooks.
    pub hooking: std::collections::BTreeSet<String>,
    /// Container ids that are being stopped, and when they are killed at the latest.
    pub killing: BTreeMap<String, Instant>,
    /// By container name.
    pub health: BTreeMap<String, Health>,
    /// A status write is under way.
    pub writing: bool,
    /// The object that the last status write made.
    pub written: Option<u64>,
}

#[derive(Default)]
pub(crate) struct Mailbox {
    inbox: Mutex<Inbox>,
    notify: Notify,
}

impl Mailbox {
    /// Takes `object` if it is newer, and wakes the worker.
    pub fn offer(&self, object: Arc<Object>) {
        self.update(|i| {
            if i.object.as_ref().is_none_or(|o| o.revision() < object.revision()) {
                i.object = Some(object);
            }
        });
    }
    pub fn update<T>(&self, change: impl FnOnce(&mut Inbox) -> T) -> T {
        let out = change(&mut self.inbox.lock());
        self.notify.notify_one();
        out
    }
    /// Without waking.
    pub fn with<T>(&self, look: impl FnOnce(&mut Inbox) -> T) -> T {
        look(&mut self.inbox.lock())
    }
    pub fn wake(&self) {
        self.notify.notify_one();
    }
    pub async fn woken(&self) {
        self.notify.notified().await;
    }
}
