//! The server's end of all tunnels: streams to nodes by name.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use client::BoxIo;
use http::{Method, Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cut::Cut;
use crate::h2;
use crate::serve::WHY;

/// Until a stream is answered: longer than the agent's own attempt to connect.
const ANSWER: Duration = Duration::from_secs(15);
/// A node that has just lost its tunnel is back within this.
const RETURN: Duration = Duration::from_secs(2);

type Sender = SendRequest<Empty<Bytes>>;

struct Tunnel {
    id: u64,
    sender: Sender,
    cut: CancellationToken,
}

#[derive(Default)]
struct State {
    tunnels: HashMap<String, Tunnel>,
    /// Nodes that had a tunnel: only these are waited for.
    known: HashMap<String, tokio::time::Instant>,
    last: u64,
}

/// All tunnels of this server.
pub struct Hub {
    state: Mutex<State>,
    /// Turns whenever a tunnel comes.
    came: watch::Sender<()>,
    /// All nodes of the server before this one come back at first.
    born: tokio::time::Instant,
    stop: CancellationToken,
}

impl Hub {
    /// Its tunnels end with `stop`.
    pub fn new(stop: CancellationToken) -> Hub {
        Hub { state: Mutex::default(), came: watch::channel(()).0, born: tokio::time::Instant::now(), stop }
    }

    /// Holds the tunnel to `node` over `io` until it ends. From now on it is the node's tunnel; streams of an older one may
    /// end in peace.
    pub async fn hold<I>(&self, node: &str, io: I) -> Result<(), hyper::Error>
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let cut = self.stop.child_token();
        let io = TokioIo::new(Cut::new(io, cut.clone()));
        let (sender, connection) = h2::opener().handshake(io).await?;
        let id = {
            let mut state = self.state.lock();
            state.last += 1;
            let id = state.last;
            let tunnel = Tunnel { id, sender, cut: cut.clone() };
            if state.tunnels.insert(node.to_owned(), tunnel).is_some() {
                tracing::debug!(node, "a newer tunnel takes the place of the old");
            }
            id
        };
        self.came.send_replace(());
        let ended = cut.run_until_cancelled(connection).await;
        if !matches!(ended, Some(Ok(()))) {
            // streams may wait for an answer that will not come
            cut.cancel();
        }
        let mut state = self.state.lock();
        if state.tunnels.get(node).is_some_and(|t| t.id == id) {
            state.tunnels.remove(node);
            state.known.insert(node.to_owned(), tokio::time::Instant::now());
        }
        ended.unwrap_or(Ok(()))
    }

    /// Ends the tunnel to `node` with all its streams.
    pub fn cut(&self, node: &str) {
        let mut state = self.state.lock();
        state.known.remove(node);
        if let Some(tunnel) = state.tunnels.remove(node) {
            tunnel.cut.cancel();
        }
    }

    pub fn is_connected(&self, node: &str) -> bool {
        self.state.lock().tunnels.contains_key(node)
    }

    /// A stream to the kubelet of `node`.
    pub async fn dial(&self, node: &str) -> io::Result<BoxIo> {
        self.open(node, crate::KUBELET).await
    }

    /// A stream to `authority` (`host:port`) from `node`.
    pub async fn open(&self, node: &str, authority: &str) -> io::Result<BoxIo> {
        let mut sender = self.sender(node).await?;
        let mut request = Request::new(Empty::new());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = authority.parse().map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
        let answered = tokio::time::timeout(ANSWER, sender.send_request(request)).await;
        let answer = answered.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map_err(io::Error::other)?;
        let kind = match answer.status() {
            StatusCode::OK => {
                let upgraded = hyper::upgrade::on(answer).await.map_err(io::Error::other)?;
                return Ok(Box::new(TokioIo::new(upgraded)));
            }
            StatusCode::FORBIDDEN => io::ErrorKind::PermissionDenied,
            StatusCode::BAD_GATEWAY => io::ErrorKind::ConnectionRefused,
            StatusCode::GATEWAY_TIMEOUT => io::ErrorKind::TimedOut,
            _ => io::ErrorKind::Other,
        };
        let why = answer.headers().get(WHY).and_then(|v| v.to_str().ok()).unwrap_or("refused");
        Err(io::Error::new(kind, format!("{authority} from node {node}: {why}")))
    }

    /// The node's tunnel; one that was lost a moment ago is waited for.
    async fn sender(&self, node: &str) -> io::Result<Sender> {
        let mut came = self.came.subscribe();
        let find = || {
            let mut state = self.state.lock();
            let now = tokio::time::Instant::now();
            state.known.retain(|_, lost| now.duration_since(*lost) < RETURN);
            match state.tunnels.get(node) {
                Some(tunnel) if !tunnel.sender.is_closed() => Ok(tunnel.sender.clone()),
                Some(_) => Err(Some(now + RETURN)),
                None => {
                    let lost = state.known.get(node).copied();
                    Err(lost.or(Some(self.born)).map(|lost| lost + RETURN).filter(|until| *until > now))
                }
            }
        };
        loop {
            let until = match find() {
                Ok(sender) => return Ok(sender),
                Err(Some(until)) => until,
                Err(None) => {
                    return Err(io::Error::new(io::ErrorKind::NotFound, format!("no connection to node {node}")));
                }
            };
            if !matches!(tokio::time::timeout_at(until, came.changed()).await, Ok(Ok(()))) {
                return Err(io::Error::new(io::ErrorKind::NotConnected, format!("lost the connection to node {node}")));
            }
        }
    }
}
