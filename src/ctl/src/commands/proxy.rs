//! `proxy`: the API server on a local port, for programs that cannot authenticate.

use std::convert::Infallible;
use std::net::SocketAddr;

use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use tokio::net::TcpListener;

use crate::error::{Error, Result};
use crate::session::Session;

#[derive(clap::Args)]
pub struct Flags {
    /// The port; 0: any
    #[arg(short, long, default_value_t = 8001)]
    port: u16,
    /// The address
    #[arg(long, default_value = "127.0.0.1")]
    address: String,
    /// Serve below this path
    #[arg(long, default_value = "/")]
    api_prefix: String,
    /// Let through whatever is asked, also exec and attach of pods and foreign hosts
    #[arg(long)]
    disable_filter: bool,
}

pub async fn run(s: &Session, flags: Flags) -> Result<()> {
    let listener = TcpListener::bind((flags.address.as_str(), flags.port)).await?;
    if flags.disable_filter && !flags.address.starts_with("127.") {
        eprintln!("Request filter disabled, your proxy is vulnerable to XSRF attacks, please be cautious");
    }
    let address: SocketAddr = listener.local_addr()?;
    println!("Starting to serve on {address}");
    let (prefix, open) = (format!("/{}/", flags.api_prefix.trim_matches('/')).replace("//", "/"), flags.disable_filter);
    loop {
        let (connection, _) = listener.accept().await?;
        let (client, prefix) = (s.client().clone(), prefix.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (client, prefix) = (client.clone(), prefix.clone());
            async move { Ok::<_, Infallible>(answer(client, request, &prefix, open).await) }
        });
        tokio::spawn(async move {
            // who hangs up has heard enough
            let _ =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
        });
    }
}

async fn answer(client: kube::Client, request: Request<Incoming>, prefix: &str, open: bool) -> Response<Body> {
    let plain = |code: StatusCode, text: String| {
        let mut answer = Response::new(Body::from(text.into_bytes()));
        *answer.status_mut() = code;
        answer
    };
    let host = request.headers().get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let path = request.uri().path();
    let passes = open || is_local(host) && may_pass(path);
    if !passes {
        return plain(StatusCode::FORBIDDEN, "Forbidden".into());
    }
    let Some(rest) = path.strip_prefix(prefix) else {
        return plain(StatusCode::NOT_FOUND, "404 page not found\n".into());
    };
    let query = request.uri().query().map(|q| format!("?{q}")).unwrap_or_default();
    let uri = format!("/{rest}{query}");
    let (mut head, body) = request.into_parts();
    for name in [header::HOST, header::AUTHORIZATION, header::CONNECTION] {
        head.headers.remove(name);
    }
    head.uri = match uri.parse() {
        Ok(uri) => uri,
        Err(e) => return plain(StatusCode::BAD_REQUEST, format!("{e}\n")),
    };
    head.version = http::Version::HTTP_11;
    let body = match body.collect().await {
        Ok(body) => Body::from(body.to_bytes()),
        Err(e) => return plain(StatusCode::BAD_REQUEST, format!("{e}\n")),
    };
    match client.send(Request::from_parts(head, body)).await {
        Ok(mut answer) => {
            // of the connection behind
            for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
                answer.headers_mut().remove(name);
            }
            *answer.version_mut() = http::Version::HTTP_11;
            answer
        }
        Err(e) => plain(StatusCode::BAD_GATEWAY, format!("{}\n", Error::Connection(e.to_string()))),
    }
}

/// `--accept-hosts`
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

/// `--reject-paths`: exec and attach would let any page in the user's browser into pods.
fn may_pass(path: &str) -> bool {
    let sub = path.rsplit('/').find(|p| !p.is_empty()).unwrap_or_default();
    !(path.starts_with("/api/") && path.contains("/pods/") && matches!(sub, "exec" | "attach"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        for (host, want) in [
            ("localhost:8001", true),
            ("127.0.0.1", true),
            ("[::1]:80", true),
            ("evil.example:8001", false),
            ("", false),
        ] {
            assert_eq!(is_local(host), want, "{host}");
        }
        for (path, want) in [
            ("/api/v1/namespaces/a/pods/b/exec", false),
            ("/api/v1/namespaces/a/pods/b/attach/", false),
            ("/api/v1/namespaces/a/pods/b/log", true),
            ("/api/v1/namespaces/a/services/exec", true),
        ] {
            assert_eq!(may_pass(path), want, "{path}");
        }
    }
}
