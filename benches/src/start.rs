//! How long until it works.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::client::{Cluster, Conn};
use crate::report::Report;

/// How often the outside looks: what it measures is this coarse.
const LOOK: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(120);

pub async fn start(skiff: &Path, count: usize, control_plane: bool, flags: &[String]) -> Result<Vec<Report>> {
    let (mut ready, mut node) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let dir = tempfile::tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let kubeconfig = dir.path().join("kubeconfig");
        let mut command = Command::new(skiff);
        command.arg("server").arg("--data-dir").arg(dir.path().join("data"));
        command.arg("--https-listen-port").arg(port.to_string()).arg("--write-kubeconfig").arg(&kubeconfig).args(flags);
        if control_plane {
            command.arg("--disable-agent");
        }
        let begin = Instant::now();
        let log = std::fs::File::create(dir.path().join("log"))?;
        let child = command.stdout(log.try_clone()?).stderr(Stdio::from(log)).spawn();
        let mut server = Server(child.with_context(|| skiff.display().to_string())?);
        let mut conn = server.up(&kubeconfig, begin, dir.path()).await?;
        ready.push(begin.elapsed());
        if !control_plane {
            until(begin, async || Ok(working(&mut conn).await && node_ready(&mut conn).await)).await?;
            node.push(begin.elapsed());
        }
    }
    let mut reports = vec![Report::new("cold start to /readyz").percentiles(ready)];
    if !control_plane {
        reports.push(Report::new("cold start to a Ready node and a service account").percentiles(node));
    }
    Ok(reports)
}

/// Until the `default` service account is there.
pub async fn wait(kubeconfig: &Path, seconds: u64) -> Result<Report> {
    let begin = Instant::now();
    until(begin, async || {
        if begin.elapsed() > Duration::from_secs(seconds) {
            bail!("the cluster does not answer");
        }
        let Some(mut conn) = connect(kubeconfig).await else { return Ok(false) };
        Ok(working(&mut conn).await)
    })
    .await?;
    Ok(Report::new("waited").with("for", begin.elapsed().as_secs_f64(), "s"))
}

struct Server(Child);

impl Server {
    async fn up(&mut self, kubeconfig: &Path, begin: Instant, dir: &Path) -> Result<Conn> {
        let mut up = None;
        until(begin, async || {
            if let Some(status) = self.0.try_wait()? {
                bail!("the server has ended with {status}:\n{}", std::fs::read_to_string(dir.join("log"))?);
            }
            if let Some(mut conn) = connect(kubeconfig).await
                && conn.get("/readyz").await.is_ok()
            {
                up = Some(conn);
            }
            Ok(up.is_some())
        })
        .await?;
        up.context("not up")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

async fn connect(kubeconfig: &Path) -> Option<Conn> {
    Cluster::load(kubeconfig).ok()?.connect().await.ok()
}

async fn working(conn: &mut Conn) -> bool {
    conn.get("/api/v1/namespaces/default/serviceaccounts/default").await.is_ok()
}

async fn node_ready(conn: &mut Conn) -> bool {
    let Ok(body) = conn.get("/api/v1/nodes").await else { return false };
    let nodes: Value = serde_json::from_slice(&body).unwrap_or_default();
    let conditions = nodes["items"][0]["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

async fn until(begin: Instant, mut done: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    while !done().await? {
        if begin.elapsed() > PATIENCE {
            bail!("not after {PATIENCE:?}");
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}
