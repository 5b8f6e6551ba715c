//! Custom resources between their versions: what is stored in one is shown in any.
//!
//! The engine works on trees in the version of the request. What the store has is brought there when it is read: converted,
//! pruned and defaulted by the schema of that version, unless it is known to be so already. What is written is brought to
//! the storage version last.

use std::sync::Arc;

use api::crd::{Conversion, Definition, default, prune};
use api::fields::FieldSelector;
use api::{Draft, Object, Status, Value};
use async_trait::async_trait;

use super::{Engine, Served};

/// Asks a definition's conversion webhook.
#[async_trait]
pub trait Converter: Send + Sync + 'static {
    /// The objects in the version `to` (`group/version`), in their order. `webhook` is `spec.conversion.webhook`.
    async fn convert(
        &self,
        definition: &Definition,
        webhook: &Value,
        to: &str,
        objects: Vec<Value>,
    ) -> Result<Vec<Value>, Status>;
}

/// The `apiVersion` with which a stored object begins.
fn stored_version(object: &Object) -> Option<&str> {
    // as `Draft::encode` writes it: `{"kind":"K","apiVersion":"g/v",`
    let head = object.json().get(..object.json().len().min(512))?;
    let key = b"\"apiVersion\":\"";
    let start = head.windows(key.len()).position(|w| w == key)? + key.len();
    let end = start + head[start..].iter().position(|b| *b == b'"')?;
    std::str::from_utf8(&head[start..end]).ok()
}

/// Whether a stored object is what the version shows, without looking into it.
fn is_current(definition: &Definition, version: &str, object: &Object) -> bool {
    definition.uniform && object.revision() > definition.revision && stored_version(object) == Some(version)
}

fn set_version(tree: &mut Value, version: &str) {
    tree["apiVersion"] = version.into();
}

impl Engine {
    /// A stored object as `served` shows it.
    pub(super) async fn present(&self, served: &Served, object: Arc<Object>) -> Result<Arc<Object>, Status> {
        match &served.kind.definition {
            None => Ok(object),
            Some(d) if is_current(d, &served.api_version(), &object) => Ok(object),
            Some(_) => Ok(self.present_all(served, vec![object]).await?.remove(0)),
        }
    }

    /// Whether a selector must see objects as `served` shows them, not as they are stored: a definition says for each version
    /// which fields select.
    pub(super) fn selects_presented(served: &Served, fields: &FieldSelector) -> bool {
        served.kind.definition.is_some() && fields.looks_inside()
    }

    pub(super) async fn present_all(
        &self,
        served: &Served,
        mut objects: Vec<Arc<Object>>,
    ) -> Result<Vec<Arc<Object>>, Status> {
        let Some(definition) = &served.kind.definition else { return Ok(objects) };
        let version = served.api_version();
        let stale: Vec<usize> =
            (0..objects.len()).filter(|i| !is_current(definition, &version, &objects[*i])).collect();
        if stale.is_empty() {
            return Ok(objects);
        }
        let trees = stale.iter().map(|i| objects[*i].tree()).collect();
        let trees = self.converted(definition, &version, trees).await?;
        let schema = definition.version(&served.version).map(|at| &definition.versions[at].schema);
        for (i, mut tree) in stale.into_iter().zip(trees) {
            if let Some(schema) = schema {
                prune(&mut tree, schema);
                default(&mut tree, schema);
            }
            let draft = Draft::encode(&tree)?;
            if !draft.same_as(&objects[i]) {
                objects[i] = Arc::new(draft.at(objects[i].revision()));
            }
        }
        Ok(objects)
    }

    /// A tree in the version of a request as it is stored.
    pub(super) async fn stored(&self, served: &Served, tree: &Value) -> Result<Draft, Status> {
        let Some(definition) = &served.kind.definition else { return Draft::encode(tree) };
        let version = super::api_version(&definition.group, definition.storage_version());
        if tree["apiVersion"] == version.as_str() {
            return Draft::encode(tree);
        }
        let mut trees = self.converted(definition, &version, vec![tree.clone()]).await?;
        Draft::encode(&trees.remove(0))
    }

    /// A custom resource in one of its versions, pruned and defaulted by that version's schema.
    pub(crate) async fn convert_custom(
        &self,
        definition: &Arc<Definition>,
        version: &str,
        tree: Value,
    ) -> Result<Value, Status> {
        let to = super::api_version(&definition.group, version);
        let mut tree = self.converted(definition, &to, vec![tree]).await?.remove(0);
        if let Some(at) = definition.version(version) {
            let schema = &definition.versions[at].schema;
            prune(&mut tree, schema);
            default(&mut tree, schema);
        }
        Ok(tree)
    }

    async fn converted(
        &self,
        definition: &Arc<Definition>,
        to: &str,
        mut trees: Vec<Value>,
    ) -> Result<Vec<Value>, Status> {
        let Conversion::Webhook(webhook) = &definition.conversion else {
            trees.iter_mut().for_each(|t| set_version(t, to));
            return Ok(trees);
        };
        let others: Vec<usize> = (0..trees.len()).filter(|i| trees[*i]["apiVersion"] != to).collect();
        if others.is_empty() {
            return Ok(trees);
        }
        let converter = self.converter.get().ok_or_else(|| Status::internal("there is no way to a webhook"))?;
        let asked = others.iter().map(|i| std::mem::take(&mut trees[*i])).collect();
        let answers = converter.convert(definition, webhook, to, asked).await?;
        for (i, answer) in others.into_iter().zip(answers) {
            trees[i] = answer;
        }
        Ok(trees)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_version_is_read_off_the_bytes() {
        let tree =
            json!({"apiVersion": "g.io/v1", "kind": "K", "metadata": {"name": "a"}, "spec": {"apiVersion": "x"}});
        assert_eq!(stored_version(&Draft::encode(&tree).unwrap().at(1)), Some("g.io/v1"));
        assert_eq!(stored_version(&Draft::encode(&json!({})).unwrap().at(1)), None);
    }
}
