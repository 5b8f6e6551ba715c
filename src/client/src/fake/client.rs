//! The fake as a [`Client`].

use std::sync::Arc;

use api::{Draft, Object, Status, Value};
use async_trait::async_trait;
use futures::StreamExt;
use serde_json::json;
use tokio::sync::mpsc;

use super::patch::{merge, merge_conditions};
use super::select::{Chosen, revision_of, seen};
use super::state::{key, not_found, store_resource};
use super::{FakeClient, Verb};
use crate::{Aggregated, Client, DeleteOptions, List, ListOptions, Patch, Propagation, Target, Watch, WriteOptions};

#[async_trait]
impl Client for FakeClient {
    async fn get(&self, target: &Target) -> Result<Arc<Object>, Status> {
        self.call(Verb::Get, target)?;
        self.state.lock().objects.get(&key(target)).cloned().ok_or_else(|| not_found(target))
    }

    async fn list(&self, target: &Target, options: &ListOptions) -> Result<List, Status> {
        self.call(Verb::List, target)?;
        let chosen = Chosen::new(target, options)?;
        let s = self.state.lock();
        let resource = store_resource(&target.resource);
        let items =
            s.objects.iter().filter(|(k, o)| k.0 == resource && chosen.has(o)).map(|(_, o)| o.clone()).collect();
        Ok(List { items, revision: s.revision, next: None })
    }

    async fn watch(&self, target: &Target, options: &ListOptions, from: u64) -> Result<Watch, Status> {
        self.call(Verb::Watch, target)?;
        let chosen = Chosen::new(target, options)?;
        let resource = store_resource(&target.resource);
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut s = self.state.lock();
        let start = s.log.partition_point(|(_, _, e)| revision_of(e) <= from);
        for position in start..s.log.len() {
            let _ = sender.send(Ok(position));
        }
        s.watchers.push(sender);
        let state = self.state.clone();
        let events = futures::stream::unfold(receiver, |mut r| async move { r.recv().await.map(|p| (p, r)) });
        Ok(Box::pin(events.filter_map(move |position: Result<usize, Status>| {
            let position = match position {
                Ok(position) => position,
                Err(status) => return futures::future::ready(Some(Err(status))),
            };
            let s = state.lock();
            let (of, old, event) = &s.log[position];
            let event = (*of == resource).then(|| seen(&chosen, old.as_ref(), event)).flatten();
            futures::future::ready(event.map(Ok))
        })))
    }

    async fn create(&self, target: &Target, mut tree: Value, _: &WriteOptions) -> Result<Arc<Object>, Status> {
        self.call(Verb::Create, target)?;
        let mut s = self.state.lock();
        match target.subresource {
            "" if target.resource.resource == "subjectaccessreviews" => {
                let allowed = s.review.as_ref().is_some_and(|r| r(&tree));
                tree["status"] = json!({"allowed": allowed});
                return Ok(Arc::new(Draft::encode(&tree)?.at(0)));
            }
            "" => {}
            "binding" => {
                let pod = s.objects.get(&key(target)).ok_or_else(|| not_found(target))?;
                let mut pod = pod.tree();
                if pod["spec"]["nodeName"].is_string() {
                    return Err(Status::conflict("", "pods", &target.name, "pod is already assigned to a node"));
                }
                pod["spec"]["nodeName"] = tree["target"]["name"].clone();
                return Ok(s.put(&key(target), pod));
            }
            "eviction" => return s.drop_object(&key(target)).ok_or_else(|| not_found(target)),
            // the test says what it answers
            "token" => return Ok(Arc::new(Draft::encode(&tree)?.at(0))),
            other => return Err(Status::bad_request(format!("the fake has no subresource {other}"))),
        }
        let mut name = tree["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if name.is_empty() {
            let prefix = tree["metadata"]["generateName"].as_str().unwrap_or_default();
            s.uids += 1;
            name = format!("{prefix}{:05}", s.uids);
        }
        let key = (store_resource(&target.resource), target.namespace.clone(), name.clone());
        if s.objects.contains_key(&key) {
            return Err(Status::already_exists(&target.resource.group, &target.resource.resource, &name));
        }
        // events and the like have no status; all others get theirs from `…/status`
        if let Some(o) = tree.as_object_mut() {
            o.remove("status");
        }
        Ok(s.put(&key, tree))
    }

    async fn update(&self, target: &Target, tree: Value, _: &WriteOptions) -> Result<Arc<Object>, Status> {
        self.call(Verb::Update, target)?;
        self.state.lock().write(target, tree)
    }

    async fn patch(&self, target: &Target, patch: Patch, _: &WriteOptions) -> Result<Arc<Object>, Status> {
        self.call(Verb::Patch, target)?;
        let (patch, strategic) = match patch {
            Patch::Merge(patch) | Patch::Apply { tree: patch, .. } => (patch, false),
            Patch::Strategic(patch) => (patch, true),
            Patch::Json(_) => return Err(Status::bad_request("the fake has no JSON patch")),
        };
        let mut s = self.state.lock();
        let current = s.objects.get(&key(target)).ok_or_else(|| not_found(target))?;
        let mut tree = current.tree();
        let conditions = tree["status"]["conditions"].as_array().cloned().unwrap_or_default();
        merge(&mut tree, &patch);
        let new = tree.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
        if let (true, Some(new)) = (strategic, new) {
            merge_conditions(new, conditions);
        }
        s.write(target, tree)
    }

    async fn delete(&self, target: &Target, options: &DeleteOptions) -> Result<Arc<Object>, Status> {
        self.call(Verb::Delete, target)?;
        let mut s = self.state.lock();
        let key = key(target);
        if target.name.is_empty() {
            let all: Vec<_> = s.objects.keys().filter(|k| k.0 == key.0 && k.1 == key.1).cloned().collect();
            all.iter().for_each(|k| drop(s.drop_object(k)));
            return Ok(Arc::new(Draft::encode(&json!({"metadata": {}}))?.at(0)));
        }
        let object = s.objects.get(&key).cloned().ok_or_else(|| not_found(target))?;
        let fits = options.precondition.uid.as_deref().is_none_or(|u| u == object.uid())
            && options.precondition.revision.is_none_or(|r| r == object.revision());
        if !fits {
            let resource = &target.resource;
            return Err(Status::conflict(&resource.group, &resource.resource, &target.name, "precondition failed"));
        }
        let mut tree = object.tree();
        let finalizer = match options.propagation {
            Some(Propagation::Foreground) => Some("foregroundDeletion"),
            Some(Propagation::Orphan) => Some("orphan"),
            _ => None,
        };
        if let Some(f) = finalizer {
            let mut all: Vec<Value> = tree["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
            if !all.contains(&json!(f)) {
                all.push(json!(f));
            }
            tree["metadata"]["finalizers"] = json!(all);
        }
        let bound = tree["spec"]["nodeName"].as_str().is_some_and(|n| !n.is_empty());
        let graceful = key.0 == "pods" && bound && options.grace_seconds != Some(0);
        let held = tree["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty())
            || tree["spec"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
        if !graceful && !held {
            return s.drop_object(&key).ok_or_else(|| not_found(target));
        }
        if tree["metadata"]["deletionTimestamp"].is_null() {
            tree["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        Ok(s.put(&key, tree))
    }
    fn aggregated(&self) -> Vec<Aggregated> {
        self.state.lock().aggregated.clone()
    }
    fn aggregated_changes(&self) -> tokio::sync::watch::Receiver<()> {
        self.state.lock().aggregated_changes.subscribe()
    }
}
