//! Patches on trees: JSON patch, merge patch (RFC 7386) and Kubernetes' strategic merge patch.
//!
//! A failed patch leaves the tree in no particular state: patch a copy.

mod json;
mod strategic;

use serde_json::Value;

use crate::{Reason, Status};
pub use strategic::strategic;

/// `maxJSONPatchOperations`
const MAX_OPERATIONS: usize = 10_000;

/// 422 with the text of upstream's `NewGenericServerResponse`, which does not say why.
fn unprocessable() -> Status {
    Status::new(Reason::Invalid, "the server rejected our request due to an error in our request")
}

/// `application/json-patch+json`. A patch that is none is a `BadRequest`, one that does not apply (a failing `test` too) is
/// `Invalid`.
pub fn json(tree: &mut Value, patch: &Value) -> Result<(), Status> {
    let count = patch.as_array().map_or(0, Vec::len);
    if count > MAX_OPERATIONS {
        let message = format!(
            "Request entity too large: The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {count}"
        );
        return Err(Status::new(Reason::RequestEntityTooLarge, message));
    }
    let operations = match patch.as_array() {
        Some(operations) if operations.iter().all(Value::is_object) => operations,
        _ => return Err(Status::bad_request("error decoding patch: a JSON patch is a list of objects")),
    };
    json::apply(tree, operations).map_err(|json::Inapplicable| unprocessable())
}

/// `application/merge-patch+json`. A patch that is no object is a `BadRequest`.
pub fn merge(tree: &mut Value, patch: &Value) -> Result<(), Status> {
    if !patch.is_object() {
        return Err(Status::bad_request("Invalid JSON Patch"));
    }
    json_patch::merge(tree, patch);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_patches() {
        let base = json!({"a": {"b": [1, 2]}, "x/y": 1});
        let ok = [
            (json!([{"op": "add", "path": "/a/b/-", "value": 3}]), json!({"a": {"b": [1, 2, 3]}, "x/y": 1})),
            (json!([{"op": "replace", "path": "/x~1y", "value": null}]), json!({"a": {"b": [1, 2]}, "x/y": null})),
            (json!([{"op": "remove", "path": "/a"}]), json!({"x/y": 1})),
            (
                json!([{"op": "test", "path": "/x~1y", "value": 1}, {"op": "move", "from": "/a/b", "path": "/c"}]),
                json!({"a": {}, "x/y": 1, "c": [1, 2]}),
            ),
        ];
        for (patch, want) in ok {
            let mut tree = base.clone();
            json(&mut tree, &patch).unwrap();
            assert_eq!(tree, want, "{patch}");
        }
        let bad = [
            (json!({"op": "add"}), 400),
            (json!([{"op": "nope", "path": "/a"}]), 422),
            (json!([{"op": "test", "path": "/x~1y", "value": 2}]), 422),
            (json!([{"op": "remove", "path": "/nope"}]), 422),
            (json!([{"op": "add", "path": "/no/pe", "value": 1}]), 422),
            (Value::Array(vec![json!({"op": "remove", "path": "/a"}); 10_001]), 413),
        ];
        for (patch, code) in bad {
            assert_eq!(json(&mut base.clone(), &patch).unwrap_err().code, code);
        }
        // a bomb: every copy doubles the document
        let bomb =
            Value::Array((0..9_999).map(|i| json!({"op": "copy", "from": "", "path": format!("/n{i}")})).collect());
        assert_eq!(json(&mut base.clone(), &bomb).unwrap_err().code, 422);
    }

    #[test]
    fn merge_patches() {
        let mut tree = json!({"a": {"b": 1, "c": 2}, "l": [1]});
        merge(&mut tree, &json!({"a": {"b": null, "d": {"e": null}}, "l": [2]})).unwrap();
        assert_eq!(tree, json!({"a": {"c": 2, "d": {}}, "l": [2]}));
        assert_eq!(merge(&mut tree, &json!([])).unwrap_err().code, 400);
    }
}
