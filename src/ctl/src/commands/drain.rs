//! `cordon`, `uncordon` and `drain`.

use std::time::Duration;

use api::Value;
use http::Method;
use serde_json::json;

use crate::cli::{Files, Select};
use crate::error::{Error, Result};
use crate::objects::{Failed, Info, duration, list, text};
use crate::print::DryRun;
use crate::session::{JSON, MERGE, Session};

#[derive(clap::Args, Clone)]
pub struct CordonFlags {
    /// The nodes
    nodes: Vec<String>,
    /// Nodes with these labels
    #[arg(short = 'l', long)]
    selector: Option<String>,
    /// none, client or server: say what would be done
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "client")]
    dry_run: Option<String>,
}

#[derive(clap::Args)]
pub struct Flags {
    #[command(flatten)]
    on: CordonFlags,
    /// Also pods of daemon sets, which stay
    #[arg(long)]
    ignore_daemonsets: bool,
    /// Also pods with emptyDir volumes
    #[arg(long)]
    delete_emptydir_data: bool,
    /// Also pods that nothing makes again
    #[arg(long)]
    force: bool,
    /// Seconds that a pod has to end; -1: its own
    #[arg(long, default_value_t = -1, allow_hyphen_values = true)]
    grace_period: i64,
    /// How long to wait; 0: as long as it takes
    #[arg(long, default_value = "0s")]
    timeout: String,
    /// Delete instead of evicting
    #[arg(long)]
    disable_eviction: bool,
    /// Only pods with these labels
    #[arg(long)]
    pod_selector: Option<String>,
}

async fn nodes(s: &Session, flags: &CordonFlags, failed: &mut Failed) -> Result<Vec<Info>> {
    if flags.nodes.is_empty() && flags.selector.is_none() {
        return Err(Error::other("USAGE: drain NODE [flags]\nSee 'kubectl drain -h' for help and examples"));
    }
    let mut args = vec!["nodes".to_owned()];
    args.extend(flags.nodes.iter().map(|n| n.trim_start_matches("node/").trim_start_matches("nodes/").to_owned()));
    let select = Select { selector: flags.selector.clone(), ..Select::default() };
    s.infos(&args, &Files::default(), &select, failed).await
}

pub async fn cordon(s: &Session, flags: CordonFlags, unschedulable: bool) -> Result<()> {
    let mut failed = Failed::default();
    for node in nodes(s, &flags, &mut failed).await? {
        let done = set(s, &node, unschedulable, DryRun::parse(flags.dry_run.as_deref())?).await;
        failed.keep_later(done);
    }
    failed.end()
}

async fn set(s: &Session, node: &Info, unschedulable: bool, dry_run: DryRun) -> Result<()> {
    let word = if unschedulable { "cordoned" } else { "uncordoned" };
    if (node.object["spec"]["unschedulable"] == true) == unschedulable {
        node.say(&format!("already {word}{}", dry_run.suffix()));
        return Ok(());
    }
    if !dry_run.client() {
        let value = if unschedulable { json!(true) } else { Value::Null };
        node.patch(s, MERGE, &json!({"spec": {"unschedulable": value}}), &[("dryRun", dry_run.query())]).await?;
    }
    node.say(&format!("{word}{}", dry_run.suffix()));
    Ok(())
}

pub async fn run(s: &Session, flags: Flags) -> Result<()> {
    let dry_run = DryRun::parse(flags.on.dry_run.as_deref())?;
    let timeout = duration(&flags.timeout)?.filter(|t| !t.is_zero());
    let mut failed = Failed::default();
    let nodes = nodes(s, &flags.on, &mut failed).await?;
    for node in &nodes {
        set(s, node, true, dry_run).await?;
    }
    for node in &nodes {
        let drained = match timeout {
            None => drain(s, &flags, node, dry_run).await,
            Some(t) => tokio::time::timeout(t, drain(s, &flags, node, dry_run)).await.unwrap_or_else(|_| {
                Err(Error::other(format!(
                    "unable to drain node {:?} due to error: global timeout reached: {}",
                    node.name, flags.timeout
                )))
            }),
        };
        if failed.keep_later(drained).is_some() {
            node.say(&format!("drained{}", dry_run.suffix()));
        }
    }
    failed.end()
}

/// The pods to evict, or why that must not be.
fn choose(flags: &Flags, pods: &[Value]) -> Result<Vec<Value>> {
    let mut chosen = Vec::new();
    let mut refused: [Vec<String>; 3] = Default::default();
    let mut ignored = Vec::new();
    for pod in pods {
        let id = format!("{}/{}", text(pod, "/metadata/namespace"), text(pod, "/metadata/name"));
        let finished = matches!(text(pod, "/status/phase"), "Succeeded" | "Failed");
        let owner = list(pod, "/metadata/ownerReferences").iter().find(|r| r["controller"] == true);
        if pod["metadata"]["annotations"].get("kubernetes.io/config.mirror").is_some() {
            continue;
        }
        if owner.is_some_and(|o| text(o, "/kind") == "DaemonSet") && !finished {
            if flags.ignore_daemonsets {
                ignored.push(id)
            } else {
                refused[0].push(id)
            }
            continue;
        }
        let empty_dir = list(pod, "/spec/volumes").iter().any(|v| v.get("emptyDir").is_some());
        if empty_dir && !finished && !flags.delete_emptydir_data {
            refused[1].push(id);
            continue;
        }
        if owner.is_none() && !finished && !flags.force {
            refused[2].push(id);
            continue;
        }
        chosen.push(pod.clone());
    }
    if !ignored.is_empty() {
        eprintln!("Warning: ignoring DaemonSet-managed Pods: {}", ignored.join(", "));
    }
    let why = [
        "cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore)",
        "cannot delete Pods with local storage (use --delete-emptydir-data to override)",
        "cannot delete Pods that declare no controller (use --force to override)",
    ];
    let all: Vec<String> = why
        .iter()
        .zip(&refused)
        .filter(|(_, r)| !r.is_empty())
        .map(|(w, r)| format!("{w}: {}", r.join(", ")))
        .collect();
    match all.as_slice() {
        [] => Ok(chosen),
        [one] => Err(Error::other(one.clone())),
        many => Err(Error::other(format!("[{}]", many.join(", ")))),
    }
}

async fn drain(s: &Session, flags: &Flags, node: &Info, dry_run: DryRun) -> Result<()> {
    let mapping = s.mapping("pods").await?;
    let field = format!("spec.nodeName={}", node.name);
    let labels = flags.pod_selector.as_deref().unwrap_or_default();
    let all = s.list(&mapping, "", &[("fieldSelector", &field), ("labelSelector", labels), ("limit", "500")]).await?;
    let chosen = choose(flags, list(&all, "/items")).map_err(|e| {
        let why = e.to_string();
        Error::other(format!("unable to drain node {:?} due to error: {}, continuing command...\nThere are pending nodes to be drained:\n {}\n{}", node.name, why.trim_start_matches("error: "), node.name, why))
    })?;
    let gone = chosen.into_iter().map(|pod| {
        let info = Info::of(&mapping, pod);
        async move { evict(s, flags, &info, dry_run).await }
    });
    futures::future::try_join_all(gone).await.map(drop)
}

async fn evict(s: &Session, flags: &Flags, pod: &Info, dry_run: DryRun) -> Result<()> {
    let verb = if flags.disable_eviction { "deleting" } else { "evicting" };
    println!("{verb} pod {}/{}{}", pod.namespace, pod.name, dry_run.suffix());
    if dry_run != DryRun::None {
        return Ok(());
    }
    let mut options = json!({});
    if flags.grace_period >= 0 {
        options["gracePeriodSeconds"] = flags.grace_period.into();
    }
    loop {
        let sent = if flags.disable_eviction {
            s.send(Method::DELETE, &pod.path(), JSON, Some(&options)).await
        } else {
            let eviction = json!({
                "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod.name, "namespace": pod.namespace},
                "deleteOptions": options,
            });
            s.send(Method::POST, &format!("{}/eviction", pod.path()), JSON, Some(&eviction)).await
        };
        match sent {
            Ok(_) => break,
            Err(e) if e.is_not_found() => return Ok(()),
            // a disruption budget forbids it for now: kubectl asks again after 5 s, and no event says when it may
            Err(e) if e.status().is_some_and(|s| s.code == 429) => {
                eprintln!(
                    "error when evicting pods/{:?} -n {:?} (will retry after 5s): {}",
                    pod.name,
                    pod.namespace,
                    e.status().map_or("", |s| &s.message)
                );
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
            Err(e) => return Err(e),
        }
    }
    let uid = text(&pod.object, "/metadata/uid");
    s.until(&pod.mapping, &pod.namespace, &pod.name, None, |o| {
        Ok((o.is_none_or(|o| text(o, "/metadata/uid") != uid)).then_some(()))
    })
    .await?;
    println!("pod/{} evicted", pod.name);
    Ok(())
}
