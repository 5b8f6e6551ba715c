//! What [`super::check`] is for built-in types, for custom resources: metadata is checked, what the schema does not know goes.

use serde_json::Value;

use super::check_metadata;
use crate::crd::{Structural, prune};

/// Errors, in upstream's words, where `metadata` or that of an embedded resource is not what it must be.
pub fn check(schema: &Structural, tree: &mut Value) -> Result<Vec<String>, String> {
    if !tree.is_object() {
        return Err(format!("json: cannot unmarshal {tree} into Go value of type map[string]interface {{}}"));
    }
    let mut unknown = Vec::new();
    metadata(tree, "", &mut unknown)?;
    embedded(schema, tree, &mut String::new(), &mut unknown)?;
    unknown.extend(prune(tree, schema));
    Ok(unknown)
}

fn metadata(tree: &mut Value, path: &str, unknown: &mut Vec<String>) -> Result<(), String> {
    let path = if path.is_empty() { "metadata".to_owned() } else { format!("{path}.metadata") };
    match tree.get_mut("metadata") {
        None => {}
        Some(Value::Null) => drop(tree.as_object_mut().map(|o| o.remove("metadata"))),
        Some(meta) => unknown.extend(check_metadata(meta, &path)?),
    }
    Ok(())
}

fn embedded(s: &Structural, v: &mut Value, path: &mut String, unknown: &mut Vec<String>) -> Result<(), String> {
    let mark = path.len();
    match v {
        Value::Object(o) => {
            for (key, v) in o.iter_mut() {
                if let Some(below) = s.member(key) {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(key);
                    if below.embedded && v.is_object() {
                        metadata(v, path, unknown)?;
                    }
                    embedded(below, v, path, unknown)?;
                    path.truncate(mark);
                }
            }
        }
        Value::Array(list) => {
            let Some(items) = &s.items else { return Ok(()) };
            for (i, v) in list.iter_mut().enumerate() {
                path.push_str(&format!("[{i}]"));
                if items.embedded && v.is_object() {
                    metadata(v, path, unknown)?;
                }
                embedded(items, v, path, unknown)?;
                path.truncate(mark);
            }
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn metadata_is_checked_here_and_in_what_is_embedded() {
        let schema = Structural::parse(
            &json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "t": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}}}}}),
        );
        let mut tree = json!({"metadata": {"name": "a", "nope": 1, "labels": {}}, "x": 1,
            "spec": {"t": {"metadata": {"creationTimestamp": null, "odd": 1}, "kept": 1}}});
        let unknown = check(&schema, &mut tree).unwrap();
        assert_eq!(unknown, ["metadata.nope", "spec.t.metadata.odd", "x"].map(|f| format!("unknown field \"{f}\"")));
        assert_eq!(tree, json!({"metadata": {"name": "a"}, "spec": {"t": {"metadata": {}, "kept": 1}}}));
        assert!(check(&schema, &mut json!({"metadata": 1})).is_err());
        assert!(check(&schema, &mut json!({"metadata": {"labels": {"a": 1}}})).is_err());
    }
}
