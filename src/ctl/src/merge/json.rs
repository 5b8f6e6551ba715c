//! JSON merge patches for kinds whose lists nobody knows how to merge: `jsonmergepatch.CreateThreeWayJSONMergePatch`.

use api::Value;
use serde_json::Map;

/// From `current` to `modified`; what `original` had and `modified` has not is deleted.
pub fn three_way(original: &Value, modified: &Value, current: &Value) -> Value {
    let mut patch = changes(current, modified);
    let gone = deletions(original, modified);
    merge(&mut patch, gone);
    Value::Object(patch)
}

fn changes(from: &Value, to: &Value) -> Map<String, Value> {
    let mut patch = Map::new();
    for (key, value) in to.as_object().into_iter().flatten() {
        match from.get(key) {
            Some(old @ Value::Object(_)) if value.is_object() => {
                let inner = changes(old, value);
                if !inner.is_empty() {
                    patch.insert(key.clone(), Value::Object(inner));
                }
            }
            Some(old) if old == value => {}
            _ if value.is_null() => {}
            _ => drop(patch.insert(key.clone(), value.clone())),
        }
    }
    patch
}

fn deletions(from: &Value, to: &Value) -> Map<String, Value> {
    let mut patch = Map::new();
    for (key, old) in from.as_object().into_iter().flatten() {
        match to.get(key) {
            None | Some(Value::Null) => drop(patch.insert(key.clone(), Value::Null)),
            Some(new) if old.is_object() && new.is_object() => {
                let inner = deletions(old, new);
                if !inner.is_empty() {
                    patch.insert(key.clone(), Value::Object(inner));
                }
            }
            Some(_) => {}
        }
    }
    patch
}

fn merge(patch: &mut Map<String, Value>, more: Map<String, Value>) {
    for (key, value) in more {
        match (patch.get_mut(&key), value) {
            (Some(Value::Object(a)), Value::Object(b)) => merge(a, b),
            (None, value) => drop(patch.insert(key, value)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn patches() {
        let original = json!({"spec": {"a": 1, "gone": 2, "l": [1]}});
        let modified = json!({"spec": {"a": 3, "l": [1, 2]}});
        let current = json!({"spec": {"a": 1, "gone": 2, "l": [1], "servers": true}, "status": {}});
        assert_eq!(three_way(&original, &modified, &current), json!({"spec": {"a": 3, "l": [1, 2], "gone": null}}));
        assert_eq!(three_way(&modified, &modified, &json!({"spec": {"a": 3, "l": [1, 2], "x": 1}})), json!({}));
    }
}
