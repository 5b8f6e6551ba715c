//! `/containerLogs/{namespace}/{pod}/{container}`

use std::path::PathBuf;
use std::sync::Arc;

use api::Object;
use api::k8s_openapi::api::core::v1::Pod;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use jiff::{SignedDuration, Timestamp};
use runtime::{ContainerState, Event};
use tokio::sync::mpsc;

use super::follow::Watched;
use super::logfile::{LogReader, Options};
use super::{Answer, Query, Refusal, body, container_name};
use crate::Kubelet;
use crate::config::container_log;
use crate::pod::observe::reported;
use crate::streams::websocket;

/// Where a run's log is, and the run itself while the runtime knows it.
struct Source {
    path: PathBuf,
    uid: String,
    id: Option<String>,
}

pub(crate) async fn serve(
    k: &Arc<Kubelet>,
    request: Request<Incoming>,
    query: &Query,
    namespace: &str,
    name: &str,
    container: &str,
) -> Result<Answer, Refusal> {
    let object = k.pod(namespace, name)?;
    let source = source(k, &object, container, query.flag(&["previous"])).await?;
    let options = options(query, k.ctx.clock.now())?;
    if websocket::is_websocket(request.headers()) {
        return over_websocket(k, request, source, options);
    }
    let (sender, receiver) = mpsc::channel(4);
    let kubelet = k.clone();
    tokio::spawn(async move { pump(&kubelet, source, options, sender).await });
    let frames = futures::stream::unfold(receiver, |mut r| async move {
        let bytes: Bytes = r.recv().await?;
        Some((Ok::<_, std::io::Error>(Frame::data(bytes)), r))
    });
    let mut answer = Answer::new(StreamBody::new(frames).boxed_unsync());
    answer.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
    Ok(answer)
}

/// Protocols: none or `binary.k8s.io` (binary messages), `base64.binary.k8s.io` (text).
fn over_websocket(
    k: &Arc<Kubelet>,
    mut request: Request<Incoming>,
    source: Source,
    options: Options,
) -> Result<Answer, Refusal> {
    let protocol = websocket::negotiate(request.headers(), &["binary.k8s.io", "base64.binary.k8s.io"])
        .ok_or_else(|| Refusal::bad_request("no WebSocket subprotocol in common"))?;
    let answer = websocket::accept::<()>(request.headers(), protocol)
        .ok_or_else(|| Refusal::bad_request("not a WebSocket handshake"))?;
    let kubelet = k.clone();
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let (mut sink, mut stream) = websocket::socket(upgraded).await.split();
        let (sender, mut receiver) = mpsc::channel::<Bytes>(4);
        let pumping = pump(&kubelet, source, options, sender);
        let sending = async {
            while let Some(bytes) = receiver.recv().await {
                let message = if protocol.starts_with("base64") {
                    use base64::Engine;
                    websocket::Message::text(base64::engine::general_purpose::STANDARD.encode(&bytes))
                } else {
                    websocket::Message::binary(bytes)
                };
                if sink.send(message).await.is_err() {
                    return;
                }
            }
            let _ = sink.send(websocket::goodbye()).await;
        };
        let gone = async { while let Some(Ok(_)) = stream.next().await {} };
        tokio::select! {
            _ = async { tokio::join!(pumping, sending) } => {}
            () = gone => {}
        }
    });
    Ok(answer.map(|()| body("")))
}

fn options(query: &Query, now: Timestamp) -> Result<Options, Refusal> {
    let number = |name: &str| -> Result<Option<u64>, Refusal> {
        let Some(text) = query.get(name).filter(|t| !t.is_empty()) else { return Ok(None) };
        // a negative number of lines is no limit
        if name == "tailLines" && text.starts_with('-') {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| Refusal::bad_request(format!("invalid {name}: {text:?}")))
    };
    let since = match (number("sinceSeconds")?, query.get("sinceTime").filter(|t| !t.is_empty())) {
        (Some(s), _) => i64::try_from(s).ok().and_then(|s| now.checked_sub(SignedDuration::from_secs(s)).ok()),
        (None, Some(t)) => Some(t.parse().map_err(|_| Refusal::bad_request(format!("invalid sinceTime: {t:?}")))?),
        (None, None) => None,
    };
    let stream = query.get("stream").map(str::to_lowercase).filter(|s| matches!(s.as_str(), "stdout" | "stderr"));
    Ok(Options {
        follow: query.flag(&["follow"]),
        tail_lines: number("tailLines")?,
        since,
        timestamps: query.flag(&["timestamps"]),
        limit_bytes: number("limitBytes")?,
        stream,
    })
}

async fn source(k: &Kubelet, object: &Object, container: &str, previous: bool) -> Result<Source, Refusal> {
    let pod = object.view::<Pod>().map_err(Refusal::internal)?;
    let name = container_name(pod, container)?;
    let rt = k.runtime_pod(object.uid()).await?;
    let mut runs = rt.containers.iter().filter(|c| c.name == name && c.state != ContainerState::Created);
    let current = runs.next();
    let status = reported(pod.status.as_ref(), name);
    let logs = k.ctx.config.pod_log_dir(object.namespace(), object.name(), object.uid());
    let uid = object.uid().to_owned();
    let attempt = match (current, status) {
        (Some(c), _) => Some(c.attempt),
        (None, Some(s)) if s.container_id.is_some() => u32::try_from(s.restart_count).ok(),
        _ => None,
    };
    if previous {
        let attempt = match (current, attempt) {
            // a crashed container that waits: its last run is still the current one
            (_, Some(n)) => n.checked_sub(1),
            _ => None,
        };
        let found = attempt.map(|n| container_log(&logs, name, n)).filter(|p| p.exists());
        let path = found.ok_or_else(|| {
            Refusal::bad_request(format!("previous terminated container {name:?} in pod {:?} not found", object.name()))
        })?;
        return Ok(Source { path, uid, id: None });
    }
    let Some(attempt) = attempt else {
        let waiting = status.and_then(|s| s.state.as_ref()?.waiting.as_ref()?.reason.clone());
        let why = waiting.unwrap_or_else(|| "ContainerCreating".into());
        return Err(Refusal::bad_request(format!(
            "container {name:?} in pod {:?} is waiting to start: {why}",
            object.name()
        )));
    };
    let path = current.map(|c| c.log_path.clone()).unwrap_or_else(|| container_log(&logs, name, attempt));
    let id = current.filter(|c| c.state == ContainerState::Running).map(|c| c.id.clone());
    Ok(Source { path, uid, id })
}

/// Reads, and follows until the container ends, the client goes, or the limit is reached.
async fn pump(k: &Kubelet, source: Source, options: Options, sender: mpsc::Sender<Bytes>) {
    let follow = options.follow;
    // watches are set before the first read, so that nothing falls between
    let mut events = k.ctx.runtime.events();
    let mut watched = match source.path.parent().filter(|_| follow) {
        Some(dir) => Watched::directory(dir).ok(),
        None => None,
    };
    let path = source.path.clone();
    let Ok(Ok(mut reader)) = tokio::task::spawn_blocking(move || LogReader::open(&path, options)).await else { return };
    let mut running = source.id.is_some();
    loop {
        loop {
            let step = tokio::task::spawn_blocking(move || {
                let chunk = reader.chunk();
                (reader, chunk)
            });
            let Ok((back, chunk)) = step.await else { return };
            reader = back;
            match chunk {
                Ok(Some(bytes)) => {
                    if sender.send(bytes.into()).await.is_err() {
                        return;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "a log could not be read");
                    return;
                }
            }
        }
        let Some(watched) = watched.as_mut().filter(|_| running && !reader.is_full()) else { return };
        tokio::select! {
            changed = watched.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            event = events.recv() => {
                if matches!(&event, Ok(Event::Pod { uid }) if *uid != source.uid) {
                    continue;
                }
                let all = k.ctx.runtime.containers(None).await.unwrap_or_default();
                running = all.iter().any(|c| Some(&c.id) == source.id.as_ref() && c.state == ContainerState::Running);
            }
            () = sender.closed() => return,
        }
    }
}
