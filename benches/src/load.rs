//! Creates, gets and lists.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use http::Method;
use tokio::task::LocalSet;

use crate::client::{Cluster, Conn, JSON, PROTOBUF, Space, config_map, expect};
use crate::report::Report;

/// Sends `count` requests, one per connection at a time; `request(i)` gives method, path and body. Every latency, or the
/// first error.
pub async fn drive(
    conns: Vec<Conn>,
    count: usize,
    request: impl Fn(usize) -> (Method, String, Bytes) + 'static,
) -> Result<(Duration, Vec<Duration>)> {
    let (next, request) = (Rc::new(Cell::new(0)), Rc::new(request));
    let start = Instant::now();
    let local = LocalSet::new();
    let tasks: Vec<_> = conns
        .into_iter()
        .map(|mut conn| {
            let (next, request) = (next.clone(), request.clone());
            local.spawn_local(async move {
                let mut times = Vec::new();
                loop {
                    let i = next.get();
                    if i >= count {
                        return anyhow::Ok(times);
                    }
                    next.set(i + 1);
                    let (method, path, body) = request(i);
                    let sent = Instant::now();
                    expect(conn.call(method, &path, JSON, body).await?)?;
                    times.push(sent.elapsed());
                }
            })
        })
        .collect();
    local
        .run_until(async {
            let mut all = Vec::with_capacity(count);
            for task in tasks {
                all.extend(task.await??);
            }
            Ok((start.elapsed(), all))
        })
        .await
}

pub async fn fill(
    cluster: &Cluster,
    space: &Space,
    in_flight: usize,
    count: usize,
) -> Result<(Duration, Vec<Duration>)> {
    let maps = space.maps();
    let make = move |i: usize| (Method::POST, maps.clone(), config_map(&format!("m{i:06}")));
    drive(cluster.connections(in_flight).await?, count, make).await
}

pub async fn creates(cluster: &Cluster, in_flight: usize, count: usize) -> Result<Report> {
    let mut conn = cluster.connect().await?;
    let space = Space::create(&mut conn).await?;
    let cluster = &space.user(cluster, &mut conn).await?;
    let (took, times) = fill(cluster, &space, in_flight, count).await?;
    space.remove(&mut conn).await?;
    let name = format!("create {count} ConfigMaps, {in_flight} in flight");
    Ok(Report::new(name).with("rate", count as f64 / took.as_secs_f64(), "creates/s").percentiles(times))
}

pub async fn gets(cluster: &Cluster, in_flight: usize, count: usize) -> Result<Report> {
    let objects = 1000;
    let mut conn = cluster.connect().await?;
    let space = Space::create(&mut conn).await?;
    let cluster = &space.user(cluster, &mut conn).await?;
    fill(cluster, &space, 20, objects).await?;
    let maps = space.maps();
    let get = move |i: usize| (Method::GET, format!("{maps}/m{:06}", i * 7919 % objects), Bytes::new());
    let (took, times) = drive(cluster.connections(in_flight).await?, count, get).await?;
    space.remove(&mut conn).await?;
    let name = format!("get {count} ConfigMaps, {in_flight} in flight");
    Ok(Report::new(name).with("rate", count as f64 / took.as_secs_f64(), "gets/s").percentiles(times))
}

/// Whole lists, as JSON or protobuf. With `fixed`, each is followed by getting a body of its size from a server that does
/// nothing else, and the lists are compared with that.
pub async fn list(cluster: &Cluster, objects: usize, count: usize, protobuf: bool, fixed: bool) -> Result<Report> {
    let mut conn = cluster.connect().await?;
    let space = Space::create(&mut conn).await?;
    let cluster = &space.user(cluster, &mut conn).await?;
    fill(cluster, &space, 50, objects).await?;
    let (mut times, mut theirs, mut bytes) = (Vec::new(), Vec::new(), 0);
    let mut user = cluster.connect().await?;
    if protobuf {
        user.accept(PROTOBUF);
    }
    let mut other = None;
    for _ in 0..count {
        let start = Instant::now();
        let body = user.get(&space.maps()).await?;
        times.push(start.elapsed());
        bytes = body.len();
        if fixed {
            let conn = match &mut other {
                Some(conn) => conn,
                None => other.insert(crate::fixed::serve(body)?.connect().await?),
            };
            let start = Instant::now();
            conn.get("/").await?;
            theirs.push(start.elapsed());
        }
    }
    space.remove(&mut conn).await?;
    let name = format!("list {objects} ConfigMaps{}", if protobuf { " as protobuf" } else { "" });
    let mut report = Report::new(name).with("size", bytes as f64 / 1e6, "MB/list");
    if fixed {
        theirs.sort_unstable();
        let mut ours = times.clone();
        ours.sort_unstable();
        let (ours, theirs) = (ours[ours.len() / 2].as_secs_f64(), theirs[theirs.len() / 2].as_secs_f64());
        report = report.with("such a body from memory", theirs * 1e3, "ms").with("of that", ours / theirs, "times");
    }
    Ok(report.percentiles(times))
}
