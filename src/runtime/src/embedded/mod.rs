//! The embedded runtime: the agent's side of sandboxes and containers. Each pod runs under a [`crate::shim`]; this side
//! keeps records, prepares what a shim is told to start, and follows its events. It can end at any time: the next
//! [`Embedded::open`] finds the records, connects to the shims that live, and carries on.
//!
//! ```text
//! <state>/images/…                                 see `image`
//!        /sandboxes/<sandbox>/sandbox.json shim.json
//!                            /<container>/container.json config.json state.json upper/ work/
//! <run>/s/<sandbox>.sock                           the shims' sockets
//!      /m/                                         a private mount, so that no mount in it spreads
//!        /<sandbox>/shm/ <container>/{rootfs,v,oci}/
//! ```

mod adopt;
mod beside;
mod clean;
mod client;
mod host;
mod oci;
mod pod;
mod record;
mod session;

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::broadcast;

pub use clean::killall;
pub use record::layers_in_use;
use record::{Container, Sandbox};

use crate::cgroup::Cgroups;
use crate::image::{Registries, Store};
use crate::shim::protocol::Request;
use crate::*;

/// Where an embedded runtime keeps its things.
#[derive(Debug, Clone)]
pub struct Config {
    /// Persistent: images, layers, containers.
    pub state_dir: PathBuf,
    /// Of this boot: sockets and mounts. A short path.
    pub run_dir: PathBuf,
    /// The executable that is a shim when its first argument is `shim`.
    pub shim: PathBuf,
    /// The cgroup above all pods', such as `/kubepods`. Shims live in its neighbour with `.shims` added.
    pub cgroup_root: String,
    /// `/etc/skiff/registries.yaml`
    pub registries: PathBuf,
    /// A container's log is rotated at this size; 0: never.
    pub log_max_bytes: u64,
    /// How many files of a log are kept.
    pub log_max_files: usize,
}

impl Config {
    /// With upstream's defaults: 10 MiB and 5 files of log, `/kubepods`.
    pub fn new(state_dir: impl Into<PathBuf>, run_dir: impl Into<PathBuf>, shim: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            run_dir: run_dir.into(),
            shim: shim.into(),
            cgroup_root: "/kubepods".to_owned(),
            registries: "/etc/skiff/registries.yaml".into(),
            log_max_bytes: 10 << 20,
            log_max_files: 5,
        }
    }
}

/// The runtime. Clones share it.
#[derive(Clone)]
pub struct Embedded(Arc<Inner>);

struct Inner {
    config: Config,
    cgroups: Cgroups,
    host: oci::Host,
    images: Arc<Store>,
    registries: Registries,
    sandboxes: Mutex<HashMap<String, Arc<Sandbox>>>,
    containers: Mutex<HashMap<String, Arc<Container>>>,
    events: broadcast::Sender<Event>,
    /// The agent is another process: see [`Embedded::beside`].
    beside: bool,
    /// Said once.
    warned_seccomp: AtomicBool,
    warned_devices: AtomicBool,
}

impl Embedded {
    /// Opens the directories, adopts the pods that run, and marks those that do not. Needs root and a tokio runtime.
    pub async fn open(config: Config) -> Result<Self> {
        let (state, run) = (&config.state_dir, &config.run_dir);
        for directory in [run.join("s"), run.join("m"), state.join("sandboxes")] {
            std::fs::create_dir_all(&directory)?;
            // what runs in pods is not for the host's users to reach
            std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o700))?;
        }
        host::private_mount(&run.canonicalize()?.join("m"))?;
        let embedded = Self::with(config, false).await?;
        embedded.collect_layers().await?;
        Ok(embedded)
    }

    async fn with(config: Config, beside: bool) -> Result<Self> {
        // the kernel knows mounts by their real paths
        let (state_dir, run_dir) = (beside::real(&config.state_dir), beside::real(&config.run_dir));
        let config = Config { state_dir, run_dir, ..config };
        let cgroups = Cgroups::detect()?;
        let host = host::read(cgroups.unified())?;
        let images = Arc::new(Store::open(&config.state_dir.join("images"), !beside)?);
        let registries = Registries::load(&config.registries)?;
        let inner = Inner {
            config,
            cgroups,
            host,
            images,
            registries,
            sandboxes: Mutex::default(),
            containers: Mutex::default(),
            events: broadcast::channel(1024).0,
            beside,
            warned_seccomp: AtomicBool::new(false),
            warned_devices: AtomicBool::new(false),
        };
        let embedded = Self(Arc::new(inner));
        embedded.adopt().await?;
        Ok(embedded)
    }

    /// The image store, for imports.
    pub fn store(&self) -> &Arc<Store> {
        &self.0.images
    }

    /// Removes layers that neither an image nor a container needs.
    pub async fn collect_layers(&self) -> Result<()> {
        let (store, in_use) = (self.0.images.clone(), self.0.layers_in_use());
        blocking(move || store.collect(&in_use)).await
    }
}

impl Inner {
    fn sandbox(&self, id: &str) -> Result<Arc<Sandbox>> {
        self.sandboxes.lock().get(id).cloned().ok_or_else(|| Error::NotFound(format!("sandbox {id}")))
    }

    fn container(&self, id: &str) -> Result<Arc<Container>> {
        self.containers.lock().get(id).cloned().ok_or_else(|| Error::NotFound(format!("container {id}")))
    }

    fn containers_of(&self, sandbox: &str) -> Vec<Arc<Container>> {
        self.containers.lock().values().filter(|c| c.sandbox.id == sandbox).cloned().collect()
    }

    fn tell(&self, sandbox: &Sandbox) {
        // nobody may be listening
        let _ = self.events.send(Event::Pod { uid: sandbox.uid() });
    }

    fn layers_in_use(&self) -> HashSet<String> {
        self.containers.lock().values().flat_map(|c| c.record.lock().layers.clone()).collect()
    }

    fn warn_once(&self, seccomp: &str) {
        if !seccomp.is_empty() && seccomp != "Unconfined" && !self.warned_seccomp.swap(true, Ordering::Relaxed) {
            tracing::warn!(profile = seccomp, "seccomp profiles are not applied by the embedded runtime");
        }
    }
}

/// Runs what blocks (files, cgroups) beside the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::Other(e.to_string()))?
}

#[async_trait]
impl Runtime for Embedded {
    fn version(&self) -> (String, String) {
        ("skiff".to_owned(), env!("CARGO_PKG_VERSION").to_owned())
    }

    async fn run_sandbox(&self, config: SandboxConfig) -> Result<SandboxId> {
        self.0.clone().run_sandbox(config).await
    }

    async fn set_sandbox_ips(&self, id: &str, ips: Vec<String>) -> Result<()> {
        let sandbox = self.0.sandbox(id)?;
        sandbox.record.lock().ips = ips;
        Ok(sandbox.save()?)
    }

    async fn stop_sandbox(&self, id: &str) -> Result<()> {
        self.0.stop_sandbox(id).await
    }

    async fn remove_sandbox(&self, id: &str) -> Result<()> {
        self.0.clone().remove_sandbox(id).await
    }

    async fn sandboxes(&self) -> Result<Vec<SandboxStatus>> {
        Ok(self.0.sandboxes.lock().values().map(|s| s.status()).collect())
    }

    async fn sandboxes_of(&self, uid: &str) -> Result<Vec<SandboxStatus>> {
        let all: Vec<_> = self.0.sandboxes.lock().values().cloned().collect();
        Ok(all.iter().filter(|s| s.uid() == uid).map(|s| s.status()).collect())
    }

    async fn create_container(&self, sandbox: &str, config: ContainerConfig) -> Result<ContainerId> {
        self.0.clone().create_container(sandbox, config).await
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        self.0.start_container(id).await
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        match self.0.container(id) {
            Ok(container) => self.0.stop_container(&container, grace).await,
            Err(_) => Ok(()),
        }
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        match self.0.container(id) {
            Ok(container) => self.0.clone().remove_container(container).await,
            Err(_) => Ok(()),
        }
    }

    async fn containers(&self, sandbox: Option<&str>) -> Result<Vec<ContainerStatus>> {
        let containers = self.0.containers.lock();
        let wanted = containers.values().filter(|c| sandbox.is_none_or(|s| c.sandbox.id == s));
        Ok(wanted.map(|c| c.status()).collect())
    }

    async fn update_resources(&self, id: &str, resources: Resources) -> Result<()> {
        let sandbox = self.0.sandboxes.lock().get(id).cloned();
        if let Some(sandbox) = sandbox {
            let group = self.0.pod_cgroup(&sandbox.status().config);
            self.0.cgroups.set(&group, &resources, false)?;
            sandbox.record.lock().config.resources = resources;
            return Ok(sandbox.save()?);
        }
        let container = self.0.container(id)?;
        let cgroup = container.record.lock().cgroup.clone();
        self.0.cgroups.set(&cgroup, &resources, true)?;
        let record = {
            let mut record = container.record.lock();
            record.config.resources = resources;
            record.clone()
        };
        Ok(record::write_json(&container.directory.join("container.json"), &record)?)
    }

    async fn stats(&self, id: &str) -> Result<Stats> {
        let container = self.0.container(id)?;
        let inner = self.0.clone();
        blocking(move || {
            let usage = inner.cgroups.usage(&container.record.lock().cgroup.clone());
            let (fs_used_bytes, fs_inodes_used) = host::disk_usage(&container.directory.join("upper"));
            Ok(Stats {
                cpu_nanos: usage.cpu_nanos,
                memory_usage_bytes: usage.memory_bytes,
                memory_working_set_bytes: usage.working_set_bytes,
                memory_rss_bytes: usage.rss_bytes,
                pids: usage.pids,
                fs_used_bytes,
                fs_inodes_used,
            })
        })
        .await
    }

    async fn reopen_log(&self, id: &str) -> Result<()> {
        let container = self.0.container(id)?;
        self.0.shim(&container.sandbox)?.request(Request::ReopenLog { container: id.to_owned() }).await.map(drop)
    }

    async fn exec(&self, id: &str, config: ExecConfig) -> Result<Session> {
        session::exec(&*self.0.container(id)?, config).await
    }

    async fn attach(&self, id: &str, config: ExecConfig) -> Result<Session> {
        session::attach(&*self.0.container(id)?, config).await
    }

    async fn port_forward(&self, sandbox: &str, port: u16) -> Result<tokio::net::TcpStream> {
        session::port_forward(&*self.0.sandbox(sandbox)?, port).await
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.0.events.subscribe()
    }

    async fn image(&self, name: &str) -> Result<Option<Image>> {
        Ok(self.0.images.find(name)?.map(|(image, _)| image))
    }

    async fn images(&self) -> Result<Vec<Image>> {
        self.0.images.list()
    }

    async fn pull_image(&self, name: &str, credentials: Option<Credentials>) -> Result<String> {
        self.0.images.pull(name, credentials, &self.0.registries).await
    }

    async fn remove_image(&self, name: &str) -> Result<()> {
        let (store, in_use, name) = (self.0.images.clone(), self.0.layers_in_use(), name.to_owned());
        blocking(move || store.remove(&name, &in_use)).await
    }
}
