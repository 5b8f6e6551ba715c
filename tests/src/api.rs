//! A thin client: JSON in, JSON out, nothing typed, so that a test sees what is on the wire.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;

use crate::until;

pub const JSON_PATCH: &str = "application/json-patch+json";
pub const MERGE_PATCH: &str = "application/merge-patch+json";
pub const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";

#[derive(Clone)]
pub struct Api {
    pub kube: kube::Client,
    config: kube::Config,
}

/// What a request was answered with.
#[derive(Debug)]
pub struct Reply {
    pub code: StatusCode,
    pub headers: http::HeaderMap,
    pub body: Value,
}

async fn read(response: http::Response<Body>) -> Result<Reply, String> {
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.map_err(|e| e.to_string())?.to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into());
    Ok(Reply { code: head.status, headers: head.headers, body })
}

impl Reply {
    /// The body of a 2xx; a panic with the answer otherwise.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!(self.code.is_success(), "{}: {}", self.code, self.body);
        self.body
    }
    /// The `Status` of a refusal; a panic if it is not of this code and reason.
    #[track_caller]
    pub fn refused(self, code: u16, reason: &str) -> Value {
        assert_eq!((self.code.as_u16(), self.body["reason"].as_str()), (code, Some(reason)), "{}", self.body);
        assert_eq!(self.body["kind"], "Status");
        self.body
    }
    #[track_caller]
    pub fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }
    pub fn warnings(&self) -> Vec<&str> {
        self.headers.get_all("warning").iter().filter_map(|w| w.to_str().ok()).collect()
    }
}

impl Api {
    pub async fn from_kubeconfig(path: &Path) -> Api {
        let file = Kubeconfig::read_from(path).expect("a kubeconfig");
        let config =
            kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.expect("a kubeconfig");
        Api::new(config)
    }

    fn new(mut config: kube::Config) -> Api {
        config.read_timeout = None;
        // a test sees every answer
        config.default_retry = false;
        Api { kube: kube::Client::try_from(config.clone()).expect("a client"), config }
    }

    /// The same server, seen by the bearer of a token, or by nobody.
    pub fn as_bearer(&self, token: Option<&str>) -> Api {
        let mut config = self.config.clone();
        config.auth_info = kube::config::AuthInfo { token: token.map(|t| t.to_owned().into()), ..Default::default() };
        Api::new(config)
    }

    /// The same server, seen by who shows a client certificate: PEM files.
    pub fn as_certificate(&self, certificate: &Path, key: &Path) -> Api {
        let mut config = self.config.clone();
        let text = |p: &Path| Some(p.to_string_lossy().into_owned());
        config.auth_info = kube::config::AuthInfo {
            client_certificate: text(certificate),
            client_key: text(key),
            ..Default::default()
        };
        Api::new(config)
    }

    pub async fn send(&self, method: Method, path: &str, content_type: &str, body: Vec<u8>) -> http::Response<Body> {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type)
            .header("accept", "application/json")
            .body(Body::from(body))
            .expect("a valid request");
        self.kube.send(request).await.unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    async fn json(&self, method: Method, path: &str, content_type: &str, body: Option<&Value>) -> Reply {
        self.raw(method, path, content_type, body.map(|b| b.to_string().into_bytes()).unwrap_or_default()).await
    }

    /// A request whose body is sent as it is.
    pub async fn raw(&self, method: Method, path: &str, content_type: &str, body: Vec<u8>) -> Reply {
        read(self.send(method, path, content_type, body).await).await.unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    /// A request with headers of its own.
    pub async fn with_headers(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
        let mut request = http::Request::builder().method(method).uri(path).header("content-type", "application/json");
        for (key, value) in headers {
            request = request.header(*key, *value);
        }
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let answer = self.kube.send(request.body(Body::from(body)).expect("a valid request")).await;
        read(answer.unwrap_or_else(|e| panic!("{path}: {e}"))).await.unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    /// As [`Api::try_get`], where the server may be away.
    pub async fn ask(&self, path: &str) -> Result<Reply, String> {
        let request = http::Request::get(path).body(Body::empty()).expect("a request");
        read(self.kube.send(request).await.map_err(|e| e.to_string())?).await
    }
    pub async fn try_get(&self, path: &str) -> Reply {
        self.json(Method::GET, path, "application/json", None).await
    }
    pub async fn try_post(&self, path: &str, body: &Value) -> Reply {
        self.json(Method::POST, path, "application/json", Some(body)).await
    }
    pub async fn try_put(&self, path: &str, body: &Value) -> Reply {
        self.json(Method::PUT, path, "application/json", Some(body)).await
    }
    pub async fn try_patch(&self, path: &str, kind: &str, body: &Value) -> Reply {
        self.json(Method::PATCH, path, kind, Some(body)).await
    }
    pub async fn try_delete(&self, path: &str, options: Option<&Value>) -> Reply {
        self.json(Method::DELETE, path, "application/json", options).await
    }

    pub async fn get(&self, path: &str) -> Value {
        self.try_get(path).await.ok()
    }
    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.try_post(path, &body).await.ok()
    }
    /// Creates an object; false where no answer says that it is there: refused, cut off, or another had made it.
    pub async fn post_or_error(&self, path: &str, body: Value) -> bool {
        let request = http::Request::post(path).header(http::header::CONTENT_TYPE, "application/json");
        let request = request.body(Body::from(body.to_string().into_bytes())).expect("a request");
        self.kube.send(request).await.is_ok_and(|r| r.status().is_success())
    }
    pub async fn put(&self, path: &str, body: Value) -> Value {
        self.try_put(path, &body).await.ok()
    }
    pub async fn merge(&self, path: &str, body: Value) -> Value {
        self.try_patch(path, MERGE_PATCH, &body).await.ok()
    }
    pub async fn delete(&self, path: &str) -> Value {
        self.try_delete(path, None).await.ok()
    }
    /// The answer as text: logs, health.
    pub async fn text(&self, path: &str) -> String {
        let response = self.send(Method::GET, path, "application/json", Vec::new()).await;
        let code = response.status();
        let bytes = response.into_body().collect().await.expect("a whole answer").to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(code.is_success(), "{path}: {code}: {text}");
        text
    }

    /// The object at `path`, once `is` says yes.
    pub async fn wait(&self, what: &str, path: &str, deadline: Duration, is: impl Fn(&Value) -> bool) -> Value {
        until(&format!("{path}: {what}"), deadline, async || {
            let reply = self.try_get(path).await;
            if reply.code.is_success() && is(&reply.body) { Ok(reply.body) } else { Err(short(&reply.body)) }
        })
        .await
    }

    /// Waits until there is nothing at `path`.
    pub async fn gone(&self, path: &str, deadline: Duration) {
        until(&format!("{path} is gone"), deadline, async || {
            let reply = self.try_get(path).await;
            if reply.code == StatusCode::NOT_FOUND { Ok(()) } else { Err(short(&reply.body)) }
        })
        .await
    }

    /// A watch's events, or the lines of a log.
    pub async fn lines(&self, path: &str) -> Lines {
        let response = self.send(Method::GET, path, "application/json", Vec::new()).await;
        assert!(response.status().is_success(), "{path}: {}", response.status());
        let stream = response.into_body().into_data_stream().map(|r| r.map_err(|e| e.to_string()));
        Lines { stream: stream.boxed(), rest: Vec::new() }
    }
}

/// What matters of an object that a test waits for.
fn short(body: &Value) -> String {
    let mut body = body.clone();
    if let Some(meta) = body["metadata"].as_object_mut() {
        meta.remove("managedFields");
    }
    body.to_string()
}

/// A response that comes in lines.
pub struct Lines {
    stream: BoxStream<'static, Result<Bytes, String>>,
    rest: Vec<u8>,
}

impl Lines {
    /// The next line; `None` at the end of the stream, or when the connection breaks.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            let chunk =
                tokio::time::timeout(crate::SOON, self.stream.next()).await.expect("a stream says something in time");
            self.rest.extend_from_slice(&chunk?.ok()?);
        }
    }

    /// The next event of a watch: its type, and the object.
    pub async fn event(&mut self) -> (String, Value) {
        let line = self.next().await.expect("the watch goes on");
        let mut event: Value = serde_json::from_str(&line).expect("an event");
        (event["type"].as_str().unwrap_or_default().to_owned(), event["object"].take())
    }
}
