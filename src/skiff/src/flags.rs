//! The command line. Names follow k3s; every flag is also an environment variable `SKIFF_*` and a key of the config file.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

use crate::encrypt::EncryptCommand;
use crate::guard::GuardFlags;

#[derive(Parser)]
#[command(name = "skiff", version, about = "Kubernetes in one small binary", max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Run a whole cluster on this machine: control plane and node
    Server(Box<ServerFlags>),
    /// Run a node on this machine that belongs to a cluster elsewhere
    Agent(Box<AgentFlags>),
    /// Images on this node
    #[command(subcommand)]
    Image(ImageCommand),
    /// Print the token with which agents join, or manage such tokens
    Token(TokenFlags),
    /// Machines that belong to the cluster
    #[command(subcommand)]
    Node(NodeCommand),
    /// Encryption of secrets on the server's disk
    #[command(subcommand)]
    SecretsEncrypt(EncryptCommand),
    /// Remove all containers, mounts, interfaces and rules that skiff left on this machine
    Killall(DataDir),
    /// kubectl, built in
    #[command(disable_help_flag = true)]
    Ctl {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// crictl, built in: this node's containers, pods and images
    #[command(disable_help_flag = true)]
    Crictl {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Print the completion script for a shell
    Completion { shell: clap_complete::Shell },
}

#[derive(Args, Clone)]
pub struct DataDir {
    /// Where all state lies
    #[arg(short, long, global = true, env = "SKIFF_DATA_DIR", default_value = "/var/lib/skiff")]
    pub data_dir: PathBuf,
}

/// Parts of the server that can be left out.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    Scheduler,
    Controllers,
    /// The service proxy
    ServiceProxy,
    /// Cluster DNS
    Dns,
    /// What nodes and pods use: metrics.k8s.io
    MetricsServer,
}

#[derive(Args, Clone)]
pub struct ServerFlags {
    /// A YAML file with flags as keys
    #[arg(short, long, env = "SKIFF_CONFIG", default_value = "/etc/skiff/config.yaml")]
    pub config: PathBuf,
    #[command(flatten)]
    pub data: DataDir,
    /// The address that the API listens on
    #[arg(long, env = "SKIFF_BIND_ADDRESS", default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// The port that the API listens on; 0 takes a free one
    #[arg(long, env = "SKIFF_HTTPS_LISTEN_PORT", default_value_t = 6443)]
    pub https_listen_port: u16,
    /// The address that the server tells others [default: its external address, or the node's]
    #[arg(long, env = "SKIFF_ADVERTISE_ADDRESS")]
    pub advertise_address: Option<IpAddr>,
    #[command(flatten)]
    pub node: NodeFlags,
    #[command(flatten)]
    pub guard: GuardFlags,
    /// A flag of upstream's API server, by its own name: key=value
    #[arg(long)]
    pub kube_apiserver_arg: Vec<String>,
    /// The secret with which machines join [default: made at the first start]
    #[arg(short, long, env = "SKIFF_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// A file that holds it
    #[arg(long, env = "SKIFF_TOKEN_FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// The secret with which agents join, and nothing else does [default: that of --token]
    #[arg(long, env = "SKIFF_AGENT_TOKEN", hide_env_values = true)]
    pub agent_token: Option<String>,
    /// A file that holds it
    #[arg(long, env = "SKIFF_AGENT_TOKEN_FILE", conflicts_with = "agent_token")]
    pub agent_token_file: Option<PathBuf>,
    /// More names and addresses for the server's certificate
    #[arg(long, env = "SKIFF_TLS_SAN", value_delimiter = ',')]
    pub tls_san: Vec<String>,
    /// How long the certificates live that the cluster signs on request, nodes' above all
    #[arg(long, env = "SKIFF_CLUSTER_SIGNING_DURATION", default_value = "8760h")]
    pub cluster_signing_duration: jiff::SignedDuration,
    /// Where the admin's kubeconfig is written
    #[arg(short = 'o', long, env = "SKIFF_WRITE_KUBECONFIG", default_value = "/etc/skiff/skiff.yaml")]
    pub write_kubeconfig: PathBuf,
    /// Its mode, octal
    #[arg(long, env = "SKIFF_WRITE_KUBECONFIG_MODE", default_value = "0600", value_parser = mode)]
    pub write_kubeconfig_mode: u32,
    /// The network of all pods
    #[arg(long, env = "SKIFF_CLUSTER_CIDR", default_value = "10.42.0.0/16", value_delimiter = ',')]
    pub cluster_cidr: Vec<IpNet>,
    /// The network of all services
    #[arg(long, env = "SKIFF_SERVICE_CIDR", default_value = "10.43.0.0/16", value_delimiter = ',')]
    pub service_cidr: Vec<IpNet>,
    /// The address of cluster DNS; inside the service network [default: its tenth, 10.43.0.10]
    #[arg(long, env = "SKIFF_CLUSTER_DNS")]
    pub cluster_dns: Option<IpAddr>,
    /// The domain of cluster DNS
    #[arg(long, env = "SKIFF_CLUSTER_DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
    /// The ports of NodePort services: from-to
    #[arg(long, env = "SKIFF_SERVICE_NODE_PORT_RANGE", default_value = "30000-32767", value_parser = port_range)]
    pub service_node_port_range: (u16, u16),
    /// How pods of different nodes reach each other: vxlan[=VNI=1,Port=8472], host-gw, none
    #[arg(long, visible_alias = "flannel-backend", env = "SKIFF_NETWORK_BACKEND", default_value = "vxlan")]
    pub network_backend: network::Backend,
    /// Pods' traffic goes to nodes' external addresses, where they have one
    #[arg(long, visible_alias = "flannel-external-ip", env = "SKIFF_NETWORK_EXTERNAL_IP")]
    pub network_external_ip: bool,
    /// Leave the nodes' addresses to a cloud provider of the cluster's own
    #[arg(long, visible_alias = "disable-cloud-provider", env = "SKIFF_DISABLE_CLOUD_CONTROLLER")]
    pub disable_cloud_controller: bool,
    /// Give every service account a Secret with a token that does not expire, as Kubernetes did before 1.24
    #[arg(long, env = "SKIFF_SERVICE_ACCOUNT_TOKEN_SECRETS")]
    pub service_account_token_secrets: bool,
    /// Only the control plane: no node on this machine
    #[arg(long, env = "SKIFF_DISABLE_AGENT")]
    pub disable_agent: bool,
    /// Parts to leave out
    #[arg(long, env = "SKIFF_DISABLE", value_delimiter = ',')]
    pub disable: Vec<Component>,
}

/// What servers and agents say of their machine.
#[derive(Args, Clone)]
pub struct NodeFlags {
    /// The name of this node [default: the host name]
    #[arg(long, env = "SKIFF_NODE_NAME")]
    pub node_name: Option<String>,
    /// Append an id of this machine to the name
    #[arg(long, env = "SKIFF_WITH_NODE_ID")]
    pub with_node_id: bool,
    /// The address of this node, one of each family [default: that of the default route]
    #[arg(short = 'i', long, env = "SKIFF_NODE_IP", value_delimiter = ',')]
    pub node_ip: Vec<IpAddr>,
    /// The address by which this node is reached from outside its network
    #[arg(long, env = "SKIFF_NODE_EXTERNAL_IP", value_delimiter = ',')]
    pub node_external_ip: Vec<IpAddr>,
    /// Labels of this node: key=value
    #[arg(long, env = "SKIFF_NODE_LABEL", value_delimiter = ',')]
    pub node_label: Vec<String>,
    /// Taints of this node, when it is new: key=value:Effect
    #[arg(long, env = "SKIFF_NODE_TAINT", value_delimiter = ',')]
    pub node_taint: Vec<String>,
    /// The interface to the other nodes [default: that of the node's address]
    #[arg(long, visible_alias = "flannel-iface", env = "SKIFF_NETWORK_INTERFACE")]
    pub network_interface: Option<String>,
    /// spec.providerID of this node
    #[arg(long, env = "SKIFF_PROVIDER_ID")]
    pub provider_id: Option<String>,
    /// name=value of the kubelet: eviction-hard, eviction-pressure-transition-period, image-gc-high-threshold,
    /// image-gc-low-threshold; cloud-provider=external: with --disable-cloud-controller, wait for a cloud provider of the
    /// cluster's own
    #[arg(long, env = "SKIFF_KUBELET_ARG", value_delimiter = ',')]
    pub kubelet_arg: Vec<String>,
}

#[derive(Args, Clone)]
pub struct AgentFlags {
    /// A YAML file with flags as keys
    #[arg(short, long, env = "SKIFF_CONFIG", default_value = "/etc/skiff/config.yaml")]
    pub config: PathBuf,
    #[command(flatten)]
    pub data: DataDir,
    /// A server of the cluster: https://HOST:6443
    #[arg(short, long, visible_alias = "join", env = "SKIFF_URL")]
    pub server: Option<String>,
    /// The token with which to join, as `skiff token` prints it; needed once
    #[arg(short, long, env = "SKIFF_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// A file that holds it
    #[arg(long, env = "SKIFF_TOKEN_FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    #[command(flatten)]
    pub node: NodeFlags,
    /// The local port behind which this agent finds its servers; 0 takes a free one
    #[arg(long, env = "SKIFF_LB_SERVER_PORT", default_value_t = 6444)]
    pub lb_server_port: u16,
    /// Be so many nodes that run nothing: for planning, and for load on a server
    #[arg(long, env = "SKIFF_SIMULATE", value_parser = clap::value_parser!(u32).range(1..))]
    pub simulate: Option<u32>,
    /// Parts to leave out
    #[arg(long, env = "SKIFF_DISABLE", value_delimiter = ',')]
    pub disable: Vec<Component>,
}

#[derive(Args)]
pub struct TokenFlags {
    #[command(flatten)]
    pub data: DataDir,
    #[command(subcommand)]
    pub command: Option<TokenCommand>,
}

#[derive(Subcommand)]
pub enum TokenCommand {
    /// Make a bootstrap token, and print it
    Create {
        /// The token itself: abcdef.0123456789abcdef [default: a random one]
        token: Option<String>,
        /// How long it is good; 0: for ever
        #[arg(long, default_value = "24h")]
        ttl: jiff::SignedDuration,
        /// What it is for
        #[arg(long)]
        description: Option<String>,
        /// More groups of those who show it: system:bootstrappers:…
        #[arg(long, value_delimiter = ',')]
        groups: Vec<String>,
    },
    /// List bootstrap tokens, without their secrets
    #[command(alias = "ls")]
    List,
    /// Delete bootstrap tokens, by their ids
    #[command(alias = "rm")]
    Delete {
        #[arg(required = true)]
        tokens: Vec<String>,
    },
    /// Change the cluster's own secret, and print the new token; machines that have joined notice nothing
    Rotate {
        /// The agents' or the servers' [default: the agents', where that is another]
        #[arg(long = "for", value_parser = ["agent", "server"])]
        which: Option<String>,
        /// A file that holds the new secret [default: a random one]
        #[arg(long)]
        secret_file: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
pub enum NodeCommand {
    /// Refuse the certificates that a node has had so far; its machine may join again
    Revoke {
        #[command(flatten)]
        data: DataDir,
        #[arg(required = true)]
        nodes: Vec<String>,
    },
}

#[derive(Subcommand)]
pub enum ImageCommand {
    /// Import images from archives (docker save or OCI layout; plain, gzip or zstd)
    Import {
        #[command(flatten)]
        data: DataDir,
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
    /// List images
    #[command(alias = "list")]
    Ls {
        #[command(flatten)]
        data: DataDir,
    },
    /// Remove images
    Rm {
        #[command(flatten)]
        data: DataDir,
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// Pull images from their registries
    Pull {
        #[command(flatten)]
        data: DataDir,
        #[arg(required = true)]
        images: Vec<String>,
    },
}

fn mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8).ok().filter(|m| *m <= 0o777).ok_or_else(|| "expected an octal mode like 0600".into())
}

fn port_range(text: &str) -> Result<(u16, u16), String> {
    let parsed = text.split_once('-').and_then(|(a, b)| Some((a.trim().parse().ok()?, b.trim().parse().ok()?)));
    parsed.filter(|(a, b): &(u16, u16)| *a > 0 && a <= b).ok_or_else(|| "expected FROM-TO, like 30000-32767".into())
}
