//! A server on a free port over a store in a temporary directory, and a plain HTTP client for it.

#![allow(dead_code)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api::Status;
use apiserver::{Attributes, Authenticator, Authorizer, Config, Decision, Options, Server, User};
use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(20);

struct Anyone;
impl Authenticator for Anyone {
    fn authenticate(&self, headers: &HeaderMap, _: &[Vec<u8>]) -> Result<Option<Arc<User>>, Status> {
        Ok((!headers.contains_key("x-nobody")).then(|| User::system("tester")))
    }
}
impl Authorizer for Anyone {
    fn authorize(&self, a: &Attributes) -> Decision {
        if a.namespace == "secret" { Decision::Deny(String::new()) } else { Decision::Allow }
    }
}

pub struct Cluster {
    pub server: Server,
    pub address: SocketAddr,
    pub stop: CancellationToken,
    pub serving: tokio::task::JoinHandle<std::io::Result<()>>,
    /// As the admin.
    pub tls: Arc<rustls::ClientConfig>,
    connector: TlsConnector,
    _dir: tempfile::TempDir,
}

pub struct Answer {
    pub code: u16,
    pub headers: HeaderMap,
    pub bytes: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
    pub fn warnings(&self) -> Vec<&str> {
        self.headers.get_all("warning").iter().map(|v| v.to_str().unwrap()).collect()
    }
    /// The code and the message of a `Status`.
    pub fn failure(&self) -> (u16, String) {
        (self.code, self.json()["message"].as_str().unwrap_or_default().to_owned())
    }
}

/// Waits for what must come soon.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("in time")
}

impl Cluster {
    pub async fn start() -> Cluster {
        Cluster::with(|_| {}).await
    }
    pub async fn with(change: impl FnOnce(&mut Config)) -> Cluster {
        Cluster::make(change, Options::default()).await
    }
    pub async fn with_options(options: Options) -> Cluster {
        Cluster::make(|_| {}, options).await
    }
    async fn make(change: impl FnOnce(&mut Config), extra: Options) -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let options = pki::Options {
            node_name: "n".into(),
            node_ips: Vec::new(),
            service_ips: Vec::new(),
            cluster_domain: "cluster.local".into(),
            extra_hosts: Vec::new(),
            token: None,
            agent_token: None,
        };
        let pki = pki::Pki::open(dir.path(), &options).unwrap();
        let store = Arc::new(store::Store::open(dir.path(), store::Options::default()).unwrap());
        let stop = CancellationToken::new();
        let mut config = Config {
            store,
            registry: api::kinds::registry(),
            authenticator: Arc::new(Anyone),
            authorizer: Arc::new(Anyone),
            plugins: Vec::new(),
            specials: Default::default(),
            stop: stop.clone(),
        };
        change(&mut config);
        let server = Server::with(config, extra);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (serve, config) = (server.clone(), pki.server_config().unwrap());
        let serving = tokio::spawn(async move { serve.serve(listener, config).await });
        let tls = pki::client_config(&pki.server_ca, Some(&pki.admin)).unwrap();
        let mut client = tls.clone();
        Arc::make_mut(&mut client).alpn_protocols = vec![b"http/1.1".to_vec()];
        Cluster { server, address, stop, serving, tls, connector: TlsConnector::from(client), _dir: dir }
    }

    pub async fn connect(&self) -> SendRequest<Full<Bytes>> {
        let socket = TcpStream::connect(self.address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let stream = self.connector.connect(ServerName::try_from("localhost").unwrap(), socket).await.unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    pub async fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> http::Response<Incoming> {
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
        request = request.header("host", "localhost");
        for (k, v) in headers {
            request = request.header(*k, *v);
        }
        let mut sender = self.connect().await;
        let answer = soon(sender.send_request(request.body(Full::new(body)).unwrap())).await.unwrap();
        // the connection lives as long as its answer is read
        tokio::spawn(async move {
            let _ = sender.ready().await;
        });
        answer
    }

    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let answer = self.open(method, path, headers, body.into()).await;
        let (code, headers) = (answer.status().as_u16(), answer.headers().clone());
        let bytes = soon(answer.into_body().collect()).await.unwrap().to_bytes();
        Answer { code, headers, bytes }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], Bytes::new()).await
    }
    pub async fn json(&self, method: &str, path: &str, body: Value) -> Answer {
        let kind = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        self.send(method, path, &[("content-type", kind)], body.to_string()).await
    }
    pub async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], Bytes::new()).await
    }
    pub async fn made(&self, path: &str, body: Value) -> Value {
        let answer = self.json("POST", path, body).await;
        assert_eq!(answer.code, 201, "{}", answer.text());
        answer.json()
    }

    pub async fn watch(&self, path: &str) -> Events {
        let answer = self.open("GET", path, &[], Bytes::new()).await;
        assert_eq!(answer.status(), 200);
        Events::new(answer.into_body())
    }
}

/// The lines of a watch.
pub struct Events {
    body: Incoming,
    rest: Vec<u8>,
}

impl Events {
    pub fn new(body: Incoming) -> Events {
        Events { body, rest: Vec::new() }
    }
    /// `None`: it has ended.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            match soon(self.body.frame()).await? {
                Ok(frame) => self.rest.extend_from_slice(frame.data_ref().unwrap()),
                Err(_) => return None,
            }
        }
    }
    /// Type and name of the next event.
    pub async fn seen(&mut self) -> (String, String) {
        let e = self.next().await.expect("an event");
        let text = |p: &str| e.pointer(p).and_then(Value::as_str).unwrap_or_default().to_owned();
        (text("/type"), text("/object/metadata/name"))
    }
}
