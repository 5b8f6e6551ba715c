//! One request over one connection: how a machine speaks to a server before it has an API client.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Error;

/// The name in every server's certificate: an authority that is the cluster's own vouches for servers of the cluster only,
/// so it does not matter by which address one is reached.
pub const SERVER_NAME: &str = "kubernetes";
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(30);
const MOST_BYTES: usize = 1 << 20;

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Whom to call, and how to know them.
#[derive(Clone)]
pub struct Caller {
    pub address: String,
    tls: Arc<ClientConfig>,
}

/// `host:port` of a URL, of an address without a scheme, or without a port.
pub fn address(url: &str) -> Result<String, Error> {
    let wrong = || Error::Address(url.to_owned());
    let rest = match url.split_once("://") {
        Some(("https", rest)) => rest,
        Some(_) => return Err(wrong()),
        None => url,
    };
    let uri: Uri = rest.trim_end_matches('/').parse().map_err(|_| wrong())?;
    let authority = uri.authority().ok_or_else(wrong)?;
    if authority.host().is_empty() || uri.path().len() > 1 || authority.as_str().contains('@') {
        return Err(wrong());
    }
    Ok(format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(6443)))
}

impl Caller {
    /// `tls` says whom to trust; ALPN is set here.
    pub fn new(address: &str, tls: &ClientConfig) -> Caller {
        let mut tls = tls.clone();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Caller { address: address.to_owned(), tls: Arc::new(tls) }
    }

    fn unreachable(&self, why: impl std::fmt::Display) -> Error {
        Error::Unreachable { server: self.address.clone(), why: why.to_string() }
    }

    pub async fn connect(&self) -> Result<TlsStream<TcpStream>, Error> {
        let name = ServerName::try_from(SERVER_NAME).map_err(|e| Error::Tls(e.to_string()))?;
        let timed_out = |_| self.unreachable("timed out");
        let tcp = tokio::time::timeout(CONNECT, TcpStream::connect(&self.address)).await.map_err(timed_out)?;
        let tcp = tcp.map_err(|e| self.unreachable(e))?;
        let _ = tcp.set_nodelay(true);
        let tls = TlsConnector::from(self.tls.clone()).connect(name, tcp);
        match tokio::time::timeout(CONNECT, tls).await.map_err(timed_out)? {
            Ok(stream) => Ok(stream),
            Err(error) => match error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
                Some(tls) if is_about_time(tls) => Err(Error::ClockSkew(tls.to_string())),
                Some(tls) => Err(Error::Tls(tls.to_string())),
                None => Err(self.unreachable(error)),
            },
        }
    }

    /// The head of the answer; the connection lives as long as the answer.
    pub async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Error> {
        let host = HeaderValue::from_str(&self.address).map_err(|_| Error::Address(self.address.clone()))?;
        request.headers_mut().insert(HOST, host);
        let stream = self.connect().await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.unreachable(e))?;
        tokio::spawn(connection.with_upgrades());
        let answer = tokio::time::timeout(ANSWER, sender.send_request(request)).await;
        answer.map_err(|_| self.unreachable("no answer"))?.map_err(|e| self.unreachable(e))
    }

    /// A request in short.
    pub async fn request(&self, method: &str, path: &str, content_type: &str, body: String) -> Result<Answer, Error> {
        let request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, content_type);
        self.call(request.body(Full::from(body)).map_err(|e| Error::Garbled(e.to_string()))?).await
    }

    pub async fn call(&self, request: Request<Full<Bytes>>) -> Result<Answer, Error> {
        let (head, body) = self.send(request).await?.into_parts();
        let body = tokio::time::timeout(ANSWER, Limited::new(body, MOST_BYTES).collect()).await;
        let body = body.map_err(|_| self.unreachable("no answer"))?.map_err(|e| self.unreachable(e))?;
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    }
}

fn is_about_time(error: &rustls::Error) -> bool {
    use rustls::CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    let rustls::Error::InvalidCertificate(error) = error else { return false };
    matches!(error, Expired | NotValidYet | ExpiredContext { .. } | NotValidYetContext { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_servers() {
        for (url, is) in [
            ("https://10.0.0.1:6443", "10.0.0.1:6443"),
            ("https://example.com", "example.com:6443"),
            ("https://example.com:443/", "example.com:443"),
            ("10.0.0.1", "10.0.0.1:6443"),
            ("[fd00::1]:7000", "[fd00::1]:7000"),
        ] {
            assert_eq!(address(url).unwrap(), is);
        }
        for bad in ["", "http://x", "https://", "https://x/path", "https://u@x"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
