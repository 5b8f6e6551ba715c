//! `/exec`, `/attach`, `/run` and `/portForward`, over WebSocket and over SPDY/3.1.

use std::sync::Arc;
use std::time::Duration;

use api::k8s_openapi::api::core::v1::Pod;
use http::{HeaderMap, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use runtime::{ContainerState, ExecConfig, Runtime, Session};

use super::{Answer, Query, Refusal, body, container_name, text};
use crate::Kubelet;
use crate::streams::channels::Channels;
use crate::streams::portforward;
use crate::streams::remote::Remote;
use crate::streams::{spdy, websocket};

const WS_PROTOCOLS: [&str; 6] = [
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
    "",
];
const SPDY_PROTOCOLS: [&str; 4] = ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
const STREAM_VERSION: &str = "x-stream-protocol-version";
/// How long a client may take to open its SPDY streams, as upstream.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whom, and with which streams.
struct Job {
    runtime: Arc<dyn Runtime>,
    container: String,
    config: ExecConfig,
    attach: bool,
}

impl Job {
    async fn begin(&self) -> runtime::Result<Session> {
        if self.attach {
            self.runtime.attach(&self.container, self.config.clone()).await
        } else {
            self.runtime.exec(&self.container, self.config.clone()).await
        }
    }
}

async fn running(k: &Kubelet, ns: &str, name: &str, container: &str) -> Result<String, Refusal> {
    let object = k.pod(ns, name)?;
    let pod = object.view::<Pod>().map_err(Refusal::internal)?;
    let container = container_name(pod, container)?;
    let rt = k.runtime_pod(object.uid()).await?;
    let found = rt.containers.iter().find(|c| c.name == container && c.state == ContainerState::Running);
    found.map(|c| c.id.clone()).ok_or_else(|| Refusal::not_found(format!("container not found ({container:?})")))
}

pub(crate) async fn serve(
    k: &Arc<Kubelet>,
    mut request: Request<Incoming>,
    query: &Query,
    ns: &str,
    name: &str,
    container: &str,
    attach: bool,
) -> Result<Answer, Refusal> {
    let tty = query.flag(&["tty"]);
    let config = ExecConfig {
        command: query.all("command"),
        stdin: query.flag(&["stdin", "input"]),
        stdout: query.flag(&["stdout", "output"]),
        stderr: query.flag(&["stderr", "error"]) && !tty,
        tty,
    };
    if !(config.stdin || config.stdout || config.stderr) {
        return Err(Refusal::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    if !attach && config.command.is_empty() {
        return Err(Refusal::bad_request("you must specify at least 1 command for the container"));
    }
    let container = running(k, ns, name, container).await?;
    let job = Job { runtime: k.ctx.runtime.clone(), container, config, attach };
    let upgrade = hyper::upgrade::on(&mut request);
    if websocket::is_websocket(request.headers()) {
        let protocol = websocket::negotiate(request.headers(), &WS_PROTOCOLS)
            .ok_or_else(|| Refusal::bad_request("no WebSocket subprotocol in common"))?;
        let answer = websocket::accept::<()>(request.headers(), protocol)
            .ok_or_else(|| Refusal::bad_request("not a WebSocket handshake"))?;
        tokio::spawn(async move {
            let Ok(upgraded) = upgrade.await else { return };
            over_websocket(job, websocket::socket(upgraded).await, protocol).await;
        });
        return Ok(answer.map(|()| body("")));
    }
    let protocol = spdy_protocol(request.headers(), &SPDY_PROTOCOLS)?;
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        over_spdy(job, TokioIo::new(upgraded), protocol).await;
    });
    switch(protocol)
}

fn switch(protocol: &str) -> Result<Answer, Refusal> {
    let answer = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "SPDY/3.1")
        .header("X-Stream-Protocol-Version", protocol);
    answer.body(body("")).map_err(Refusal::internal)
}

/// The best of `ours` that the client offers; a client that offers none speaks the last, the oldest.
fn spdy_protocol(headers: &HeaderMap, ours: &[&'static str]) -> Result<&'static str, Refusal> {
    let upgrade = headers.get(header::UPGRADE).and_then(|u| u.to_str().ok()).unwrap_or("");
    if !upgrade.eq_ignore_ascii_case("SPDY/3.1") {
        return Err(Refusal::bad_request("Upgrade request required"));
    }
    let theirs: Vec<String> = headers
        .get_all(STREAM_VERSION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(|v| v.trim().to_owned())
        .collect();
    let oldest = ours.last().copied().unwrap_or("");
    if theirs.is_empty() {
        return Ok(oldest);
    }
    let best = ours.iter().copied().find(|p| theirs.iter().any(|t| t == p));
    best.ok_or_else(|| {
        Refusal(
            StatusCode::FORBIDDEN,
            format!("unable to negotiate protocol: client supports {theirs:?}, server accepts {ours:?}"),
        )
    })
}

async fn over_websocket(job: Job, socket: websocket::Socket, protocol: &str) {
    let base64 = protocol.contains("base64");
    let c = &job.config;
    let mut channels = Channels::new(socket, base64, &[c.stdin, false, false, false, c.tty]);
    let remote = Remote {
        stdin: channels.inlets[0].take(),
        stdout: c.stdout.then(|| channels.outlet(1)),
        stderr: c.stderr.then(|| channels.outlet(2)),
        error: Some(channels.outlet(3)),
        resize: channels.inlets[4].take(),
        structured: protocol.starts_with("v4.") || protocol.starts_with("v5."),
    };
    let session = job.begin().await;
    let rest = remote.run(session, channels.closed()).await;
    drop(rest);
    channels.finish().await;
}

async fn over_spdy(job: Job, io: TokioIo<hyper::upgrade::Upgraded>, protocol: &str) {
    let (mut streams, mut connection) = spdy::serve(io);
    let c = &job.config;
    let resize = c.tty && matches!(protocol, "v3.channel.k8s.io" | "v4.channel.k8s.io");
    let mut missing = 1 + [c.stdin, c.stdout, c.stderr, resize].iter().filter(|x| **x).count();
    let mut remote = Remote {
        stdin: None,
        stdout: None,
        stderr: None,
        resize: None,
        error: None,
        structured: protocol == "v4.channel.k8s.io",
    };
    let opened = tokio::time::timeout(PATIENCE, async {
        while missing > 0 {
            let Some(s) = streams.recv().await else { return false };
            match s.headers.get("streamtype").map(String::as_str) {
                Some("error") => remote.error = Some(s.outlet),
                Some("stdin") => remote.stdin = Some(s.inlet),
                Some("stdout") => remote.stdout = Some(s.outlet),
                Some("stderr") => remote.stderr = Some(s.outlet),
                Some("resize") => remote.resize = Some(s.inlet),
                _ => continue,
            }
            missing -= 1;
        }
        true
    });
    if opened.await == Ok(true) {
        let session = job.begin().await;
        let rest = remote.run(session, connection.closed()).await;
        drop(rest);
    }
    drop(streams);
    connection.finish().await;
}

/// The old way to run a command: its output is the answer.
pub(crate) async fn run(
    k: &Arc<Kubelet>,
    query: &Query,
    ns: &str,
    name: &str,
    container: &str,
) -> Result<Answer, Refusal> {
    let id = running(k, ns, name, container).await?;
    let command = query.get("cmd").unwrap_or("").split_whitespace().map(Into::into).collect();
    let (_, output) = crate::probe::exec::run(&*k.ctx.runtime, &id, command).await.map_err(Refusal::internal)?;
    Ok(text("text/plain; charset=utf-8", output))
}

pub(crate) async fn port_forward(
    k: &Arc<Kubelet>,
    mut request: Request<Incoming>,
    query: &Query,
    ns: &str,
    name: &str,
) -> Result<Answer, Refusal> {
    let object = k.pod(ns, name)?;
    let rt = k.runtime_pod(object.uid()).await?;
    let sandbox = rt.ready_sandbox().ok_or_else(|| Refusal::not_found(format!("pod {name:?} does not run")))?;
    let pod =
        portforward::Pod { runtime: k.ctx.runtime.clone(), sandbox: sandbox.id.clone(), name: format!("{ns}/{name}") };
    let upgrade = hyper::upgrade::on(&mut request);
    if !websocket::is_websocket(request.headers()) {
        let protocol = spdy_protocol(request.headers(), &["portforward.k8s.io"])?;
        tokio::spawn(async move {
            let Ok(upgraded) = upgrade.await else { return };
            portforward::over_spdy(pod, TokioIo::new(upgraded)).await;
        });
        return switch(protocol);
    }
    const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
    // v5 is not upstream's here: with it a client can end its side and still hear the pod's
    let channels = [TUNNEL, "v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io"];
    let protocol = websocket::negotiate(request.headers(), &channels)
        .ok_or_else(|| Refusal::bad_request("no WebSocket subprotocol in common"))?;
    let ports: Result<Vec<u16>, _> =
        query.all("ports").iter().chain(&query.all("port")).flat_map(|p| p.split(',')).map(str::parse).collect();
    let ports = ports.map_err(|_| Refusal::bad_request("invalid port"))?;
    if protocol != TUNNEL && ports.is_empty() {
        return Err(Refusal::bad_request("query parameter \"port\" is required"));
    }
    let answer = websocket::accept::<()>(request.headers(), protocol)
        .ok_or_else(|| Refusal::bad_request("not a WebSocket handshake"))?;
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let socket = websocket::socket(upgraded).await;
        if protocol == TUNNEL {
            portforward::over_spdy(pod, websocket::tunnel(socket)).await;
        } else {
            portforward::over_websocket(pod, socket, protocol.contains("base64"), ports).await;
        }
    });
    Ok(answer.map(|()| body("")))
}
