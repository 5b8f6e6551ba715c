//! The agent's end of a tunnel: answers the streams that the server opens.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use client::BoxIo;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::{KUBELET, h2};

const CONNECT: Duration = Duration::from_secs(10);
/// What is copied at once: a frame.
const BUFFER: usize = 64 << 10;
/// Why a stream was refused, for the server's log.
pub(crate) const WHY: &str = "skiff-error";

/// What an agent lets the server reach.
#[async_trait]
pub trait Node: Send + Sync + 'static {
    /// Serves one connection to the kubelet, until it ends.
    async fn kubelet(&self, io: BoxIo);
    /// Whether `ip` is this machine's or one of its pods'.
    fn owns(&self, ip: IpAddr) -> bool;
}

/// Answers streams until the connection ends. An error is a broken connection, or one whose other end is gone.
pub async fn serve<I>(io: I, node: Arc<dyn Node>) -> Result<(), hyper::Error>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request| {
        let node = node.clone();
        async move { Ok::<_, Infallible>(answer(request, node).await) }
    });
    h2::answerer().serve_connection(TokioIo::new(io), service).await
}

async fn answer(request: Request<Incoming>, node: Arc<dyn Node>) -> Response<Empty<Bytes>> {
    if request.method() != Method::CONNECT {
        return refused(StatusCode::METHOD_NOT_ALLOWED, "only CONNECT");
    }
    let Some(authority) = request.uri().authority().map(|a| a.as_str().to_owned()) else {
        return refused(StatusCode::BAD_REQUEST, "no authority");
    };
    if authority == KUBELET {
        tokio::spawn(async move {
            if let Some(io) = upgraded(request).await {
                node.kubelet(Box::new(io)).await;
            }
        });
        return Response::default();
    }
    let Ok(address) = authority.parse::<SocketAddr>() else {
        return refused(StatusCode::BAD_REQUEST, "not an address");
    };
    if !node.owns(address.ip()) {
        return refused(StatusCode::FORBIDDEN, "not an address of this node");
    }
    let socket = match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
        Ok(Ok(socket)) => socket,
        Ok(Err(error)) => return refused(StatusCode::BAD_GATEWAY, &error.to_string()),
        Err(_) => return refused(StatusCode::GATEWAY_TIMEOUT, "connection timed out"),
    };
    let _ = socket.set_nodelay(true);
    tokio::spawn(async move {
        let mut socket = socket;
        if let Some(mut io) = upgraded(request).await {
            let joined = tokio::io::copy_bidirectional_with_sizes(&mut io, &mut socket, BUFFER, BUFFER).await;
            if let Err(error) = joined {
                tracing::debug!(%address, %error, "a stream of the tunnel broke");
            }
        }
    });
    Response::default()
}

async fn upgraded(request: Request<Incoming>) -> Option<TokioIo<hyper::upgrade::Upgraded>> {
    match hyper::upgrade::on(request).await {
        Ok(upgraded) => Some(TokioIo::new(upgraded)),
        Err(error) => {
            tracing::debug!(%error, "a stream of the tunnel ended before it began");
            None
        }
    }
}

fn refused(code: StatusCode, why: &str) -> Response<Empty<Bytes>> {
    let mut answer = Response::new(Empty::new());
    *answer.status_mut() = code;
    if let Ok(why) = HeaderValue::from_str(why) {
        answer.headers_mut().insert(WHY, why);
    }
    answer
}
