//! What the tests share.
#![allow(dead_code, reason = "each test uses a part")]

use api::{Draft, Object};
use serde_json::json;
use store::{Change, Commit, Error, Event, Key, Options, Precondition, Store, Watcher};

pub const MAPS: &str = "configmaps";
pub const LEASES: &str = "coordination.k8s.io/leases";

pub fn key(resource: &str, name: &str) -> Key {
    Key::new(resource, "default", name)
}

pub fn draft(key: &Key, value: &str) -> Draft {
    let metadata = json!({"namespace": &*key.namespace, "name": &*key.name, "uid": "u"});
    Draft::encode(&json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"v": value}}))
        .unwrap()
}

pub fn value(object: &Object) -> String {
    let tree = object.tree();
    assert_eq!(tree["metadata"]["resourceVersion"], object.revision().to_string());
    tree["data"]["v"].as_str().unwrap().to_string()
}

pub async fn put(store: &Store, key: &Key, value: &str) -> Result<Commit, Error> {
    put_if(store, key, value, None).await
}

pub async fn put_if(store: &Store, key: &Key, value: &str, pre: Option<Precondition>) -> Result<Commit, Error> {
    store.commit(key.clone(), pre, Change::Put(draft(key, value))).await
}

pub async fn delete(store: &Store, key: &Key) -> Result<Commit, Error> {
    store.commit(key.clone(), None, Change::Delete).await
}

/// All events up to the store's revision.
pub async fn drain(watcher: &mut Watcher, upto: u64) -> Result<Vec<Event>, Error> {
    let mut all = Vec::new();
    while watcher.progress() < upto {
        all.extend(watcher.next().await?);
    }
    Ok(all)
}

/// Forgets nothing.
pub fn keep_all() -> Options {
    Options { keep_bytes: u64::MAX, ..Options::default() }
}
