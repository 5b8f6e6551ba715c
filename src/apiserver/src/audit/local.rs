//! Audit of what the server's own components do: they come without HTTP, and are recorded all the same.

use std::sync::Arc;

use ::http::HeaderMap;
use api::{Object, Status, Value};
use async_trait::async_trait;
use client::{Aggregated, Client, DeleteOptions, List, ListOptions, Patch, Target, Watch, WriteOptions};

use super::{Audit, Origin, Record, noting};
use crate::{Attributes, User, Verb};

pub(crate) struct Audited {
    pub inner: Arc<dyn Client>,
    pub audit: Arc<Audit>,
    pub user: Arc<User>,
}

impl Audited {
    fn begin(&self, verb: Verb, target: &Target, tree: Option<&Value>) -> Option<Record> {
        let r = &target.resource;
        let a = Attributes {
            user: self.user.clone(),
            verb,
            group: r.group.clone(),
            version: r.version.clone(),
            resource: r.resource.clone(),
            subresource: target.subresource.into(),
            namespace: target.namespace.clone(),
            name: target.name.clone(),
            path: String::new(),
        };
        let id = uuid::Uuid::new_v4().to_string();
        let uri = uri(target);
        let origin = Origin { id: &id, uri: &uri, headers: &HeaderMap::new(), source: "127.0.0.1" };
        let mut record = self.audit.begin(&a, &origin, &self.user, None)?;
        record.decided(true);
        if let Some(tree) = tree {
            record.request(tree.clone());
        }
        Some(record)
    }
}

fn uri(t: &Target) -> String {
    let r = &t.resource;
    let mut uri =
        if r.group.is_empty() { format!("/api/{}", r.version) } else { format!("/apis/{}/{}", r.group, r.version) };
    for part in
        [if t.namespace.is_empty() { "" } else { "namespaces" }, &t.namespace, &r.resource, &t.name, t.subresource]
    {
        if !part.is_empty() {
            uri.push('/');
            uri.push_str(part);
        }
    }
    uri
}

fn end<T>(record: Option<Record>, code: u16, done: &Result<T, Status>, object: impl FnOnce(&T) -> Option<Value>) {
    if let Some(mut record) = record {
        match done {
            Ok(answer) => record.finish(code, object(answer), None),
            Err(status) => record.finish(status.code, None, Some(status)),
        }
    }
}

fn tree(object: &Arc<Object>) -> Option<Value> {
    Some(object.tree())
}

#[async_trait]
impl Client for Audited {
    async fn get(&self, target: &Target) -> Result<Arc<Object>, Status> {
        let record = self.begin(Verb::Get, target, None);
        let done = self.inner.get(target).await;
        end(record, 200, &done, tree);
        done
    }
    async fn list(&self, target: &Target, options: &ListOptions) -> Result<List, Status> {
        let record = self.begin(Verb::List, target, None);
        let done = self.inner.list(target, options).await;
        end(record, 200, &done, |_| None);
        done
    }
    async fn watch(&self, target: &Target, options: &ListOptions, from: u64) -> Result<Watch, Status> {
        let record = self.begin(Verb::Watch, target, None);
        let done = self.inner.watch(target, options, from).await;
        end(record, 200, &done, |_| None);
        done
    }
    async fn create(&self, target: &Target, body: Value, options: &WriteOptions) -> Result<Arc<Object>, Status> {
        let mut record = self.begin(Verb::Create, target, Some(&body));
        let done = noting(record.as_mut(), self.inner.create(target, body, options)).await;
        end(record, 201, &done, tree);
        done
    }
    async fn update(&self, target: &Target, body: Value, options: &WriteOptions) -> Result<Arc<Object>, Status> {
        let mut record = self.begin(Verb::Update, target, Some(&body));
        let done = noting(record.as_mut(), self.inner.update(target, body, options)).await;
        end(record, 200, &done, tree);
        done
    }
    async fn patch(&self, target: &Target, patch: Patch, options: &WriteOptions) -> Result<Arc<Object>, Status> {
        let body = match &patch {
            Patch::Json(tree) | Patch::Merge(tree) | Patch::Strategic(tree) | Patch::Apply { tree, .. } => tree,
        };
        let mut record = self.begin(Verb::Patch, target, Some(body));
        let done = noting(record.as_mut(), self.inner.patch(target, patch, options)).await;
        end(record, 200, &done, tree);
        done
    }
    async fn delete(&self, target: &Target, options: &DeleteOptions) -> Result<Arc<Object>, Status> {
        let mut record = self.begin(Verb::Delete, target, None);
        let done = noting(record.as_mut(), self.inner.delete(target, options)).await;
        end(record, 200, &done, tree);
        done
    }
    fn aggregated(&self) -> Vec<Aggregated> {
        self.inner.aggregated()
    }
    fn aggregated_changes(&self) -> tokio::sync::watch::Receiver<()> {
        self.inner.aggregated_changes()
    }
}
