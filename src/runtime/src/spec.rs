//! What the kubelet asks of a runtime, in CRI's terms.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

pub type SandboxId = String;
pub type ContainerId = String;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0} not found")]
    NotFound(String),
    /// No such image here, and it may not or cannot be pulled. The text is for the pod's status.
    #[error("{0}")]
    Image(String),
    /// The container could not be made from its configuration (`CreateContainerError`, `RunContainerError`).
    #[error("{0}")]
    Create(String),
    #[error("{0}")]
    Other(String),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}
pub type Result<T> = std::result::Result<T, Error>;

/// A pod's sandbox: its namespaces, cgroup parent and shim.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxConfig {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// Counts the sandboxes that this pod has had.
    pub attempt: u32,
    pub hostname: String,
    pub host_network: bool,
    pub host_pid: bool,
    pub host_ipc: bool,
    pub share_process_namespace: bool,
    /// `net.core.somaxconn` → `1024`
    pub sysctls: BTreeMap<String, String>,
    /// Where container logs go: `<log_directory>/<container>/<attempt>.log`, in CRI's log format.
    pub log_directory: PathBuf,
    pub resources: Resources,
    /// `guaranteed`, `burstable`, `besteffort`
    pub qos: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}

/// Limits in the kernel's units. 0 or `None`: no limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// cgroup v1 weight, 2…262144; converted for v2.
    pub cpu_shares: u64,
    pub cpu_quota_us: Option<i64>,
    pub cpu_period_us: Option<u64>,
    pub memory_limit_bytes: Option<i64>,
    pub pids_limit: Option<i64>,
    pub oom_score_adj: Option<i32>,
    /// Huge page size (`2MB`) to bytes.
    pub hugepages: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerConfig {
    pub name: String,
    /// Counts this container's starts in the pod: the restart count.
    pub attempt: u32,
    /// The image's id as [`Runtime::image`] gave it.
    pub image: String,
    /// Overrides the image's entrypoint.
    pub command: Vec<String>,
    /// Overrides the image's cmd (also when `command` is set, as in Kubernetes).
    pub args: Vec<String>,
    pub working_dir: String,
    /// Added to and overriding the image's.
    pub env: Vec<(String, String)>,
    pub mounts: Vec<Mount>,
    pub devices: Vec<Device>,
    pub stdin: bool,
    pub stdin_once: bool,
    pub tty: bool,
    pub resources: Resources,
    pub security: Security,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mount {
    pub host_path: PathBuf,
    pub container_path: PathBuf,
    pub read_only: bool,
    /// `None`, `HostToContainer`, `Bidirectional`
    pub propagation: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Device {
    pub host_path: PathBuf,
    pub container_path: PathBuf,
    /// `rwm`
    pub permissions: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Security {
    pub privileged: bool,
    /// Numeric, or `None`: the image's user.
    pub run_as_user: Option<i64>,
    pub run_as_group: Option<i64>,
    pub supplemental_groups: Vec<i64>,
    pub read_only_root: bool,
    pub no_new_privileges: bool,
    pub add_capabilities: Vec<String>,
    pub drop_capabilities: Vec<String>,
    /// `RuntimeDefault`, `Unconfined`, or a profile's path; empty: unconfined.
    pub seccomp: String,
    /// `spec.procMount`: `Default` or `Unmasked`.
    pub proc_mount: String,
    /// Share the process namespace of this container (ephemeral containers with a target).
    pub target_container: Option<ContainerId>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SandboxStatus {
    pub id: SandboxId,
    pub config: SandboxConfig,
    pub ready: bool,
    /// Unix time.
    pub created_nanos: i64,
    /// The network namespace, for [pod network] set-up; `None` with host network.
    pub netns: Option<PathBuf>,
    /// What the network gave it, as recorded with [`Runtime::set_sandbox_ips`].
    pub ips: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    Created,
    Running,
    Exited,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerStatus {
    pub id: ContainerId,
    pub sandbox: SandboxId,
    pub name: String,
    pub attempt: u32,
    pub state: ContainerState,
    /// The image's name as asked for and its id.
    pub image: String,
    pub image_id: String,
    /// Unix times; 0: not yet.
    pub created_nanos: i64,
    pub started_nanos: i64,
    pub finished_nanos: i64,
    /// 128 + signal where a signal ended it.
    pub exit_code: i32,
    /// `Completed`, `Error`, `OOMKilled`; `StartError` (exit code 128) where it could not be started, `Unknown` (255)
    /// where its end was not seen: containerd's.
    pub reason: String,
    pub message: String,
    pub pid: u32,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// What it is held to now.
    #[serde(default)]
    pub resources: Resources,
    pub log_path: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// `sha256:…` of the configuration.
    pub id: String,
    /// `docker.io/library/redis:4`
    pub tags: Vec<String>,
    /// `docker.io/library/redis@sha256:…`
    pub digests: Vec<String>,
    pub size_bytes: u64,
    /// The configured user: a number, or a name.
    pub user: String,
}

/// For a pull.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    pub username: String,
    pub password: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    pub cpu_nanos: u64,
    pub memory_usage_bytes: u64,
    pub memory_working_set_bytes: u64,
    pub memory_rss_bytes: u64,
    pub pids: u64,
    pub fs_used_bytes: u64,
    pub fs_inodes_used: u64,
}

/// What to run in a container, and which of its streams are wanted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ExecConfig {
    pub command: Vec<String>,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    pub width: u16,
    pub height: u16,
}

pub type Reader = Box<dyn AsyncRead + Send + Unpin>;
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// A running exec or an attached container. Dropping it closes stdin and detaches; an exec'd process is then killed.
pub struct Session {
    pub stdin: Option<Writer>,
    pub stdout: Option<Reader>,
    /// Absent with a terminal.
    pub stderr: Option<Reader>,
    pub resize: Option<mpsc::Sender<TerminalSize>>,
    /// The exit code, once the process has ended. For attach: the container's.
    pub exit: tokio::sync::oneshot::Receiver<Result<i32>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A container started, exited or was removed, or a sandbox died: look at the pod again.
    Pod { uid: String },
    /// Events may have been lost: look at everything again. A receiver's own `RecvError::Lagged` means the same.
    Lagged,
}

/// All methods may be called at once and again: each is idempotent as CRI asks of it.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// `skiff 0.1.0`
    fn version(&self) -> (String, String);

    async fn run_sandbox(&self, config: SandboxConfig) -> Result<SandboxId>;
    /// Remembers a sandbox's addresses for those who adopt it later.
    async fn set_sandbox_ips(&self, id: &str, ips: Vec<String>) -> Result<()>;
    /// Kills what still runs in it; the network namespace goes with [`Runtime::remove_sandbox`].
    async fn stop_sandbox(&self, id: &str) -> Result<()>;
    async fn remove_sandbox(&self, id: &str) -> Result<()>;
    async fn sandboxes(&self) -> Result<Vec<SandboxStatus>>;
    /// Those of one pod.
    async fn sandboxes_of(&self, uid: &str) -> Result<Vec<SandboxStatus>> {
        Ok(self.sandboxes().await?.into_iter().filter(|s| s.config.uid == uid).collect())
    }

    async fn create_container(&self, sandbox: &str, config: ContainerConfig) -> Result<ContainerId>;
    async fn start_container(&self, id: &str) -> Result<()>;
    /// The stop signal, then after `grace` SIGKILL. Returns when the container has exited.
    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()>;
    async fn remove_container(&self, id: &str) -> Result<()>;
    /// Of one sandbox, or all.
    async fn containers(&self, sandbox: Option<&str>) -> Result<Vec<ContainerStatus>>;
    /// Of a container, or of a sandbox: what holds for all of its containers together.
    async fn update_resources(&self, id: &str, resources: Resources) -> Result<()>;
    async fn stats(&self, id: &str) -> Result<Stats>;
    /// Opens the log anew after its file was renamed.
    async fn reopen_log(&self, id: &str) -> Result<()>;

    async fn exec(&self, id: &str, config: ExecConfig) -> Result<Session>;
    /// To the container's own streams.
    async fn attach(&self, id: &str, config: ExecConfig) -> Result<Session>;
    /// A connection to 127.0.0.1:`port` (or ::1) inside the sandbox's network namespace.
    async fn port_forward(&self, sandbox: &str, port: u16) -> Result<tokio::net::TcpStream>;

    /// What changed, from now on.
    fn events(&self) -> tokio::sync::broadcast::Receiver<Event>;

    /// By name, digest or id; `None`: not here.
    async fn image(&self, name: &str) -> Result<Option<Image>>;
    async fn images(&self) -> Result<Vec<Image>>;
    /// Returns the image's id.
    async fn pull_image(&self, name: &str, credentials: Option<Credentials>) -> Result<String>;
    async fn remove_image(&self, name: &str) -> Result<()>;
}
