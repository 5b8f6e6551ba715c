//! Those in this process on their way to another API server: as a client over the network comes there, through the aggregator.

use std::sync::Arc;

use ::http::header::{ACCEPT, CONTENT_TYPE, HOST};
use ::http::{HeaderValue, Request, Response};
use api::{Reason, Status};
use async_trait::async_trait;
use client::{Aggregated, Ask, Transport};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;

use super::connect::identify;
use super::{Aggregation, Remote};
use crate::User;
use crate::proxy::stream::send;

/// Requests of one who may make them; each has a connection of its own, as those that are handed on have.
pub(crate) struct Within {
    pub remote: Arc<Remote>,
    pub user: Arc<User>,
}

fn unavailable(why: &str) -> Status {
    Status::new(Reason::ServiceUnavailable, why)
}

#[async_trait]
impl Transport for Within {
    async fn send(&self, ask: &Ask) -> Result<Response<Incoming>, Status> {
        let remote = &*self.remote;
        if !remote.is_available() {
            return Err(unavailable("service unavailable"));
        }
        let body = Full::new(ask.body.clone()).map_err(|never| match never {}).boxed();
        let request = Request::builder().method(ask.method.clone()).uri(&ask.uri).body(body);
        let mut request = request.map_err(|e| Status::bad_request(format!("{}: {e}", ask.uri)))?;
        let headers = request.headers_mut();
        identify(headers, &self.user).map_err(Status::internal)?;
        headers.insert(HOST, HeaderValue::from_str(&remote.host()).map_err(Status::internal)?);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(content_type) = ask.content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        let unreachable = |e: String| unavailable(&format!("error trying to reach service: {e}"));
        let io = remote.connector.open(remote).await.map_err(unreachable)?;
        send(io, request).await.map_err(|e| unreachable(e.to_string()))
    }
}

impl Aggregation {
    /// What the others serve, the preferred version of each group first.
    pub fn served(&self) -> Vec<Aggregated> {
        let mut all: Vec<Arc<Remote>> = self.all().values().cloned().collect();
        all.sort_by_cached_key(|r| (r.group.clone(), -r.priority.1, api::crd::definition::priority(&r.version)));
        let said = |r: Arc<Remote>| {
            let (resources, fresh) = r.resources();
            Aggregated { group: r.group.clone(), version: r.version.clone(), fresh, resources }
        };
        all.into_iter().map(said).collect()
    }
}
