//! The patches that the fake knows.

use api::Value;
use serde_json::json;

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

/// RFC 7386.
pub(super) fn merge(tree: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *tree = patch.clone();
        return;
    };
    if !tree.is_object() {
        *tree = json!({});
    }
    for (k, v) in patch {
        if v.is_null() {
            tree.as_object_mut().map(|o| o.remove(k));
        } else {
            merge(&mut tree[k.as_str()], v);
        }
    }
}
