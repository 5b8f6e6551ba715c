//! `/metrics/resource`, what metrics-server reads, and `/metrics`, a few figures about the kubelet.

use std::fmt::Write;
use std::sync::Arc;

use runtime::ContainerState;

use super::stats::{Usage, node_cpu_nanos, node_memory_bytes, usages};
use super::{Answer, Refusal, labels, text};
use crate::Kubelet;

const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// One metric's head and lines.
fn metric(out: &mut String, name: &str, kind: &str, help: &str, lines: impl Iterator<Item = (String, f64)>) {
    let _ = writeln!(out, "# HELP {name} [STABLE] {help}\n# TYPE {name} {kind}");
    for (labels, value) in lines {
        let _ = writeln!(out, "{name}{labels} {value}");
    }
}

pub(crate) async fn resource(k: &Arc<Kubelet>) -> Result<Answer, Refusal> {
    let all = usages(k).await?;
    let container = |u: &Usage| {
        let (namespace, pod, _) = u.pod();
        labels(&[("container", &u.container.name), ("namespace", namespace), ("pod", pod)])
    };
    let pod = |group: &[Usage], of: fn(&Usage) -> u64| {
        let (namespace, pod, _) = group[0].pod();
        (labels(&[("namespace", namespace), ("pod", pod)]), group.iter().map(of).sum::<u64>())
    };
    let pods = |of: fn(&Usage) -> u64| all.chunk_by(|a, b| a.pod() == b.pod()).map(move |g| pod(g, of));
    let mut out = String::new();
    metric(
        &mut out,
        "container_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the container in core-seconds",
        all.iter().map(|u| (container(u), seconds(u.stats.cpu_nanos))),
    );
    metric(
        &mut out,
        "container_memory_working_set_bytes",
        "gauge",
        "Current working set of the container in bytes",
        all.iter().map(|u| (container(u), u.stats.memory_working_set_bytes as f64)),
    );
    metric(
        &mut out,
        "container_start_time_seconds",
        "gauge",
        "Start time of the container since unix epoch in seconds",
        all.iter().map(|u| (container(u), u.container.started_nanos as f64 / 1e9)),
    );
    metric(
        &mut out,
        "node_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the node in core-seconds",
        [(String::new(), seconds(node_cpu_nanos()))].into_iter(),
    );
    metric(
        &mut out,
        "node_memory_working_set_bytes",
        "gauge",
        "Current working set of the node in bytes",
        [(String::new(), node_memory_bytes() as f64)].into_iter(),
    );
    metric(
        &mut out,
        "pod_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the pod in core-seconds",
        pods(|u| u.stats.cpu_nanos).map(|(l, v)| (l, seconds(v))),
    );
    metric(
        &mut out,
        "pod_memory_working_set_bytes",
        "gauge",
        "Current working set of the pod in bytes",
        pods(|u| u.stats.memory_working_set_bytes).map(|(l, v)| (l, v as f64)),
    );
    metric(
        &mut out,
        "resource_scrape_error",
        "gauge",
        "1 if there was an error while getting container metrics, 0 otherwise",
        [(String::new(), 0.0)].into_iter(),
    );
    Ok(text(TYPE, out))
}

pub(crate) async fn node(k: &Arc<Kubelet>) -> Result<Answer, Refusal> {
    let containers = k.ctx.runtime.containers(None).await.map_err(Refusal::internal)?;
    let sandboxes = k.ctx.runtime.sandboxes().await.map_err(Refusal::internal)?;
    let count = |state: ContainerState| containers.iter().filter(|c| c.state == state).count() as f64;
    let state = |s: &str| labels(&[("container_state", s)]);
    let mut out = String::new();
    metric(
        &mut out,
        "kubelet_running_containers",
        "gauge",
        "Number of containers currently running",
        [
            (state("created"), count(ContainerState::Created)),
            (state("exited"), count(ContainerState::Exited)),
            (state("running"), count(ContainerState::Running)),
        ]
        .into_iter(),
    );
    metric(
        &mut out,
        "kubelet_running_pods",
        "gauge",
        "Number of pods that have a running pod sandbox",
        [(String::new(), sandboxes.iter().filter(|s| s.ready).count() as f64)].into_iter(),
    );
    metric(
        &mut out,
        "kubelet_node_name",
        "gauge",
        "The node's name. The count is always 1.",
        [(labels(&[("node", &k.ctx.config.node_name)]), 1.0)].into_iter(),
    );
    Ok(text(TYPE, out))
}
