//! The kubelet's HTTP/1.1 server, over whatever byte stream the API server comes by. The stream is trusted: who may open
//! one has been authenticated (in process, or by the tunnel). Paths and parameters are upstream's kubelet's.

mod exec;
pub(crate) mod follow;
pub(crate) mod logfile;
mod logs;
mod metrics;
mod sample;
mod stats;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::Arc;

use api::Object;
use api::k8s_openapi::api::core::v1::Pod;
use async_trait::async_trait;
use bytes::Bytes;
use client::{BoxIo, NodeDialer};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::Kubelet;
use crate::pod::observe::RuntimePod;
pub(crate) use sample::Sampler;

pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;
pub(crate) type Answer = Response<Body>;

/// A refusal: a status code and a text.
pub(crate) struct Refusal(pub StatusCode, pub String);

impl Refusal {
    pub fn not_found(text: impl Into<String>) -> Refusal {
        Refusal(StatusCode::NOT_FOUND, text.into())
    }
    pub fn bad_request(text: impl Into<String>) -> Refusal {
        Refusal(StatusCode::BAD_REQUEST, text.into())
    }
    pub fn internal(error: impl std::fmt::Display) -> Refusal {
        Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

pub(crate) fn body(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

pub(crate) fn text(kind: &'static str, text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(body(text));
    answer.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    answer
}

/// The query's parameters, in order.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(query: &str) -> Query {
        let pairs = query.split('&').filter(|p| !p.is_empty()).map(|p| {
            let (k, v) = p.split_once('=').unwrap_or((p, ""));
            (decode(k), decode(v))
        });
        Query(pairs.collect())
    }
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }
    pub fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(k, _)| k == name).map(|(_, v)| v.clone()).collect()
    }
    /// Under any of its names: the API's and the kubelet's differ.
    pub fn flag(&self, names: &[&str]) -> bool {
        names.iter().any(|n| self.get(n).is_some_and(|v| matches!(v, "1" | "true" | "True" | "t")))
    }
}

pub(crate) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        match bytes[i] {
            b'+' => out.push(b' '),
            b'%' => match text.get(i + 1..i + 3).and_then(|h| u8::from_str_radix(h, 16).ok()) {
                Some(b) => {
                    out.push(b);
                    i += 2;
                }
                None => out.push(b'%'),
            },
            b => out.push(b),
        }
        i += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl Kubelet {
    /// Serves one connection until it closes.
    pub async fn serve(self: &Arc<Self>, io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let me = self.clone();
        let service = service_fn(move |request| {
            let me = me.clone();
            async move {
                let answer = me.route(request).await.unwrap_or_else(|Refusal(code, why)| {
                    let mut answer = text("text/plain; charset=utf-8", why + "\n");
                    *answer.status_mut() = code;
                    answer
                });
                Ok::<_, Infallible>(answer)
            }
        });
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), service);
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to the kubelet broke");
        }
    }

    /// A dialer to this node in the same process.
    pub fn dialer(self: &Arc<Self>) -> Arc<dyn NodeDialer> {
        Arc::new(Local(self.clone()))
    }

    async fn route(self: Arc<Self>, request: Request<Incoming>) -> Result<Answer, Refusal> {
        let path = request.uri().path().to_owned();
        let parts: Vec<String> = path.trim_matches('/').split('/').map(decode).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let query = Query::parse(request.uri().query().unwrap_or(""));
        match parts.as_slice() {
            ["healthz"] | ["healthz", "ping" | "log"] => Ok(text("text/plain; charset=utf-8", "ok")),
            ["containerLogs", ns, pod, container] => logs::serve(&self, request, &query, ns, pod, container).await,
            ["exec", ns, pod, container] | ["exec", ns, pod, _, container] => {
                exec::serve(&self, request, &query, ns, pod, container, false).await
            }
            ["attach", ns, pod, container] | ["attach", ns, pod, _, container] => {
                exec::serve(&self, request, &query, ns, pod, container, true).await
            }
            ["run", ns, pod, container] | ["run", ns, pod, _, container] => {
                exec::run(&self, &query, ns, pod, container).await
            }
            ["portForward", ns, pod] | ["portForward", ns, pod, _] => {
                exec::port_forward(&self, request, &query, ns, pod).await
            }
            ["pods" | "runningpods"] => Ok(self.pod_list()),
            ["stats"] | ["stats", "summary"] => stats::summary(&self).await,
            ["metrics"] | ["metrics", "cadvisor" | "probes"] => metrics::node(&self).await,
            ["metrics", "resource"] => metrics::resource(&self).await,
            _ => Err(Refusal::not_found("404 page not found")),
        }
    }

    fn pod_list(&self) -> Answer {
        let mut out = br#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":["#.to_vec();
        for (n, o) in self.pods.list(None).iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            out.extend_from_slice(o.json());
        }
        out.extend_from_slice(b"]}");
        text("application/json", out)
    }

    /// The pod, if it is placed here.
    pub(crate) fn pod(&self, namespace: &str, name: &str) -> Result<Arc<Object>, Refusal> {
        let found = self.pods.get(namespace, name);
        found.ok_or_else(|| Refusal::not_found(format!("pod {name:?} in namespace {namespace:?} does not exist")))
    }

    pub(crate) async fn runtime_pod(&self, uid: &str) -> Result<RuntimePod, Refusal> {
        RuntimePod::read(&*self.ctx.runtime, uid).await.map_err(Refusal::internal)
    }
}

/// The container that is meant: an empty name is the only one's.
pub(crate) fn container_name<'a>(pod: &'a Pod, name: &'a str) -> Result<&'a str, Refusal> {
    let Some(spec) = &pod.spec else { return Err(Refusal::not_found("the pod has no spec")) };
    if name.is_empty() && spec.containers.len() == 1 {
        return Ok(&spec.containers[0].name);
    }
    let known = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .map(|c| c.name.as_str())
        .chain(spec.ephemeral_containers.iter().flatten().map(|c| c.name.as_str()));
    let pod_name = pod.metadata.name.as_deref().unwrap_or("");
    let mut known = known;
    match known.any(|n| n == name) {
        true => Ok(name),
        false => Err(Refusal::bad_request(format!("container {name:?} not found in pod {pod_name:?}"))),
    }
}

struct Local(Arc<Kubelet>);

#[async_trait]
impl NodeDialer for Local {
    async fn dial(&self, node: &str) -> std::io::Result<BoxIo> {
        if node != self.0.ctx.config.node_name {
            let text = format!("node {node:?} is not here");
            return Err(std::io::Error::new(std::io::ErrorKind::NotFound, text));
        }
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let kubelet = self.0.clone();
        tokio::spawn(async move { kubelet.serve(ours).await });
        Ok(Box::new(theirs))
    }
}

/// Labels of a metric, escaped.
pub(crate) fn labels(all: &[(&str, &str)]) -> String {
    let escaped = |v: &str| v.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let list: Vec<String> = all.iter().map(|(k, v)| format!("{k}=\"{}\"", escaped(v))).collect();
    format!("{{{}}}", list.join(","))
}
