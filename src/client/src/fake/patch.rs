//! The patches that the fake knows.

use api::Value;
/// RFC 7386.
pub(super) use json_patch::merge;

/// The one list that strategic patches merge here: by `type`, field by field.
pub(super) fn merge_conditions(new: &mut Vec<Value>, old: Vec<Value>) {
    let patches = std::mem::replace(new, old);
    for patch in patches {
        match new.iter_mut().find(|c| c["type"] == patch["type"]) {
            Some(c) => merge(c, &patch),
            None => new.push(patch),
        }
    }
}
