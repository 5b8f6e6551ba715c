//! Events of the core group and of `events.k8s.io`: the same thing with other names.

use serde_json::Value;

/// Core name, `events.k8s.io` name.
const NAMES: [(&str, &str); 7] = [
    ("message", "note"),
    ("involvedObject", "regarding"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

pub(super) fn to_events(tree: &mut Value) {
    rename(tree, NAMES);
}

pub(super) fn from_events(tree: &mut Value) {
    rename(tree, NAMES.map(|(core, events)| (events, core)));
}

fn rename(tree: &mut Value, names: [(&str, &str); 7]) {
    let Some(o) = tree.as_object_mut() else { return };
    for (from, to) in names {
        if let Some(v) = o.remove(from) {
            o.insert(to.to_owned(), v);
        }
    }
}
