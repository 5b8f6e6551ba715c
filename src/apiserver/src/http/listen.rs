//! Sockets: accept, TLS, HTTP/1.1 or HTTP/2, and a quick end.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::front::{Front, Peer};
use super::stall::Stall;

/// For a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// For a request's head. HTTP/1.1 counts the idle time before it too, hence so long: a client's pool lets go earlier.
const HEAD: Duration = Duration::from_secs(90);
/// Of a request's head; Go's servers take a little more.
const HEADERS: u32 = 512 * 1024;
/// What is still running when the server stops has this long.
const GRACE: Duration = Duration::from_millis(700);

/// Serves until the front stops; then open requests have a moment to end.
pub(crate) async fn listen(front: Arc<Front>, listener: TcpListener, tls: Arc<ServerConfig>) -> io::Result<()> {
    let acceptor = TlsAcceptor::from(tls);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = front.stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    connections.spawn(connection(front.clone(), acceptor.clone(), socket));
                }
                // out of files: the next try may have more luck, when a connection has ended
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
    connections.shutdown().await;
    Ok(())
}

async fn connection(front: Arc<Front>, acceptor: TlsAcceptor, socket: TcpStream) {
    let _ = socket.set_nodelay(true);
    let Ok(address) = socket.peer_addr() else { return };
    let address = address.ip().to_canonical();
    let patient = Arc::new(AtomicBool::new(false));
    let socket = Stall::new(socket, patient.clone());
    let stream = tokio::select! {
        () = front.stop.cancelled() => return,
        stream = tokio::time::timeout(HANDSHAKE, acceptor.accept(socket)) => match stream {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => return,
        },
    };
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let certificates = chain.iter().map(|c| c.to_vec()).collect();
    let peer = Arc::new(Peer { certificates, address, patient });
    let stop = front.stop.clone();
    let revoked = revoked(front.clone(), peer.clone());
    let service = service_fn(move |request| {
        let (front, peer) = (front.clone(), peer.clone());
        async move { Ok::<_, Infallible>(front.serve(peer, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(512 * 1024).max_headers(1000);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .max_concurrent_streams(1000)
        .max_header_list_size(HEADERS)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_send_buf_size(1024 * 1024);
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = revoked => return,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// Until the peer's certificate counts no more. What it has open would run on for minutes otherwise.
async fn revoked(front: Arc<Front>, peer: Arc<Peer>) {
    if peer.certificates.is_empty() {
        return std::future::pending().await;
    }
    let mut turns = front.revoked.subscribe();
    while turns.changed().await.is_ok() {
        if front.authenticator.authenticate(&http::HeaderMap::new(), &peer.certificates).is_err() {
            return;
        }
    }
}
