//! The API for those in the same process: the engine with an identity, no socket, no serialisation. What another API server
//! serves is asked of it, by the aggregator's way.

use std::sync::Arc;

use api::decode::FieldValidation;
use api::fields::FieldSelector;
use api::labels::Selector;
use api::{Draft, Object, Status, Value, decode};
use async_trait::async_trait;
use client::{
    Aggregated, Client, DeleteOptions, HttpClient, List, ListOptions, Patch, Target, Watch, WatchEvent, WriteOptions,
};
use futures::StreamExt;

use crate::aggregation::{Aggregation, Within};
use crate::authz::forbidden;
use crate::engine::{
    Call, DeleteOptions as Deletion, Initial, ListFailure, ListRequest, Part, PatchBody, Propagation, Served,
    UidPrecondition, WatchChange, WatchRequest, scale_of,
};
use crate::resource_metrics::{self, ResourceMetrics};
use crate::{Attributes, Decision, Engine, User, Verb};

/// [`Client`] for one identity.
pub(crate) struct Local {
    pub engine: Arc<Engine>,
    pub aggregation: Arc<Aggregation>,
    pub user: Arc<User>,
}

impl Local {
    /// Reaches what this server serves itself, and nothing else.
    pub fn own(engine: &Arc<Engine>, user: Arc<User>) -> Local {
        Local { engine: engine.clone(), aggregation: Arc::default(), user }
    }

    /// Whoever else serves a resource.
    fn elsewhere(&self, target: &Target) -> Option<HttpClient> {
        let remote = self.aggregation.find(&target.resource.group, &target.resource.version)?;
        Some(HttpClient::over(Arc::new(Within { remote, user: self.user.clone() })))
    }

    /// The figures of `metrics.k8s.io` where this server has them.
    fn measured(&self, target: &Target) -> Option<&ResourceMetrics> {
        let r = &target.resource;
        let ours = r.group == resource_metrics::GROUP && r.version == resource_metrics::VERSION;
        if ours { self.aggregation.metrics() } else { None }
    }

    fn attributes(&self, verb: Verb, target: &Target) -> Result<Attributes, Status> {
        let attributes = Attributes {
            user: self.user.clone(),
            verb,
            group: target.resource.group.clone(),
            version: target.resource.version.clone(),
            resource: target.resource.resource.clone(),
            subresource: target.subresource.into(),
            namespace: target.namespace.clone(),
            name: target.name.clone(),
            path: String::new(),
        };
        match self.engine.authorizer().authorize(&attributes) {
            Decision::Allow => Ok(attributes),
            decision => Err(forbidden(&attributes, &decision)),
        }
    }

    fn served(&self, target: &Target) -> Result<Arc<Served>, Status> {
        let r = &target.resource;
        self.engine.served(&r.group, &r.version, &r.resource).ok_or_else(crate::http::not_found)
    }

    fn call<'a>(&self, attributes: &'a Attributes, served: &'a Arc<Served>, options: &WriteOptions) -> Call<'a> {
        let manager = if options.field_manager.is_empty() { program(&self.user.name) } else { &options.field_manager };
        Call::new(attributes, served, options.dry_run).by(manager)
    }

    fn part(served: &Served, target: &Target) -> Result<Part, Status> {
        Part::of(&served.kind, target.subresource).ok_or_else(crate::http::not_found)
    }

    fn selectors(served: &Served, options: &ListOptions) -> Result<(Selector, FieldSelector), Status> {
        let labels = match options.labels.as_str() {
            "" => Selector::everything(),
            text => Selector::parse(text)?,
        };
        let fields = match options.fields.as_str() {
            "" => FieldSelector::default(),
            text => FieldSelector::for_kind(text, &served.kind)?,
        };
        Ok((labels, fields))
    }
}

/// What upstream's program of this identity calls itself, by its user agent, where it writes.
fn program(user: &str) -> &str {
    match user.strip_prefix("system:") {
        Some("apiserver") => "kube-apiserver",
        Some(name) if name.starts_with("node:") => "kubelet",
        Some(name) if name.starts_with("serviceaccount:kube-system:") => "kube-controller-manager",
        Some(name) => name,
        None => user,
    }
}

/// A list or watch of the one object that its field selector names is authorized by that name, as upstream does.
fn selecting(target: &Target, options: &ListOptions) -> Target {
    let selector = FieldSelector::parse(&options.fields).ok();
    let name = selector.and_then(|s| s.requires("metadata.name").map(str::to_owned)).unwrap_or_default();
    Target { name, ..target.clone() }
}

/// A caller's tree is in the storage version; what is unknown in it is dropped.
fn clean(served: &Served, mut tree: Value) -> Result<Value, Status> {
    let kind = &served.kind;
    if let Some(root) = tree.as_object_mut() {
        root.insert("apiVersion".into(), kind.api_version().into());
        root.insert("kind".into(), kind.kind.clone().into());
    }
    if let Some(schema) = served.schema() {
        let names = (kind.kind.as_str(), kind.version.as_str());
        let unknown = decode::object(&mut tree, schema, names, Vec::new(), FieldValidation::Warn)?;
        if !unknown.is_empty() {
            tracing::warn!(kind = kind.kind, ?unknown, "a caller in this process wrote unknown fields");
        }
    }
    Ok(tree)
}

/// An answer that is stored nowhere.
fn loose(tree: &Value) -> Result<Arc<Object>, Status> {
    Ok(Arc::new(Draft::encode(tree)?.at(0)))
}

#[async_trait]
impl Client for Local {
    async fn get(&self, target: &Target) -> Result<Arc<Object>, Status> {
        let attributes = self.attributes(Verb::Get, target)?;
        if let Some(other) = self.elsewhere(target) {
            return other.get(target).await;
        }
        if let Some(metrics) = self.measured(target) {
            return loose(&metrics.one(&self.engine, &attributes).await?);
        }
        let served = self.served(target)?;
        let call = Call::new(&attributes, &served, false);
        let object = self.engine.get_one(&call, &target.name).await?;
        if target.subresource == "scale" { loose(&scale_of(&call, &object)?) } else { Ok(object) }
    }

    async fn list(&self, target: &Target, options: &ListOptions) -> Result<List, Status> {
        let attributes = self.attributes(Verb::List, &selecting(target, options))?;
        if let Some(other) = self.elsewhere(target) {
            return other.list(target, options).await;
        }
        if let Some(metrics) = self.measured(target) {
            let items = metrics.all(&self.engine, &attributes, &options.labels, &options.fields).await?;
            let items = items.iter().map(loose).collect::<Result<_, _>>()?;
            return Ok(List { items, revision: 0, next: None });
        }
        let served = self.served(target)?;
        let (labels, fields) = Local::selectors(&served, options)?;
        let next = options.next.clone().unwrap_or_default();
        let request = ListRequest { labels, fields, limit: options.limit, next, ..ListRequest::default() };
        let listing = self.engine.list(&served, &target.namespace, &request).await.map_err(ListFailure::into_status)?;
        let next = Some(listing.next).filter(|n| !n.is_empty());
        Ok(List { items: listing.items, revision: listing.revision, next })
    }

    async fn watch(&self, target: &Target, options: &ListOptions, from: u64) -> Result<Watch, Status> {
        self.attributes(Verb::Watch, &selecting(target, options))?;
        if let Some(other) = self.elsewhere(target) {
            return other.watch(target, options, from).await;
        }
        let served = self.served(target)?;
        let (labels, fields) = Local::selectors(&served, options)?;
        let request = WatchRequest { labels, fields, initial: Initial::After(from) };
        let changes = self.engine.watch(&served, &target.namespace, request).await?;
        let batches = futures::stream::unfold(Some(changes), |changes| async move {
            let mut changes = changes?;
            match changes.next().await {
                Ok(batch) if batch.is_empty() => None,
                Ok(batch) => Some((batch.into_iter().map(|c| Ok(event(c))).collect(), Some(changes))),
                Err(status) => Some((vec![Err(status)], None)),
            }
        });
        Ok(batches.flat_map(futures::stream::iter).boxed())
    }

    async fn create(&self, target: &Target, tree: Value, options: &WriteOptions) -> Result<Arc<Object>, Status> {
        let mut attributes = self.attributes(Verb::Create, target)?;
        if let Some(other) = self.elsewhere(target) {
            return other.create(target, tree, options).await;
        }
        let (r, engine) = (&target.resource, &self.engine);
        if let Some(v) = engine.specials().find_virtual(&r.group, &r.version, &r.resource) {
            return loose(&engine.post(&attributes, &v.served, &v.handler, tree, options.dry_run).await?.0);
        }
        let served = self.served(target)?;
        if !target.subresource.is_empty() {
            let found = engine.specials().find_post(&served.kind.group, &r.resource, target.subresource);
            let handler = found.ok_or_else(crate::http::not_found)?;
            return loose(&engine.post(&attributes, &served, handler, tree, options.dry_run).await?.0);
        }
        let tree = clean(&served, tree)?;
        if let Some(name) = tree["metadata"]["name"].as_str() {
            attributes.name = name.to_owned();
        }
        engine.create(&mut self.call(&attributes, &served, options), tree).await
    }

    async fn update(&self, target: &Target, tree: Value, options: &WriteOptions) -> Result<Arc<Object>, Status> {
        let attributes = self.attributes(Verb::Update, target)?;
        if let Some(other) = self.elsewhere(target) {
            return other.update(target, tree, options).await;
        }
        let served = self.served(target)?;
        let mut call = self.call(&attributes, &served, options);
        if target.subresource == "scale" {
            let object = self.engine.rescale(&mut call, &target.name, |_| Ok(tree.clone())).await?;
            return loose(&scale_of(&call, &object)?);
        }
        let part = Local::part(&served, target)?;
        let tree = clean(&served, tree)?;
        Ok(self.engine.update(&mut call, part, &target.name, tree).await?.object)
    }

    async fn patch(&self, target: &Target, patch: Patch, options: &WriteOptions) -> Result<Arc<Object>, Status> {
        let attributes = self.attributes(Verb::Patch, target)?;
        if let Some(other) = self.elsewhere(target) {
            return other.patch(target, patch, options).await;
        }
        let served = self.served(target)?;
        let body = match patch {
            Patch::Json(p) => PatchBody::Json(p),
            Patch::Merge(p) => PatchBody::Merge(p),
            Patch::Strategic(p) => PatchBody::Strategic(p),
            Patch::Apply { tree, force } => {
                let mut call = self.call(&attributes, &served, options);
                if target.subresource == "scale" {
                    let object = self.engine.apply_scale(&mut call, &target.name, tree, force).await?;
                    return loose(&scale_of(&call, &object)?);
                }
                let (part, tree) = (Local::part(&served, target)?, clean(&served, tree)?);
                return Ok(self.engine.apply(&mut call, part, &target.name, tree, force).await?.object);
            }
        };
        let mut call = self.call(&attributes, &served, options);
        if target.subresource == "scale" {
            let object = self.engine.patch_scale(&mut call, &target.name, &body).await?;
            return loose(&scale_of(&call, &object)?);
        }
        let part = Local::part(&served, target)?;
        self.engine.patch(&mut call, part, &target.name, &body, Vec::new(), FieldValidation::Ignore).await
    }

    async fn delete(&self, target: &Target, options: &DeleteOptions) -> Result<Arc<Object>, Status> {
        if let Some(other) = self.elsewhere(target) {
            self.attributes(if target.name.is_empty() { Verb::DeleteCollection } else { Verb::Delete }, target)?;
            return other.delete(target, options).await;
        }
        let attributes = self.attributes(Verb::Delete, target)?;
        let served = self.served(target)?;
        let deletion = Deletion {
            grace_seconds: options.grace_seconds,
            propagation: options.propagation.map(|p| match p {
                client::Propagation::Background => Propagation::Background,
                client::Propagation::Foreground => Propagation::Foreground,
                client::Propagation::Orphan => Propagation::Orphan,
            }),
            precondition: UidPrecondition {
                uid: options.precondition.uid.clone(),
                revision: options.precondition.revision.map(|r| r.to_string()),
            },
        };
        let mut call = Call::new(&attributes, &served, options.dry_run);
        Ok(self.engine.delete(&mut call, &target.name, &deletion).await?.object)
    }

    fn aggregated(&self) -> Vec<Aggregated> {
        self.aggregation.served()
    }

    fn aggregated_changes(&self) -> tokio::sync::watch::Receiver<()> {
        self.aggregation.changes()
    }
}

fn event(change: WatchChange) -> WatchEvent {
    match change {
        WatchChange::Added(o) => WatchEvent::Added(o),
        WatchChange::Modified(o) => WatchEvent::Modified(o),
        WatchChange::Deleted(o) => WatchEvent::Deleted(o),
        WatchChange::Bookmark { revision, .. } => WatchEvent::Bookmark(revision),
    }
}
