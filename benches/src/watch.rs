//! Many watchers of a few objects that change all the time.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::{Buf, Bytes, BytesMut};
use http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use crate::client::{Cluster, Conn, MERGE, Space, config_map, expect};
use crate::report::Report;

/// Longer without an event means that events are missing.
const PATIENCE: Duration = Duration::from_secs(30);

/// The lag of an event is from sending the patch until a watcher has the line.
pub async fn watch(cluster: &Cluster, watchers: usize, patches: usize, in_flight: usize) -> Result<Report> {
    let mut conn = cluster.connect().await?;
    let space = Space::create(&mut conn).await?;
    let cluster = &space.user(cluster, &mut conn).await?;
    let mut version = String::new();
    for i in 0..in_flight {
        let made: Value = serde_json::from_slice(&conn.post(&space.maps(), config_map(&format!("m{i}"))).await?)?;
        version = made["metadata"]["resourceVersion"].as_str().context("no resourceVersion")?.into();
    }
    let path = format!("{}?watch=true&resourceVersion={version}", space.maps());
    let (start, lags) = (Instant::now(), Rc::new(RefCell::new(Vec::with_capacity(watchers * patches))));
    let local = LocalSet::new();
    let (took, delivered) = local
        .run_until(async {
            let mut watching = Vec::new();
            for mut conn in cluster.connections(watchers).await? {
                let (path, lags, (ready, is_ready)) = (path.clone(), lags.clone(), oneshot::channel());
                let watcher = async move { follow(&mut conn, &path, patches, start, &lags, ready).await };
                watching.push((tokio::task::spawn_local(watcher), is_ready));
            }
            let mut tasks = Vec::new();
            for (task, is_ready) in watching {
                is_ready.await.context("a watch was refused")?;
                tasks.push(task);
            }
            let begin = Instant::now();
            let next = Rc::new(Cell::new(0));
            let patchers: Vec<_> = cluster.connections(in_flight).await?.into_iter().enumerate().collect();
            let patchers: Vec<_> = patchers
                .into_iter()
                .map(|(n, mut conn)| {
                    let (next, object) = (next.clone(), format!("{}/m{n}", space.maps()));
                    tokio::task::spawn_local(async move {
                        while next.get() < patches {
                            next.set(next.get() + 1);
                            let sent = start.elapsed().as_nanos();
                            let body = json!({"data": {"sent": format!("@{sent}@")}}).to_string();
                            expect(conn.call(Method::PATCH, &object, MERGE, body.into()).await?)?;
                        }
                        anyhow::Ok(())
                    })
                })
                .collect();
            for patcher in patchers {
                patcher.await??;
            }
            let mut delivered = 0;
            for task in tasks {
                delivered += task.await??;
            }
            anyhow::Ok((begin.elapsed(), delivered))
        })
        .await?;
    if delivered != watchers * patches {
        bail!("{delivered} events of {} were delivered", watchers * patches);
    }
    space.remove(&mut conn).await?;
    let name = format!("{watchers} watchers, {patches} patches");
    let rate = delivered as f64 / took.as_secs_f64();
    Ok(Report::new(name)
        .with("delivered", delivered as f64, "")
        .with("rate", rate, "events/s")
        .percentiles(lags.take()))
}

/// Reads events until it has them all. The number, short of `events` only if the stream ended or fell silent.
async fn follow(
    conn: &mut Conn,
    path: &str,
    events: usize,
    start: Instant,
    lags: &RefCell<Vec<Duration>>,
    ready: oneshot::Sender<()>,
) -> Result<usize> {
    let response = conn.send(Method::GET, path, "", Bytes::new()).await?;
    if !response.status().is_success() {
        bail!("watch: {}", response.status());
    }
    let _ = ready.send(());
    let (mut body, mut rest, mut seen) = (response.into_body(), BytesMut::new(), 0);
    while seen < events {
        let Ok(Some(frame)) = tokio::time::timeout(PATIENCE, body.frame()).await else { break };
        let Ok(data) = frame?.into_data() else { continue };
        rest.extend_from_slice(&data);
        let now = start.elapsed();
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            if let Some(sent) = sent(&rest[..end]) {
                lags.borrow_mut().push(now.saturating_sub(Duration::from_nanos(sent)));
                seen += 1;
            }
            rest.advance(end + 1);
        }
    }
    Ok(seen)
}

/// The time between the two `@` of an event's object.
fn sent(line: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(line).ok()?;
    let (_, after) = text.split_once("\"@")?;
    after.split_once('@')?.0.parse().ok()
}
