//! Requests and limits in the kernel's terms. Upstream's `cm/helpers_linux.go` and `qos/policy.go`.

use api::k8s_openapi::api::core::v1::{Container, PodSpec};
use runtime::Resources;

use super::qos;
use crate::quantity::{ResourceList, milli_of, value_of};

const PERIOD_US: u64 = 100_000;
const MIN_QUOTA_US: i64 = 1000;
const MIN_SHARES: u64 = 2;
const MAX_SHARES: u64 = 262_144;

fn shares(milli_cpu: i64) -> u64 {
    ((milli_cpu.max(0) as u64) * 1024 / 1000).clamp(MIN_SHARES, MAX_SHARES)
}

fn quota(milli_cpu: i64) -> i64 {
    (milli_cpu * PERIOD_US as i64 / 1000).max(MIN_QUOTA_US)
}

/// Of one container. `memory_bytes` is the node's, for the OOM score.
pub(crate) fn container(spec: &PodSpec, c: &Container, memory_bytes: i64) -> Resources {
    let requests = c.resources.as_ref().and_then(|r| r.requests.as_ref());
    let limits = c.resources.as_ref().and_then(|r| r.limits.as_ref());
    let limit = milli_of(limits, "cpu").filter(|m| *m > 0);
    Resources {
        cpu_shares: shares(milli_of(requests, "cpu").or(limit).unwrap_or(0)),
        cpu_quota_us: limit.map(quota),
        cpu_period_us: limit.map(|_| PERIOD_US),
        memory_limit_bytes: value_of(limits, "memory").filter(|b| *b > 0),
        pids_limit: None,
        oom_score_adj: Some(oom_score_adj(spec, c, memory_bytes)),
        hugepages: hugepages(limits),
    }
}

fn hugepages(limits: Option<&ResourceList>) -> std::collections::BTreeMap<String, u64> {
    let sizes = limits.into_iter().flatten().filter_map(|(k, q)| {
        let size = k.strip_prefix("hugepages-")?.strip_suffix('i')?;
        Some((format!("{size}B"), crate::quantity::value(q)?.max(0) as u64))
    });
    sizes.collect()
}

fn oom_score_adj(spec: &PodSpec, c: &Container, memory_bytes: i64) -> i32 {
    if spec.priority.unwrap_or(0) >= 2_000_000_000 {
        return -997;
    }
    match qos::class(spec) {
        "Guaranteed" => -997,
        "BestEffort" => 1000,
        _ => {
            let requested = value_of(c.resources.as_ref().and_then(|r| r.requests.as_ref()), "memory").unwrap_or(0);
            let share = i128::from(requested) * 1000 / i128::from(memory_bytes.max(1));
            (1000 - share).clamp(3, 999) as i32
        }
    }
}

/// Of the whole pod: the cgroup above its containers'. A limit holds only where every container has one.
pub(crate) fn pod(spec: &PodSpec) -> Resources {
    let cpu = total(spec, "cpu", false).map_or(0, |(m, _)| m);
    let bounded = |name| total(spec, name, true).filter(|(v, every)| *every && *v > 0).map(|(v, _)| v);
    let cpu_limit = bounded("cpu");
    Resources {
        cpu_shares: shares(cpu),
        cpu_quota_us: cpu_limit.map(quota),
        cpu_period_us: cpu_limit.map(|_| PERIOD_US),
        memory_limit_bytes: bounded("memory").map(|m| m / 1000),
        ..Resources::default()
    }
}

/// In thousandths, and whether every container names it: what runs together, or the hungriest init container.
pub(crate) fn total(spec: &PodSpec, resource: &str, limits: bool) -> Option<(i64, bool)> {
    let pick = |r: &Option<api::k8s_openapi::api::core::v1::ResourceRequirements>| {
        let r = r.as_ref()?;
        milli_of(if limits { r.limits.as_ref() } else { r.requests.as_ref() }, resource)
    };
    if let Some(v) = pick(&spec.resources) {
        return Some((v, true));
    }
    let mut every = true;
    let mut get = |c: &Container| {
        let v = pick(&c.resources);
        every &= v.is_some();
        v.unwrap_or(0)
    };
    let regular: i64 = spec.containers.iter().map(&mut get).sum();
    let (mut sidecars, mut peak) = (0, 0);
    for c in spec.init_containers.iter().flatten() {
        let v = get(c);
        if c.restart_policy.as_deref() == Some("Always") {
            sidecars += v;
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(sidecars + v);
        }
    }
    let sum = peak.max(regular + sidecars);
    (sum > 0 || every).then_some((sum, every))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Resource;
    use serde_json::json;

    #[test]
    fn limits_become_the_kernels() {
        let pod_object = api::k8s_openapi::api::core::v1::Pod::from_value(json!({
            "metadata": {"name": "x"},
            "spec": {"containers": [
                {"name": "a", "resources": {"requests": {"cpu": "250m", "memory": "64Mi"}, "limits": {"cpu": "500m", "memory": "128Mi"}}},
                {"name": "b", "resources": {"requests": {"cpu": "100m"}}}]}
        }))
        .unwrap();
        let spec = pod_object.spec.unwrap();
        let a = container(&spec, &spec.containers[0], 1 << 30);
        assert_eq!((a.cpu_shares, a.cpu_quota_us, a.memory_limit_bytes), (256, Some(50_000), Some(128 << 20)));
        assert_eq!(a.oom_score_adj, Some(1000 - 62));
        let p = pod(&spec);
        assert_eq!((p.cpu_shares, p.cpu_quota_us, p.memory_limit_bytes), (358, None, None));
    }
}
