//! Types on a [`Client`].

use std::marker::PhantomData;
use std::sync::Arc;

use api::{Object, Resource, Status, Value};

use crate::{Client, DeleteOptions, List, ListOptions, Patch, Target, WriteOptions};

/// The API of one kind. Cheap to make and to clone.
pub struct Api<K> {
    client: Arc<dyn Client>,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Api<K> {
    fn clone(&self) -> Self {
        Api { client: self.client.clone(), kind: PhantomData }
    }
}

impl<K: Resource> Api<K> {
    pub fn new(client: Arc<dyn Client>) -> Api<K> {
        Api { client, kind: PhantomData }
    }
    fn one(namespace: &str, name: &str) -> Target {
        Target::one(K::gvr(), namespace, name)
    }
    /// Read it with [`Object::view`].
    pub async fn get(&self, namespace: &str, name: &str) -> Result<Arc<Object>, Status> {
        self.client.get(&Self::one(namespace, name)).await
    }
    /// `namespace` empty: all of them.
    pub async fn list(&self, namespace: &str, options: &ListOptions) -> Result<List, Status> {
        self.client.list(&Target::within(K::gvr(), namespace), options).await
    }
    pub async fn create(&self, object: &K) -> Result<Arc<Object>, Status> {
        let namespace = object.metadata().namespace.clone().unwrap_or_default();
        self.client.create(&Target::within(K::gvr(), &namespace), object.to_value(), &WriteOptions::default()).await
    }
    pub async fn update(&self, object: &K) -> Result<Arc<Object>, Status> {
        self.put(object, "").await
    }
    pub async fn update_status(&self, object: &K) -> Result<Arc<Object>, Status> {
        self.put(object, "status").await
    }
    async fn put(&self, object: &K, subresource: &'static str) -> Result<Arc<Object>, Status> {
        let m = object.metadata();
        let target = Self::one(m.namespace.as_deref().unwrap_or(""), m.name.as_deref().unwrap_or("")).sub(subresource);
        self.client.update(&target, object.to_value(), &WriteOptions::default()).await
    }
    /// A merge patch of the main resource.
    pub async fn merge(&self, namespace: &str, name: &str, patch: Value) -> Result<Arc<Object>, Status> {
        self.client.patch(&Self::one(namespace, name), Patch::Merge(patch), &WriteOptions::default()).await
    }
    /// A merge patch of `…/status`.
    pub async fn merge_status(&self, namespace: &str, name: &str, patch: Value) -> Result<Arc<Object>, Status> {
        let target = Self::one(namespace, name).sub("status");
        self.client.patch(&target, Patch::Merge(patch), &WriteOptions::default()).await
    }
    pub async fn delete(&self, namespace: &str, name: &str, options: &DeleteOptions) -> Result<Arc<Object>, Status> {
        self.client.delete(&Self::one(namespace, name), options).await
    }
}
