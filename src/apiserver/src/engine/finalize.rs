//! Finalizers: which a delete adds, and when the last one is gone.

use api::{Object, Value};

use super::{Propagation, Served};

pub(super) const ORPHAN: &str = "orphan";
pub(super) const FOREGROUND: &str = "foregroundDeletion";

fn is_namespace(served: &Served) -> bool {
    &*served.resource == "namespaces"
}

fn has_any(tree: &Value, pointer: &str) -> bool {
    tree.pointer(pointer).and_then(Value::as_array).is_some_and(|f| !f.is_empty())
}

/// Whether anything holds an object that is to be deleted. A namespace has finalizers in its spec, too.
pub(super) fn is_held(served: &Served, tree: &Value) -> bool {
    has_any(tree, "/metadata/finalizers") || is_namespace(served) && has_any(tree, "/spec/finalizers")
}

/// `ShouldDeleteDuringUpdate`: nothing holds `new` any more, and its grace period was over.
pub(super) fn is_over(served: &Served, new: &Value, old: &Object) -> bool {
    old.meta().is_deleting() && !is_held(served, new) && {
        let grace = &new["metadata"]["deletionGracePeriodSeconds"];
        grace.as_i64().unwrap_or(0) == 0
    }
}

/// `deletionFinalizersForGarbageCollection`: the finalizers that a delete leaves the object with.
pub(super) fn of_delete(served: &Served, old: &Object, propagation: Option<Propagation>) -> Vec<String> {
    let has = |f: &str| old.meta().finalizers.iter().any(|x| &**x == f);
    let (orphan, foreground) = match propagation {
        Some(Propagation::Orphan) => (true, false),
        Some(Propagation::Foreground) => (false, true),
        Some(Propagation::Background) => (false, false),
        None if has(ORPHAN) => (true, false),
        None if has(FOREGROUND) => (false, true),
        None => (served.orphans_by_default(), false),
    };
    let others = old.meta().finalizers.iter().filter(|f| !matches!(&***f, ORPHAN | FOREGROUND)).map(|f| f.to_string());
    let mut all: Vec<String> = others.collect();
    if orphan {
        all.push(ORPHAN.into());
    }
    if foreground {
        all.push(FOREGROUND.into());
    }
    // its objects go first
    if &*served.resource == api::crd::RESOURCE && !old.meta().is_deleting() {
        all.push(api::crd::CLEANUP.into());
    }
    all
}
