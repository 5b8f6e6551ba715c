//! A connection to a cluster, by the kubeconfig: requests in, trees out.

use std::cell::RefCell;
use std::collections::HashSet;

use api::{Status, Value};
use futures::io::{AsyncBufRead, AsyncBufReadExt};
use futures::{Stream, StreamExt};
use http::{Method, Request};
use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::sync::OnceCell;

use crate::cli::Global;
use crate::error::{Error, Result};
use crate::mapping::{Mapping, Mappings};

/// Where a skiff server leaves the admin's kubeconfig.
pub const SKIFF_KUBECONFIG: &str = "/etc/skiff/skiff.yaml";

/// What stands in for a kubeconfig where there is none.
const NOWHERE: &str = "{current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}], users: [{name: u, user: {}}], clusters: [{name: c, cluster: {server: 'http://localhost:8080'}}]}";

pub const JSON: &str = "application/json";
pub const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
pub const MERGE: &str = "application/merge-patch+json";
pub const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub const JSON_PATCH: &str = "application/json-patch+json";
pub const APPLY: &str = "application/apply-patch+yaml";

pub struct Session {
    client: kube::Client,
    server: String,
    /// `-n`, or the context's.
    pub namespace: String,
    pub global: Global,
    mappings: OnceCell<Mappings>,
    /// Warnings that have been said: each is said once.
    warned: RefCell<HashSet<String>>,
}

/// `path?a=b&c=d`, without what is empty.
pub fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    let mut out = form_urlencoded::Serializer::new(String::new());
    out.extend_pairs(query.iter().filter(|(_, v)| !v.is_empty()));
    match out.finish() {
        q if q.is_empty() => path.to_owned(),
        q if path.contains('?') => format!("{path}&{q}"),
        q => format!("{path}?{q}"),
    }
}

/// The kubeconfig that is in force: `--kubeconfig`, `KUBECONFIG`, `~/.kube/config`, and then the local server's.
pub fn kubeconfig(global: &Global) -> Result<Kubeconfig> {
    if let Some(path) = &global.kubeconfig {
        return Kubeconfig::read_from(path).map_err(|e| Error::other(e.to_string()));
    }
    let home = std::env::var_os("HOME").map(|h| std::path::Path::new(&h).join(".kube/config"));
    if std::env::var_os("KUBECONFIG").is_none() && !home.is_some_and(|h| h.exists()) {
        return match Kubeconfig::read_from(SKIFF_KUBECONFIG) {
            Ok(config) => Ok(config),
            // as kubectl: what needs no server (--dry-run=client) works, the rest says where it looked
            Err(_) if !std::path::Path::new(SKIFF_KUBECONFIG).exists() => {
                Kubeconfig::from_yaml(NOWHERE).map_err(|e| Error::other(e.to_string()))
            }
            Err(_) => Err(Error::other(format!(
                "no kubeconfig: neither KUBECONFIG nor ~/.kube/config nor {SKIFF_KUBECONFIG} (root only) can be read"
            ))),
        };
    }
    Kubeconfig::read().map_err(|e| Error::other(e.to_string()))
}

impl Session {
    pub async fn open(global: Global) -> Result<Session> {
        let options = KubeConfigOptions {
            context: global.context.clone(),
            cluster: global.cluster.clone(),
            user: global.user.last().cloned(),
        };
        let failed = |e: kube::config::KubeconfigError| Error::other(e.to_string());
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig(&global)?, &options).await.map_err(failed)?;
        if let Some(server) = &global.server {
            config.cluster_url =
                server.parse().map_err(|_| Error::other(format!("--server: {server} is not a URL")))?;
        }
        let auth = &mut config.auth_info;
        if global.as_user.is_some() {
            auth.impersonate.clone_from(&global.as_user);
        }
        if !global.as_group.is_empty() {
            auth.impersonate_groups = Some(global.as_group.clone());
        }
        if let Some(token) = &global.token {
            auth.token = Some(token.clone().into());
        }
        if global.client_certificate.is_some() {
            (auth.client_certificate, auth.client_certificate_data) = (global.client_certificate.clone(), None);
        }
        if global.client_key.is_some() {
            (auth.client_key, auth.client_key_data) = (global.client_key.clone(), None);
        }
        if let Some(file) = &global.certificate_authority {
            config.root_cert = Some(certificates(file)?);
        }
        config.accept_invalid_certs |= global.insecure_skip_tls_verify;
        if global.tls_server_name.is_some() {
            config.tls_server_name.clone_from(&global.tls_server_name);
        }
        // watches, logs and waits have their own ends
        config.read_timeout = None;
        config.write_timeout = None;
        let namespace = global.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let server = config.cluster_url.to_string();
        let client = kube::Client::try_from(config).map_err(|e| Error::other(e.to_string()))?;
        Ok(Session { client, server, namespace, global, mappings: OnceCell::new(), warned: RefCell::default() })
    }

    /// The server's URL.
    pub fn server(&self) -> &str {
        &self.server
    }
    /// For exec, attach and port-forward.
    pub fn client(&self) -> &kube::Client {
        &self.client
    }

    /// What the server serves, asked once.
    pub async fn mappings(&self) -> Result<&Mappings> {
        self.mappings.get_or_try_init(|| Mappings::discover(self)).await
    }
    /// `po`, `deployments.apps`, `deployments.v1.apps`, `Service` …
    pub async fn mapping(&self, name: &str) -> Result<Mapping> {
        self.mappings().await?.find(name)
    }

    pub async fn get(&self, path: &str) -> Result<Value> {
        self.send(Method::GET, path, JSON, None).await
    }
    /// GET with an `Accept` of its own ([`TABLE`]).
    pub async fn get_as(&self, path: &str, accept: &str) -> Result<Value> {
        let request = Request::get(path).header("Accept", accept).body(Body::empty());
        self.request(request).await
    }
    /// `content_type` is the body's, and tells patches apart.
    pub async fn send(&self, method: Method, path: &str, content_type: &str, body: Option<&Value>) -> Result<Value> {
        let bytes = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        let request =
            Request::builder().method(method).uri(path).header("Accept", JSON).header("Content-Type", content_type);
        self.request(request.body(Body::from(bytes))).await
    }
    /// The answer as it is: `get --raw`, logs without follow.
    pub async fn text(&self, path: &str) -> Result<String> {
        let request = Request::get(path).header("Accept", "application/json, */*").body(Body::empty());
        let bytes = self.bytes(request).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
    /// A watch: the events as the server sends them, as trees. Ends when the server ends it.
    pub async fn watch(&self, path: &str, accept: &str) -> Result<impl Stream<Item = Result<Value>> + Unpin + use<>> {
        let lines = self.stream(path, accept).await?.lines();
        Ok(Box::pin(lines.map(|line| {
            let line = line.map_err(|e| Error::Connection(e.to_string()))?;
            Ok(serde_json::from_str(&line)?)
        })))
    }
    /// A stream of bytes: watches and logs.
    pub async fn stream(&self, path: &str, accept: &str) -> Result<impl AsyncBufRead + use<>> {
        let request =
            Request::get(path).header("Accept", accept).body(Vec::new()).map_err(|e| Error::other(e.to_string()))?;
        self.client.request_stream(request).await.map_err(|e| self.failed(e))
    }

    pub fn failed(&self, error: kube::Error) -> Error {
        if let kube::Error::Api(status) = &error {
            let v = serde_json::to_value(status).unwrap_or(Value::Null);
            return Status::from_value(&v).into();
        }
        // the innermost says what it was
        let mut cause: &dyn std::error::Error = &error;
        while let Some(next) = cause.source() {
            cause = next;
        }
        let refused =
            cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused);
        let host = self.server.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
        Error::Connection(if refused {
            format!("The connection to the server {host} was refused - did you specify the right host or port?")
        } else {
            format!("Unable to connect to the server: {cause}")
        })
    }

    async fn request(&self, request: http::Result<Request<Body>>) -> Result<Value> {
        let bytes = self.bytes(request).await?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    async fn bytes(&self, request: http::Result<Request<Body>>) -> Result<Vec<u8>> {
        let request = request.map_err(|e| Error::other(e.to_string()))?;
        let response = self.client.send(request).await.map_err(|e| self.failed(e))?;
        let (parts, body) = response.into_parts();
        for warning in parts.headers.get_all("warning").iter().filter_map(|w| w.to_str().ok()) {
            // 299 - "text"
            let text = warning.split_once('"').map_or(warning, |(_, t)| t.trim_end_matches('"'));
            if self.warned.borrow_mut().insert(text.to_owned()) {
                eprintln!("Warning: {}", text.replace("\\\"", "\""));
            }
        }
        let bytes = body.collect().await.map_err(|e| Error::Connection(e.to_string()))?.to_bytes();
        if parts.status.is_success() {
            return Ok(bytes.to_vec());
        }
        Err(match serde_json::from_slice::<Value>(&bytes) {
            Ok(v) if v["kind"] == "Status" => Status::from_value(&v).into(),
            _ => Error::other(format!("the server answered {}: {}", parts.status, String::from_utf8_lossy(&bytes))),
        })
    }
}

/// The certificates of a PEM file, in DER.
fn certificates(file: &str) -> Result<Vec<Vec<u8>>> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let bad = |e: rustls::pki_types::pem::Error| Error::other(format!("unable to load root certificates: {file}: {e}"));
    CertificateDer::pem_file_iter(file).map_err(bad)?.map(|c| c.map(|c| c.to_vec()).map_err(bad)).collect()
}
