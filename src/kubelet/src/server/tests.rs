//! The server as its clients see it: logs, WebSocket and SPDY, against the fake runtime.

use std::sync::Arc;
use std::time::Duration;

use api::Resource;
use api::k8s_openapi::api::core::v1::Pod;
use bytes::Bytes;
use client::fake::FakeClient;
use futures::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_util::sync::CancellationToken;

use crate::fake::{FakeNetwork, FakeRuntime, NoMounts};
use crate::streams::spdy::testing::Client as SpdyClient;
use crate::{Config, Kubelet};

struct Server {
    kubelet: Arc<Kubelet>,
    runtime: Arc<FakeRuntime>,
    stop: CancellationToken,
    dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn server() -> Server {
    let clock = Arc::new(client::SystemClock);
    let (api, runtime) = (FakeClient::new(), FakeRuntime::new(clock.clone()));
    let dir = tempfile::tempdir().unwrap();
    api.seed(
        Pod::gvr(),
        json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "img"}]}}),
    );
    let config = Config {
        node_name: "n".into(),
        node_ips: vec!["192.168.0.1".parse().unwrap()],
        root_dir: dir.path().join("agent"),
        log_dir: dir.path().join("logs"),
        // the real disk may be full
        eviction_hard: "".parse().unwrap(),
        ..Config::default()
    };
    let network = Arc::new(FakeNetwork::default());
    let kubelet = Arc::new(Kubelet::with(config, api.arc(), runtime.clone(), network, Arc::new(NoMounts), clock));
    let stop = CancellationToken::new();
    let (k, s) = (kubelet.clone(), stop.clone());
    tokio::spawn(async move { k.run(s).await });
    let limit = tokio::time::Instant::now() + Duration::from_secs(10);
    while runtime.running("c").is_none() {
        assert!(tokio::time::Instant::now() < limit, "the pod never runs");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Server { kubelet, runtime, stop, dir }
}

impl Server {
    fn connect(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let k = self.kubelet.clone();
        tokio::spawn(async move { k.serve(theirs).await });
        ours
    }
    async fn send(&self, request: Request<Empty<Bytes>>) -> Response<hyper::body::Incoming> {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(self.connect())).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await.unwrap()
    }
    async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.send(Request::get(path).header("host", "k").body(Empty::new()).unwrap()).await;
        let code = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8_lossy(&body).into_owned())
    }
    async fn websocket(&self, path: &str, protocol: &str) -> tokio_tungstenite::WebSocketStream<DuplexStream> {
        let mut request = format!("ws://kubelet{path}").into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
        tokio_tungstenite::client_async(request, self.connect()).await.unwrap().0
    }
    async fn spdy(&self, path: &str, protocols: &str) -> (SpdyClient, String) {
        let request = Request::post(path)
            .header("host", "k")
            .header("connection", "Upgrade")
            .header("upgrade", "SPDY/3.1")
            .header("x-stream-protocol-version", protocols)
            .body(Empty::new())
            .unwrap();
        let answer = self.send(request).await;
        assert_eq!(answer.status(), 101);
        let protocol = answer.headers()["x-stream-protocol-version"].to_str().unwrap().to_owned();
        let upgraded = hyper::upgrade::on(answer).await.unwrap();
        (SpdyClient::new(TokioIo::new(upgraded)), protocol)
    }
    fn log(&self) -> std::path::PathBuf {
        let path = self.runtime.running("c").unwrap().log_path;
        assert!(path.starts_with(self.dir.path()));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }
}

async fn drained(mut ws: tokio_tungstenite::WebSocketStream<DuplexStream>) -> Vec<(u8, String)> {
    let mut all: Vec<(u8, String)> = Vec::new();
    while let Some(Ok(m)) = ws.next().await {
        let bytes = match m {
            Message::Binary(b) => b,
            Message::Text(t) => Bytes::from(t),
            _ => continue,
        };
        all.push((bytes[0], String::from_utf8_lossy(&bytes[1..]).into_owned()));
    }
    all
}

#[tokio::test]
async fn exec_over_websocket_gives_output_and_exit_code() {
    let s = server().await;
    let ws = s.websocket("/exec/ns/p/c?command=echo&command=a+b&output=1&error=1", "v5.channel.k8s.io").await;
    let all = drained(ws).await;
    assert_eq!(all[0], (1, "a b\n".into()));
    assert_eq!(all[1], (3, r#"{"metadata":{},"status":"Success"}"#.into()));
    s.runtime.state.lock().execs.insert("false".into(), 3);
    let all = drained(s.websocket("/exec/ns/p/c?command=false&stdout=true", "v4.channel.k8s.io").await).await;
    let status: api::Value = serde_json::from_str(&all[0].1).unwrap();
    assert_eq!((all[0].0, &status["status"], &status["reason"]), (3, &json!("Failure"), &json!("NonZeroExitCode")));
    assert_eq!(status["details"]["causes"], json!([{"reason": "ExitCode", "message": "3"}]));
    let all = drained(s.websocket("/exec/ns/p/c?command=echo&command=x&output=1", "base64.channel.k8s.io").await).await;
    assert_eq!(all, [(b'1', "eAo=".into())]);
}

#[tokio::test]
async fn stdin_flows_and_v5_closes_it() {
    let s = server().await;
    let mut ws = s.websocket("/exec/ns/p/c?command=cat&input=1&output=1", "v5.channel.k8s.io").await;
    ws.send(Message::binary(b"\0hello ".to_vec())).await.unwrap();
    ws.send(Message::binary(b"\0you".to_vec())).await.unwrap();
    ws.send(Message::binary(vec![255, 0])).await.unwrap();
    let all = drained(ws).await;
    let out: String = all.iter().filter(|(c, _)| *c == 1).map(|(_, t)| t.as_str()).collect();
    assert_eq!(out, "hello you");
    assert!(all.iter().any(|(c, t)| *c == 3 && t.contains("Success")));
}

#[tokio::test]
async fn exec_over_spdy_speaks_v4() {
    let s = server().await;
    let path = "/exec/ns/p/c?command=cat&input=1&output=1&error=1";
    let (mut c, protocol) = s.spdy(path, "v5.channel.k8s.io,v4.channel.k8s.io,v3.channel.k8s.io").await;
    assert_eq!(protocol, "v4.channel.k8s.io");
    let mut ids = Vec::new();
    for kind in ["error", "stdin", "stdout", "stderr"] {
        ids.push(c.open(&[("streamtype", kind)]).await);
    }
    c.data(ids[1], b"over spdy", true).await;
    let got = c.until_closed(&[ids[0], ids[2]]).await;
    assert_eq!(got[&ids[2]], b"over spdy");
    assert_eq!(got[&ids[0]], br#"{"metadata":{},"status":"Success"}"#);
}

async fn echo_port() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut s, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut r, mut w) = s.split();
                let _ = tokio::io::copy(&mut r, &mut w).await;
            });
        }
    });
    port
}

#[tokio::test]
async fn port_forward_works_over_all_three_wires() {
    let s = server().await;
    let port = echo_port().await;
    let forward = async |c: &mut SpdyClient, request: &str, text: Vec<u8>| {
        let port = port.to_string();
        let error = c.open(&[("streamtype", "error"), ("port", &port), ("requestid", request)]).await;
        c.data(error, b"", true).await;
        let data = c.open(&[("streamtype", "data"), ("port", &port), ("requestid", request)]).await;
        c.data(data, &text, true).await;
        let got = c.until_closed(&[error, data]).await;
        assert_eq!(got[&data], text);
        assert!(got.get(&error).is_none_or(|e| e.is_empty()));
    };
    let (mut c, protocol) = s.spdy("/portForward/ns/p", "portforward.k8s.io").await;
    assert_eq!(protocol, "portforward.k8s.io");
    forward(&mut c, "0", b"first".to_vec()).await;
    forward(&mut c, "1", vec![7; 300_000]).await;
    // as kubectl 1.32: SPDY in WebSocket messages
    let ws = s.websocket("/portForward/ns/p", "SPDY/3.1+portforward.k8s.io").await;
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let (mut r, mut w) = tokio::io::split(theirs);
    let (mut sink, mut stream) = ws.split();
    tokio::spawn(async move {
        let mut buffer = vec![0; 4096];
        while let Ok(n @ 1..) = r.read(&mut buffer).await {
            let _ = sink.send(Message::binary(buffer[..n].to_vec())).await;
        }
    });
    tokio::spawn(async move {
        while let Some(Ok(m)) = stream.next().await {
            let _ = w.write_all(&m.into_data()).await;
        }
    });
    forward(&mut SpdyClient::new(ours), "0", vec![9; 100_000]).await;
    // and the channels
    let mut ws = s.websocket(&format!("/portForward/ns/p?ports={port}"), "v4.channel.k8s.io").await;
    ws.send(Message::binary(b"\0ping".to_vec())).await.unwrap();
    let mut data = Vec::new();
    while data.len() < 6 {
        let m = ws.next().await.unwrap().unwrap().into_data();
        if m[0] == 0 {
            data.extend_from_slice(&m[1..]);
        }
    }
    assert_eq!(data, [&port.to_le_bytes()[..], b"ping"].concat());
    // a client that has said all still hears the rest, and one that goes is noticed
    let mut ws = s.websocket(&format!("/portForward/ns/p?ports={port}"), "v5.channel.k8s.io").await;
    ws.send(Message::binary(b"\0ping".to_vec())).await.unwrap();
    ws.send(Message::binary(b"\xff\0".to_vec())).await.unwrap();
    let mut data = Vec::new();
    while let Some(Ok(m)) = ws.next().await {
        let m = m.into_data();
        if m.first() == Some(&0) {
            data.extend_from_slice(&m[1..]);
        }
    }
    assert_eq!(data, [&port.to_le_bytes()[..], b"ping"].concat());
}

#[tokio::test]
async fn a_refused_port_is_told_on_the_error_stream() {
    let s = server().await;
    let (mut c, _) = s.spdy("/portForward/ns/p", "portforward.k8s.io").await;
    let error = c.open(&[("streamtype", "error"), ("port", "1"), ("requestid", "0")]).await;
    let data = c.open(&[("streamtype", "data"), ("port", "1"), ("requestid", "0")]).await;
    let got = c.until_closed(&[error, data]).await;
    assert!(String::from_utf8_lossy(&got[&error]).starts_with("error forwarding port 1 to pod ns/p"));
}

#[tokio::test]
async fn logs_are_served_followed_and_end_with_the_container() {
    let s = server().await;
    let path = s.log();
    std::fs::write(&path, "2026-11-21T00:00:01Z stdout F one\n").unwrap();
    assert_eq!(s.get("/containerLogs/ns/p/c").await, (200, "one\n".into()));
    assert_eq!(s.get("/containerLogs/ns/p/c?timestamps=true").await.1, "2026-11-21T00:00:01Z one\n");
    let (code, text) = s.get("/containerLogs/ns/p/c?previous=true").await;
    assert_eq!((code, text.as_str()), (400, "previous terminated container \"c\" in pod \"p\" not found\n"));
    assert_eq!(s.get("/containerLogs/ns/p/x").await.0, 400);
    assert_eq!(s.get("/containerLogs/ns/none/c").await.0, 404);
    let request = Request::get("/containerLogs/ns/p/c?follow=true").header("host", "k").body(Empty::new()).unwrap();
    let mut body = s.send(request).await.into_body();
    let mut next = async || body.frame().await.map(|f| f.unwrap().into_data().unwrap());
    assert_eq!(next().await.unwrap(), "one\n");
    std::fs::rename(&path, path.with_extension("log.20261121")).unwrap();
    std::fs::write(&path, "2026-11-21T00:00:02Z stdout F two\n").unwrap();
    assert_eq!(next().await.unwrap(), "two\n");
    s.runtime.exit("c", 0);
    assert_eq!(next().await, None);
}

#[tokio::test]
async fn the_rest_answers() {
    let s = server().await;
    assert_eq!(s.get("/healthz").await, (200, "ok".into()));
    assert!(s.get("/pods").await.1.contains("\"name\":\"p\""));
    let summary: api::Value = serde_json::from_str(&s.get("/stats/summary").await.1).unwrap();
    assert_eq!(summary["pods"][0]["podRef"]["name"], "p");
    let metrics = s.get("/metrics/resource").await.1;
    assert!(metrics.contains("container_memory_working_set_bytes{container=\"c\",namespace=\"ns\",pod=\"p\"} 1048576"));
    assert!(s.get("/metrics").await.1.contains("kubelet_running_pods 1"));
    assert_eq!(s.get("/exec/ns/p/c?command=x&output=1").await.0, 400, "no upgrade");
    assert_eq!(s.get("/nothing").await.0, 404);
}
