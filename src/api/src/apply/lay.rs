//! What a mutating admission policy does with its apply configuration: merged by the schema, nobody owns anything. Upstream's
//! `ApplyStructuredMergeDiff`.

use serde_json::Value;

use super::node::Node;
use super::{merge, walk};
use crate::schema::Schema;

/// Lays `config`, which has been checked against the schema, over `live`. Errors where it holds atomic lists or maps, of which
/// it would take away what it does not know.
pub fn lay_over<'a>(schema: impl Into<Schema<'a>>, live: &mut Value, config: &Value) -> Result<(), String> {
    let root = Node::root(schema.into());
    let problems = walk::problems(root, config, false);
    if !problems.is_empty() {
        return Err(format!("failed to convert patch object to typed object: {}", problems.join("; ")));
    }
    let mut found = Vec::new();
    atomics(root, config, "", &mut found);
    if !found.is_empty() {
        let why = "may not mutate atomic arrays, maps or structs";
        return Err(format!("invalid ApplyConfiguration: {why}: {}", found.join(", ")));
    }
    *live = merge::merge(root, live, config);
    Ok(())
}

/// `findAtomics`
fn atomics(node: Node, v: &Value, path: &str, found: &mut Vec<String>) {
    match v {
        Value::Object(o) if node.is_object() => {
            for (k, v) in o {
                if let Some(child) = node.child(k) {
                    atomics(child, v, &format!("{path}.{k}"), found);
                }
            }
        }
        Value::Array(list) if node.is_list() => {
            for (i, item) in list.iter().enumerate() {
                atomics(node.item(), item, &format!("{path}[{i}]"), found);
            }
        }
        Value::Object(_) | Value::Array(_) => found.push(path.to_owned()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::find;
    use serde_json::json;

    #[test]
    fn configurations_are_laid_over_and_spare_what_is_atomic() {
        let schema = find("io.k8s.api.apps.v1.Deployment").unwrap();
        let mut live = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"replicas": 1, "template": {"spec": {"containers":
            [{"name": "x", "image": "i"}]}}}});
        let config = json!({"metadata": {"labels": {"b": "2"}}, "spec": {"template": {"spec": {"containers":
            [{"name": "x", "env": [{"name": "E", "value": "1"}]}, {"name": "y"}]}}}});
        lay_over(schema, &mut live, &config).unwrap();
        assert_eq!(
            live,
            json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"replicas": 1, "template": {"spec": {"containers":
                [{"name": "x", "image": "i", "env": [{"name": "E", "value": "1"}]}, {"name": "y"}]}}}})
        );
        let config = json!({"spec": {"template": {"spec": {"containers": [{"name": "x", "command": ["sh"]}]}}}});
        assert_eq!(
            lay_over(schema, &mut live, &config).unwrap_err(),
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.template.spec.containers[0].command"
        );
    }
}
