//! What the API servers behind this one say of their types: upstream's `kube-aggregator/pkg/controllers/openapi` and `openapiv3`.
//!
//! Asked when a client asks, and remembered for a minute; nothing is fetched for nobody.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::http::header::{ACCEPT, CONTENT_TYPE};
use ::http::{HeaderMap, HeaderValue, Response};
use api::openapi::Extra;
use api::{Reason, Status, Value};

use super::{Aggregation, Remote};
use crate::http::Body;
use crate::special::text;

const FRESH: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(5);

impl Remote {
    /// Its own OpenAPI v3 document, in the form that is asked for.
    pub async fn v3(&self, headers: &HeaderMap) -> Result<Response<Body>, Status> {
        let unavailable = |why: String| Status::new(Reason::ServiceUnavailable, why);
        if !self.is_available() {
            return Err(unavailable("service unavailable".into()));
        }
        let accept = headers.get(ACCEPT).cloned().unwrap_or(HeaderValue::from_static("application/json"));
        let path = format!("/openapi/v3{}", self.root());
        let asked = tokio::time::timeout(PATIENCE, self.connector.get(self, &path, &accept)).await;
        let answer = asked.unwrap_or_else(|_| Err("it does not answer".into()));
        let answer = answer.map_err(|e| unavailable(format!("error trying to reach service: {e}")))?;
        let mut response = text(answer.code, "application/json", answer.body);
        if let Some(content_type) = answer.content_type {
            response.headers_mut().insert(CONTENT_TYPE, content_type);
        }
        Ok(response)
    }

    /// A JSON document of its own; `None` where it has none or does not answer.
    async fn document(&self, path: &str) -> Option<Arc<Value>> {
        let known = self.documents.lock().iter().find(|(p, ..)| p == path).cloned();
        if let Some((_, since, document)) = known
            && since.elapsed() < FRESH
        {
            return document;
        }
        if !self.is_available() {
            return None;
        }
        let accept = HeaderValue::from_static("application/json");
        let asked = tokio::time::timeout(PATIENCE, self.connector.get(self, path, &accept)).await;
        let document = match asked {
            Ok(Ok(answer)) if answer.code == 200 => serde_json::from_slice(&answer.body).ok().map(Arc::new),
            _ => None,
        };
        let mut all = self.documents.lock();
        all.retain(|(p, ..)| p != path);
        all.push((path.to_owned(), Instant::now(), document.clone()));
        document
    }
}

impl Aggregation {
    /// Entries of `/openapi/v3` for what others serve.
    pub async fn v3_entries(&self) -> Vec<(String, Value)> {
        let mut entries = Vec::new();
        for remote in self.all().values() {
            let Some(index) = remote.document("/openapi/v3").await else { continue };
            let key = remote.root()[1..].to_owned();
            let entry = &index["paths"][&key];
            if entry.is_object() {
                entries.push((key, entry.clone()));
            }
        }
        entries
    }

    /// Paths and definitions that others add to `/openapi/v2`.
    pub async fn v2_parts(&self) -> Extra {
        let Extra { mut paths, mut definitions } = Extra::default();
        for remote in self.all().values() {
            let Some(document) = remote.document("/openapi/v2").await else { continue };
            let (root, below) = (format!("{}/", remote.root()), remote.root());
            let its = document["paths"].as_object().into_iter().flatten();
            paths.extend(
                its.filter(|(p, _)| p.starts_with(&root) || **p == below).map(|(p, item)| (p.clone(), item.clone())),
            );
            let its = document["definitions"].as_object().into_iter().flatten();
            definitions.extend(its.map(|(name, tree)| (name.clone(), tree.clone())));
        }
        Extra { paths, definitions }
    }
}
