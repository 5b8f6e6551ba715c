//! One HTTP GET: as upstream's http prober, TLS is not verified, and redirects are followed on the same host only.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;

use super::tcp;

#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub https: bool,
    pub host: String,
    pub port: u16,
    pub path: String,
    pub headers: Vec<(String, String)>,
}

const MAX_BODY: usize = 10 << 10;
const MAX_REDIRECTS: usize = 10;

impl Target {
    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
    fn url(&self) -> String {
        format!("{}://{}{}", if self.https { "https" } else { "http" }, self.authority(), self.path)
    }
}

/// Succeeds for a status of 200…399.
pub(crate) async fn get(target: &Target, headers: &BTreeMap<String, String>, timeout: Duration) -> Result<(), String> {
    let url = target.url();
    match tokio::time::timeout(timeout, follow(target.clone(), headers, timeout)).await {
        Ok(Ok(status)) if (200..400).contains(&status) => Ok(()),
        Ok(Ok(status)) => Err(format!("HTTP probe failed with statuscode: {status}")),
        Ok(Err(text)) => Err(format!("Get {url:?}: {text}")),
        Err(_) => {
            Err(format!("Get {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"))
        }
    }
}

async fn follow(mut target: Target, headers: &BTreeMap<String, String>, timeout: Duration) -> Result<u16, String> {
    for _ in 0..MAX_REDIRECTS {
        let (status, location) = once(&target, headers, timeout).await?;
        let redirected = matches!(status, 301 | 302 | 303 | 307 | 308);
        let Some(location) = location.filter(|_| redirected) else { return Ok(status) };
        let uri: http::Uri = location.parse().map_err(|e| format!("bad redirect: {e}"))?;
        if let Some(host) = uri.host() {
            if host != target.host {
                return Ok(status); // elsewhere: upstream calls that a success with a warning
            }
            target.https = uri.scheme_str() == Some("https");
            target.port = uri.port_u16().unwrap_or(if target.https { 443 } else { 80 });
        }
        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        target.path = match path.strip_prefix('/') {
            Some(_) => path.to_owned(),
            None => format!("{}/{path}", target.path.rsplit_once('/').map_or("", |(dir, _)| dir)),
        };
    }
    Err(format!("stopped after {MAX_REDIRECTS} redirects"))
}

async fn once(
    target: &Target,
    headers: &BTreeMap<String, String>,
    timeout: Duration,
) -> Result<(u16, Option<String>), String> {
    let stream = tcp::connect(&target.host, target.port, timeout).await?;
    if target.https {
        let name = ServerName::try_from(target.host.clone()).map_err(|e| e.to_string())?;
        let connector = tokio_rustls::TlsConnector::from(pki::client_config_trusting_all());
        let stream = connector.connect(name, stream).await.map_err(|e| e.to_string())?;
        exchange(target, headers, stream).await
    } else {
        exchange(target, headers, stream).await
    }
}

async fn exchange(
    target: &Target,
    headers: &BTreeMap<String, String>,
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
) -> Result<(u16, Option<String>), String> {
    let mut request = Request::get(&target.path);
    let mut host = target.authority();
    let mut all: BTreeMap<String, String> = headers.clone();
    all.insert("Accept".into(), "*/*".into());
    all.insert("Connection".into(), "close".into());
    for (k, v) in &target.headers {
        if k.eq_ignore_ascii_case("host") {
            host = v.clone();
            continue;
        }
        all.retain(|old, _| !old.eq_ignore_ascii_case(k));
        all.insert(k.clone(), v.clone());
    }
    for (k, v) in all.iter().filter(|(_, v)| !v.is_empty()) {
        request = request.header(k, v);
    }
    let request = request.header(header::HOST, host).body(Empty::<Bytes>::new()).map_err(|e| e.to_string())?;
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(|e| e.to_string())?;
    let talk = async {
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let status = response.status().as_u16();
        let location = response.headers().get(header::LOCATION).and_then(|l| l.to_str().ok()).map(str::to_owned);
        // a body that is too long, or cut off, does not fail the probe
        let _ = Limited::new(response.into_body(), MAX_BODY).collect().await;
        Ok((status, location))
    };
    tokio::pin!(talk);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        biased;
        done = &mut talk => done,
        ended = &mut connection => match ended {
            Ok(()) => talk.await,
            Err(e) => Err(e.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn server(answers: Vec<&'static str>) -> Target {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            for answer in answers {
                let (mut s, _) = listener.accept().await.unwrap();
                let mut buffer = [0; 1024];
                let _ = s.read(&mut buffer).await;
                let _ = s.write_all(answer.as_bytes()).await;
            }
        });
        Target { https: false, host: "127.0.0.1".into(), port, path: "/".into(), headers: vec![] }
    }

    #[tokio::test]
    async fn statuses_and_redirects_count_as_upstreams() {
        let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        let bad = "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n";
        let away = "HTTP/1.1 302 F\r\nLocation: http://example.invalid/\r\nContent-Length: 0\r\n\r\n";
        let here = "HTTP/1.1 302 F\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n";
        for (answers, want) in [
            (vec![ok], Ok(())),
            (vec![bad], Err("HTTP probe failed with statuscode: 500".to_owned())),
            (vec![away], Ok(())),
            (vec![here, bad], Err("HTTP probe failed with statuscode: 500".to_owned())),
        ] {
            let target = server(answers).await;
            assert_eq!(get(&target, &BTreeMap::new(), Duration::from_secs(5)).await, want);
        }
    }
}
