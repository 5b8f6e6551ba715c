//! Keeps the tables of authorization as the store has them.

use std::sync::Arc;

use api::Object;
use store::{Event, EventKind, Store};
use tokio_util::sync::CancellationToken;

use super::{Authorization, RESOURCES};

const PODS: &str = "pods";

impl Authorization {
    /// Fills the tables from the store, then follows its watch until `stop`: what is committed counts within microseconds.
    ///
    /// Must be called within a runtime.
    pub fn follow(self: &Arc<Self>, store: &Arc<Store>, stop: &CancellationToken) {
        self.nodes.look_at(store.clone());
        for resource in RESOURCES.into_iter().chain([PODS]) {
            let revision = self.fill(store, resource);
            let (this, store, stop) = (self.clone(), store.clone(), stop.clone());
            tokio::spawn(async move { stop.run_until_cancelled(this.keep(&store, resource, revision)).await });
        }
    }

    async fn keep(&self, store: &Store, resource: &'static str, mut revision: u64) {
        loop {
            match store.watch(resource, revision) {
                Ok(mut watcher) => loop {
                    match watcher.next().await {
                        Ok(events) => events.iter().for_each(|e| self.take(resource, e)),
                        Err(store::Error::Closed) => return,
                        Err(_) => break,
                    }
                },
                Err(store::Error::Closed) => return,
                Err(_) => {}
            }
            // slower than compaction: begin anew
            revision = self.fill(store, resource);
        }
    }

    fn take(&self, resource: &str, event: &Event) {
        match event.kind {
            EventKind::Put => self.put(resource, &event.object),
            EventKind::Delete => self.remove(resource, event.object.namespace(), event.object.name()),
        }
    }

    fn put(&self, resource: &str, object: &Object) {
        if resource == PODS { self.nodes.put(object) } else { self.rbac.put(resource, object) }
    }
    fn remove(&self, resource: &str, namespace: &str, name: &str) {
        if resource == PODS { self.nodes.remove(namespace, name) } else { self.rbac.remove(resource, namespace, name) }
    }

    /// Makes the table of `resource` what the store has; answers as of which revision.
    fn fill(&self, store: &Store, resource: &str) -> u64 {
        let now = store.snapshot(resource);
        let known = if resource == PODS { self.nodes.keys() } else { self.rbac.keys(resource) };
        for (namespace, name) in known.iter().filter(|(ns, n)| now.get(ns, n).is_none()) {
            self.remove(resource, namespace, name);
        }
        now.iter().for_each(|o| self.put(resource, o));
        now.revision()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use api::Draft;
    use serde_json::{Value, json};
    use store::{Change, Key, Options};

    use super::super::rbac::tests::ask;
    use super::*;
    use crate::{Authorizer, Decision, User, Verb};

    async fn put(store: &Store, resource: &str, tree: Value) {
        let draft = Draft::encode(&tree).unwrap();
        let key = Key::new(resource, &draft.meta().namespace, &draft.meta().name);
        store.commit(key, None, Change::Put(draft)).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_committed_counts() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path().join("state.db"), Options::default()).unwrap());
        let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]);
        put(&store, RESOURCES[0], json!({"metadata": {"name": "view"}, "rules": rules})).await;
        let (authorization, stop) = (Arc::new(Authorization::new()), CancellationToken::new());
        authorization.follow(&store, &stop);

        let user = Arc::new(User { name: "ann".into(), ..User::default() });
        let question = ask(&user, Verb::List, "pods", "ns");
        let until = async |wanted: Decision| {
            let wait = async {
                while authorization.authorize(&question) != wanted {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(5), wait).await.expect("the tables follow");
        };
        until(Decision::NoOpinion).await;
        let binding = json!({"metadata": {"name": "b"}, "subjects": [{"kind": "User", "name": "ann"}],
            "roleRef": {"kind": "ClusterRole", "name": "view"}});
        put(&store, RESOURCES[1], binding).await;
        until(Decision::Allow).await;
        store.commit(Key::new(RESOURCES[1], "", "b"), None, Change::Delete).await.unwrap();
        until(Decision::NoOpinion).await;
        stop.cancel();
    }
}
