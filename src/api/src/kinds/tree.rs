//! Reading and filling in trees as Go's structs would: a missing member, `null` and, for plain fields, the zero value
//! are the same.

use serde_json::{Map, Value};

/// The members of `v[key]`, none if it is no array.
pub(crate) fn items<'a>(v: &'a Value, key: &str) -> &'a [Value] {
    v.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
pub(crate) fn items_mut<'a>(v: &'a mut Value, key: &str) -> &'a mut [Value] {
    v.get_mut(key).and_then(Value::as_array_mut).map_or(&mut [], Vec::as_mut_slice)
}
/// The text of `v[key]`, empty if there is none.
pub(crate) fn text<'a>(v: &'a Value, key: &str) -> &'a str {
    v.get(key).and_then(Value::as_str).unwrap_or_default()
}
/// The number of `v[key]`, 0 if there is none.
pub(crate) fn number(v: &Value, key: &str) -> i64 {
    v.get(key).and_then(Value::as_i64).unwrap_or_default()
}
pub(crate) fn flag(v: &Value, key: &str) -> bool {
    v.get(key).and_then(Value::as_bool).unwrap_or_default()
}
/// The members of the object `v[key]`, none if it is no object.
pub(crate) fn entries<'a>(v: &'a Value, key: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    v.get(key).and_then(Value::as_object).into_iter().flatten().map(|(k, v)| (k.as_str(), v))
}
/// Whether `v[key]` is there and not `null`: a Go pointer that is not nil.
pub(crate) fn has(v: &Value, key: &str) -> bool {
    v.get(key).is_some_and(|v| !v.is_null())
}
/// The member if it is there and not `null`.
pub(crate) fn some<'a>(v: &'a Value, key: &str) -> Option<&'a Value> {
    v.get(key).filter(|v| !v.is_null())
}

/// Whether Go would call it the zero value, or an empty list or map.
pub(crate) fn is_zero(v: &Value) -> bool {
    match v {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.values().all(is_zero),
    }
}

/// Sets a pointer field that is nil.
pub(crate) fn or(v: &mut Value, key: &str, default: impl Into<Value>) {
    if !has(v, key)
        && let Some(o) = v.as_object_mut()
    {
        o.insert(key.to_owned(), default.into());
    }
}
/// Sets a plain field that has its zero value.
pub(crate) fn or_zero(v: &mut Value, key: &str, default: impl Into<Value>) {
    if v.get(key).is_none_or(|v| matches!(v, Value::Null | Value::String(_) | Value::Number(_)) && is_zero(v))
        && let Some(o) = v.as_object_mut()
    {
        o.insert(key.to_owned(), default.into());
    }
}
/// `v[key]`, made an empty object where it is nil. `None` where it or `v` is something else.
pub(crate) fn ensure<'a>(v: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    or(v, key, Map::new());
    v.get_mut(key)?.as_object_mut()
}
/// As [`ensure`], as a tree to go on with.
pub(crate) fn made<'a>(v: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    or(v, key, Map::new());
    v.get_mut(key).filter(|v| v.is_object())
}
/// `v[key]` if it is an object.
pub(crate) fn child<'a>(v: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    v.get_mut(key).filter(|v| v.is_object())
}

/// Upstream's `apiequality.Semantic.DeepEqual`: what is nil, empty or zero equals what is not there.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            x.iter().all(|(k, v)| same(v, y.get(k).unwrap_or(&Value::Null)))
                && y.iter().all(|(k, v)| x.contains_key(k) || is_zero(v))
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(a, b)| same(a, b)),
        (Value::Array(_) | Value::Object(_), Value::Null) | (Value::Null, _) | (_, Value::Null) => {
            is_zero(a) && is_zero(b)
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn absent_null_and_zero_are_the_same() {
        assert!(same(&json!({"a": null, "b": [], "c": {"d": false}}), &json!({})));
        assert!(same(&json!({"a": [{"x": 1}]}), &json!({"a": [{"x": 1, "y": ""}]})));
        assert!(!same(&json!({"a": 1}), &json!({})));
        let mut v = json!({"a": "", "n": 0, "o": null});
        or_zero(&mut v, "a", "x");
        or_zero(&mut v, "n", 3);
        or(&mut v, "o", true);
        or(&mut v, "p", 1);
        assert_eq!(v, json!({"a": "x", "n": 3, "o": true, "p": 1}));
    }
}
