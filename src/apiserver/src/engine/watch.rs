//! Watch: the log of a resource as one selector sees it.

use std::sync::Arc;

use api::fields::FieldSelector;
use api::labels::Selector;
use api::{Object, Status};
use store::{Event, EventKind, Watcher};

use super::{Engine, Served};

/// With what a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initial {
    /// The changes after a revision.
    After(u64),
    /// The changes from now on.
    Now,
    /// What is there, as `ADDED`: `resourceVersion` absent or 0.
    State,
    /// The same and then a bookmark that says so: `sendInitialEvents`. At least as new as the revision.
    StateAndBookmark(u64),
}

pub struct WatchRequest {
    pub labels: Selector,
    pub fields: FieldSelector,
    pub initial: Initial,
}

#[derive(Debug, Clone)]
pub enum Change {
    Added(Arc<Object>),
    Modified(Arc<Object>),
    /// The last state that was selected, at the revision at which it no longer was.
    Deleted(Arc<Object>),
    /// `initial_end`: what was there at the beginning has been told.
    Bookmark {
        revision: u64,
        initial_end: bool,
    },
}

impl Change {
    fn object(&self) -> Option<&Arc<Object>> {
        match self {
            Change::Added(o) | Change::Modified(o) | Change::Deleted(o) => Some(o),
            Change::Bookmark { .. } => None,
        }
    }
}

/// A running watch.
pub struct Changes {
    served: Arc<Served>,
    namespace: Box<str>,
    labels: Selector,
    fields: FieldSelector,
    everything: bool,
    /// Selects by what the version shows: [`Engine::selects_presented`].
    presented: bool,
    /// Taken from the log, not yet looked at: only then.
    raw: Vec<Event>,
    /// Not yet told.
    pending: Vec<Change>,
    watcher: Watcher,
    engine: Arc<Engine>,
}

impl Engine {
    /// `namespace` empty: all of them. Errors with `Expired` when the history no longer reaches back that far.
    pub async fn watch(
        self: &Arc<Self>,
        served: &Arc<Served>,
        namespace: &str,
        request: WatchRequest,
    ) -> Result<Changes, Status> {
        let WatchRequest { labels, fields, initial } = request;
        let (from, state) = match initial {
            Initial::After(revision) => (revision, None),
            Initial::Now => (self.store.revision(), None),
            Initial::State | Initial::StateAndBookmark(_) => {
                let snapshot = self.store.snapshot(&served.resource);
                if let Initial::StateAndBookmark(asked) = initial
                    && asked > snapshot.revision()
                {
                    return Err(super::list::too_large(asked, snapshot.revision()));
                }
                (snapshot.revision(), Some(snapshot))
            }
        };
        let watcher = self.store.watch(&served.resource, from).map_err(ended)?;
        let everything = namespace.is_empty() && labels.is_everything() && fields.is_everything();
        let presented = Engine::selects_presented(served, &fields);
        let (served, namespace, engine) = (served.clone(), namespace.into(), self.clone());
        let (raw, pending) = (Vec::new(), Vec::new());
        let mut changes =
            Changes { served, namespace, labels, fields, everything, presented, raw, pending, watcher, engine };
        if let Some(snapshot) = state {
            let within = Some(&*changes.namespace).filter(|n| !n.is_empty());
            let mut there: Vec<_> = snapshot.range(within, None).filter(|o| changes.concerns(o)).cloned().collect();
            if presented {
                there = self.present_all(&changes.served, there).await?;
            }
            there.retain(|o| changes.selects(o));
            let mut initial_events: Vec<Change> = there.into_iter().map(Change::Added).collect();
            if matches!(initial, Initial::StateAndBookmark(_)) {
                initial_events.push(Change::Bookmark { revision: from, initial_end: true });
            }
            changes.pending = initial_events;
        }
        Ok(changes)
    }
}

fn ended(error: store::Error) -> Status {
    match error {
        store::Error::Compacted { .. } => Status::expired(error.to_string()),
        other => Status::internal(other),
    }
}

impl Changes {
    fn selects(&self, object: &Object) -> bool {
        self.everything || self.concerns(object) && self.fields.matches(self.served.kind.strategy.as_ref(), object)
    }
    /// By what is the same in every version.
    fn concerns(&self, object: &Object) -> bool {
        self.everything
            || (self.namespace.is_empty() || object.namespace() == &*self.namespace)
                && self.labels.matches(&object.meta().labels)
    }

    /// What comes next; nothing when the kind is no longer served as it was. After that and after an error there is nothing
    /// more. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Vec<Change>, Status> {
        loop {
            if !self.pending.is_empty() {
                if self.served.kind.definition.is_some() && !self.presented {
                    self.pending = self.presented(self.pending.clone()).await?;
                }
                return Ok(std::mem::take(&mut self.pending));
            }
            if !self.raw.is_empty() {
                let shown = self.shown().await?;
                self.raw.clear();
                self.pending = shown.into_iter().filter_map(|e| self.seen(e)).collect();
                continue;
            }
            let events = tokio::select! {
                biased;
                events = self.watcher.next() => events.map_err(ended)?,
                () = self.served.ended.cancelled() => return Ok(Vec::new()),
            };
            if self.presented {
                self.raw = events;
            } else {
                self.pending = events.into_iter().filter_map(|e| self.seen(e)).collect();
            }
        }
    }

    /// The raw events that may concern this watch, all objects in them in the version that is watched.
    async fn shown(&self) -> Result<Vec<Event>, Status> {
        let concerned = |e: &&Event| self.concerns(&e.object) || e.prev.as_ref().is_some_and(|p| self.concerns(p));
        let mut events: Vec<Event> = self.raw.iter().filter(concerned).cloned().collect();
        let stored = events.iter().flat_map(|e| [Some(&e.object), e.prev.as_ref()]).flatten().cloned().collect();
        let mut shown = self.engine.present_all(&self.served, stored).await?.into_iter();
        for event in &mut events {
            for object in [Some(&mut event.object), event.prev.as_mut()].into_iter().flatten() {
                *object = shown.next().unwrap_or_else(|| object.clone());
            }
        }
        Ok(events)
    }

    /// In the version that is watched.
    async fn presented(&self, mut changes: Vec<Change>) -> Result<Vec<Change>, Status> {
        let objects = changes.iter().filter_map(|c| c.object().cloned()).collect();
        let mut objects = self.engine.present_all(&self.served, objects).await?.into_iter();
        for change in &mut changes {
            if let Change::Added(o) | Change::Modified(o) | Change::Deleted(o) = change
                && let Some(presented) = objects.next()
            {
                *o = presented;
            }
        }
        Ok(changes)
    }

    /// A bookmark for all that has been told; `None` while there is something to tell.
    pub fn bookmark(&mut self) -> Option<Change> {
        if !self.pending.is_empty() || !self.raw.is_empty() {
            return None;
        }
        Some(Change::Bookmark { revision: self.watcher.progress(), initial_end: false })
    }

    fn seen(&self, event: Event) -> Option<Change> {
        let before = event.prev.as_ref().is_some_and(|prev| self.selects(prev));
        if event.kind == EventKind::Delete {
            return before.then_some(Change::Deleted(event.object));
        }
        match (before, self.selects(&event.object)) {
            (false, true) => Some(Change::Added(event.object)),
            (true, true) => Some(Change::Modified(event.object)),
            (true, false) => event.prev.map(|prev| Change::Deleted(Arc::new(prev.at(event.revision)))),
            (false, false) => None,
        }
    }
}
