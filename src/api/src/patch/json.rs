//! JSON patch as upstream's library (`gopkg.in/evanphx/json-patch.v4`) does it. It is looser than RFC 6902, and patches in the
//! field count on that: `replace` of a field that is not there sets it, an index may count from the end.

use serde_json::Value;

/// What does not apply.
pub(super) struct Inapplicable;
type Done = Result<(), Inapplicable>;

/// What the `copy` operations of one patch may copy in all (`AccumulatedCopySizeLimit`).
const MAX_COPIED_BYTES: usize = 3 << 20;

/// Applies operations, each of which must be an object. `tree` is in no particular state after a failure.
pub(super) fn apply(tree: &mut Value, operations: &[Value]) -> Done {
    let mut copied = 0;
    for operation in operations {
        let text = |key: &str| operation.get(key).and_then(Value::as_str);
        let value = || operation.get("value").cloned().unwrap_or_default();
        let pointer = |key: &str| text(key).and_then(Pointer::of).ok_or(Inapplicable);
        let (path, from) = (pointer("path")?, || pointer("from"));
        match text("op") {
            Some("add") => path.add(tree, value())?,
            Some("remove") => drop(path.remove(tree)?),
            Some("replace") => *path.place(tree)? = value(),
            Some("move") => {
                let taken = from()?.remove(tree)?;
                path.add(tree, taken)?;
            }
            Some("copy") => {
                let source = from()?.get(tree)?.ok_or(Inapplicable)?.clone();
                copied += source.to_string().len();
                if copied > MAX_COPIED_BYTES {
                    return Err(Inapplicable);
                }
                path.add(tree, source)?;
            }
            Some("test") => {
                if *path.get(tree)?.unwrap_or(&Value::Null) != value() {
                    return Err(Inapplicable);
                }
            }
            _ => return Err(Inapplicable),
        }
    }
    Ok(())
}

/// Where an operation works: the way to a container, and a key or an index in it.
struct Pointer {
    way: Vec<String>,
    key: String,
}

impl Pointer {
    /// `None`: the whole document, which no operation is for.
    fn of(text: &str) -> Option<Pointer> {
        let mut way: Vec<String> = text.split('/').skip(1).map(|k| k.replace("~1", "/").replace("~0", "~")).collect();
        let key = way.pop()?;
        Some(Pointer { way, key })
    }
    fn container<'t>(&self, tree: &'t mut Value) -> Result<&'t mut Value, Inapplicable> {
        self.way.iter().try_fold(tree, |at, key| {
            match at {
                Value::Object(map) => map.get_mut(key),
                Value::Array(list) => index(key, list.len()).and_then(|i| list.get_mut(i)),
                _ => None,
            }
            .ok_or(Inapplicable)
        })
    }
    fn get<'t>(&self, tree: &'t mut Value) -> Result<Option<&'t Value>, Inapplicable> {
        match self.container(tree)? {
            Value::Object(map) => Ok(map.get(&self.key)),
            Value::Array(list) => Ok(Some(index(&self.key, list.len()).and_then(|i| list.get(i)).ok_or(Inapplicable)?)),
            _ => Err(Inapplicable),
        }
    }
    /// Where a value is put; an absent field begins to be.
    fn place<'t>(&self, tree: &'t mut Value) -> Result<&'t mut Value, Inapplicable> {
        match self.container(tree)? {
            Value::Object(map) => Ok(map.entry(self.key.clone()).or_insert(Value::Null)),
            Value::Array(list) => index(&self.key, list.len()).and_then(|i| list.get_mut(i)).ok_or(Inapplicable),
            _ => Err(Inapplicable),
        }
    }
    fn add(&self, tree: &mut Value, value: Value) -> Done {
        match self.container(tree)? {
            Value::Object(map) => drop(map.insert(self.key.clone(), value)),
            Value::Array(list) if self.key == "-" => list.push(value),
            // one place more than there are
            Value::Array(list) => list.insert(index(&self.key, list.len() + 1).ok_or(Inapplicable)?, value),
            _ => return Err(Inapplicable),
        }
        Ok(())
    }
    fn remove(&self, tree: &mut Value) -> Result<Value, Inapplicable> {
        match self.container(tree)? {
            Value::Object(map) => map.remove(&self.key).ok_or(Inapplicable),
            Value::Array(list) => Ok(list.remove(index(&self.key, list.len()).ok_or(Inapplicable)?)),
            _ => Err(Inapplicable),
        }
    }
}

/// An index below `len`; a negative one counts from the end.
fn index(key: &str, len: usize) -> Option<usize> {
    let i: i64 = key.parse().ok()?;
    let i = if i < 0 { i + i64::try_from(len).ok()? } else { i };
    usize::try_from(i).ok().filter(|i| *i < len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn operations_do_what_upstreams_library_does() {
        let base = json!({"a": {"b": [1, 2]}, "x/y": 1});
        for (patch, want) in [
            // looser than the RFC
            (
                json!([{"op": "replace", "path": "/a/c", "value": 3}]),
                Some(json!({"a": {"b": [1, 2], "c": 3}, "x/y": 1})),
            ),
            (json!([{"op": "add", "path": "/a/b/-1", "value": 3}]), Some(json!({"a": {"b": [1, 2, 3]}, "x/y": 1}))),
            (json!([{"op": "remove", "path": "/a/b/-1"}]), Some(json!({"a": {"b": [1]}, "x/y": 1}))),
            (json!([{"op": "replace", "path": "/a/b/-2", "value": 0}]), Some(json!({"a": {"b": [0, 2]}, "x/y": 1}))),
            (json!([{"op": "test", "path": "/no", "value": null}]), Some(base.clone())),
            (json!([{"op": "test", "path": "/no"}]), Some(base.clone())),
            (json!([{"op": "add", "path": "/n"}]), Some(json!({"a": {"b": [1, 2]}, "x/y": 1, "n": null}))),
            // as the RFC
            (json!([{"op": "add", "path": "/a/b/0", "value": 0}]), Some(json!({"a": {"b": [0, 1, 2]}, "x/y": 1}))),
            (
                json!([{"op": "copy", "from": "/x~1y", "path": "/z"}]),
                Some(json!({"a": {"b": [1, 2]}, "x/y": 1, "z": 1})),
            ),
            (json!([{"op": "move", "from": "/a/b/0", "path": "/a/b/1"}]), Some(json!({"a": {"b": [2, 1]}, "x/y": 1}))),
            (json!([{"op": "add", "path": "", "value": {}}]), None),
            (json!([{"op": "add", "path": "/a/b/3", "value": 0}]), None),
            (json!([{"op": "add", "path": "/a/b/x", "value": 0}]), None),
            (json!([{"op": "replace", "path": "/a/b/2", "value": 0}]), None),
            (json!([{"op": "replace", "path": "/no/pe", "value": 0}]), None),
            (json!([{"op": "add", "path": "/x~1y/z", "value": 0}]), None),
            (json!([{"op": "remove", "path": "/no"}]), None),
            (json!([{"op": "remove", "path": "/a/b/-3"}]), None),
            (json!([{"op": "move", "from": "/no", "path": "/z"}]), None),
            (json!([{"op": "copy", "path": "/z"}]), None),
            (json!([{"op": "test", "path": "/x~1y", "value": 2}]), None),
            (json!([{"op": "nope", "path": "/a"}]), None),
            (json!([{"op": "add", "value": 1}]), None),
            (json!([{"path": "/a"}]), None),
        ] {
            let mut tree = base.clone();
            let done = apply(&mut tree, patch.as_array().unwrap()).ok().map(|()| tree);
            assert_eq!(done, want, "{patch}");
        }
    }
}
