//! What a list or a watch with selectors sees.

use std::sync::Arc;

use api::fields::FieldSelector;
use api::labels::Selector;
use api::{NoStrategy, Object, Status, Strategy};

use crate::{ListOptions, Target, WatchEvent};

/// Selects by labels and by fields.
pub(super) struct Chosen {
    namespace: String,
    labels: Selector,
    fields: FieldSelector,
}

impl Chosen {
    pub(super) fn new(target: &Target, options: &ListOptions) -> Result<Chosen, Status> {
        Ok(Chosen {
            namespace: target.namespace.clone(),
            labels: Selector::parse(&options.labels)?,
            fields: FieldSelector::parse(&options.fields)?,
        })
    }
    pub(super) fn has(&self, o: &Object) -> bool {
        let strategy: &dyn Strategy = &NoStrategy;
        (self.namespace.is_empty() || self.namespace == o.namespace())
            && self.labels.matches(&o.meta().labels)
            && self.fields.matches(strategy, o)
    }
}

pub(super) fn revision_of(event: &WatchEvent) -> u64 {
    match event {
        WatchEvent::Added(o) | WatchEvent::Modified(o) | WatchEvent::Deleted(o) => o.revision(),
        WatchEvent::Bookmark(r) => *r,
    }
}

/// What a watcher sees of a change: an object that comes to be selected is added, one that ceases to be is deleted.
pub(super) fn seen(chosen: &Chosen, old: Option<&Arc<Object>>, event: &WatchEvent) -> Option<WatchEvent> {
    let was = old.is_some_and(|o| chosen.has(o));
    match event {
        WatchEvent::Added(o) | WatchEvent::Modified(o) => match (was, chosen.has(o)) {
            (false, true) => Some(WatchEvent::Added(o.clone())),
            (true, true) => Some(WatchEvent::Modified(o.clone())),
            (true, false) => Some(WatchEvent::Deleted(o.clone())),
            (false, false) => None,
        },
        WatchEvent::Deleted(o) => was.then(|| WatchEvent::Deleted(o.clone())),
        WatchEvent::Bookmark(_) => None,
    }
}
