//! What the fake holds, and how a write changes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{Draft, Gvr, Object, Status, Value};
use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::Verb;
use crate::{Target, WatchEvent};

/// Resource, namespace, name. The version does not count.
pub(super) type Key = (String, String, String);

pub(super) type Reaction = Box<dyn Fn(Verb, &Target) -> Option<Status> + Send + Sync>;

type Review = Box<dyn Fn(&Value) -> bool + Send + Sync>;

#[derive(Default)]
pub(super) struct State {
    pub(super) revision: u64,
    pub(super) objects: BTreeMap<Key, Arc<Object>>,
    /// Every event since the beginning, with the resource it belongs to and the object's state before.
    pub(super) log: Vec<(String, Option<Arc<Object>>, WatchEvent)>,
    pub(super) watchers: Vec<mpsc::UnboundedSender<Result<usize, Status>>>,
    pub(super) calls: Vec<(Verb, Target)>,
    pub(super) reaction: Option<Reaction>,
    pub(super) review: Option<Review>,
    pub(super) aggregated: Vec<crate::Aggregated>,
    pub(super) aggregated_changes: watch::Sender<()>,
    pub(super) uids: u64,
}

pub(super) fn store_resource(r: &Gvr) -> String {
    if r.group.is_empty() { r.resource.clone() } else { format!("{}/{}", r.group, r.resource) }
}

pub(super) fn key(t: &Target) -> Key {
    (store_resource(&t.resource), t.namespace.clone(), t.name.clone())
}

pub(super) fn not_found(t: &Target) -> Status {
    Status::not_found(&t.resource.group, &t.resource.resource, &t.name)
}

/// As the engine: a changed spec is a new generation.
pub(super) fn bump(tree: &mut Value, old_spec: &Value) {
    if tree["spec"] != *old_spec {
        tree["metadata"]["generation"] = json!(tree["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
    }
}

impl State {
    pub(super) fn put(&mut self, key: &Key, mut tree: Value) -> Arc<Object> {
        let old = self.objects.get(key).cloned();
        if !tree["metadata"].is_object() {
            tree["metadata"] = json!({});
        }
        let meta = &mut tree["metadata"];
        meta["name"] = json!(key.2);
        if !key.1.is_empty() {
            meta["namespace"] = json!(key.1);
        }
        if meta["uid"].is_null() {
            self.uids += 1;
            meta["uid"] = json!(format!("uid-{}", self.uids));
        }
        if meta["creationTimestamp"].is_null() {
            meta["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        if meta["generation"].is_null() {
            meta["generation"] = json!(1);
        }
        let draft = Draft::encode(&tree).expect("a test's object encodes");
        if let Some(old) = old.as_ref().filter(|o| draft.same_as(o)) {
            return old.clone();
        }
        self.revision += 1;
        let object = Arc::new(draft.at(self.revision));
        // a bound pod waits for its kubelet, a namespace for its finalizer
        let waits = match key.0.as_str() {
            "pods" => tree["spec"]["nodeName"].as_str().is_some_and(|n| !n.is_empty()),
            other => other == "namespaces",
        };
        if object.meta().is_deleting() && object.meta().finalizers.is_empty() && !waits {
            self.objects.insert(key.clone(), object.clone());
            self.drop_object(key);
            return object;
        }
        self.objects.insert(key.clone(), object.clone());
        let event = if old.is_some() { WatchEvent::Modified } else { WatchEvent::Added }(object.clone());
        self.publish(key.0.clone(), old, event);
        object
    }

    pub(super) fn drop_object(&mut self, key: &Key) -> Option<Arc<Object>> {
        let old = self.objects.remove(key)?;
        self.revision += 1;
        let last = Draft::encode(&old.tree()).expect("a stored object encodes").at(self.revision);
        self.publish(key.0.clone(), Some(old.clone()), WatchEvent::Deleted(Arc::new(last)));
        Some(old)
    }

    fn publish(&mut self, resource: String, old: Option<Arc<Object>>, event: WatchEvent) {
        self.log.push((resource, old, event));
        let position = self.log.len() - 1;
        self.watchers.retain(|w| w.send(Ok(position)).is_ok());
    }
}

impl State {
    pub(super) fn write(&mut self, target: &Target, mut tree: Value) -> Result<Arc<Object>, Status> {
        let key = key(target);
        let current = self.objects.get(&key).cloned().ok_or_else(|| not_found(target))?;
        let asked = tree["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if !asked.is_empty() && asked != current.revision().to_string() {
            let resource = &target.resource;
            return Err(Status::modified(&resource.group, &resource.resource, &target.name));
        }
        let mut old = current.tree();
        match target.subresource {
            "status" => {
                old["status"] = tree["status"].take();
                tree = old;
            }
            "approval" => {
                old["status"]["conditions"] = tree["status"]["conditions"].take();
                tree = old;
            }
            "finalize" => {
                old["spec"]["finalizers"] = tree["spec"]["finalizers"].take();
                tree = old;
                let empty = tree["spec"]["finalizers"].as_array().is_none_or(Vec::is_empty);
                if empty && current.meta().is_deleting() {
                    self.drop_object(&key);
                    return Ok(current);
                }
            }
            _ => {
                tree["status"] = old["status"].take();
                if tree["status"].is_null() {
                    tree.as_object_mut().map(|o| o.remove("status"));
                }
                tree["metadata"]["generation"] = old["metadata"]["generation"].clone();
                bump(&mut tree, &old["spec"]);
            }
        }
        Ok(self.put(&key, tree))
    }
}
