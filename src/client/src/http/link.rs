//! The one connection: made when it is needed, shared by all, given up when it breaks.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use api::Status;
use async_trait::async_trait;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::path::Query;
use super::{HttpConfig, unreachable};

/// TCP; two packets may be lost on the way. And then TLS and HTTP/2.
const CONNECT: Duration = Duration::from_secs(2);
const GREET: Duration = Duration::from_secs(5);
/// After a failed attempt the next one has to wait so long at least, and requests meanwhile fail at once. An agent is back
/// within two seconds of its server, whoever asks first.
const PACE: Duration = Duration::from_millis(400);
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

/// A request, as often as it has to be sent. Its answer is wanted in JSON.
pub struct Ask {
    pub method: Method,
    /// Path and query.
    pub uri: String,
    /// Absent where there is no body.
    pub content_type: Option<&'static str>,
    pub body: Bytes,
}

/// What takes requests to an API server.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// The head of the answer, whatever its code.
    async fn send(&self, ask: &Ask) -> Result<Response<Incoming>, Status>;
}

impl Ask {
    pub(super) fn get(path: String, query: &Query) -> Ask {
        Ask { method: Method::GET, uri: query.after(path), content_type: None, body: Bytes::new() }
    }
    pub(super) fn write(method: Method, path: String, query: &Query, content_type: &'static str, body: Bytes) -> Ask {
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

struct Failure {
    status: Status,
    /// When the next attempt may be made.
    next: Instant,
}

#[derive(Default)]
struct State {
    open: Option<Open>,
    /// The server that is tried first.
    first: usize,
    connections: u64,
    /// Why there is no connection to be had, since the last attempt.
    failure: Option<Failure>,
}

pub struct Link {
    servers: Vec<Server>,
    tls: watch::Receiver<Arc<ClientConfig>>,
    user_agent: HeaderValue,
    state: Mutex<State>,
    /// Held by the one who makes a connection.
    dialing: tokio::sync::Mutex<()>,
}

impl Link {
    pub fn new(config: HttpConfig) -> Result<Link, Status> {
        let servers = config.servers.iter().map(|url| Server::parse(url)).collect::<Result<Vec<_>, _>>()?;
        if servers.is_empty() {
            return Err(Status::bad_request("no server is named"));
        }
        let user_agent = config.user_agent.parse().map_err(|_| Status::bad_request("the user agent is no header"))?;
        Ok(Link { servers, tls: config.tls, user_agent, state: Mutex::default(), dialing: Default::default() })
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

    /// What there is without an attempt: the connection, the reason why there is none, or nothing yet.
    fn present(&self) -> Option<Result<Open, Status>> {
        let state = self.state.lock();
        let fits = |o: &&Open| !o.send.is_closed() && Arc::ptr_eq(&o.tls, &self.tls.borrow());
        if let Some(open) = state.open.as_ref().filter(fits) {
            return Some(Ok(open.clone()));
        }
        let failure = state.failure.as_ref().filter(|f| Instant::now() < f.next)?;
        Some(Err(failure.status.clone()))
    }

    /// The connection, or a new one. One is made at a time; while the API is out of reach, only who makes the attempt waits
    /// for it.
    async fn open(&self) -> Result<Open, Status> {
        if let Some(present) = self.present() {
            return present;
        }
        let known = self.state.lock().failure.as_ref().map(|f| f.status.clone());
        let _dialing = match (self.dialing.try_lock(), known) {
            (Ok(guard), _) => guard,
            (Err(_), Some(status)) => return Err(status),
            (Err(_), None) => self.dialing.lock().await,
        };
        if let Some(present) = self.present() {
            return present;
        }
        let tls = self.tls.borrow().clone();
        let first = self.state.lock().first;
        let mut errors = Vec::new();
        for n in 0..self.servers.len() {
            let server = (first + n) % self.servers.len();
            match connect(&self.servers[server], &tls).await {
                Ok(send) => return Ok(self.opened(send, tls, server)),
                Err(error) => errors.push(format!("{}: {error}", self.servers[server].authority)),
            }
        }
        Err(self.failed(&errors.join("; ")))
    }

    fn opened(&self, send: SendRequest<Full<Bytes>>, tls: Arc<ClientConfig>, server: usize) -> Open {
        let mut state = self.state.lock();
        if state.failure.take().is_some() {
            tracing::info!(server = %self.servers[server].authority, "the API server is reached again");
        }
        state.connections += 1;
        state.first = server;
        let open = Open { send, tls, server, number: state.connections };
        state.open = Some(open.clone());
        open
    }

    fn failed(&self, error: &str) -> Status {
        let mut state = self.state.lock();
        if state.failure.is_none() {
            tracing::warn!(error, "the API server cannot be reached");
        }
        let status = unreachable(error);
        state.open = None;
        let next = Instant::now() + PACE.mul_f64(1.0 + rand::random::<f64>() * 0.5);
        state.failure = Some(Failure { status: status.clone(), next });
        status
    }

    /// The next request gets a new connection; what runs on this one may end there.
    fn give_up(&self, open: &Open) {
        let mut state = self.state.lock();
        if state.open.as_ref().is_some_and(|o| o.number == open.number) {
            state.open = None;
        }
    }
}

#[async_trait]
impl Transport for Link {
    async fn send(&self, ask: &Ask) -> Result<Response<Incoming>, Status> {
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
            self.give_up(&open);
            if tries > 1 || !(unsent || ask.method == Method::GET) {
                return Err(unreachable(text(&error)));
            }
        }
    }
}

async fn connect(server: &Server, tls: &ClientConfig) -> io::Result<SendRequest<Full<Bytes>>> {
    let slow = |what: &str, limit: Duration| {
        io::Error::new(io::ErrorKind::TimedOut, format!("no {what} within {} s", limit.as_secs()))
    };
    let socket = timeout(CONNECT, TcpStream::connect((server.host.as_str(), server.port)));
    let socket = socket.await.map_err(|_| slow("connection", CONNECT))??;
    socket.set_nodelay(true)?;
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let greeting = async {
        let stream = TlsConnector::from(Arc::new(tls)).connect(server.name.clone(), socket).await?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).keep_alive_interval(PING).keep_alive_timeout(PONG);
        builder.initial_stream_window_size(STREAM_WINDOW).initial_connection_window_size(WINDOW);
        builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)
    };
    let (send, connection) = timeout(GREET, greeting).await.map_err(|_| slow("greeting", GREET))??;
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
