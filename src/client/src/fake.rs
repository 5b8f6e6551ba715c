//! An API in memory, for tests: upstream's `client-go/kubernetes/fake`, but with resource versions that conflict, finalizers,
//! the split of `status` from the main resource, and watches that resume.
//!
//! It has no schema: trees are stored as they come, nothing is defaulted or validated. Deletes take effect at once unless
//! a finalizer holds the object, or it is a pod with a node and a grace period (then the test plays the kubelet).

use std::collections::BTreeMap;
use std::sync::Arc;

use api::fields::FieldSelector;
use api::labels::Selector;
use api::{Draft, Gvr, NoStrategy, Object, Status, Strategy, Value};
use async_trait::async_trait;
use futures::StreamExt;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::mpsc;

use crate::{Client, DeleteOptions, List, ListOptions, Patch, Propagation, Target, Watch, WatchEvent, WriteOptions};

/// Resource, namespace, name. The version does not count.
type Key = (String, String, String);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
}

type Reaction = Box<dyn Fn(Verb, &Target) -> Option<Status> + Send + Sync>;

#[derive(Default)]
struct State {
    revision: u64,
    objects: BTreeMap<Key, Arc<Object>>,
    /// Every event since the beginning, with the resource it belongs to and the object's state before.
    log: Vec<(String, Option<Arc<Object>>, WatchEvent)>,
    watchers: Vec<mpsc::UnboundedSender<usize>>,
    calls: Vec<(Verb, Target)>,
    reaction: Option<Reaction>,
    uids: u64,
}

/// Clones share the objects.
#[derive(Clone, Default)]
pub struct FakeClient {
    state: Arc<Mutex<State>>,
}

fn store_resource(r: &Gvr) -> String {
    if r.group.is_empty() { r.resource.clone() } else { format!("{}/{}", r.group, r.resource) }
}

fn key(t: &Target) -> Key {
    (store_resource(&t.resource), t.namespace.clone(), t.name.clone())
}

fn not_found(t: &Target) -> Status {
    Status::not_found(&t.resource.group, &t.resource.resource, &t.name)
}

impl FakeClient {
    pub fn new() -> FakeClient {
        FakeClient::default()
    }
    pub fn arc(&self) -> Arc<dyn Client> {
        Arc::new(self.clone())
    }
    /// Answers calls for which it returns a status with that status.
    pub fn react(&self, reaction: impl Fn(Verb, &Target) -> Option<Status> + Send + Sync + 'static) {
        self.state.lock().reaction = Some(Box::new(reaction));
    }
    /// Puts an object in as it is, status included: creates or overwrites.
    pub fn seed(&self, resource: Gvr, tree: Value) -> Arc<Object> {
        let text = |k: &str| tree["metadata"][k].as_str().unwrap_or_default().to_owned();
        let target = Target::one(resource, &text("namespace"), &text("name"));
        self.state.lock().put(&key(&target), tree)
    }
    /// All objects of a resource.
    pub fn objects(&self, resource: &Gvr) -> Vec<Arc<Object>> {
        let name = store_resource(resource);
        self.state.lock().objects.iter().filter(|(k, _)| k.0 == name).map(|(_, o)| o.clone()).collect()
    }
    /// The tree of one object, `Null` if there is none.
    pub fn tree(&self, resource: &Gvr, namespace: &str, name: &str) -> Value {
        let key = (store_resource(resource), namespace.to_owned(), name.to_owned());
        self.state.lock().objects.get(&key).map_or(Value::Null, |o| o.tree())
    }
    /// Changes a tree in place, as some other client would.
    pub fn edit(&self, resource: &Gvr, namespace: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let key = (store_resource(resource), namespace.to_owned(), name.to_owned());
        let mut s = self.state.lock();
        if let Some(mut tree) = s.objects.get(&key).map(|o| o.tree()) {
            let spec = tree["spec"].clone();
            change(&mut tree);
            bump(&mut tree, &spec);
            s.put(&key, tree);
        }
    }
    /// Removes an object whatever holds it.
    pub fn remove(&self, resource: &Gvr, namespace: &str, name: &str) {
        self.state.lock().drop_object(&(store_resource(resource), namespace.to_owned(), name.to_owned()));
    }
    /// The writes since the last call of this.
    pub fn take_writes(&self) -> Vec<(Verb, Target)> {
        let calls = std::mem::take(&mut self.state.lock().calls);
        calls.into_iter().filter(|(v, _)| !matches!(v, Verb::Get | Verb::List | Verb::Watch)).collect()
    }
    pub fn revision(&self) -> u64 {
        self.state.lock().revision
    }

    fn call(&self, verb: Verb, target: &Target) -> Result<(), Status> {
        let mut s = self.state.lock();
        s.calls.push((verb, target.clone()));
        match s.reaction.as_ref().and_then(|r| r(verb, target)) {
            Some(status) => Err(status),
            None => Ok(()),
        }
    }
}

/// As the engine: a changed spec is a new generation.
fn bump(tree: &mut Value, old_spec: &Value) {
    if tree["spec"] != *old_spec {
        tree["metadata"]["generation"] = json!(tree["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
    }
}

impl State {
    fn put(&mut self, key: &Key, mut tree: Value) -> Arc<Object> {
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

    fn drop_object(&mut self, key: &Key) -> Option<Arc<Object>> {
        let old = self.objects.remove(key)?;
        self.revision += 1;
        let last = Draft::encode(&old.tree()).expect("a stored object encodes").at(self.revision);
        self.publish(key.0.clone(), Some(old.clone()), WatchEvent::Deleted(Arc::new(last)));
        Some(old)
    }

    fn publish(&mut self, resource: String, old: Option<Arc<Object>>, event: WatchEvent) {
        self.log.push((resource, old, event));
        let position = self.log.len() - 1;
        self.watchers.retain(|w| w.send(position).is_ok());
    }
}

/// Selects by labels and by fields.
struct Chosen {
    namespace: String,
    labels: Selector,
    fields: FieldSelector,
}

impl Chosen {
    fn new(target: &Target, options: &ListOptions) -> Result<Chosen, Status> {
        Ok(Chosen {
            namespace: target.namespace.clone(),
            labels: Selector::parse(&options.labels)?,
            fields: FieldSelector::parse(&options.fields)?,
        })
    }
    fn has(&self, o: &Object) -> bool {
        let strategy: &dyn Strategy = &NoStrategy;
        (self.namespace.is_empty() || self.namespace == o.namespace())
            && self.labels.matches(&o.meta().labels)
            && self.fields.matches(strategy, o)
    }
}

fn revision_of(event: &WatchEvent) -> u64 {
    match event {
        WatchEvent::Added(o) | WatchEvent::Modified(o) | WatchEvent::Deleted(o) => o.revision(),
        WatchEvent::Bookmark(r) => *r,
    }
}

/// What a watcher sees of a change: an object that comes to be selected is added, one that ceases to be is deleted.
fn seen(chosen: &Chosen, old: Option<&Arc<Object>>, event: &WatchEvent) -> Option<WatchEvent> {
    let was = old.is_some_and(|o| chosen.has(o));
    match event {
        WatchEvent::Added(o) | WatchEvent::Modified(o) => match (was, chosen.has(o)) {
            (false, true) => Some(WatchEvent::Added(o.clone())),
            (true, true) => Some(WatchEvent::Modified(o.clone())),
            (true, false) => Some(WatchEvent::Deleted(o.clone())),
            (false, false) => None,
        },
        WatchEvent::Deleted(o) => was.then(|| WatchEvent::Deleted(o.clone())),
        WatchEvent::Bookmark(_) => None,
    }
}

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
            let _ = sender.send(position);
        }
        s.watchers.push(sender);
        let state = self.state.clone();
        let events = futures::stream::unfold(receiver, |mut r| async move { r.recv().await.map(|p| (p, r)) });
        Ok(Box::pin(events.filter_map(move |position| {
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
}

impl State {
    fn write(&mut self, target: &Target, mut tree: Value) -> Result<Arc<Object>, Status> {
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

/// The one list that strategic patches merge here: by `type`, field by field.
fn merge_conditions(new: &mut Vec<Value>, old: Vec<Value>) {
    let patches = std::mem::replace(new, old);
    for patch in patches {
        match new.iter_mut().find(|c| c["type"] == patch["type"]) {
            Some(c) => merge(c, &patch),
            None => new.push(patch),
        }
    }
}

/// RFC 7386.
fn merge(tree: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *tree = patch.clone();
        return;
    };
    if !tree.is_object() {
        *tree = json!({});
    }
    for (k, v) in patch {
        if v.is_null() {
            tree.as_object_mut().map(|o| o.remove(k));
        } else {
            merge(&mut tree[k.as_str()], v);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Informer, Selector as Which};
    use tokio_util::sync::CancellationToken;

    fn pods() -> Gvr {
        Gvr::new("", "v1", "pods")
    }

    #[tokio::test(start_paused = true)]
    async fn writes_conflict_and_a_watch_follows() {
        let fake = FakeClient::new();
        let client = fake.arc();
        let options = ListOptions { labels: "a=1".into(), ..Default::default() };
        let mut watch = client.watch(&Target::all(pods()), &options, 0).await.unwrap();
        let tree = json!({"metadata": {"generateName": "p-", "labels": {"a": "1"}}, "status": {"phase": "x"}});
        let made = client.create(&Target::within(pods(), "n"), tree, &WriteOptions::default()).await.unwrap();
        assert_eq!(made.tree()["status"], Value::Null);
        let at = Target::one(pods(), "n", made.name());
        let patch = Patch::Merge(json!({"metadata": {"labels": {"a": "2"}}}));
        client.patch(&at, patch, &WriteOptions::default()).await.unwrap();
        assert!(client.update(&at, made.tree(), &WriteOptions::default()).await.unwrap_err().is_conflict());
        assert!(matches!(watch.next().await, Some(Ok(WatchEvent::Added(_)))));
        assert!(matches!(watch.next().await, Some(Ok(WatchEvent::Deleted(_)))));
    }

    #[tokio::test(start_paused = true)]
    async fn an_informer_follows_indexes_and_tells_each_handler_once() {
        let fake = FakeClient::new();
        let owned = |n: &str| {
            json!({"metadata": {"name": n, "namespace": "n", "ownerReferences":
            [{"apiVersion": "v1", "kind": "X", "name": "o", "uid": "u", "controller": true}]}})
        };
        fake.seed(pods(), owned("a"));
        let stop = CancellationToken::new();
        let informer = Informer::start(fake.arc(), Which::all(pods()), stop.clone());
        let index = informer.index(crate::by_controller);
        informer.synced().await;
        let told = Arc::new(Mutex::new(Vec::new()));
        let sink = told.clone();
        informer.on_change(move |c| sink.lock().push((c.old.is_some(), c.new.is_some())));
        fake.seed(pods(), owned("b"));
        fake.edit(&pods(), "n", "a", |t| t["metadata"]["ownerReferences"] = json!([]));
        fake.remove(&pods(), "n", "a");
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        assert_eq!(*told.lock(), [(false, true), (false, true), (true, true), (true, false)]);
        assert_eq!(index.get("u").iter().map(|o| o.name()).collect::<Vec<_>>(), ["b"]);
        assert_eq!(informer.list(Some("n")).len(), 1);
        stop.cancel();
    }
}
