//! Routes with code of their own: subresources (`binding`, `eviction`, `token`, `log`, `exec`, …) and virtual kinds that are
//! created but never stored (`SubjectAccessReview`, `TokenReview`, …). The generic engine serves everything else.
//!
//! Authentication and authorization are done when a handler is called; a [`Post`] has been through the admission plugins too. A handler that writes does so by the [`Engine`] it is given.

use std::collections::HashMap;
use std::sync::Arc;

use api::{Kind, Status, Value};
use async_trait::async_trait;
use bytes::Bytes;

use crate::Attributes;
use crate::engine::{Engine, Served};
use crate::http::Body;

/// A request that is a tree in and a tree out.
pub struct PostRequest<'a> {
    pub attributes: &'a Attributes,
    pub engine: &'a Arc<Engine>,
    /// Decoded, `apiVersion` and `kind` filled in; checked against its schema where there is one.
    pub body: Value,
    pub dry_run: bool,
    /// `Warning` headers for the client.
    pub warnings: &'a mut Vec<String>,
}

/// Serves POST of a subresource or a virtual kind, over HTTP and from in-process clients.
#[async_trait]
pub trait Post: Send + Sync + 'static {
    /// The answer, with `apiVersion` and `kind`; 201.
    async fn post(&self, request: PostRequest<'_>) -> Result<Value, Status>;
}

/// A request with its connection: `log`, `exec`, `attach`, `portforward`, `proxy`.
pub struct ConnectRequest {
    pub attributes: Attributes,
    pub engine: Arc<Engine>,
    pub kind: Arc<Kind>,
    /// Behind the subresource, for `proxy`: `/` and what follows, else empty.
    pub path: String,
    /// `PodExecOptions` and its like, where admission has changed what path or query say.
    pub options: Option<Value>,
    /// As hyper gave it: `hyper::upgrade::on` works on it.
    pub request: ::http::Request<hyper::body::Incoming>,
}

/// Serves any method of a subresource over HTTP. Its requests have no time limit.
#[async_trait]
pub trait Connect: Send + Sync + 'static {
    async fn connect(&self, request: ConnectRequest) -> Result<::http::Response<Body>, Status>;
}

/// A request of a path that is no resource, with its connection.
pub struct PathRequest {
    /// Absent: the caller showed nothing.
    pub user: Option<Arc<crate::User>>,
    pub engine: Arc<Engine>,
    /// As hyper gave it: `hyper::upgrade::on` works on it.
    pub request: ::http::Request<hyper::body::Incoming>,
}

/// Serves any method of a path. Authentication is done, authorization is its own affair; no time limit.
#[async_trait]
pub trait Path: Send + Sync + 'static {
    async fn serve(&self, request: PathRequest) -> Result<::http::Response<Body>, Status>;
}

/// A kind that is only ever created, and answered at once.
#[derive(Debug, Clone)]
pub struct VirtualKind {
    pub group: &'static str,
    pub version: &'static str,
    /// `SubjectAccessReview`
    pub kind: &'static str,
    /// `subjectaccessreviews`
    pub plural: &'static str,
    pub namespaced: bool,
}

impl VirtualKind {
    /// As admission sees it, in `v1`, whatever version is asked.
    fn served(&self) -> Arc<Served> {
        let text = |s: &str| s.to_owned();
        let schema = api::schema::find_kind(self.group, "v1", self.kind);
        let mut served = vec![(text(self.group), text("v1"))];
        if self.version != "v1" {
            served.push((text(self.group), text(self.version)));
        }
        let kind = Kind {
            group: text(self.group),
            version: text("v1"),
            kind: text(self.kind),
            list_kind: String::new(),
            plural: text(self.plural),
            singular: self.kind.to_lowercase(),
            short_names: Vec::new(),
            categories: Vec::new(),
            scope: if self.namespaced { api::Scope::Namespaced } else { api::Scope::Cluster },
            subresources: Default::default(),
            verbs: vec![text("create")],
            served,
            schema: schema.map_or_else(String::new, |s| text(s.name)),
            late_flush: false,
            strategy: Box::new(api::NoStrategy),
            definition: None,
        };
        Arc::new(Served::new(&Arc::new(kind), self.group, self.version))
    }
}

/// What is registered of one.
pub(crate) struct Virtual {
    pub kind: VirtualKind,
    pub handler: Arc<dyn Post>,
    pub served: Arc<Served>,
}

type Key = (String, String, String);

fn key(group: &str, resource: &str, subresource: &str) -> Key {
    (group.into(), resource.into(), subresource.into())
}

/// The table of all special routes.
#[derive(Default)]
pub struct Specials {
    posts: HashMap<Key, Arc<dyn Post>>,
    connects: HashMap<Key, Arc<dyn Connect>>,
    virtuals: Vec<Virtual>,
    documents: HashMap<String, (&'static str, Bytes)>,
    paths: HashMap<&'static str, Arc<dyn Path>>,
}

impl Specials {
    /// POST of `resource/subresource`: `("", "pods", "binding")`.
    pub fn post(&mut self, group: &str, resource: &str, subresource: &str, handler: Arc<dyn Post>) -> &mut Specials {
        self.posts.insert(key(group, resource, subresource), handler);
        self
    }
    /// Every method of `resource/subresource`: `("", "pods", "log")`.
    pub fn connect(
        &mut self,
        group: &str,
        resource: &str,
        subresource: &str,
        handler: Arc<dyn Connect>,
    ) -> &mut Specials {
        self.connects.insert(key(group, resource, subresource), handler);
        self
    }
    pub fn virtual_kind(&mut self, kind: VirtualKind, handler: Arc<dyn Post>) -> &mut Specials {
        let served = kind.served();
        self.virtuals.push(Virtual { kind, handler, served });
        self
    }

    /// GET of a path that is no resource, always answered alike.
    pub fn document(&mut self, path: &str, content_type: &'static str, bytes: impl Into<Bytes>) -> &mut Specials {
        self.documents.insert(path.into(), (content_type, bytes.into()));
        self
    }

    /// Every method of `path`, and of nothing below it.
    pub fn path(&mut self, path: &'static str, handler: Arc<dyn Path>) -> &mut Specials {
        self.paths.insert(path, handler);
        self
    }

    pub fn find_path(&self, path: &str) -> Option<&Arc<dyn Path>> {
        self.paths.get(path)
    }
    pub fn find_document(&self, path: &str) -> Option<::http::Response<Body>> {
        let (content_type, bytes) = self.documents.get(path.trim_end_matches('/'))?;
        let mut answer = text(200, content_type, bytes.clone());
        let kept = ::http::HeaderValue::from_static("public, max-age=3600");
        answer.headers_mut().insert(::http::header::CACHE_CONTROL, kept);
        Some(answer)
    }
    pub fn find_post(&self, group: &str, resource: &str, subresource: &str) -> Option<&Arc<dyn Post>> {
        self.posts.get(&key(group, resource, subresource))
    }
    pub fn find_connect(&self, group: &str, resource: &str, subresource: &str) -> Option<&Arc<dyn Connect>> {
        self.connects.get(&key(group, resource, subresource))
    }
    pub(crate) fn find_virtual(&self, group: &str, version: &str, plural: &str) -> Option<&Virtual> {
        let is = |k: &VirtualKind| k.plural == plural && k.group == group && k.version == version;
        self.virtuals.iter().find(|v| is(&v.kind))
    }
    /// For discovery.
    pub fn virtuals(&self) -> impl Iterator<Item = &VirtualKind> {
        self.virtuals.iter().map(|v| &v.kind)
    }
}

/// A plain answer.
pub fn text(code: u16, content_type: &'static str, body: impl Into<Bytes>) -> ::http::Response<Body> {
    let mut response = ::http::Response::new(Body::full(body.into()));
    *response.status_mut() = ::http::StatusCode::from_u16(code).unwrap_or_default();
    response.headers_mut().insert(::http::header::CONTENT_TYPE, ::http::HeaderValue::from_static(content_type));
    response
}
