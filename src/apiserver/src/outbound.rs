//! Requests that the server itself makes: to webhooks that a kubeconfig file names, and to identity providers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use ::http::{Method, Request, Uri};
use api::Value;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// For a whole request.
const PATIENCE: Duration = Duration::from_secs(30);
/// Of an answer.
const MOST_BYTES: usize = 4 << 20;
/// Where Go looks for the machine's authorities.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A server and how to speak to it.
#[derive(Clone)]
pub struct Outbound {
    url: Uri,
    /// Absent for `http://`.
    tls: Option<Arc<ClientConfig>>,
    authorization: Option<HeaderValue>,
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|e| e.to_string())?;
    if all.is_empty() { Err("holds no certificate".into()) } else { Ok(all) }
}

/// The authorities of a PEM text, else the machine's.
fn roots(pem: Option<&[u8]>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match pem {
        Some(pem) => {
            for certificate in certificates(pem)? {
                roots.add(certificate).map_err(|e| e.to_string())?;
            }
        }
        None => {
            let bundle = BUNDLES.iter().find_map(|p| std::fs::read(p).ok()).unwrap_or_default();
            // one that rustls does not like is no reason to trust none
            roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&bundle).filter_map(Result::ok));
        }
    }
    Ok(roots)
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn client(roots: RootCertStore, identity: Option<Identity>) -> Result<Arc<ClientConfig>, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots);
    let config = match identity {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|e| e.to_string())?,
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

impl Outbound {
    /// `ca_pem`: whom to trust [default: whom the machine does].
    pub fn new(url: &str, ca_pem: Option<&[u8]>) -> Result<Outbound, String> {
        let url: Uri = url.parse().map_err(|e| format!("{url}: {e}"))?;
        let tls = match url.scheme_str() {
            Some("https") => Some(client(roots(ca_pem)?, None)?),
            Some("http") => None,
            _ => return Err(format!("{url}: expected http:// or https://")),
        };
        Ok(Outbound { url, tls, authorization: None })
    }

    /// The server of a kubeconfig file's current context, and what its user shows. The error names the file.
    pub fn from_kubeconfig(path: &Path) -> Result<Outbound, String> {
        Outbound::read(path).map_err(|e| format!("{}: {e}", path.display()))
    }

    fn read(path: &Path) -> Result<Outbound, String> {
        let text = std::fs::read(path).map_err(|e| e.to_string())?;
        let tree = api::decode::yaml(&text)?.tree;
        let name = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let named = |list: &str, wanted: &str, key: &str| -> Option<Value> {
            let all = tree[list].as_array()?;
            all.iter().find(|c| c["name"] == wanted).map(|c| c[key].clone())
        };
        let context = named("contexts", &name(&tree["current-context"]), "context").ok_or("no current context")?;
        let cluster = named("clusters", &name(&context["cluster"]), "cluster").ok_or("the context has no cluster")?;
        let user = named("users", &name(&context["user"]), "user").unwrap_or_default();
        let beside = |file: &str| -> PathBuf { path.parent().unwrap_or(Path::new("")).join(file) };
        let read = |v: &Value, key: &str| -> Result<Option<Vec<u8>>, String> {
            if let Some(data) = v[format!("{key}-data")].as_str() {
                return STANDARD.decode(data).map(Some).map_err(|e| format!("{key}-data: {e}"));
            }
            let Some(file) = v[key].as_str() else { return Ok(None) };
            std::fs::read(beside(file)).map(Some).map_err(|e| format!("{key}: {file}: {e}"))
        };
        if cluster["insecure-skip-tls-verify"] == true {
            return Err("insecure-skip-tls-verify is not supported: name its certificate-authority".into());
        }
        let mut out = Outbound::new(cluster["server"].as_str().ok_or("the cluster has no server")?, None)?;
        let identity = match (read(&user, "client-certificate")?, read(&user, "client-key")?) {
            (Some(chain), Some(key)) => {
                let key = PrivateKeyDer::from_pem_slice(&key).map_err(|e| format!("client-key: {e}"))?;
                Some((certificates(&chain).map_err(|e| format!("client-certificate {e}"))?, key))
            }
            _ => None,
        };
        if out.tls.is_some() {
            let authority = read(&cluster, "certificate-authority")?;
            out.tls = Some(client(roots(authority.as_deref())?, identity)?);
        }
        let token = match (user["token"].as_str(), user["tokenFile"].as_str()) {
            (Some(token), _) => Some(format!("Bearer {token}")),
            (None, Some(file)) => {
                let token = std::fs::read_to_string(beside(file)).map_err(|e| format!("tokenFile: {file}: {e}"))?;
                Some(format!("Bearer {}", token.trim()))
            }
            (None, None) => user["username"].as_str().map(|name| {
                let password = user["password"].as_str().unwrap_or_default();
                format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
            }),
        };
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(&token).map_err(|e| e.to_string())?;
            value.set_sensitive(true);
            out.authorization = Some(value);
        }
        Ok(out)
    }

    /// The same way of speaking, another address.
    pub fn at(&self, url: &str) -> Result<Outbound, String> {
        let url: Uri = url.parse().map_err(|e| format!("{url}: {e}"))?;
        if url.scheme() != self.url.scheme() {
            return Err(format!("{url}: another scheme than {}", self.url));
        }
        Ok(Outbound { url, ..self.clone() })
    }

    pub async fn get(&self) -> Result<(u16, Bytes), String> {
        self.request(Method::GET, Bytes::new()).await
    }
    /// POST of JSON.
    pub async fn post(&self, tree: &Value) -> Result<(u16, Bytes), String> {
        self.request(Method::POST, tree.to_string().into()).await
    }

    async fn request(&self, method: Method, body: Bytes) -> Result<(u16, Bytes), String> {
        let done = tokio::time::timeout(PATIENCE, self.exchange(method, body)).await;
        done.unwrap_or_else(|_| Err("no answer in time".into())).map_err(|e| format!("{}: {e}", self.url))
    }

    async fn exchange(&self, method: Method, body: Bytes) -> Result<(u16, Bytes), String> {
        let text = |e: &dyn std::fmt::Display| e.to_string();
        let authority = self.url.authority().ok_or("it has no host")?;
        let host = authority.host().trim_matches(['[', ']']);
        let port = authority.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let path = self.url.path_and_query().map_or("/", |p| p.as_str());
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, authority.as_str())
            .header(CONTENT_TYPE, "application/json")
            .header("accept", "application/json, */*")
            .body(Full::new(body))
            .map_err(|e| text(&e))?;
        if let Some(value) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, value.clone());
        }
        let socket = TcpStream::connect((host, port)).await.map_err(|e| text(&e))?;
        let answer = match &self.tls {
            Some(tls) => {
                let name = ServerName::try_from(host.to_owned()).map_err(|e| text(&e))?;
                let stream = TlsConnector::from(tls.clone()).connect(name, socket).await.map_err(|e| text(&e))?;
                send(TokioIo::new(stream), request).await?
            }
            None => send(TokioIo::new(socket), request).await?,
        };
        let code = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await.map_err(|e| text(&e))?;
        Ok((code, body.to_bytes()))
    }
}

async fn send<I>(io: I, request: Request<Full<Bytes>>) -> Result<::http::Response<Incoming>, String>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(|e| e.to_string())?;
    // ends with the answer's body
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_says_whom_to_call_and_how() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        let write = |user: &str, server: &str| {
            let text = format!(
                "current-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
                 clusters: [{{name: k, cluster: {{server: '{server}'}}}}]\nusers: [{{name: u, user: {user}}}]"
            );
            std::fs::write(&path, text).unwrap();
            Outbound::from_kubeconfig(&path)
        };
        std::fs::write(dir.path().join("tok"), "abc\n").unwrap();
        for (user, want) in [
            ("{token: x}", Some("Bearer x")),
            ("{tokenFile: tok}", Some("Bearer abc")),
            ("{username: a, password: b}", Some("Basic YTpi")),
            ("{}", None),
        ] {
            let out = write(user, "http://127.0.0.1:1/x").unwrap();
            assert_eq!(out.authorization.as_ref().map(|v| v.to_str().unwrap()), want, "{user}");
        }
        assert!(write("{client-certificate: nope, client-key: nope}", "https://h/").is_err());
        assert!(write("{}", "ftp://h/").err().unwrap().contains("expected http"));
        assert!(Outbound::from_kubeconfig(&dir.path().join("none")).err().unwrap().contains("none"));
    }
}
