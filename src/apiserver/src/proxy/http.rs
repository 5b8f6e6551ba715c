//! `proxy`: HTTP to a pod, a service or a node. Upstream's `UpgradeAwareHandler` and `proxyutil.Transport`.

use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use api::{Reason, Status, Value};
use async_trait::async_trait;
use client::{BoxIo, NodeDialer};
use http_body_util::BodyExt;
use rustls::pki_types::ServerName;

use super::html::Rewriter;
use super::place::{Place, Reference, pod, service};
use super::stream::{is_upgrade, join, pass, pass_through, send, strip_hop_by_hop};
use crate::Lookup;
use crate::authn::without_bearer;
use crate::http::Body;
use crate::special::{Connect, ConnectRequest};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// The kubelet's usual port: a node's name with it means the kubelet.
const KUBELET_PORT: &str = "10250";

pub struct Proxy {
    dialer: Arc<dyn NodeDialer>,
}

/// Where a request goes.
enum Backend {
    Kubelet(String),
    Place(Place),
}

impl Proxy {
    pub fn new(dialer: Arc<dyn NodeDialer>) -> Proxy {
        Proxy { dialer }
    }

    fn backend(&self, r: &ConnectRequest) -> Result<Backend, Status> {
        let (namespace, named) = (&r.attributes.namespace, &r.attributes.name);
        let what = r.kind.plural.trim_end_matches('s');
        let reference =
            Reference::parse(named).ok_or_else(|| Status::bad_request(format!("invalid {what} request {named:?}")))?;
        let object = r.engine.get(&r.kind, namespace, &reference.name)?;
        let tree = object.tree();
        match r.kind.plural.as_str() {
            "pods" => pod(&reference, &tree).map(Backend::Place),
            "services" => {
                let all = r.engine.store().list("discovery.k8s.io/endpointslices", namespace);
                let label = "kubernetes.io/service-name";
                let mine: Vec<_> = all
                    .into_iter()
                    .filter(|s| s.meta().labels.get(label).is_some_and(|v| **v == *reference.name))
                    .collect();
                service(&reference, &tree, &mine, |n| rand::random_range(0..n)).map(Backend::Place)
            }
            _ if matches!(reference.port.as_str(), "" | KUBELET_PORT) => Ok(Backend::Kubelet(reference.name)),
            _ => node(&reference, &tree).map(Backend::Place),
        }
    }

    async fn dial(&self, backend: &Backend) -> std::io::Result<BoxIo> {
        let place = match backend {
            Backend::Kubelet(node) => return self.dialer.dial(node).await,
            Backend::Place(place) => place,
        };
        let tcp = tokio::time::timeout(CONNECT_TIMEOUT, self.dialer.connect(place.address)).await??;
        if !place.https {
            return Ok(tcp);
        }
        let connector = tokio_rustls::TlsConnector::from(pki::client_config_trusting_all());
        let name = ServerName::IpAddress(place.address.ip().into());
        Ok(Box::new(connector.connect(name, tcp).await?))
    }
}

/// A port of the node itself, at its internal address.
fn node(reference: &Reference, tree: &Value) -> Result<Place, Status> {
    let bad = || Status::bad_request(format!("invalid node request {:?}", reference.name));
    let addresses = tree.pointer("/status/addresses").and_then(Value::as_array);
    let internal = addresses.into_iter().flatten().find(|a| a["type"] == "InternalIP");
    let ip = internal.and_then(|a| a["address"].as_str()?.parse().ok()).ok_or_else(bad)?;
    let port: u16 = reference.port.parse().map_err(|_| bad())?;
    Ok(Place { https: reference.https, address: std::net::SocketAddr::new(ip, port) })
}

#[async_trait]
impl Connect for Proxy {
    async fn connect(&self, mut r: ConnectRequest) -> Result<Response<Body>, Status> {
        let full = r.request.uri().path().to_owned();
        if r.path.is_empty()
            && matches!(*r.request.method(), Method::GET | Method::HEAD)
            && !is_upgrade(r.request.headers())
        {
            return to_folder(&full, r.request.uri().query());
        }
        let backend = self.backend(&r)?;
        let (host, https) = match &backend {
            Backend::Kubelet(node) => (node.clone(), false),
            Backend::Place(place) => (place.address.to_string(), place.https),
        };
        let prefix = full.strip_suffix(r.path.as_str()).unwrap_or(&full).to_owned();
        let path = r.options.as_ref().and_then(|o| o["path"].as_str()).unwrap_or(&r.path);
        let slash = if path.starts_with('/') { "" } else { "/" };
        let target = match r.request.uri().query() {
            Some(query) => format!("{slash}{path}?{query}"),
            None => format!("{slash}{path}"),
        };

        let upgrade = is_upgrade(r.request.headers()).then(|| hyper::upgrade::on(&mut r.request));
        let (parts, body) = r.request.into_parts();
        let client_host = parts.headers.get(header::HOST).cloned();
        let mut request =
            Request::builder().method(parts.method).uri(target).body(body.boxed()).map_err(Status::internal)?;
        *request.headers_mut() = onward(parts.headers, &full, &host);

        let unreachable = |e: &dyn std::fmt::Display| {
            Status::new(Reason::ServiceUnavailable, format!("error trying to reach service: {e}"))
        };
        let io = self.dial(&backend).await.map_err(|e| unreachable(&e))?;
        let response = send(io, request).await.map_err(|e| unreachable(&e))?;
        if let (StatusCode::SWITCHING_PROTOCOLS, Some(upgrade)) = (response.status(), upgrade) {
            return Ok(join(upgrade, response));
        }
        let (mut parts, body) = response.into_parts();
        parts.version = ::http::Version::default();
        strip_hop_by_hop(&mut parts.headers);
        if let Some(location) = parts.headers.get(header::LOCATION).and_then(|l| l.to_str().ok()) {
            let hosts = [host.as_str(), client_host.as_ref().and_then(|h| h.to_str().ok()).unwrap_or_default()];
            if let Ok(value) = HeaderValue::from_str(&relocate(location, &prefix, &hosts, https)) {
                parts.headers.insert(header::LOCATION, value);
            }
        }
        if !is_plain_html(&parts.headers) {
            return Ok(Response::from_parts(parts, pass(body)));
        }
        parts.headers.remove(header::CONTENT_LENGTH);
        let rewriter = Rewriter::new(move |link: &str| relocate(link, &prefix, &[&host], https));
        Ok(Response::from_parts(parts, pass_through(body, rewriter)))
    }
}

fn is_plain_html(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|k| k.trim().eq_ignore_ascii_case("text/html"))
        && !headers.contains_key(header::CONTENT_ENCODING)
}

/// A proxied root without its slash is sent to the one with it, or relative links would miss it.
fn to_folder(path: &str, query: Option<&str>) -> Result<Response<Body>, Status> {
    let location = format!("{path}/{}", query.map(|q| format!("?{q}")).unwrap_or_default());
    Response::builder()
        .status(StatusCode::MOVED_PERMANENTLY)
        .header(header::LOCATION, location)
        .body(Body::empty())
        .map_err(Status::internal)
}

/// The client's headers as they go on: without its credentials, with who it was for.
fn onward(mut headers: HeaderMap, path: &str, host: &str) -> HeaderMap {
    without_bearer(&mut headers);
    strip_hop_by_hop(&mut headers);
    // pages come plain: their links are rewritten
    headers.remove(header::ACCEPT_ENCODING);
    let client_host = headers.remove(header::HOST);
    if let Some(host) = client_host {
        headers.insert("x-forwarded-host", host);
    }
    headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
    for (name, value) in [("x-forwarded-uri", path), ("host", host)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    headers
}

/// A redirect within the backend as the client must follow it: `rewriteURL`.
fn relocate(location: &str, prefix: &str, hosts: &[&str], https: bool) -> String {
    let scheme = if https { "https://" } else { "http://" };
    let path = match location.strip_prefix(scheme).or_else(|| location.strip_prefix("//")) {
        Some(rest) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            if !hosts.contains(&host) {
                return location.to_owned();
            }
            path
        }
        None => location,
    };
    if !path.starts_with('/') || path.starts_with(prefix) {
        return location.to_owned();
    }
    format!("{prefix}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_within_the_backend_stay_behind_the_proxy() {
        let prefix = "/api/v1/namespaces/ns/pods/p/proxy";
        let hosts = ["10.42.0.7:80", "localhost:8001"];
        for (location, want) in [
            ("/login", "/api/v1/namespaces/ns/pods/p/proxy/login"),
            ("login", "login"),
            ("http://10.42.0.7:80/x/", "/api/v1/namespaces/ns/pods/p/proxy/x/"),
            ("http://localhost:8001/x", "/api/v1/namespaces/ns/pods/p/proxy/x"),
            ("http://example.com/x", "http://example.com/x"),
            ("/api/v1/namespaces/ns/pods/p/proxy/x", "/api/v1/namespaces/ns/pods/p/proxy/x"),
        ] {
            assert_eq!(relocate(location, prefix, &hosts, false), want, "{location}");
        }
    }

    #[test]
    fn credentials_stay_here() {
        let list = [("authorization", "Bearer x"), ("host", "api:6443"), ("connection", "keep-alive"), ("x-mine", "1")];
        let headers = list.into_iter().map(|(k, v)| (::http::HeaderName::from_static(k), v.parse().unwrap())).collect();
        let out = onward(headers, "/api/v1/x", "10.42.0.7:80");
        assert_eq!(out.get("authorization"), None);
        assert_eq!(out.get("connection"), None);
        assert_eq!(out["host"], "10.42.0.7:80");
        assert_eq!(out["x-forwarded-host"], "api:6443");
        assert_eq!(out["x-mine"], "1");
    }
}
