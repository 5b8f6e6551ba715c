//! `log`, `exec`, `attach`, `portforward`: requests to the kubelet of the pod's node. Upstream's `registry/core/pod/rest`.

use std::sync::Arc;

use ::http::{Method, Request, Response, StatusCode, header};
use api::{Reason, Status, Value};
use async_trait::async_trait;
use client::NodeDialer;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;

use super::container::{check_log_query, choose, log_query, parameter, port_query, query_of, stream_query};
use super::stream::{empty, is_upgrade, join, pass, send, strip_hop_by_hop};
use crate::authn::without_bearer;
use crate::http::Body;
use crate::special::{Connect, ConnectRequest, text};

/// Of an error's body, so much is read.
const MOST_ERROR_BYTES: usize = 50_000;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Log,
    Exec,
    Attach,
    PortForward,
}

pub struct Kubelet {
    dialer: Arc<dyn NodeDialer>,
    stream: Stream,
}

impl Kubelet {
    pub fn new(dialer: Arc<dyn NodeDialer>, stream: Stream) -> Kubelet {
        Kubelet { dialer, stream }
    }

    /// Node and path at the kubelet; `None`: a log of a pod that has no node yet, which is empty.
    fn locate(
        &self,
        pod: &Value,
        namespace: &str,
        name: &str,
        query: &str,
    ) -> Result<Option<(String, String)>, Status> {
        let container = match self.stream {
            Stream::PortForward => String::new(),
            _ => choose(pod, name, &parameter(query, "container"))?,
        };
        let node = pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
        if node.is_empty() {
            return match self.stream {
                Stream::Log => Ok(None),
                _ => Err(Status::bad_request(format!("pod {name} does not have a host assigned"))),
            };
        }
        let (path, query) = match self.stream {
            Stream::Log => (format!("/containerLogs/{namespace}/{name}/{container}"), log_query(query)),
            Stream::Exec => (format!("/exec/{namespace}/{name}/{container}"), stream_query(query)),
            Stream::Attach => (format!("/attach/{namespace}/{name}/{container}"), stream_query(query)),
            Stream::PortForward => (format!("/portForward/{namespace}/{name}"), port_query(query)),
        };
        let path = if query.is_empty() { path } else { format!("{path}?{query}") };
        Ok(Some((node.to_owned(), path)))
    }
}

#[async_trait]
impl Connect for Kubelet {
    async fn connect(&self, mut r: ConnectRequest) -> Result<Response<Body>, Status> {
        let (namespace, name) = (&r.attributes.namespace, &r.attributes.name);
        let pod = r.engine.get(&r.kind, namespace, name)?.tree();
        let query = match &r.options {
            Some(options) => query_of(options),
            None => r.request.uri().query().unwrap_or_default().to_owned(),
        };
        if self.stream == Stream::Log {
            let errors = check_log_query(&query);
            if !errors.is_empty() {
                return Err(Status::invalid("", "PodLogOptions", name, &errors));
            }
        }
        let located = self.locate(&pod, namespace, name, &query)?;
        let upgrade = is_upgrade(r.request.headers());
        if self.stream != Stream::Log && !upgrade {
            return Err(Status::bad_request("Upgrade request required"));
        }
        let Some((node, path)) = located else { return Ok(text(200, "text/plain", "")) };

        let mut request = Request::builder().uri(path).body(empty()).map_err(Status::internal)?;
        *request.method_mut() = if self.stream == Stream::Log { Method::GET } else { r.request.method().clone() };
        if upgrade {
            let mut headers = r.request.headers().clone();
            without_bearer(&mut headers);
            strip_hop_by_hop(&mut headers);
            headers.remove(header::CONTENT_LENGTH);
            *request.headers_mut() = headers;
        }
        request.headers_mut().insert(header::HOST, ::http::HeaderValue::from_static("kubelet"));

        let io = self.dialer.dial(&node).await.map_err(|e| unreachable(&node, &e))?;
        let client = hyper::upgrade::on(&mut r.request);
        let response = send(io, request).await.map_err(|e| unreachable(&node, &e))?;
        match response.status() {
            StatusCode::SWITCHING_PROTOCOLS if upgrade => Ok(join(client, response)),
            code if code.is_success() && self.stream == Stream::Log => {
                let mut answer = Response::new(pass(response.into_body()));
                answer.headers_mut().insert(header::CONTENT_TYPE, ::http::HeaderValue::from_static("text/plain"));
                Ok(answer)
            }
            code => Err(refused(name, code, read(response).await)),
        }
    }
}

/// What upstream says when it cannot reach a kubelet.
pub fn unreachable(node: &str, error: &dyn std::fmt::Display) -> Status {
    Status::internal(format!("error dialing backend: node {node}: {error}"))
}

async fn read(response: Response<Incoming>) -> String {
    let body = Limited::new(response.into_body(), MOST_ERROR_BYTES).collect().await;
    body.map(|b| String::from_utf8_lossy(&b.to_bytes()).into_owned()).unwrap_or_default()
}

/// `GenericHttpResponseChecker`: the kubelet's words, under its code.
fn refused(name: &str, code: StatusCode, body: String) -> Status {
    let mut status = match code {
        StatusCode::BAD_REQUEST => return Status::bad_request(body.trim_end()),
        StatusCode::INTERNAL_SERVER_ERROR => return Status::internal(body.trim_end()),
        StatusCode::NOT_FOUND => Status::not_found("", "pods", name),
        StatusCode::FORBIDDEN => Status::forbidden("", "pods", name, ""),
        _ => Status::new(Reason::Unknown, ""),
    };
    status.code = code.as_u16();
    status.message = match body.trim_end() {
        "" => {
            format!("the server responded with the status code {} but did not return more information", code.as_u16())
        }
        said => said.to_owned(),
    };
    status
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Nobody;
    #[async_trait]
    impl NodeDialer for Nobody {
        async fn dial(&self, _: &str) -> std::io::Result<client::BoxIo> {
            Err(std::io::ErrorKind::NotFound.into())
        }
    }

    fn locate(stream: Stream, pod: Value, query: &str) -> Result<Option<(String, String)>, Status> {
        Kubelet::new(Arc::new(Nobody), stream).locate(&pod, "ns", "p", query)
    }

    #[test]
    fn each_stream_has_its_path() {
        let pod = json!({"spec": {"nodeName": "n1", "containers": [{"name": "c"}]}});
        for (stream, query, path) in [
            (Stream::Log, "follow=true", "/containerLogs/ns/p/c?follow=true"),
            (Stream::Exec, "command=ls&stdout=true", "/exec/ns/p/c?command=ls&output=1"),
            (Stream::Attach, "stdin=true&container=c", "/attach/ns/p/c?input=1"),
            (Stream::PortForward, "ports=80", "/portForward/ns/p?port=80"),
            (Stream::PortForward, "", "/portForward/ns/p"),
        ] {
            assert_eq!(locate(stream, pod.clone(), query).unwrap(), Some(("n1".into(), path.into())));
        }
        let pending = json!({"spec": {"containers": [{"name": "c"}]}});
        assert_eq!(locate(Stream::Log, pending.clone(), "").unwrap(), None);
        assert_eq!(locate(Stream::Exec, pending, "").unwrap_err().message, "pod p does not have a host assigned");
    }

    #[test]
    fn the_kubelets_refusals_are_handed_on() {
        let waiting = "container \"c\" in pod \"p\" is waiting to start: ContainerCreating";
        let s = refused("p", StatusCode::BAD_REQUEST, waiting.into());
        assert_eq!((s.code, s.message.as_str()), (400, waiting));
        let s = refused("p", StatusCode::INTERNAL_SERVER_ERROR, "boom\n".into());
        assert_eq!((s.code, s.message.as_str()), (500, "Internal error occurred: boom"));
        let s = refused("p", StatusCode::NOT_FOUND, "no such container".into());
        assert_eq!((s.code, s.reason, s.message.as_str()), (404, Reason::NotFound, "no such container"));
    }
}
