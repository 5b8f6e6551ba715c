//! `describe`: objects in detail, with their events, in kubectl's layout (`kubectl/pkg/describe`).

pub mod config;
pub mod events;
mod generic;
mod node;
mod pod;
mod service;
mod storage;
mod template;
mod volumes;
mod workload;
pub mod writer;

use crate::cli::{Files, Select};
use crate::error::{Error, Result};
use crate::objects::{Failed, Info};
use crate::session::Session;
use writer::Out;

pub use template::pod_template;

#[derive(clap::Args)]
pub struct Flags {
    /// TYPE [NAME…] or TYPE/NAME…
    args: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    select: Select,
    /// With the events
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    show_events: bool,
    /// Accepted for compatibility
    #[arg(long, hide = true)]
    chunk_size: Option<u64>,
}

pub async fn run(s: &Session, flags: Flags) -> Result<()> {
    if flags.args.is_empty() && flags.files.filename.is_empty() {
        return Err(Error::other(
            "You must specify the type of resource to describe. Use \"kubectl api-resources\" for a complete list of supported resources.",
        ));
    }
    let mut failed = Failed::default();
    let mut by_prefix = false;
    let infos = match s.infos(&flags.args, &flags.files, &flags.select, &mut Failed::silent()).await {
        Ok(infos) if !infos.is_empty() => infos,
        found => {
            by_prefix = true;
            prefixed(s, &flags, found?, &mut failed).await?
        }
    };
    if infos.is_empty() && failed.is_empty() {
        if flags.select.all_namespaces {
            eprintln!("No resources found");
        } else {
            eprintln!("No resources found in {} namespace.", s.namespace);
        }
        return Ok(());
    }
    for (i, info) in infos.iter().enumerate() {
        if i > 0 && !by_prefix {
            print!("\n\n");
        }
        if let Some(text) = failed.keep_later(describe(s, info, flags.show_events).await) {
            print!("{text}{}", if by_prefix { "\n" } else { "" });
        }
    }
    failed.end()
}

/// A name that no object has may be the beginning of some.
async fn prefixed(s: &Session, flags: &Flags, found: Vec<Info>, failed: &mut Failed) -> Result<Vec<Info>> {
    let [kind, prefix] = flags.args.as_slice() else {
        return Ok(if found.is_empty() {
            s.infos(&flags.args, &flags.files, &flags.select, failed).await?
        } else {
            found
        });
    };
    if kind.contains('/') || !flags.files.filename.is_empty() {
        return s.infos(&flags.args, &flags.files, &flags.select, failed).await;
    }
    let all = s.infos(std::slice::from_ref(kind), &Files::default(), &flags.select, &mut Failed::silent()).await?;
    let begin: Vec<Info> = all.into_iter().filter(|i| i.name.starts_with(prefix.as_str())).collect();
    if begin.is_empty() { s.infos(&flags.args, &flags.files, &flags.select, failed).await } else { Ok(begin) }
}

async fn describe(s: &Session, info: &Info, show_events: bool) -> Result<String> {
    let mut w = Out::default();
    let m = &info.mapping;
    match (m.group.as_str(), m.kind.as_str()) {
        ("", "Pod") => pod::describe(&mut w, &info.object),
        ("", "Node") => node::describe(&mut w, s, &info.object).await?,
        ("", "Service") => service::describe(&mut w, s, &info.object).await?,
        ("", "Namespace") => {
            config::namespace(&mut w, s, &info.object).await?;
            return Ok(w.finish());
        }
        ("", "Endpoints") => service::endpoints_object(&mut w, &info.object),
        ("discovery.k8s.io", "EndpointSlice") => service::endpoint_slice(&mut w, &info.object),
        ("scheduling.k8s.io", "PriorityClass") => config::priority_class(&mut w, &info.object),
        ("", "ConfigMap") => config::config_map(&mut w, &info.object),
        ("", "Secret") => {
            config::secret(&mut w, &info.object);
            return Ok(w.finish());
        }
        ("", "ServiceAccount") => config::service_account(&mut w, s, &info.object).await?,
        ("", "PersistentVolume") => storage::volume(&mut w, &info.object),
        ("", "PersistentVolumeClaim") => storage::claim(&mut w, s, &info.object).await?,
        ("storage.k8s.io", "StorageClass") => storage::class(&mut w, &info.object),
        ("apps" | "extensions", "Deployment") => workload::deployment(&mut w, s, info).await?,
        ("apps" | "extensions", "ReplicaSet") => workload::replica_set(&mut w, s, &info.object).await?,
        ("", "ReplicationController") => workload::replica_set(&mut w, s, &info.object).await?,
        ("apps" | "extensions", "DaemonSet") => workload::daemon_set(&mut w, s, &info.object).await?,
        ("apps", "StatefulSet") => workload::stateful_set(&mut w, s, &info.object).await?,
        ("batch", "Job") => workload::job(&mut w, &info.object),
        ("batch", "CronJob") => workload::cron_job(&mut w, &info.object),
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => {
            config::role(&mut w, &info.object);
            return Ok(w.finish());
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            config::binding(&mut w, &info.object);
            return Ok(w.finish());
        }
        _ => generic::describe(&mut w, &info.object),
    }
    if show_events {
        events::describe(&mut w, &events::of(s, &info.object).await?);
    }
    Ok(w.finish())
}
