//! [`Client`] over HTTPS: what a node without a server in its process speaks.
//!
//! ```text
//!   Client ──► path ──► Link: one HTTP/2 connection, made anew when it breaks ──► decode ──► Arc<Object>
//! ```
//!
//! Guarantees: a request that surely never left is tried once more on a fresh connection, a write that may have arrived is
//! not. A connection whose other end is gone is noticed within 13 s while anything is open on it (a watch, mostly). No answer
//! at all is a [`Status`] that [`is_unreachable`] tells from all that a server says.
//!
//! Objects are asked for in the version that `Target` names, which must be the storage version.

pub(crate) mod decode;
mod link;
mod path;
mod scan;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::Arc;

use api::{Cause, Object, Reason, Status, Value};
use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Response};
use hyper::body::Incoming;
use rustls::ClientConfig;
use serde_json::json;

use crate::{Aggregated, Client, DeleteOptions, List, ListOptions, Patch, Propagation, Target, Watch, WriteOptions};
use link::Link;
pub use link::{Ask, Transport};
use path::{Query, path};

/// The cause by which an absent answer is known.
const UNREACHABLE: &str = "Unreachable";

/// No server has answered: `ServiceUnavailable`, with a cause of its own.
pub fn unreachable(error: impl std::fmt::Display) -> Status {
    let mut status = Status::new(Reason::ServiceUnavailable, format!("the API server cannot be reached: {error}"));
    status.causes = vec![Cause { reason: UNREACHABLE.into(), ..Cause::default() }];
    status
}

/// Whether this is not a server's word but the lack of one.
pub fn is_unreachable(status: &Status) -> bool {
    status.reason == Reason::ServiceUnavailable && status.causes.iter().any(|c| c.reason == UNREACHABLE)
}

/// Where the API is and who asks.
#[derive(Clone)]
pub struct HttpConfig {
    /// `https://host:port`; tried in turn, beginning with the one that answered last.
    pub servers: Vec<String>,
    /// Its latest value is for connections to come: once it changes, requests go over a new connection, while what runs
    /// (watches) ends on the old one. ALPN is set here.
    pub tls: tokio::sync::watch::Receiver<Arc<ClientConfig>>,
    /// As `skiff/v1.36.0`; its first word is the default field manager.
    pub user_agent: String,
}

/// Clones share the connection.
#[derive(Clone)]
pub struct HttpClient {
    link: Arc<dyn Transport>,
}

impl HttpClient {
    /// Does not connect yet. Errors with `BadRequest` where a URL is not `https://host[:port]`.
    pub fn new(config: HttpConfig) -> Result<HttpClient, Status> {
        Ok(HttpClient { link: Arc::new(Link::new(config)?) })
    }

    /// Over connections that somebody else makes.
    pub fn over(transport: Arc<dyn Transport>) -> HttpClient {
        HttpClient { link: transport }
    }

    async fn answer(&self, ask: Ask) -> Result<Response<Incoming>, Status> {
        let response = self.link.send(&ask).await?;
        if response.status().is_success() { Ok(response) } else { Err(decode::failure(response).await) }
    }

    async fn object(&self, ask: Ask) -> Result<Arc<Object>, Status> {
        let body = decode::body(self.answer(ask).await?).await?;
        decode::object(&body, None)
    }
}

fn encode(tree: &Value) -> Bytes {
    serde_json::to_vec(tree).expect("a tree encodes").into()
}

const JSON: &str = "application/json";

#[async_trait]
impl Client for HttpClient {
    async fn get(&self, target: &Target) -> Result<Arc<Object>, Status> {
        self.object(Ask::get(path(target), &Query::new())).await
    }

    async fn list(&self, target: &Target, options: &ListOptions) -> Result<List, Status> {
        let mut query = Query::new();
        query.select(options);
        if options.limit > 0 {
            query.add("limit", &options.limit.to_string());
        }
        query.add("continue", options.next.as_deref().unwrap_or_default());
        let response = self.answer(Ask::get(path(target), &query)).await?;
        decode::list(&decode::body(response).await?)
    }

    async fn watch(&self, target: &Target, options: &ListOptions, from: u64) -> Result<Watch, Status> {
        let mut query = Query::new();
        query.select(options);
        query.add("watch", "true");
        query.add("allowWatchBookmarks", "true");
        query.add("resourceVersion", &from.to_string());
        query.add("timeoutSeconds", &watch::seconds().to_string());
        Ok(watch::events(self.answer(Ask::get(path(target), &query)).await?.into_body()))
    }

    async fn create(&self, target: &Target, tree: Value, options: &WriteOptions) -> Result<Arc<Object>, Status> {
        let path = match target.subresource {
            "" => path(&Target { name: String::new(), ..target.clone() }),
            _ => path(target),
        };
        self.object(Ask::write(Method::POST, path, &Query::write(options), JSON, encode(&tree))).await
    }

    async fn update(&self, target: &Target, tree: Value, options: &WriteOptions) -> Result<Arc<Object>, Status> {
        self.object(Ask::write(Method::PUT, path(target), &Query::write(options), JSON, encode(&tree))).await
    }

    async fn patch(&self, target: &Target, patch: Patch, options: &WriteOptions) -> Result<Arc<Object>, Status> {
        let mut query = Query::write(options);
        let (content_type, tree) = match patch {
            Patch::Json(tree) => ("application/json-patch+json", tree),
            Patch::Merge(tree) => ("application/merge-patch+json", tree),
            Patch::Strategic(tree) => ("application/strategic-merge-patch+json", tree),
            Patch::Apply { tree, force } => {
                query.add("force", if force { "true" } else { "" });
                ("application/apply-patch+yaml", tree)
            }
        };
        self.object(Ask::write(Method::PATCH, path(target), &query, content_type, encode(&tree))).await
    }

    async fn delete(&self, target: &Target, options: &DeleteOptions) -> Result<Arc<Object>, Status> {
        let body = encode(&delete_options(options));
        let ask = Ask::write(Method::DELETE, path(target), &Query::new(), JSON, body);
        let body = decode::body(self.answer(ask).await?).await?;
        decode::deleted(&body, target)
    }

    /// Over the network all is one server's.
    fn aggregated(&self) -> Vec<Aggregated> {
        Vec::new()
    }
    fn aggregated_changes(&self) -> tokio::sync::watch::Receiver<()> {
        tokio::sync::watch::channel(()).1
    }
}

/// `metav1.DeleteOptions`
fn delete_options(options: &DeleteOptions) -> Value {
    let mut tree = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
    if let Some(seconds) = options.grace_seconds {
        tree["gracePeriodSeconds"] = json!(seconds);
    }
    if let Some(propagation) = options.propagation {
        tree["propagationPolicy"] = json!(match propagation {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        });
    }
    if let Some(uid) = &options.precondition.uid {
        tree["preconditions"]["uid"] = json!(uid);
    }
    if let Some(revision) = options.precondition.revision {
        tree["preconditions"]["resourceVersion"] = json!(revision.to_string());
    }
    if options.dry_run {
        tree["dryRun"] = json!(["All"]);
    }
    tree
}
