//! `/stats/summary`: what the node and its pods use, in upstream's form.

use std::sync::Arc;

use runtime::{ContainerState, ContainerStatus, Stats};
use serde_json::json;

use super::sample::Rates;
use super::{Answer, Refusal, text};
use crate::Kubelet;
use crate::node::machine::{file_system, meminfo};
use crate::pod::observe::label;

/// Milliseconds between the two looks that rates were made of.
const WINDOW: http::HeaderName = http::HeaderName::from_static("x-window-milliseconds");

pub(crate) struct Usage {
    pub container: ContainerStatus,
    pub stats: Stats,
}

impl Usage {
    pub fn label(&self, key: &str) -> &str {
        self.container.labels.get(key).map_or("", String::as_str)
    }
    pub fn pod(&self) -> (&str, &str, &str) {
        (self.label(label::POD_NAMESPACE), self.label(label::POD_NAME), self.label(label::POD_UID))
    }
}

/// Of all running containers, by pod.
pub(crate) async fn usages(k: &Kubelet) -> Result<Vec<Usage>, Refusal> {
    let mut all = Vec::new();
    for container in k.ctx.runtime.containers(None).await.map_err(Refusal::internal)? {
        if container.state == ContainerState::Running
            && let Ok(stats) = k.ctx.runtime.stats(&container.id).await
        {
            all.push(Usage { container, stats });
        }
    }
    all.sort_by(|a, b| a.pod().cmp(&b.pod()).then_with(|| a.container.name.cmp(&b.container.name)));
    Ok(all)
}

/// Nanoseconds of processor time since boot, idle and waiting not counted.
pub(crate) fn node_cpu_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<u64> =
        text.lines().next().unwrap_or("").split_whitespace().skip(1).filter_map(|f| f.parse().ok()).collect();
    let busy: u64 = fields.iter().enumerate().filter(|(i, _)| matches!(i, 0..=2 | 5..=7)).map(|(_, v)| v).sum();
    busy * 10_000_000 // a tick is 10 ms
}

pub(crate) fn node_memory_bytes() -> u64 {
    (meminfo("MemTotal") - meminfo("MemAvailable")).max(0) as u64
}

pub(crate) async fn summary(k: &Arc<Kubelet>) -> Result<Answer, Refusal> {
    let Rates { all, window, node: node_rate, containers: rates } = k.sampler.rates(k).await?;
    let now = k.ctx.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let cpu = |nanos: u64, rate: u64| json!({"time": now, "usageNanoCores": rate, "usageCoreNanoSeconds": nanos});
    let memory = |s: &Stats| json!({"time": now, "usageBytes": s.memory_usage_bytes, "workingSetBytes": s.memory_working_set_bytes, "rssBytes": s.memory_rss_bytes});
    let time =
        |nanos: i64| jiff::Timestamp::from_second(nanos / 1_000_000_000).map(|t| t.to_string()).unwrap_or_default();
    let mut rates = rates.into_iter();
    let pods: Vec<_> = all
        .chunk_by(|a, b| a.pod() == b.pod())
        .map(|group| {
            let rates: Vec<u64> = rates.by_ref().take(group.len()).collect();
            let (namespace, name, uid) = group[0].pod();
            let containers: Vec<_> = group
                .iter()
                .zip(&rates)
                .map(|(u, rate)| {
                    json!({"name": u.container.name, "startTime": time(u.container.started_nanos),
                        "cpu": cpu(u.stats.cpu_nanos, *rate), "memory": memory(&u.stats),
                        "rootfs": {"time": now, "usedBytes": u.stats.fs_used_bytes, "inodesUsed": u.stats.fs_inodes_used}})
                })
                .collect();
            let mut sum = Stats::default();
            for u in group {
                sum.cpu_nanos += u.stats.cpu_nanos;
                sum.memory_usage_bytes += u.stats.memory_usage_bytes;
                sum.memory_working_set_bytes += u.stats.memory_working_set_bytes;
                sum.memory_rss_bytes += u.stats.memory_rss_bytes;
                sum.pids += u.stats.pids;
            }
            json!({"podRef": {"name": name, "namespace": namespace, "uid": uid},
                "startTime": time(group[0].container.created_nanos), "containers": containers,
                "cpu": cpu(sum.cpu_nanos, rates.iter().sum()), "memory": memory(&sum), "process_stats": {"process_count": sum.pids}})
        })
        .collect();
    let disk = file_system(&k.ctx.config.root_dir);
    let fs = json!({"time": now, "availableBytes": disk.available_bytes, "capacityBytes": disk.capacity_bytes,
        "usedBytes": disk.capacity_bytes.saturating_sub(disk.available_bytes),
        "inodes": disk.inodes, "inodesFree": disk.inodes_free});
    let node = json!({"nodeName": k.ctx.config.node_name, "cpu": cpu(node_cpu_nanos(), node_rate),
        "memory": {"time": now, "availableBytes": meminfo("MemAvailable"), "usageBytes": node_memory_bytes(),
            "workingSetBytes": node_memory_bytes()},
        "fs": fs, "runtime": {"imageFs": fs}});
    let mut answer = text("application/json", json!({"node": node, "pods": pods}).to_string());
    answer.headers_mut().insert(WINDOW, (window.as_millis() as u64).into());
    Ok(answer)
}
