//! Processes from the outside: how long a command takes, and how long until an agent's node is Ready.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::client::Cluster;
use crate::report::Report;

/// How often the outside looks: what it measures is this coarse.
const LOOK: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a command again and again, one after the other.
pub fn time(name: &str, count: usize, command: &[String]) -> Result<Report> {
    let [program, args @ ..] = command else { bail!("no command") };
    let mut times = Vec::new();
    for _ in 0..count {
        let begin = Instant::now();
        let out = Command::new(program).args(args).stdin(Stdio::null()).output().with_context(|| program.clone())?;
        times.push(begin.elapsed());
        if !out.status.success() {
            bail!("{command:?}: {}\n{}", out.status, String::from_utf8_lossy(&out.stderr));
        }
    }
    Ok(Report::new(name).percentiles(times))
}

/// Starts one agent after the other, `{n}` in the command being its number from 1, and leaves them running: a line with pid
/// each in `dir/pids`, their logs beside it. From the start of the process until its node `node` is Ready.
pub async fn join(cluster: &Cluster, node: &str, count: usize, dir: &Path, command: &[String]) -> Result<Report> {
    let mut conn = cluster.connect().await?;
    let mut pids = File::options().create(true).append(true).open(dir.join("pids"))?;
    let mut times = Vec::new();
    for n in 1..=count {
        let of = |text: &str| text.replace("{n}", &n.to_string());
        let [program, args @ ..] = command else { bail!("no command") };
        let log = File::create(dir.join(format!("agent{n}.log")))?;
        let mut command = Command::new(of(program));
        command.args(args.iter().map(|a| of(a))).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let begin = Instant::now();
        let mut child = command.spawn().with_context(|| program.clone())?;
        writeln!(pids, "{}", child.id())?;
        let path = format!("/api/v1/nodes/{}", of(node));
        loop {
            let found = conn.get(&path).await.ok().and_then(|b| serde_json::from_slice::<Value>(&b).ok());
            let ready = |c: &Value| c["type"] == "Ready" && c["status"] == "True";
            if found.is_some_and(|n| n["status"]["conditions"].as_array().is_some_and(|c| c.iter().any(ready))) {
                break;
            }
            if let Some(status) = child.try_wait()? {
                bail!("agent {n} has ended with {status}: see {}", dir.display());
            }
            if begin.elapsed() > PATIENCE {
                bail!("{} does not become Ready", of(node));
            }
            tokio::time::sleep(LOOK).await;
        }
        times.push(begin.elapsed());
    }
    Ok(Report::new(format!("join to Ready, {count} nodes")).percentiles(times))
}
