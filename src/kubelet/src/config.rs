//! What a kubelet is told at its start.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::k8s_openapi::api::core::v1::Taint;

use crate::eviction::{ImagePolicy, Thresholds};

#[derive(Debug, Clone)]
pub struct Config {
    pub node_name: String,
    /// The first is `status.hostIP`. At most one of each family.
    pub node_ips: Vec<IpAddr>,
    /// `status.addresses` of type `ExternalIP`.
    pub external_ips: Vec<IpAddr>,
    /// Set on the node at each start, beside the standard ones.
    pub labels: BTreeMap<String, String>,
    /// Only when the node is first registered.
    pub taints: Vec<Taint>,
    pub annotations: BTreeMap<String, String>,
    /// Pods' volumes and files: `<root_dir>/pods/<uid>/…`.
    pub root_dir: PathBuf,
    /// Container logs: `<log_dir>/<namespace>_<name>_<uid>/<container>/<attempt>.log`.
    pub log_dir: PathBuf,
    pub cluster_dns: Vec<IpAddr>,
    pub cluster_domain: String,
    pub max_pods: u32,
    /// `spec.podCIDRs` is the node IPAM controller's, but a single node may bring its own.
    pub pod_cidrs: Vec<String>,
    pub provider_id: Option<String>,
    /// `--cloud-provider=external`: the node waits, tainted, until a cloud provider has set its addresses.
    pub external_cloud_provider: bool,
    /// `v1.36.0+skiff0.1.0`
    pub kubelet_version: String,
    /// `status.daemonEndpoints`: where the API server reaches this kubelet, if by a port.
    pub port: u16,
    /// `containerLogMaxSize`, `containerLogMaxFiles`.
    pub log_max_bytes: u64,
    pub log_max_files: u32,
    /// The host's resolver configuration, for `dnsPolicy: Default`.
    pub resolv_conf: PathBuf,
    /// Where the runtime keeps images, if on another file system than `root_dir`.
    pub image_dir: Option<PathBuf>,
    /// `evictionHard`
    pub eviction_hard: Thresholds,
    /// `evictionPressureTransitionPeriod`: for so long a pressure is told after it was last seen.
    pub pressure_transition: Duration,
    pub image_gc: ImagePolicy,
    /// Nothing of a pod is real: no files, volumes, probes, hooks or events of its normal course. See [`crate::Hollow`].
    pub hollow: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            node_name: String::new(),
            node_ips: Vec::new(),
            external_ips: Vec::new(),
            labels: BTreeMap::new(),
            taints: Vec::new(),
            annotations: BTreeMap::new(),
            root_dir: PathBuf::new(),
            log_dir: PathBuf::new(),
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".into(),
            max_pods: 110,
            pod_cidrs: Vec::new(),
            provider_id: None,
            external_cloud_provider: false,
            kubelet_version: "v1.36.0+skiff".into(),
            port: 10250,
            log_max_bytes: 10 << 20,
            log_max_files: 5,
            resolv_conf: "/etc/resolv.conf".into(),
            image_dir: None,
            eviction_hard: Thresholds::default(),
            pressure_transition: Duration::from_secs(300),
            image_gc: ImagePolicy::default(),
            hollow: false,
        }
    }
}

impl Config {
    pub(crate) fn pod_dir(&self, uid: &str) -> PathBuf {
        self.root_dir.join("pods").join(uid)
    }
    pub(crate) fn pod_log_dir(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.log_dir.join(format!("{namespace}_{name}_{uid}"))
    }
}

/// `<pod's log directory>/<container>/<attempt>.log`
pub(crate) fn container_log(pod_logs: &Path, container: &str, attempt: u32) -> PathBuf {
    pod_logs.join(container).join(format!("{attempt}.log"))
}
