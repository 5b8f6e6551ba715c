//! The one connection: made when it is needed, shared by all, given up when it breaks.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use api::Status;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::path::Query;
use super::{HttpConfig, unreachable};

/// TCP, TLS and HTTP/2 together.
const CONNECT: Duration = Duration::from_secs(5);
/// Until the head of an answer is there: what the server allows itself, and a little.
const ANSWER: Duration = Duration::from_secs(65);
/// With nothing heard for `PING` while something is open, the other end is asked; it is gone if `PONG` passes. 40 bytes a
/// second of an idle watch.
const PING: Duration = Duration::from_secs(8);
const PONG: Duration = Duration::from_secs(5);
/// What the server may send ahead of who reads it: of one answer, and of all. A list is not held up by the way's length, and
/// one answer that nobody reads does not hold up the rest.
const STREAM_WINDOW: u32 = 512 << 10;
const WINDOW: u32 = 4 << 20;

/// A request, as often as it has to be sent.
pub struct Ask {
    method: Method,
    /// Path and query.
    uri: String,
    content_type: Option<&'static str>,
    body: Bytes,
}

impl Ask {
    pub fn get(path: String, query: &Query) -> Ask {
        Ask { method: Method::GET, uri: query.after(path), content_type: None, body: Bytes::new() }
    }
    pub fn write(method: Method, path: String, query: &Query, content_type: &'static str, body: Bytes) -> Ask {
        Ask { method, uri: query.after(path), content_type: Some(content_type), body }
    }
}

struct Server {
    /// `host:port`, as it stands in the URL.
    authority: Box<str>,
    host: String,
    port: u16,
    name: ServerName<'static>,
}

impl Server {
    fn parse(url: &str) -> Result<Server, Status> {
        let wrong = || Status::bad_request(format!("{url:?} is not the URL of a server: https://host:port"));
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("https")).ok_or_else(wrong)?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|_| wrong())?;
        let port = authority.port_u16().unwrap_or(443);
        Ok(Server { authority: authority.as_str().into(), host, port, name })
    }
}

#[derive(Clone)]
struct Open {
    send: SendRequest<Full<Bytes>>,
    tls: Arc<ClientConfig>,
    server: usize,
    /// Counts connections.
    number: u64,
}

#[derive(Default)]
struct State {
    open: Option<Open>,
    /// The server that is tried first.
    first: usize,
    connections: u64,
    /// Since when there is no connection to be had: who waited for that attempt does not make another.
    failed: Option<(Instant, Status)>,
}

pub struct Link {
    servers: Vec<Server>,
    tls: watch::Receiver<Arc<ClientConfig>>,
    user_agent: HeaderValue,
    state: Mutex<State>,
}

impl Link {
    pub fn new(config: HttpConfig) -> Result<Link, Status> {
        let servers = config.servers.iter().map(|url| Server::parse(url)).collect::<Result<Vec<_>, _>>()?;
        if servers.is_empty() {
            return Err(Status::bad_request("no server is named"));
        }
        let user_agent = config.user_agent.parse().map_err(|_| Status::bad_request("the user agent is no header"))?;
        Ok(Link { servers, tls: config.tls, user_agent, state: Mutex::default() })
    }

    /// The head of the answer, whatever its code.
    pub async fn send(&self, ask: &Ask) -> Result<Response<Incoming>, Status> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut open = self.open().await?;
            let request = self.request(ask, &open)?;
            let (unsent, error) = match timeout(ANSWER, open.send.try_send_request(request)).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(mut failed)) => (failed.take_message().is_some(), failed.into_error()),
                Err(_) => return Err(unreachable(format!("no answer within {} s", ANSWER.as_secs()))),
            };
            self.give_up(&open).await;
            if tries > 1 || !(unsent || ask.method == Method::GET) {
                return Err(unreachable(text(&error)));
            }
        }
    }

    fn request(&self, ask: &Ask, open: &Open) -> Result<Request<Full<Bytes>>, Status> {
        let uri = format!("https://{}{}", self.servers[open.server].authority, ask.uri);
        let mut request = Request::builder().method(&ask.method).uri(uri).header(USER_AGENT, &self.user_agent);
        request = request.header(ACCEPT, "application/json");
        if let Some(content_type) = ask.content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        let body = Full::new(ask.body.clone());
        request.body(body).map_err(|e| Status::bad_request(format!("{}: {e}", ask.uri)))
    }

    /// The connection, or a new one. Only one is made at a time.
    async fn open(&self) -> Result<Open, Status> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        let tls = self.tls.borrow().clone();
        if let Some(open) = state.open.as_ref().filter(|o| !o.send.is_closed() && Arc::ptr_eq(&o.tls, &tls)) {
            return Ok(open.clone());
        }
        if let Some((_, status)) = state.failed.as_ref().filter(|(at, _)| *at >= asked) {
            return Err(status.clone());
        }
        let mut errors = Vec::new();
        for n in 0..self.servers.len() {
            let server = (state.first + n) % self.servers.len();
            let at = &self.servers[server];
            let error = match timeout(CONNECT, connect(at, &tls)).await {
                Ok(Ok(send)) => {
                    if state.failed.take().is_some() {
                        tracing::info!(server = %at.authority, "the API server is reached again");
                    }
                    state.connections += 1;
                    state.first = server;
                    let open = Open { send, tls, server, number: state.connections };
                    state.open = Some(open.clone());
                    return Ok(open);
                }
                Ok(Err(error)) => format!("{}: {error}", at.authority),
                Err(_) => format!("{}: no connection within {} s", at.authority, CONNECT.as_secs()),
            };
            errors.push(error);
        }
        let error = errors.join("; ");
        if state.failed.is_none() {
            tracing::warn!(%error, "the API server cannot be reached");
        }
        let status = unreachable(error);
        state.open = None;
        state.failed = Some((Instant::now(), status.clone()));
        Err(status)
    }

    /// The next request gets a new connection; what runs on this one may end there.
    async fn give_up(&self, open: &Open) {
        let mut state = self.state.lock().await;
        if state.open.as_ref().is_some_and(|o| o.number == open.number) {
            state.open = None;
        }
    }
}

async fn connect(server: &Server, tls: &ClientConfig) -> io::Result<SendRequest<Full<Bytes>>> {
    let socket = TcpStream::connect((server.host.as_str(), server.port)).await?;
    socket.set_nodelay(true)?;
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TlsConnector::from(Arc::new(tls)).connect(server.name.clone(), socket).await?;
    let (send, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(WINDOW)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let authority = server.authority.clone();
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(server = %authority, error = text(&error), "the connection to the API server broke");
        }
    });
    Ok(send)
}

/// An error with its causes, which say more.
fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
