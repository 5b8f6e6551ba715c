//! What the server's memory, disk and CPU come to under much of something: objects, churn, pods, definitions.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::client::{Cluster, Conn, Space, config_map};
use crate::idle::{cpu_seconds, rss_mb};
use crate::load::{drive, fill};
use crate::report::Report;

/// Memory with `objects` ConfigMaps, and `settle` after they have been deleted.
pub async fn hold(cluster: &Cluster, pid: u32, objects: usize, settle: Duration) -> Result<Report> {
    let mut conn = cluster.connect().await?;
    let before = rss_mb(pid)?;
    let space = Space::create(&mut conn).await?;
    fill(cluster, &space, 50, objects).await?;
    let with = rss_mb(pid)?;
    space.remove(&mut conn).await?;
    tokio::time::sleep(settle).await;
    Ok(Report::new(format!("{objects} ConfigMaps, then none"))
        .with("before", before, "MB resident")
        .with("with them", with, "MB resident")
        .with(&format!("{} s after they are gone", settle.as_secs()), rss_mb(pid)?, "MB resident"))
}

/// Creates and deletes `objects` ConfigMaps, `wave` at a time. The database is looked at after each wave: the largest counts.
pub async fn churn(cluster: &Cluster, pid: u32, db: &Path, objects: usize, wave: usize) -> Result<Report> {
    let mut conn = cluster.connect().await?;
    let space = Space::create(&mut conn).await?;
    let (begin, mut largest, mut done) = (Instant::now(), 0, 0);
    while done < objects {
        let maps = space.maps();
        let make = move |i: usize| (Method::POST, maps.clone(), config_map(&format!("m{:07}", done + i)));
        drive(cluster.connections(50).await?, wave, make).await?;
        conn.delete(&space.maps()).await?;
        done += wave;
        largest = largest.max(size(db)?);
    }
    let took = begin.elapsed();
    space.remove(&mut conn).await?;
    Ok(Report::new(format!("{done} ConfigMaps created and deleted"))
        .with("rate", done as f64 / took.as_secs_f64(), "of both/s")
        .with("database at its largest", largest as f64 / 1e6, "MB")
        .with("at the end", size(db)? as f64 / 1e6, "MB")
        .with("resident", rss_mb(pid)?, "MB"))
}

/// Of all files in a directory, the write-ahead log included.
fn size(dir: &Path) -> Result<u64> {
    let entries = std::fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    Ok(entries.flatten().filter_map(|e| e.metadata().ok()).filter(|m| m.is_file()).map(|m| m.len()).sum())
}

/// The server's CPU time for the creation of a pod, admission and TLS included. Another scheduler than ours is named, so that
/// nobody binds it.
pub async fn pods(cluster: &Cluster, pid: u32, count: usize, in_flight: usize) -> Result<Report> {
    let mut conn = cluster.connect().await?;
    let space = Space::create(&mut conn).await?;
    let account = format!("/api/v1/namespaces/{}/serviceaccounts/default", space.name);
    until("a default service account", async || Ok(conn.get(&account).await.is_ok())).await?;
    let path = space.pods();
    let make = move |i: usize| {
        let container = json!({"name": "c", "image": "registry.example/app:1.2", "ports": [{"containerPort": 8080}],
            "env": [{"name": "MODE", "value": "fast"}],
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}}});
        let spec = json!({"containers": [container], "schedulerName": "nobody"});
        let meta = json!({"name": format!("p{i:06}"), "labels": {"app": "bench"}});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec});
        (Method::POST, path.clone(), Bytes::from(pod.to_string()))
    };
    let conns = cluster.connections(in_flight).await?;
    let cpu = cpu_seconds(pid)?;
    let (took, times) = drive(conns, count, make).await?;
    let cpu = cpu_seconds(pid)? - cpu;
    conn.delete(&format!("{}?gracePeriodSeconds=0", space.pods())).await?;
    space.remove(&mut conn).await?;
    Ok(Report::new(format!("create {count} pods, {in_flight} in flight"))
        .with("rate", count as f64 / took.as_secs_f64(), "creates/s")
        .with("server's CPU each", cpu / count as f64 * 1e3, "ms")
        .percentiles(times))
}

/// Defines `count` resources one after the other: each until it is established; then memory, and gets beside as before.
pub async fn definitions(cluster: &Cluster, pid: u32, count: usize) -> Result<Vec<Report>> {
    let mut conn = cluster.connect().await?;
    let before = (rss_mb(pid)?, crate::load::gets(cluster, 50, 20_000).await?);
    let all = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let mut times = Vec::new();
    for i in 0..count {
        let name = format!("widgets{i}.bench{}.example.com", i / 10);
        let begin = Instant::now();
        conn.post(all, definition(i).to_string().into()).await?;
        until("an established definition", async || established(&mut conn, &format!("{all}/{name}")).await).await?;
        times.push(begin.elapsed());
    }
    let with = rss_mb(pid)?;
    let gets = crate::load::gets(cluster, 50, 20_000).await?;
    for i in 0..count {
        conn.delete(&format!("{all}/widgets{i}.bench{}.example.com", i / 10)).await?;
    }
    let rate = |r: &Report| r.figures.first().map_or(f64::NAN, |f| f.value);
    Ok(vec![
        Report::new(format!("{count} definitions, each until Established")).percentiles(times),
        Report::new(format!("{count} definitions"))
            .with("more memory", with - before.0, "MB")
            .with("gets before", rate(&before.1), "gets/s")
            .with("gets with them", rate(&gets), "gets/s"),
    ])
}

async fn established(conn: &mut Conn, path: &str) -> Result<bool> {
    let found: Value = serde_json::from_slice(&conn.get(path).await?)?;
    let is = |c: &Value| c["type"] == "Established" && c["status"] == "True";
    Ok(found["status"]["conditions"].as_array().is_some_and(|c| c.iter().any(is)))
}

/// Of the size that operators' have: a dozen fields, nested, with a rule.
fn definition(i: usize) -> Value {
    let leaf = json!({"type": "string", "description": "What it is called, by those who have to do with it.", "maxLength": 63});
    let fields: serde_json::Map<_, _> = (0..12).map(|n| (format!("field{n}"), leaf.clone())).collect();
    let mut spec = json!({"type": "object", "properties": fields, "required": ["field0"]});
    spec["properties"]["replicas"] = json!({"type": "integer", "minimum": 0, "default": 1});
    spec["properties"]["template"] = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    spec["x-kubernetes-validations"] = json!([{"rule": "self.replicas <= 100", "message": "too many"}]);
    let status = json!({"type": "object", "properties": {"ready": {"type": "boolean"}}});
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}});
    let group = format!("bench{}.example.com", i / 10);
    let names = json!({"plural": format!("widgets{i}"), "singular": format!("widget{i}"), "kind": format!("Widget{i}"),
        "listKind": format!("Widget{i}List")});
    let version =
        json!({"name": "v1", "served": true, "storage": true, "schema": schema, "subresources": {"status": {}}});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("widgets{i}.{group}")},
        "spec": {"group": group, "names": names, "scope": "Namespaced", "versions": [version]}})
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds().await? {
        if Instant::now() > deadline {
            bail!("{what} does not come");
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Where `skiff server --data-dir DIR` has its database.
pub fn database(data_dir: &Path) -> PathBuf {
    data_dir.join("server/db")
}
