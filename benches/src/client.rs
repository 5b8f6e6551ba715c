//! A lean client: a kubeconfig's cluster and identity, and one HTTP/1.1 connection per request in flight.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub const JSON: &str = "application/json";
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
pub const MERGE: &str = "application/merge-patch+json";

pub struct Cluster {
    /// `host:port`.
    authority: String,
    name: ServerName<'static>,
    tls: TlsConnector,
    /// Without a client certificate.
    anonymous: TlsConnector,
    token: Option<String>,
}

impl Cluster {
    /// The current context of a kubeconfig.
    pub fn load(path: &Path) -> Result<Cluster> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let config: Value = serde_yaml::from_str(&text)?;
        let named = |list: &str, name: &Value, kind: &str| -> Result<Value> {
            let all = config[list].as_array().map(Vec::as_slice).unwrap_or_default();
            let one =
                all.iter().find(|c| &c["name"] == name).with_context(|| format!("kubeconfig: no {kind} {name}"))?;
            Ok(one[kind].clone())
        };
        let context = named("contexts", &config["current-context"], "context")?;
        let cluster = named("clusters", &context["cluster"], "cluster")?;
        let user = named("users", &context["user"], "user")?;
        let pem = |of: &Value, key: &str| -> Result<Option<Vec<u8>>> {
            if let Some(data) = of[format!("{key}-data")].as_str() {
                return Ok(Some(base64::engine::general_purpose::STANDARD.decode(data)?));
            }
            let dir = path.parent().unwrap_or(Path::new("."));
            of[key].as_str().map(|file| std::fs::read(dir.join(file)).with_context(|| file.to_string())).transpose()
        };
        let mut roots = RootCertStore::empty();
        let ca = pem(&cluster, "certificate-authority")?.context("kubeconfig: no certificate authority")?;
        for cert in CertificateDer::pem_slice_iter(&ca) {
            roots.add(cert?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let tls = tls.with_root_certificates(roots);
        let anonymous = tls.clone().with_no_client_auth();
        let tls = match (pem(&user, "client-certificate")?, pem(&user, "client-key")?) {
            (Some(cert), Some(key)) => {
                let chain = CertificateDer::pem_slice_iter(&cert).collect::<Result<_, _>>()?;
                tls.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(&key)?)?
            }
            _ => tls.with_no_client_auth(),
        };
        let uri: http::Uri = cluster["server"].as_str().context("kubeconfig: no server")?.parse()?;
        let host = uri.host().context("kubeconfig: no host")?;
        Ok(Cluster {
            authority: format!("{host}:{}", uri.port_u16().unwrap_or(443)),
            name: ServerName::try_from(host.trim_matches(['[', ']']).to_string())?,
            tls: TlsConnector::from(Arc::new(tls)),
            anonymous: TlsConnector::from(Arc::new(anonymous)),
            token: user["token"].as_str().map(|t| format!("Bearer {t}")),
        })
    }

    /// A server at `address` whose certificate is by `ca`, as nobody.
    pub fn at(address: std::net::SocketAddr, ca: &str) -> Result<Cluster> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let tls = TlsConnector::from(Arc::new(tls.with_root_certificates(roots).with_no_client_auth()));
        let name = ServerName::from(address.ip());
        Ok(Cluster { authority: address.to_string(), name, anonymous: tls.clone(), tls, token: None })
    }

    pub async fn connect(&self) -> Result<Conn> {
        let tcp = TcpStream::connect(&self.authority).await?;
        tcp.set_nodelay(true)?;
        let tls = self.tls.connect(self.name.clone(), tcp).await?;
        let (sender, connection) = handshake(TokioIo::new(tls)).await?;
        // ends with the sender
        tokio::spawn(connection);
        Ok(Conn { sender, authority: self.authority.clone(), token: self.token.clone(), accept: None })
    }

    pub async fn connections(&self, n: usize) -> Result<Vec<Conn>> {
        let mut all = Vec::with_capacity(n);
        for _ in 0..n {
            all.push(self.connect().await?);
        }
        Ok(all)
    }
}

pub struct Conn {
    sender: SendRequest<Full<Bytes>>,
    authority: String,
    token: Option<String>,
    accept: Option<&'static str>,
}

impl Conn {
    /// Asks for answers of another kind from now on.
    pub fn accept(&mut self, kind: &'static str) {
        self.accept = Some(kind);
    }

    pub async fn send(&mut self, method: Method, path: &str, kind: &str, body: Bytes) -> Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, &self.authority);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, kind);
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        if let Some(kind) = self.accept {
            request = request.header(ACCEPT, kind);
        }
        self.sender.ready().await?;
        Ok(self.sender.send_request(request.body(Full::new(body))?).await?)
    }

    pub async fn call(&mut self, method: Method, path: &str, kind: &str, body: Bytes) -> Result<(StatusCode, Bytes)> {
        let response = self.send(method, path, kind, body).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    pub async fn get(&mut self, path: &str) -> Result<Bytes> {
        expect(self.call(Method::GET, path, JSON, Bytes::new()).await?)
    }
    pub async fn post(&mut self, path: &str, body: Bytes) -> Result<Bytes> {
        expect(self.call(Method::POST, path, JSON, body).await?)
    }
    pub async fn delete(&mut self, path: &str) -> Result<Bytes> {
        expect(self.call(Method::DELETE, path, JSON, Bytes::new()).await?)
    }
}

pub fn expect((status, body): (StatusCode, Bytes)) -> Result<Bytes> {
    if !status.is_success() {
        bail!("{status}: {}", String::from_utf8_lossy(&body[..body.len().min(500)]));
    }
    Ok(body)
}

/// A namespace of its own for one measurement.
pub struct Space {
    pub name: String,
}

impl Space {
    pub async fn create(conn: &mut Conn) -> Result<Space> {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "bench-"}});
        let made: Value =
            serde_json::from_slice(&conn.post("/api/v1/namespaces", namespace.to_string().into()).await?)?;
        let name = made["metadata"]["name"].as_str().ok_or_else(|| anyhow!("a namespace without a name"))?;
        Ok(Space { name: name.to_string() })
    }
    pub fn maps(&self) -> String {
        format!("/api/v1/namespaces/{}/configmaps", self.name)
    }
    pub fn pods(&self) -> String {
        format!("/api/v1/namespaces/{}/pods", self.name)
    }
    /// The cluster as a service account sees it that a Role lets at the ConfigMaps of this namespace and nothing else: what is
    /// measured goes through RBAC, which `system:masters` would not.
    pub async fn user(&self, cluster: &Cluster, admin: &mut Conn) -> Result<Cluster> {
        let (core, rbac) = (
            format!("/api/v1/namespaces/{}/serviceaccounts", self.name),
            format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}", self.name),
        );
        let name = json!({"name": "bench"});
        let (group, version) = ("rbac.authorization.k8s.io", "rbac.authorization.k8s.io/v1");
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": name});
        admin.post(&core, account.to_string().into()).await?;
        let rule = json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]});
        let role = json!({"apiVersion": version, "kind": "Role", "metadata": name, "rules": [rule]});
        admin.post(&format!("{rbac}/roles"), role.to_string().into()).await?;
        let binding = json!({
            "apiVersion": version, "kind": "RoleBinding", "metadata": name,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "bench"},
            "subjects": [{"kind": "ServiceAccount", "name": "bench", "namespace": self.name}],
        });
        admin.post(&format!("{rbac}/rolebindings"), binding.to_string().into()).await?;
        let ask = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
        let answer: Value =
            serde_json::from_slice(&admin.post(&format!("{core}/bench/token"), ask.to_string().into()).await?)?;
        let token = answer["status"]["token"].as_str().context("no token")?;
        let user = Cluster {
            authority: cluster.authority.clone(),
            name: cluster.name.clone(),
            tls: cluster.anonymous.clone(),
            anonymous: cluster.anonymous.clone(),
            token: Some(format!("Bearer {token}")),
        };
        // the authorizer has the binding when it is told of it
        let (mut conn, deadline) = (user.connect().await?, Instant::now() + Duration::from_secs(30));
        while let Err(error) = conn.get(&self.maps()).await {
            if Instant::now() > deadline {
                return Err(error.context("the role does not take effect"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(user)
    }
    pub async fn remove(self, conn: &mut Conn) -> Result<()> {
        conn.delete(&self.maps()).await?;
        conn.delete(&format!("/api/v1/namespaces/{}", self.name)).await?;
        Ok(())
    }
}

/// A ConfigMap with 512 bytes of data.
pub fn config_map(name: &str) -> Bytes {
    let map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"d": "x".repeat(512)}});
    map.to_string().into()
}
