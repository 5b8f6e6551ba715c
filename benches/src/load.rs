//! Creates, gets and lists.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use http::Method;
use tokio::task::LocalSet;

use crate::client::{Cluster, Conn, JSON, Space, config_map, expect};
use crate::report::Report;

/// Sends `count` requests, one per connection at a time; `request(i)` gives method, path and body. Every latency, or the
/// first error.
async fn drive(
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

async fn fill(cluster: &Cluster, space: &Space, in_flight: usize, count: usize) -> Result<(Duration, Vec<Duration>)> {
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

pub async fn list(cluster: &Cluster, objects: usize, count: usize) -> Result<Report> {
    let mut conn = cluster.connect().await?;
    let space = Space::create(&mut conn).await?;
    let cluster = &space.user(cluster, &mut conn).await?;
    fill(cluster, &space, 50, objects).await?;
    let (mut times, mut bytes) = (Vec::new(), 0);
    let mut user = cluster.connect().await?;
    for _ in 0..count {
        let start = Instant::now();
        bytes = user.get(&space.maps()).await?.len();
        times.push(start.elapsed());
    }
    space.remove(&mut conn).await?;
    Ok(Report::new(format!("list {objects} ConfigMaps")).with("size", bytes as f64 / 1e6, "MB/list").percentiles(times))
}
