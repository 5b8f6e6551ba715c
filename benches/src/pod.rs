//! From creating a pod to Running, as a watcher sees it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::{Buf, Bytes, BytesMut};
use http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::client::{Cluster, Space};
use crate::report::Report;

const PATIENCE: Duration = Duration::from_secs(120);

pub async fn run(cluster: &Cluster, image: &str, count: usize, command: &[String]) -> Result<Report> {
    let (mut conn, mut watching) = (cluster.connect().await?, cluster.connect().await?);
    let space = Space::create(&mut conn).await?;
    let account = format!("/api/v1/namespaces/{}/serviceaccounts/default", space.name);
    let begin = Instant::now();
    while conn.get(&account).await.is_err() {
        if begin.elapsed() > PATIENCE {
            bail!("no default service account");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let path = format!("{}?watch=true", space.pods());
    let response = watching.send(Method::GET, &path, "", Bytes::new()).await?;
    let (mut body, mut rest) = (response.into_body(), BytesMut::new());
    let mut times = Vec::new();
    for i in 0..count {
        let name = format!("p{i}");
        let mut container = json!({"name": "c", "image": image, "imagePullPolicy": "IfNotPresent"});
        if !command.is_empty() {
            container["command"] = json!(command);
        }
        let spec = json!({"containers": [container], "terminationGracePeriodSeconds": 0});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
        let begin = Instant::now();
        conn.post(&space.pods(), pod.to_string().into()).await?;
        'running: loop {
            while let Some(end) = rest.iter().position(|b| *b == b'\n') {
                let event: Value = serde_json::from_slice(&rest[..end])?;
                rest.advance(end + 1);
                let object = &event["object"];
                match object["status"]["phase"].as_str() {
                    Some("Running") if object["metadata"]["name"] == *name => break 'running,
                    Some("Failed") => bail!("the pod has failed: {}", object["status"]),
                    _ => {}
                }
            }
            let frame = tokio::time::timeout(PATIENCE, body.frame()).await.context("the pod does not run")?;
            if let Ok(data) = frame.context("the watch has ended")??.into_data() {
                rest.extend_from_slice(&data);
            }
        }
        times.push(begin.elapsed());
    }
    for i in 0..count {
        conn.delete(&format!("{}/p{i}?gracePeriodSeconds=0", space.pods())).await?;
    }
    space.remove(&mut conn).await?;
    Ok(Report::new("pod from create to Running").percentiles(times))
}
