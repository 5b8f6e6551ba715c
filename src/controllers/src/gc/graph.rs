//! Who depends on whom, by uid. Only objects with owners are in it, so it stays small.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use api::{Meta, Object};

/// An object, with the place of its kind in the collector's list.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    pub kind: u16,
    pub namespace: Box<str>,
    pub name: Box<str>,
    pub uid: Box<str>,
}

impl Id {
    pub fn new(kind: u16, object: &Object) -> Id {
        let m = object.meta();
        Id { kind, namespace: m.namespace.clone(), name: m.name.clone(), uid: m.uid.clone() }
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[derive(Default)]
pub struct Graph {
    dependents: HashMap<Box<str>, BTreeSet<Arc<Id>>>,
}

fn owners(meta: Option<&Meta>) -> BTreeSet<&str> {
    meta.into_iter().flat_map(|m| &m.owner_references).map(|o| &*o.uid).collect()
}

impl Graph {
    /// Notes a change of an object's owners. Returns the uids of those it no longer has.
    pub fn change(&mut self, id: &Id, old: Option<&Meta>, new: Option<&Meta>) -> Vec<Box<str>> {
        let (was, is) = (owners(old), owners(new));
        for owner in is.difference(&was) {
            self.dependents.entry((*owner).into()).or_default().insert(Arc::new(id.clone()));
        }
        let mut left = Vec::new();
        for owner in was.difference(&is) {
            if let Some(set) = self.dependents.get_mut(*owner) {
                set.remove(id);
                if set.is_empty() {
                    self.dependents.remove(*owner);
                }
            }
            left.push((*owner).into());
        }
        left
    }
    /// All that have owners.
    pub fn all(&self) -> BTreeSet<Arc<Id>> {
        self.dependents.values().flatten().cloned().collect()
    }
    pub fn dependents(&self, uid: &str) -> Vec<Arc<Id>> {
        self.dependents.get(uid).map_or(Vec::new(), |set| set.iter().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::OwnerReference;

    #[test]
    fn owners_come_and_go() {
        let owned = |uids: &[&str]| Meta {
            owner_references: uids.iter().map(|u| OwnerReference { uid: (*u).into(), ..Default::default() }).collect(),
            ..Default::default()
        };
        let id = |n: &str| Id { kind: 0, namespace: "n".into(), name: n.into(), uid: n.into() };
        let mut g = Graph::default();
        let (one, two) = (owned(&["a"]), owned(&["a", "b"]));
        assert!(g.change(&id("x"), None, Some(&one)).is_empty());
        assert!(g.change(&id("y"), None, Some(&two)).is_empty());
        assert_eq!(g.dependents("a").len(), 2);
        assert_eq!(g.change(&id("y"), Some(&two), Some(&one)), [Box::from("b")]);
        g.change(&id("x"), Some(&one), None);
        g.change(&id("y"), Some(&one), None);
        assert!(g.dependents.is_empty());
    }
}
