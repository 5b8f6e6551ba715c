//! The node's status from what is known. Upstream's `nodestatus` setters.

use std::collections::BTreeMap;

use api::k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeRuntimeHandler,
    NodeRuntimeHandlerFeatures, NodeStatus, NodeSystemInfo,
};
use api::k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use jiff::Timestamp;
use runtime::Image;

use super::machine::{FileSystem, Machine};
use crate::config::Config;
use crate::eviction::Pressure;
use crate::pod::status::seconds;

const MAX_IMAGES: usize = 50;

pub(crate) struct Inputs<'a> {
    pub config: &'a Config,
    pub machine: &'a Machine,
    pub disk: FileSystem,
    pub pressure: Pressure,
    pub images: &'a [Image],
    pub runtime: (String, String),
    /// `None`: ready. Else the reason why not.
    pub not_ready: Option<String>,
    pub old: Option<&'a NodeStatus>,
    pub now: Timestamp,
}

pub(crate) fn generate(i: &Inputs<'_>) -> NodeStatus {
    let capacity = resources(i, 0);
    let name = NodeAddress { address: i.config.node_name.clone(), type_: "Hostname".into() };
    let ips = i.config.node_ips.iter();
    let addresses = ips.map(|ip| NodeAddress { address: ip.to_string(), type_: "InternalIP".into() });
    let outside = i.config.external_ips.iter();
    let outside = outside.map(|ip| NodeAddress { address: ip.to_string(), type_: "ExternalIP".into() });
    let m = i.machine;
    let old = i.old.cloned().unwrap_or_default();
    NodeStatus {
        addresses: match old.addresses {
            // the provider's
            Some(set) if i.config.external_cloud_provider && !set.is_empty() => Some(set),
            _ => Some(addresses.chain(outside).chain([name]).collect()),
        },
        // what eviction would take back is not given out
        allocatable: Some(resources(i, reserved(i))),
        capacity: Some(capacity),
        conditions: Some(conditions(i)),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(i.config.port) }),
        }),
        images: Some(images(i.images)),
        node_info: Some(NodeSystemInfo {
            architecture: m.architecture.clone(),
            boot_id: m.boot_id.clone(),
            container_runtime_version: format!("{}://{}", i.runtime.0, i.runtime.1),
            kernel_version: m.kernel.clone(),
            kube_proxy_version: String::new(),
            kubelet_version: i.config.kubelet_version.clone(),
            machine_id: m.machine_id.clone(),
            operating_system: "linux".into(),
            os_image: m.os_image.clone(),
            swap: None,
            system_uuid: m.system_uuid.clone(),
        }),
        runtime_handlers: Some(vec![NodeRuntimeHandler {
            name: Some(String::new()),
            features: Some(NodeRuntimeHandlerFeatures {
                recursive_read_only_mounts: Some(false),
                user_namespaces: Some(false),
            }),
        }]),
        ..old
    }
}

fn reserved(i: &Inputs<'_>) -> i64 {
    let all = u64::try_from(i.machine.memory_bytes).unwrap_or(0);
    i64::try_from(i.config.eviction_hard.memory_bytes(all)).unwrap_or(0)
}

fn resources(i: &Inputs<'_>, reserved: i64) -> BTreeMap<String, Quantity> {
    let memory = (i.machine.memory_bytes - reserved).max(0) / 1024;
    let list = [
        ("cpu", i.machine.cpus.to_string()),
        ("memory", format!("{memory}Ki")),
        ("pods", i.config.max_pods.to_string()),
        ("ephemeral-storage", format!("{}Ki", i.disk.capacity_bytes / 1024)),
        ("hugepages-1Gi", "0".into()),
        ("hugepages-2Mi", "0".into()),
    ];
    let own = list.into_iter().map(|(k, v)| (k.to_owned(), Quantity(v)));
    // somebody else gave the node these, and all of them are for pods
    let old = i.old.and_then(|o| o.capacity.clone()).unwrap_or_default();
    old.into_iter().filter(|(name, _)| is_extended(name)).chain(own).collect()
}

/// Whether somebody else has written what the kubelet must answer: an extended resource that is not offered to pods yet, or
/// conditions that nobody knew while the node was away.
pub(crate) fn is_others(s: &NodeStatus) -> bool {
    let offered = |name: &str| s.allocatable.as_ref().and_then(|a| a.get(name));
    s.capacity.iter().flatten().any(|(name, n)| is_extended(name) && offered(name) != Some(n))
        || s.conditions.iter().flatten().any(|c| c.status == "Unknown")
}

/// `IsExtendedResourceName`: of a domain that is not Kubernetes' own.
fn is_extended(name: &str) -> bool {
    name.split_once('/').is_some_and(|(domain, _)| domain != "kubernetes.io" && !domain.ends_with(".kubernetes.io"))
}

fn conditions(i: &Inputs<'_>) -> Vec<NodeCondition> {
    let now = seconds(i.now);
    let old = i.old.and_then(|o| o.conditions.as_deref()).unwrap_or_default();
    let pressure = |on: bool, yes: [&str; 2], no: [&str; 2]| {
        let [reason, message] = if on { yes } else { no };
        (on, reason.to_owned(), message.to_owned())
    };
    let all = [
        (
            "MemoryPressure",
            pressure(
                i.pressure.memory,
                ["KubeletHasInsufficientMemory", "kubelet has insufficient memory available"],
                ["KubeletHasSufficientMemory", "kubelet has sufficient memory available"],
            ),
        ),
        (
            "DiskPressure",
            pressure(
                i.pressure.disk,
                ["KubeletHasDiskPressure", "kubelet has disk pressure"],
                ["KubeletHasNoDiskPressure", "kubelet has no disk pressure"],
            ),
        ),
        ("PIDPressure", (false, "KubeletHasSufficientPID".into(), "kubelet has sufficient PID available".into())),
        (
            "Ready",
            match &i.not_ready {
                None => (true, "KubeletReady".into(), "kubelet is posting ready status".into()),
                Some(why) => (false, "KubeletNotReady".into(), why.clone()),
            },
        ),
    ];
    let owned: Vec<NodeCondition> = all
        .into_iter()
        .map(|(kind, (on, reason, message))| {
            let status = if on { "True" } else { "False" };
            let was = old.iter().find(|c| c.type_ == kind && c.status == status);
            NodeCondition {
                type_: kind.into(),
                status: status.into(),
                reason: Some(reason),
                message: Some(message),
                last_heartbeat_time: Some(now.clone()),
                last_transition_time: was.and_then(|w| w.last_transition_time.clone()).or_else(|| Some(now.clone())),
            }
        })
        .collect();
    let others = old.iter().filter(|c| !owned.iter().any(|o| o.type_ == c.type_)).cloned();
    others.chain(owned.iter().cloned()).collect()
}

fn images(all: &[Image]) -> Vec<ContainerImage> {
    let mut sorted: Vec<&Image> = all.iter().collect();
    sorted.sort_by(|a, b| b.size_bytes.cmp(&a.size_bytes).then_with(|| a.id.cmp(&b.id)));
    let shown = sorted.into_iter().take(MAX_IMAGES).map(|i| ContainerImage {
        names: Some(i.digests.iter().chain(&i.tags).take(5).cloned().collect()),
        size_bytes: i64::try_from(i.size_bytes).ok(),
    });
    shown.collect()
}

/// The same but for the heartbeats.
pub(crate) fn same(a: &NodeStatus, b: &NodeStatus) -> bool {
    let still = |s: &NodeStatus| {
        let mut s = s.clone();
        s.conditions.iter_mut().flatten().for_each(|c| c.last_heartbeat_time = None);
        s
    };
    still(a) == still(b)
}
