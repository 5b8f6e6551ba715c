//! Connections to the API servers behind this one: a ready endpoint of the service, TLS, and who this server is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::{ACCEPT, CONTENT_TYPE, HOST};
use ::http::{HeaderMap, HeaderName, HeaderValue, Request};
use api::{Object, Status};
use bytes::Bytes;
use client::{BoxIo, NodeDialer};
use http_body_util::{BodyExt, Limited};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::Remote;
use crate::proxy::place::{self, Reference};
use crate::proxy::stream;
use crate::{Lookup, User, webhook};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Of a document that this server asks for itself.
const MOST_BYTES: usize = 32 << 20;

pub(crate) struct Connector {
    dialer: Arc<dyn NodeDialer>,
    pub lookup: Arc<dyn Lookup>,
    identity: pki::Identity,
}

/// An answer that is all there.
pub(crate) struct Document {
    pub code: u16,
    pub content_type: Option<HeaderValue>,
    pub body: Bytes,
}

/// The slices of a service.
pub(super) fn slices(lookup: &dyn Lookup, namespace: &str, service: &str) -> Vec<Arc<Object>> {
    let mut slices = lookup.list("discovery.k8s.io/endpointslices", namespace);
    slices.retain(|s| s.meta().labels.iter().any(|(k, v)| &**k == "kubernetes.io/service-name" && &**v == service));
    slices
}

impl Connector {
    pub fn new(dialer: Arc<dyn NodeDialer>, lookup: Arc<dyn Lookup>, identity: pki::Identity) -> Connector {
        Connector { dialer, lookup, identity }
    }

    /// Trusts a `caBundle`, else the machine's authorities, or whoever is there.
    pub fn tls(&self, bundle: Option<&str>, insecure: bool) -> Result<Arc<ClientConfig>, String> {
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?;
        let builder = match insecure {
            true => builder.dangerous().with_custom_certificate_verifier(pki::trust_all()),
            false => builder.with_root_certificates(webhook::roots(bundle.unwrap_or_default())?),
        };
        let chain = self.identity.chain().map_err(|e| e.to_string())?;
        let key = self.identity.private_key().map_err(|e| e.to_string())?;
        Ok(Arc::new(builder.with_client_auth_cert(chain, key).map_err(|e| e.to_string())?))
    }

    /// Where a remote is at this moment.
    async fn addresses(&self, remote: &Remote) -> Result<Vec<SocketAddr>, String> {
        let Remote { namespace, service, port, .. } = remote;
        let found = self.lookup.get("services", namespace, service);
        let tree = found.ok_or_else(|| format!("service {service:?} not found"))?.tree();
        if tree["spec"]["type"] == "ExternalName" {
            let host = tree["spec"]["externalName"].as_str().unwrap_or_default();
            return Ok(tokio::net::lookup_host((host, *port)).await.map_err(|e| e.to_string())?.collect());
        }
        let reference = Reference { https: true, name: service.clone(), port: port.to_string() };
        let slices = slices(&*self.lookup, namespace, service);
        let place = place::service(&reference, &tree, &slices, |n| rand::random_range(0..n));
        Ok(vec![place.map_err(|status: Status| status.message)?.address])
    }

    /// A connection on which HTTP/1.1 is spoken.
    pub async fn open(&self, remote: &Remote) -> Result<BoxIo, String> {
        let tls = TlsConnector::from(remote.tls.clone()?);
        let name = ServerName::try_from(remote.host()).map_err(|e| e.to_string())?;
        let connect = async {
            let mut last = "no address".to_owned();
            for address in self.addresses(remote).await? {
                match self.dialer.connect(address).await {
                    Ok(io) => return tls.connect(name, io).await.map_err(|e| e.to_string()),
                    Err(error) => last = format!("dial tcp {address}: {error}"),
                }
            }
            Err(last)
        };
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, connect).await;
        Ok(Box::new(stream.unwrap_or_else(|_| Err("i/o timeout".into()))?))
    }

    /// Asks for a document in this server's own name.
    pub async fn get(&self, remote: &Remote, path: &str, accept: &HeaderValue) -> Result<Document, String> {
        let own =
            User { name: "system:kube-aggregator".into(), groups: vec!["system:masters".into()], ..User::default() };
        let mut request = Request::builder().uri(path).body(stream::empty()).map_err(|e| e.to_string())?;
        identify(request.headers_mut(), &own)?;
        let host = HeaderValue::from_str(&remote.host()).map_err(|e| e.to_string())?;
        request.headers_mut().insert(HOST, host);
        request.headers_mut().insert(ACCEPT, accept.clone());
        let io = self.open(remote).await?;
        let answer = stream::send(io, request).await.map_err(|e| e.to_string())?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MOST_BYTES).collect().await.map_err(|e| e.to_string())?;
        let content_type = head.headers.get(CONTENT_TYPE).cloned();
        Ok(Document { code: head.status.as_u16(), content_type, body: body.to_bytes() })
    }
}

/// Says for whom a request is, and nothing of what the client said about that: upstream's `SetAuthProxyHeaders`.
pub(super) fn identify(headers: &mut HeaderMap, user: &User) -> Result<(), String> {
    let claims =
        |name: &HeaderName| name.as_str().starts_with("x-remote-") || name.as_str().starts_with("impersonate-");
    let claimed: Vec<HeaderName> = headers.keys().filter(|n| claims(n)).cloned().collect();
    for name in claimed {
        headers.remove(name);
    }
    let mut add = |name: &str, value: &str| {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| e.to_string())?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|e| e.to_string())?;
        headers.append(name, value);
        Ok::<(), String>(())
    };
    add("x-remote-user", &user.name)?;
    if !user.uid.is_empty() {
        add("x-remote-uid", &user.uid)?;
    }
    for group in &user.groups {
        add("x-remote-group", group)?;
    }
    for (key, values) in &user.extra {
        for value in values {
            add(&format!("x-remote-extra-{}", escape(key)), value)?;
        }
    }
    Ok(())
}

/// `headerKeyEscape`: what may not stand in a header's name, and `%`, in hexadecimal.
fn escape(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    for b in key.bytes() {
        match b {
            b if b.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&b) => out.push(char::from(b)),
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_server_says_for_whom_a_request_is() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("x-remote-user", "root"), ("x-remote-extra-a", "b"), ("impersonate-user", "c"), ("x-own", "d")]
        {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let user = User {
            name: "jane".into(),
            groups: vec!["g1".into(), "g2".into()],
            extra: [("example.com/scope%".to_owned(), vec!["s".to_owned()])].into(),
            ..User::default()
        };
        identify(&mut headers, &user).unwrap();
        let mut all: Vec<String> =
            headers.iter().map(|(k, v)| format!("{k}={}", v.to_str().unwrap_or_default())).collect();
        all.sort();
        let want = [
            "x-own=d",
            "x-remote-extra-example.com%2fscope%25=s",
            "x-remote-group=g1",
            "x-remote-group=g2",
            "x-remote-user=jane",
        ];
        assert_eq!(all, want);
        assert!(identify(&mut headers, &User { name: "a\nb".into(), ..User::default() }).is_err());
    }
}
