//! Reading and changing parts of a tree that may have any shape: what is not there, or not of its type, reads as empty.

use api::Value;
use serde_json::Map;

pub fn text<'a>(v: &'a Value, pointer: &str) -> &'a str {
    v.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub fn items<'a>(v: &'a Value, pointer: &str) -> &'a [Value] {
    v.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The member as an object, made where it is absent or null; `None` where something else stands in the way.
pub fn object<'a>(v: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    let member = v.as_object_mut()?.entry(key).or_insert(Value::Null);
    if member.is_null() {
        *member = Value::Object(Map::new());
    }
    member.as_object_mut()
}

/// Likewise as a list.
pub fn list<'a>(v: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Vec<Value>> {
    let member = v.entry(key).or_insert(Value::Null);
    if member.is_null() {
        *member = Value::Array(Vec::new());
    }
    member.as_array_mut()
}

pub fn is_absent(v: &Map<String, Value>, key: &str) -> bool {
    v.get(key).is_none_or(Value::is_null)
}

/// A mirror pod stands for one that a kubelet runs from a file.
pub fn is_mirror(pod: &Value) -> bool {
    pod.pointer("/metadata/annotations/kubernetes.io~1config.mirror").is_some()
}
