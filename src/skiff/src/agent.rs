//! A node: runtime, kubelet, pod network, service proxy and DNS, wired to an API client.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use async_trait::async_trait;
use client::{BoxIo, Client, NodeDialer};
use ipnet::IpNet;
use kubelet::Kubelet;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::flags::Component;
use crate::paths::Paths;

/// What the flags say about this node.
#[derive(Clone)]
pub struct Options {
    pub paths: Paths,
    pub node: kubelet::Config,
    pub backend: network::Backend,
    /// Nodes reach each other by their ExternalIP.
    pub external: bool,
    /// To the other nodes.
    pub interface: Option<String>,
    pub cluster_cidrs: Vec<IpNet>,
    pub service_cidrs: Vec<IpNet>,
    pub cluster_dns: IpAddr,
    pub cluster_domain: String,
    pub disable: Vec<Component>,
}

/// Mirrors and credentials, in k3s' form.
pub const REGISTRIES: &str = "/etc/skiff/registries.yaml";

/// Opens the embedded runtime; adopts what runs.
pub async fn runtime(paths: &Paths) -> Result<runtime::Embedded> {
    let mut config =
        runtime::Config::new(paths.runtime(), &paths.run, std::env::current_exe().context("own executable")?);
    config.cgroup_root = paths.cgroup_root.clone();
    config.registries = REGISTRIES.into();
    runtime::Embedded::open(config).await.context("container runtime")
}

/// The running node.
pub struct Agent {
    kubelet: Arc<Kubelet>,
    network: PodNetwork,
    options: Options,
    client: Arc<dyn Client>,
}

impl Agent {
    pub async fn new(options: Options, client: Arc<dyn Client>) -> Result<Agent> {
        let runtime = Arc::new(runtime(&options.paths).await?);
        let archives = options.paths.image_archives();
        let images = runtime.store().clone();
        // a node is useful before its archives are in: pods that need them wait in their back-off
        tokio::task::spawn_blocking(move || images.import_directory(&archives));
        let network = PodNetwork(network::PodNetwork::new(network_config(&options)).context("pod network")?);
        let kubelet = Kubelet::new(options.node.clone(), client.clone(), runtime, Arc::new(network.clone()));
        Ok(Agent { kubelet: Arc::new(kubelet), network, options, client })
    }

    /// How the server in the same process reaches this node.
    pub fn dialer(&self) -> Arc<dyn NodeDialer> {
        Arc::new(Local { name: self.options.node.node_name.clone(), kubelet: self.kubelet.clone() })
    }

    /// What a server elsewhere may reach on this node.
    pub fn tunnel_end(&self) -> Arc<dyn tunnel::Node> {
        let ips = self.options.node.node_ips.clone();
        Arc::new(TunnelEnd { kubelet: self.kubelet.clone(), network: self.network.0.clone(), ips })
    }

    /// Runs until `stop`; containers, rules and interfaces stay.
    pub async fn run(self, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        let (kubelet, stopped) = (self.kubelet.clone(), stop.clone());
        tasks.spawn(async move { kubelet.run(stopped).await });
        tasks.spawn(networking(self.network, self.options, self.client, stop.clone()));
        while tasks.join_next().await.is_some() {}
    }
}

fn network_config(o: &Options) -> network::Config {
    network::Config {
        node_name: o.node.node_name.clone(),
        state_dir: o.paths.agent().join("network"),
        bridge: o.paths.bridge.clone(),
        table: o.paths.table.clone(),
        cluster_cidrs: o.cluster_cidrs.clone(),
        service_cidrs: o.service_cidrs.clone(),
        cluster_dns: Some(o.cluster_dns),
        cluster_domain: o.cluster_domain.clone(),
        node_ips: o.node.node_ips.clone(),
        backend: o.backend,
        external: o.external,
        interface: o.interface.clone(),
        ..network::Config::default()
    }
}

/// Pod network and the way to other nodes; the proxy and DNS as soon as the bridge is there.
async fn networking(network: PodNetwork, options: Options, client: Arc<dyn Client>, stop: CancellationToken) {
    let config = network_config(&options);
    let mut tasks = JoinSet::new();
    let nodes = network::Nodes::start(client.clone(), &config, stop.clone());
    let (keep, stopped) = (network.0.clone(), stop.clone());
    tasks.spawn(async move { keep.run(nodes, stopped).await });
    let services = network::Services::start(client, stop.clone());
    if stop.run_until_cancelled(network.0.ready()).await.is_some() {
        if !options.disable.contains(&Component::ServiceProxy) {
            let proxy = network::proxy::Proxy::new(config.clone(), services.clone(), network.0.host_ports());
            let stop = stop.clone();
            tasks.spawn(async move { proxy.run(stop).await });
        }
        if !options.disable.contains(&Component::Dns) {
            let resolv_conf = options.node.resolv_conf.clone();
            match network::dns::Dns::bind(&config, options.cluster_dns, 53, services, resolv_conf).await {
                Ok(dns) => drop(tasks.spawn(dns.run(stop.clone()))),
                Err(error) => tracing::error!(%error, "cluster DNS is off"),
            }
        }
    }
    while tasks.join_next().await.is_some() {}
}

/// `network` behind the kubelet's trait.
#[derive(Clone)]
struct PodNetwork(network::PodNetwork);

#[async_trait]
impl kubelet::PodNetwork for PodNetwork {
    fn ready(&self) -> bool {
        self.0.is_ready()
    }
    async fn changed(&self) {
        self.0.changed().await;
    }
    async fn setup(&self, pod: &kubelet::PodKey, netns: &Path) -> kubelet::Result<Vec<IpAddr>> {
        let ports = pod.host_ports.iter().map(|p| network::HostPortRequest {
            protocol: p.protocol.to_lowercase(),
            host_port: p.host_port,
            container_port: p.container_port,
            host_ip: p.host_ip,
        });
        let pod = network::PodRef {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            host_ports: ports.collect(),
        };
        self.0.setup(&pod, netns).await.map_err(kubelet::Error::network)
    }
    async fn teardown(&self, pod: &kubelet::PodKey) -> kubelet::Result<()> {
        self.0.teardown(&pod.uid).await.map_err(kubelet::Error::network)
    }
}

/// The node of this process: a pipe in memory.
struct Local {
    name: String,
    kubelet: Arc<Kubelet>,
}

#[async_trait]
impl NodeDialer for Local {
    async fn dial(&self, node: &str) -> std::io::Result<BoxIo> {
        if node != self.name {
            return Err(std::io::Error::new(std::io::ErrorKind::NotFound, format!("no connection to node {node}")));
        }
        let (ours, theirs) = tokio::io::duplex(256 << 10);
        let kubelet = self.kubelet.clone();
        tokio::spawn(async move { kubelet.serve(theirs).await });
        Ok(Box::new(ours))
    }
}

/// The node as its tunnels see it.
struct TunnelEnd {
    kubelet: Arc<Kubelet>,
    network: network::PodNetwork,
    ips: Vec<IpAddr>,
}

#[async_trait]
impl tunnel::Node for TunnelEnd {
    async fn kubelet(&self, io: BoxIo) {
        self.kubelet.serve(io).await;
    }
    fn owns(&self, ip: IpAddr) -> bool {
        self.ips.contains(&ip) || self.network.has(ip)
    }
}

/// Volumes that pods left mounted: for `skiff killall`.
pub fn unmount_below(dir: &Path) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").context("mounts")?;
    let mut below: Vec<&str> =
        mounts.lines().filter_map(|l| l.split(' ').nth(1)).filter(|m| Path::new(m).starts_with(dir)).collect();
    // the innermost first
    below.sort_by_key(|m| std::cmp::Reverse(m.len()));
    for mount in below {
        if let Err(error) = nix::mount::umount2(mount, nix::mount::MntFlags::MNT_DETACH) {
            tracing::warn!(mount, %error, "cannot unmount");
        }
    }
    Ok(())
}
