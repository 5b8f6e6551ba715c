//! Many nodes and pods on one server: how fast Deployments' pods come to run, and what the server costs while nothing happens.
//! The nodes are `skiff agent --simulate`'s.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::client::{Cluster, Space};
use crate::report::Report;

/// How often the outside looks.
const LOOK: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(300);

/// Creates `deployments` of `replicas` and waits until all are ready: pods a second from the first create on.
pub async fn run(cluster: &Cluster, deployments: usize, replicas: usize) -> Result<Report> {
    let mut conn = cluster.connect().await?;
    let space = Space::create(&mut conn).await?;
    let account = format!("/api/v1/namespaces/{}/serviceaccounts/default", space.name);
    while conn.get(&account).await.is_err() {
        tokio::time::sleep(LOOK).await;
    }
    let path = format!("/apis/apps/v1/namespaces/{}/deployments", space.name);
    let begin = Instant::now();
    for n in 0..deployments {
        let labels = json!({"app": format!("many-{n}")});
        let container = json!({"name": "c", "image": "none/none:1"});
        let spec = json!({"containers": [container], "terminationGracePeriodSeconds": 0});
        let body = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": format!("many-{n}")},
            "spec": {"replicas": replicas, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": spec}}});
        conn.post(&path, body.to_string().into()).await?;
    }
    let wanted = deployments * replicas;
    let mut ready = 0;
    while ready < wanted {
        if begin.elapsed() > PATIENCE {
            bail!("{ready} of {wanted} pods are ready after {} s", PATIENCE.as_secs());
        }
        tokio::time::sleep(LOOK).await;
        let list: Value = serde_json::from_slice(&conn.get(&path).await?)?;
        let of = |d: &Value| d["status"]["readyReplicas"].as_u64().unwrap_or(0) as usize;
        ready = list["items"].as_array().map_or(0, |all| all.iter().map(of).sum());
    }
    let took = begin.elapsed().as_secs_f64();
    space.remove(&mut conn).await?;
    let report = Report::new(format!("{wanted} pods of {deployments} Deployments, create to ready"));
    Ok(report.with("rate", wanted as f64 / took, "/s").with("all", took, "s"))
}
