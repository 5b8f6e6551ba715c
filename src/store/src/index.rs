//! The live objects: an ordered map per resource, of which a reader takes a snapshot for the price of a reference count.

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;

use api::Object;
use imbl::OrdMap;

use crate::{Event, EventKind, Key};

/// `(namespace, name)`.
pub(crate) type Name = (Arc<str>, Arc<str>);
pub(crate) type Table = OrdMap<Name, Arc<Object>>;

#[derive(Default)]
pub(crate) struct Index {
    pub revision: u64,
    pub tables: HashMap<Arc<str>, Table>,
}

impl Index {
    pub fn get(&self, key: &Key) -> Option<&Arc<Object>> {
        self.tables.get(&key.resource)?.get(&(key.namespace.clone(), key.name.clone()))
    }

    /// `key`'s strings become the index's own: the caller interns them.
    pub fn put(&mut self, key: Key, object: Arc<Object>) {
        self.tables.entry(key.resource).or_default().insert((key.namespace, key.name), object);
    }

    pub fn remove(&mut self, key: &Key) {
        if let Some(table) = self.tables.get_mut(&key.resource) {
            table.remove(&(key.namespace.clone(), key.name.clone()));
        }
    }

    pub fn snapshot(&self, resource: &str) -> Snapshot {
        Snapshot { revision: self.revision, table: self.tables.get(resource).cloned().unwrap_or_default() }
    }
}

/// A resource's objects as of one revision.
#[derive(Debug, Clone)]
pub struct Snapshot {
    revision: u64,
    table: Table,
}

impl Snapshot {
    /// The store's revision, from which a watch continues.
    pub fn revision(&self) -> u64 {
        self.revision
    }
    pub fn len(&self) -> usize {
        self.table.len()
    }
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Object>> {
        self.table.get(&(namespace.into(), name.into()))
    }
    /// All, in order of namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.table.values()
    }
    /// Those of one namespace, or of all where it is `None`, that come after the object `(namespace, name)`, or from the
    /// first on. Starts in logarithmic time: a page costs what is on it.
    pub fn range<'a>(
        &'a self,
        namespace: Option<&'a str>,
        after: Option<(&str, &str)>,
    ) -> impl Iterator<Item = &'a Arc<Object>> {
        let start: Bound<Name> = match (after, namespace) {
            (Some(after), Some(ns)) if after.0 < ns => Bound::Included((ns.into(), "".into())),
            (Some((ns, name)), _) => Bound::Excluded((ns.into(), name.into())),
            (None, Some(ns)) => Bound::Included((ns.into(), "".into())),
            (None, None) => Bound::Unbounded,
        };
        self.table
            .range((start, Bound::Unbounded))
            .take_while(move |((ns, _), _)| namespace.is_none_or(|n| n == &**ns))
            .map(|(_, object)| object)
    }

    /// Undoes `events`, which must be those of this resource after `revision`, in order.
    pub(crate) fn rewind(&mut self, revision: u64, events: &[Event]) {
        for event in events.iter().rev() {
            let name = (event.object.namespace().into(), event.object.name().into());
            match (&event.prev, event.kind) {
                (Some(prev), _) => drop(self.table.insert(name, prev.clone())),
                (None, EventKind::Put) => drop(self.table.remove(&name)),
                (None, EventKind::Delete) => {}
            }
        }
        self.revision = revision;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Draft;
    use serde_json::json;

    fn object(namespace: &str, name: &str) -> Arc<Object> {
        let tree = json!({"metadata": {"namespace": namespace, "name": name}});
        Arc::new(Draft::encode(&tree).unwrap().at(1))
    }

    #[test]
    fn ranges_and_pages() {
        let mut index = Index::default();
        for (ns, name) in [("", "c"), ("a", "x"), ("a", "y"), ("a-b", "x"), ("b", "x")] {
            index.put(Key::new("r", ns, name), object(ns, name));
        }
        let all = index.snapshot("r");
        let list =
            |ns, after| all.range(ns, after).map(|o| format!("{}/{}", o.namespace(), o.name())).collect::<Vec<_>>();
        type Case = (Option<&'static str>, Option<(&'static str, &'static str)>, &'static [&'static str]);
        let table: [Case; 8] = [
            (None, None, &["/c", "a/x", "a/y", "a-b/x", "b/x"]),
            (None, Some(("a", "x")), &["a/y", "a-b/x", "b/x"]),
            (None, Some(("a", "xx")), &["a/y", "a-b/x", "b/x"]),
            (Some("a"), None, &["a/x", "a/y"]),
            (Some("a"), Some(("a", "x")), &["a/y"]),
            (Some("a"), Some(("", "c")), &["a/x", "a/y"]),
            (Some("a"), Some(("b", "x")), &[]),
            (Some("none"), None, &[]),
        ];
        for (ns, after, want) in table {
            assert_eq!(list(ns, after), want, "{ns:?} {after:?}");
        }
        index.remove(&Key::new("r", "a", "x"));
        assert_eq!((all.len(), index.snapshot("r").len(), index.snapshot("none").len()), (5, 4, 0));
        assert!(all.get("a", "x").is_some() && index.get(&Key::new("r", "a", "x")).is_none());
    }
}
