//! What the API servers behind this one say of their types: upstream's `kube-aggregator/pkg/controllers/openapi` and `openapiv3`.
//!
//! Asked when a client asks, and remembered for a minute; nothing is fetched for nobody.

use std::hash::{DefaultHasher, Hash, Hasher};
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

/// A document.
#[derive(Clone)]
pub(super) struct Said {
    tree: Arc<Value>,
    /// Of its text.
    hash: u64,
}

impl Said {
    fn read(text: &[u8]) -> Option<Said> {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Some(Said { tree: Arc::new(serde_json::from_slice(text).ok()?), hash: hasher.finish() })
    }
}

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
    async fn document(&self, path: &str) -> Option<Said> {
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
            Ok(Ok(answer)) if answer.code == 200 => Said::read(&answer.body),
            _ => None,
        };
        let mut all = self.documents.lock();
        all.retain(|(p, ..)| p != path);
        all.push((path.to_owned(), Instant::now(), document.clone()));
        document
    }
}

/// Documents of one path, of all others that have one.
#[derive(Default)]
pub(crate) struct Others(Vec<(Arc<Remote>, Said)>);

impl Aggregation {
    pub async fn documents(&self, path: &str) -> Others {
        let mut all = Vec::new();
        for remote in self.all().values() {
            if let Some(said) = remote.document(path).await {
                all.push((remote.clone(), said));
            }
        }
        Others(all)
    }
}

impl Others {
    /// Changes when what they say does; 0: nothing.
    pub fn stamp(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.iter().for_each(|(remote, said)| (&remote.name, said.hash).hash(&mut hasher));
        if self.0.is_empty() { 0 } else { hasher.finish() }
    }

    /// Of `/openapi/v3`: the entries of what they serve.
    pub fn v3(&self) -> Vec<(String, Value)> {
        let entry = |(remote, said): &(Arc<Remote>, Said)| {
            let key = remote.root()[1..].to_owned();
            let entry = said.tree["paths"][&key].clone();
            entry.is_object().then_some((key, entry))
        };
        self.0.iter().filter_map(entry).collect()
    }

    /// Of `/openapi/v2`: the paths of what they serve, and all definitions.
    pub fn v2(&self) -> Extra {
        let mut extra = Extra::default();
        let list = |v: &Value| v.as_object().cloned().into_iter().flatten();
        for (remote, said) in &self.0 {
            let (root, below) = (remote.root(), format!("{}/", remote.root()));
            extra.paths.extend(list(&said.tree["paths"]).filter(|(p, _)| *p == root || p.starts_with(&below)));
            extra.definitions.extend(list(&said.tree["definitions"]));
        }
        extra
    }
}
