//! The trait behind which the API lies.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use api::{Gvr, Object, Status, Value};
use async_trait::async_trait;
use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// What a request is about. An empty `namespace` means all of them, or that the resource is cluster-scoped.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    pub resource: Gvr,
    pub namespace: String,
    /// Empty for list, watch, create and delete-collection.
    pub name: String,
    /// `status`, `scale`, `binding`, `eviction`, `token`, …; empty for the main resource.
    pub subresource: &'static str,
}

impl Target {
    pub fn all(resource: Gvr) -> Target {
        Target { resource, namespace: String::new(), name: String::new(), subresource: "" }
    }
    pub fn within(resource: Gvr, namespace: &str) -> Target {
        Target { namespace: namespace.into(), ..Target::all(resource) }
    }
    pub fn one(resource: Gvr, namespace: &str, name: &str) -> Target {
        Target { name: name.into(), ..Target::within(resource, namespace) }
    }
    /// The same with a subresource.
    #[allow(clippy::should_implement_trait)] // `/sub`, not a subtraction
    pub fn sub(self, subresource: &'static str) -> Target {
        Target { subresource, ..self }
    }
}

#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// In the syntax of `labelSelector=`; empty selects all.
    pub labels: String,
    /// In the syntax of `fieldSelector=`; empty selects all.
    pub fields: String,
    /// 0: unlimited.
    pub limit: usize,
    /// From [`List::next`].
    pub next: Option<String>,
}

pub struct List {
    pub items: Vec<Arc<Object>>,
    /// From which a watch continues.
    pub revision: u64,
    /// More follow, with [`ListOptions::next`] set to this.
    pub next: Option<String>,
}

#[derive(Debug, Clone)]
pub enum WatchEvent {
    Added(Arc<Object>),
    Modified(Arc<Object>),
    /// The last state, at the revision of the deletion.
    Deleted(Arc<Object>),
    /// All up to this revision has been delivered.
    Bookmark(u64),
}

/// Ends after an `Err`: with `Expired` the watcher must list anew.
pub type Watch = Pin<Box<dyn Stream<Item = Result<WatchEvent, Status>> + Send>>;

#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    pub dry_run: bool,
    pub field_manager: String,
}

#[derive(Debug, Clone)]
pub enum Patch {
    /// RFC 6902
    Json(Value),
    /// RFC 7386
    Merge(Value),
    Strategic(Value),
    /// Server-side apply.
    Apply {
        tree: Value,
        force: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Precondition {
    pub uid: Option<String>,
    pub revision: Option<u64>,
}

#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    pub grace_seconds: Option<i64>,
    pub propagation: Option<Propagation>,
    pub precondition: Precondition,
    pub dry_run: bool,
}

impl DeleteOptions {
    /// Of exactly this object, not of another of its name.
    pub fn of(object: &Object) -> DeleteOptions {
        let precondition = Precondition { uid: Some(object.uid().to_owned()), revision: None };
        DeleteOptions { precondition, ..DeleteOptions::default() }
    }
}

/// A group and version that another API server serves behind this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aggregated {
    pub group: String,
    pub version: String,
    /// It answers now; else the resources are those that it had, or none.
    pub fresh: bool,
    /// `APIResource`s, subresources too.
    pub resources: Arc<Vec<Value>>,
}

/// The API as its users in the process see it. Every method answers as the HTTP API would: same defaulting, admission,
/// validation and authorization for the identity this client was made with, same [`Status`] on failure.
///
/// Objects come in the storage version of their kind, whatever version `Target` names.
#[async_trait]
pub trait Client: Send + Sync + 'static {
    async fn get(&self, target: &Target) -> Result<Arc<Object>, Status>;
    async fn list(&self, target: &Target, options: &ListOptions) -> Result<List, Status>;
    /// Changes after revision `from`. `labels` and `fields` of `options` select.
    async fn watch(&self, target: &Target, options: &ListOptions, from: u64) -> Result<Watch, Status>;
    /// Also the POST of a subresource (`binding`, `eviction`, `token`): then `target.name` is set, and the answer is what that
    /// subresource answers.
    async fn create(&self, target: &Target, tree: Value, options: &WriteOptions) -> Result<Arc<Object>, Status>;
    /// `metadata.resourceVersion` in the tree is the precondition, as in a PUT.
    async fn update(&self, target: &Target, tree: Value, options: &WriteOptions) -> Result<Arc<Object>, Status>;
    async fn patch(&self, target: &Target, patch: Patch, options: &WriteOptions) -> Result<Arc<Object>, Status>;
    /// Returns the object as it was, or as it is while it terminates. Of another API server, a target without a name is
    /// the whole collection.
    async fn delete(&self, target: &Target, options: &DeleteOptions) -> Result<Arc<Object>, Status>;
    /// What other API servers serve behind this one, the preferred version of a group first. Only a client in the server's
    /// process knows.
    fn aggregated(&self) -> Vec<Aggregated>;
    /// Changes whenever that may have; ended where it never does.
    fn aggregated_changes(&self) -> watch::Receiver<()>;
}

/// A byte stream in both directions.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}
pub type BoxIo = Box<dyn Io>;

/// How the API server reaches a node's kubelet: in process for the local node, down the tunnel for the others. The stream
/// speaks HTTP/1.1 to the kubelet's server (`/containerLogs/…`, `/exec/…`, `/attach/…`, `/portForward/…`).
#[async_trait]
pub trait NodeDialer: Send + Sync + 'static {
    /// Errors with `NotFound` for a node that this server does not know.
    async fn dial(&self, node: &str) -> std::io::Result<BoxIo>;

    /// TCP to an address in the cluster (a pod's, a node's): for proxies, webhooks and aggregated APIs. From this machine
    /// where it has a route there, else by way of the node that has.
    async fn connect(&self, address: SocketAddr) -> std::io::Result<BoxIo> {
        Ok(Box::new(TcpStream::connect(address).await?))
    }
}
