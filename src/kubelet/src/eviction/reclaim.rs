//! Getting back what is short: unused images for disk, and if that is not enough, one pod.

use std::path::Path;

use api::k8s_openapi::api::core::v1::{Pod, PodSpec};
use runtime::{ContainerState, Runtime};

use super::Monitor;
use super::rank::{Candidate, rank};
use super::signals::{Short, Signal};
use crate::admission::CRITICAL;
use crate::context::Context;
use crate::pod::mailbox::Order;
use crate::pod::resources;
use crate::pod::status::Failure;

/// Answers whether anything was done that may help.
pub(super) async fn reclaim(monitor: &mut Monitor, short: &Short) -> bool {
    let ctx = monitor.ctx.clone();
    if short.signal.is_disk() && monitor.images.free(&ctx, u64::MAX).await > 0 {
        let again = ctx.config.eviction_hard.met(&(ctx.signals)(&ctx.config));
        if !again.iter().any(|s| s.signal == short.signal) {
            return true;
        }
    }
    evict(monitor, short).await
}

/// Upstream's `managerImpl.synchronize` evicts one pod a round.
async fn evict(monitor: &Monitor, short: &Short) -> bool {
    let ctx = &monitor.ctx;
    let mut candidates = Vec::new();
    let mut details = Vec::new();
    for (uid, object) in monitor.mailboxes.active() {
        let Ok(pod) = object.view::<Pod>() else { continue };
        let Some(spec) = &pod.spec else { continue };
        if spec.priority.unwrap_or(0) >= CRITICAL {
            continue;
        }
        let usages = usages(ctx, &uid, &object, short.signal).await;
        let resource = if short.signal == Signal::Memory { "memory" } else { "ephemeral-storage" };
        let requested = resources::total(spec, resource, false).map_or(0, |(milli, _)| milli.max(0) as u64 / 1000);
        let used = usages.iter().map(|(_, bytes)| bytes).sum();
        candidates.push(Candidate { uid: uid.clone(), priority: spec.priority.unwrap_or(0), requested, used });
        details.push((uid, object.clone(), greedy(spec, resource, &usages)));
    }
    let Some(victim) = rank(candidates).into_iter().next() else {
        tracing::debug!(resource = short.signal.resource(), "no pod is left to evict");
        return false;
    };
    let Some((uid, object, greedy)) = details.into_iter().find(|(uid, ..)| *uid == victim.uid) else { return false };
    let message = format!(
        "The node was low on resource: {}. Threshold quantity: {}, available: {}. {greedy}",
        short.signal.resource(),
        quantity(short, short.threshold),
        quantity(short, short.available),
    );
    tracing::warn!(pod = object.name(), namespace = object.namespace(), resource = short.signal.resource(), "evicting");
    ctx.warning(&object, None, "Evicted", message.clone());
    let failure = Failure { reason: "Evicted".into(), message, disrupted: Some("TerminationByKubelet") };
    monitor.mailboxes.order(&uid, Order { failure, grace_seconds: 1 });
    true
}

fn quantity(short: &Short, n: u64) -> String {
    match short.signal {
        Signal::NodeFsInodes | Signal::ImageFsInodes => n.to_string(),
        _ => format!("{}Ki", n / 1024),
    }
}

/// Of each container, and of the pod's own files under the name `""`.
async fn usages(ctx: &Context, uid: &str, object: &api::Object, signal: Signal) -> Vec<(String, u64)> {
    let runtime: &dyn Runtime = &*ctx.runtime;
    let mut all = Vec::new();
    let Ok(pod) = crate::pod::observe::RuntimePod::read(runtime, uid).await else { return all };
    for c in &pod.containers {
        if signal == Signal::Memory && c.state != ContainerState::Running {
            continue;
        }
        let Ok(stats) = runtime.stats(&c.id).await else { continue };
        let used = match signal {
            Signal::Memory => stats.memory_working_set_bytes,
            Signal::NodeFs | Signal::ImageFs => stats.fs_used_bytes,
            Signal::NodeFsInodes | Signal::ImageFsInodes => stats.fs_inodes_used,
        };
        all.push((c.name.clone(), used));
    }
    if signal.is_disk() {
        let bytes = matches!(signal, Signal::NodeFs | Signal::ImageFs);
        let volumes = ctx.config.pod_dir(uid).join("volumes").join("kubernetes.io~empty-dir");
        let logs = ctx.config.pod_log_dir(object.namespace(), object.name(), uid);
        let walked = tokio::task::spawn_blocking(move || disk_use(&volumes, bytes) + disk_use(&logs, bytes)).await;
        all.push((String::new(), walked.unwrap_or(0)));
    }
    all
}

/// Bytes that are taken, or files, below a directory and on its file system.
fn disk_use(dir: &Path, bytes: bool) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(top) = std::fs::symlink_metadata(dir) else { return 0 };
    let (mut sum, mut open) = (0, vec![dir.to_owned()]);
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.dev() != top.dev() {
                continue;
            }
            sum += if bytes { meta.blocks() * 512 } else { 1 };
            if meta.is_dir() {
                open.push(entry.path());
            }
        }
    }
    sum
}

/// Upstream's sentence about each container that uses more than it asked for.
fn greedy(spec: &PodSpec, resource: &str, usages: &[(String, u64)]) -> String {
    let mut text = String::new();
    for c in &spec.containers {
        let used: u64 = usages.iter().filter(|(name, _)| *name == c.name).map(|(_, n)| n).sum();
        let requests = c.resources.as_ref().and_then(|r| r.requests.as_ref());
        let asked = crate::quantity::value_of(requests, resource).unwrap_or(0).max(0) as u64;
        if used > asked {
            text += &format!(
                "Container {} was using {}Ki, request is {}, has larger consumption of {resource}. ",
                c.name,
                used / 1024,
                requests.and_then(|r| r.get(resource)).map_or("0", |q| q.0.as_str()),
            );
        }
    }
    text
}
