//! An API in memory, for tests: upstream's `client-go/kubernetes/fake`, but with resource versions that conflict, finalizers,
//! the split of `status` from the main resource, and watches that resume.
//!
//! It has no schema: trees are stored as they come, nothing is defaulted or validated. Deletes take effect at once unless
//! a finalizer holds the object, or it is a pod with a node and a grace period (then the test plays the kubelet).

mod client;
mod patch;
mod select;
mod state;

use std::sync::Arc;

use api::{Gvr, Object, Status, Value};
use parking_lot::Mutex;

use crate::{Client, Target};
use state::{State, bump, key, store_resource};

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

/// Clones share the objects.
#[derive(Clone, Default)]
pub struct FakeClient {
    state: Arc<Mutex<State>>,
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
    /// Answers a `SubjectAccessReview`: whether it is allowed. Without this none is.
    pub fn review(&self, allowed: impl Fn(&Value) -> bool + Send + Sync + 'static) {
        self.state.lock().review = Some(Box::new(allowed));
    }
    /// What other API servers serve.
    pub fn aggregate(&self, all: Vec<crate::Aggregated>) {
        let mut state = self.state.lock();
        state.aggregated = all;
        state.aggregated_changes.send_replace(());
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
    /// Ends every watch that runs, with an error.
    pub fn break_watches(&self, error: Status) {
        for watcher in self.state.lock().watchers.drain(..) {
            let _ = watcher.send(Err(error.clone()));
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Informer, ListOptions, Patch, Selector as Which, WatchEvent, WriteOptions};
    use futures::StreamExt;
    use serde_json::json;
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
