//! Calls of webhooks: a review is posted, its answer read. Upstream's `webhook.ClientManager` and its service resolver.
//!
//! A service is reached by one of its ready endpoints, from wherever the server is: [`NodeDialer::connect`].

mod pool;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::{ACCEPT, CONTENT_TYPE, HOST};
use ::http::{Method, Request, Uri};
use api::Value;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use client::NodeDialer;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::Lookup;
use crate::proxy::place::{self, Reference};
use pool::{Key, Pool, Sender};

/// Of an answer.
const MOST_BYTES: usize = 4 << 20;

/// Clones share everything.
#[derive(Clone)]
pub struct WebhookClient {
    dialer: Arc<dyn NodeDialer>,
    lookup: Arc<dyn Lookup>,
    pool: Arc<Pool>,
}

/// Where a `WebhookClientConfig` leads.
struct Endpoint {
    /// The host that the certificate must be for, and that errors name.
    host: String,
    port: u16,
    path: String,
    /// `namespace`, `name` of the service; absent: the host is looked up.
    service: Option<(String, String)>,
}

impl Endpoint {
    fn of(config: &Value) -> Result<Endpoint, String> {
        let text = |v: &Value, key: &str| v[key].as_str().unwrap_or_default().to_owned();
        if let Some(url) = config["url"].as_str() {
            let uri: Uri = url.parse().map_err(|e| format!("{url}: {e}"))?;
            let host = uri.host().ok_or_else(|| format!("{url}: it has no host"))?.trim_matches(['[', ']']).to_owned();
            let path = uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
            return Ok(Endpoint { host, port: uri.port_u16().unwrap_or(443), path, service: None });
        }
        let service = &config["service"];
        let (namespace, name) = (text(service, "namespace"), text(service, "name"));
        if name.is_empty() {
            return Err("webhook configuration must have either service or URL".into());
        }
        let port = service["port"].as_u64().and_then(|p| u16::try_from(p).ok()).unwrap_or(443);
        let path = format!("/{}", text(service, "path").trim_start_matches('/'));
        Ok(Endpoint { host: format!("{name}.{namespace}.svc"), port, path, service: Some((namespace, name)) })
    }
}

impl WebhookClient {
    pub fn new(dialer: Arc<dyn NodeDialer>, lookup: Arc<dyn Lookup>) -> WebhookClient {
        WebhookClient { dialer, lookup, pool: Arc::default() }
    }

    /// Posts `body` to where a `WebhookClientConfig` (`url` or `service`, `caBundle`) leads, and answers the tree that comes
    /// back. Errors are texts in the form of Go's HTTP client.
    pub async fn call(&self, config: &Value, body: &Value, timeout: Duration) -> Result<Value, String> {
        self.post(config, body.to_string(), timeout).await
    }

    /// The same of a text that is JSON.
    pub async fn post(&self, config: &Value, body: String, timeout: Duration) -> Result<Value, String> {
        let endpoint = Endpoint::of(config)?;
        let query = if endpoint.path.contains('?') { '&' } else { '?' };
        let path = format!("{}{query}timeout={}s", endpoint.path, timeout.as_secs());
        let named = |e: String| format!("Post \"https://{}:{}{path}\": {e}", endpoint.host, endpoint.port);
        let exchange = self.exchange(&endpoint, config, &path, body);
        let done = tokio::time::timeout(timeout, exchange).await;
        let (code, bytes) = done.unwrap_or_else(|_| Err("context deadline exceeded".into())).map_err(named)?;
        if !(200..300).contains(&code) {
            return Err(refused(code, &bytes));
        }
        serde_json::from_slice(&bytes).map_err(|e| format!("the answer is no JSON: {e}"))
    }

    async fn exchange(&self, e: &Endpoint, config: &Value, path: &str, body: String) -> Result<(u16, Bytes), String> {
        let bundle = config["caBundle"].as_str().unwrap_or_default();
        let trust = self.pool.trust(bundle, || trusting(bundle))?;
        let body = Bytes::from(body);
        let keys: Vec<Key> = self
            .addresses(e)
            .await?
            .into_iter()
            .map(|address| Key { address, host: e.host.clone(), trust: trust.id })
            .collect();
        for key in &keys {
            // one that the other end has closed meanwhile fails, and another call is as good
            while let Some(sender) = self.pool.take(key) {
                if let Ok(answer) = self.send(e, key, sender, path, &body).await {
                    return Ok(answer);
                }
            }
        }
        let name = ServerName::try_from(e.host.clone()).map_err(|e| e.to_string())?;
        let mut last = format!("lookup {}: no such host", e.host);
        for key in &keys {
            let io = match self.dialer.connect(key.address).await {
                Ok(io) => io,
                Err(error) => {
                    last = format!("dial tcp {}: {}", key.address, dialing(&error));
                    continue;
                }
            };
            let tls = TlsConnector::from(trust.tls.clone());
            let stream = tls.connect(name, io).await.map_err(|e| handshaking(&e))?;
            let (sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
            // ends with its sender, or when the other end closes it
            tokio::spawn(connection);
            return self.send(e, key, sender, path, &body).await;
        }
        Err(last)
    }

    async fn send(
        &self,
        e: &Endpoint,
        key: &Key,
        mut sender: Sender,
        path: &str,
        body: &Bytes,
    ) -> Result<(u16, Bytes), String> {
        let text = |e: &dyn std::fmt::Display| e.to_string();
        sender.ready().await.map_err(|e| text(&e))?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, format!("{}:{}", e.host, e.port))
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, */*")
            .body(Full::new(body.clone()))
            .map_err(|e| text(&e))?;
        let answer = sender.send_request(request).await.map_err(|e| text(&e))?;
        let code = answer.status().as_u16();
        let bytes = Limited::new(answer.into_body(), MOST_BYTES).collect().await.map_err(|e| text(&e))?;
        self.pool.put(key.clone(), sender);
        Ok((code, bytes.to_bytes()))
    }

    async fn addresses(&self, e: &Endpoint) -> Result<Vec<SocketAddr>, String> {
        match &e.service {
            Some((namespace, name)) => Ok(vec![self.resolve(namespace, name, e.port)?]),
            None => {
                let found = tokio::net::lookup_host((e.host.as_str(), e.port)).await;
                Ok(found.map_err(|_| format!("dial tcp: lookup {}: no such host", e.host))?.collect())
            }
        }
    }

    /// A ready endpoint of a service.
    fn resolve(&self, namespace: &str, name: &str, port: u16) -> Result<SocketAddr, String> {
        let service = self.lookup.get("services", namespace, name);
        let service = service.ok_or_else(|| format!("service {name:?} not found"))?;
        let of_service = |o: &Arc<api::Object>| {
            o.meta().labels.iter().any(|(k, v)| &**k == "kubernetes.io/service-name" && &**v == name)
        };
        let mut slices = self.lookup.list("discovery.k8s.io/endpointslices", namespace);
        slices.retain(of_service);
        let reference = Reference { https: true, name: name.to_owned(), port: port.to_string() };
        let found = place::service(&reference, &service.tree(), &slices, |n| rand::random_range(0..n));
        found.map(|p| p.address).map_err(|status| status.message)
    }
}

/// What Go says of a connection that is not made.
fn dialing(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".into(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".into(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".into(),
        io::ErrorKind::TimedOut => "i/o timeout".into(),
        _ => error.to_string(),
    }
}

/// What Go says of a certificate that is not trusted.
fn handshaking(error: &io::Error) -> String {
    use rustls::CertificateError as C;
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
    let why = match inner {
        Some(rustls::Error::InvalidCertificate(C::UnknownIssuer | C::BadSignature)) => {
            "certificate signed by unknown authority"
        }
        Some(rustls::Error::InvalidCertificate(C::Expired | C::ExpiredContext { .. })) => {
            "certificate has expired or is not yet valid"
        }
        Some(rustls::Error::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. })) => {
            "certificate is not valid for the name that was asked for"
        }
        _ => return error.to_string(),
    };
    format!("tls: failed to verify certificate: x509: {why}")
}

/// What Go's REST client says of an answer: `NewGenericServerResponse`.
fn refused(code: u16, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body).trim().chars().take(512).collect::<String>();
    match code {
        400 => "the server rejected our request for an unknown reason".into(),
        401 => "the server has asked for the client to provide credentials".into(),
        403 if text.is_empty() => "forbidden".into(),
        403 => text,
        404 => "the server could not find the requested resource".into(),
        405 => "the server does not allow this method on the requested resource".into(),
        429 => "the server has received too many requests and has asked us to try again later".into(),
        503 => "the server is currently unable to handle the request".into(),
        504 => {
            "the server was unable to return a response in the time allotted, but may still be processing the request"
                .into()
        }
        500.. => format!("an error on the server ({text:?}) has prevented the request from succeeding"),
        _ => format!("the server responded with the status code {code} but did not return more information"),
    }
}

/// The authorities of a `caBundle`, else the machine's.
pub(crate) fn roots(bundle: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match bundle {
        bundle if !bundle.is_empty() => {
            let pem = STANDARD.decode(bundle).map_err(|e| format!("caBundle: {e}"))?;
            let all = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
            if roots.add_parsable_certificates(all).0 == 0 {
                return Err("unable to load root certificates: unable to parse bytes as PEM block".into());
            }
        }
        _ => {
            let pem = std::fs::read("/etc/ssl/certs/ca-certificates.crt").unwrap_or_default();
            roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
        }
    }
    Ok(roots)
}

fn trusting(bundle: &str) -> Result<Arc<ClientConfig>, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots(bundle)?).with_no_client_auth()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn configurations_lead_somewhere() {
        let of = |config: Value| Endpoint::of(&config).map(|e| (e.host, e.port, e.path, e.service.is_some()));
        for (config, want) in [
            (json!({"url": "https://a.b:8443/x?y=z"}), ("a.b", 8443, "/x?y=z", false)),
            (json!({"url": "https://a.b"}), ("a.b", 443, "/", false)),
            (
                json!({"service": {"namespace": "n", "name": "s", "path": "p", "port": 9443}}),
                ("s.n.svc", 9443, "/p", true),
            ),
            (json!({"service": {"namespace": "n", "name": "s"}}), ("s.n.svc", 443, "/", true)),
        ] {
            assert_eq!(of(config), Ok((want.0.to_owned(), want.1, want.2.to_owned(), want.3)));
        }
        assert!(of(json!({})).is_err());
        assert!(trusting("YQ==").is_err());
    }
}
