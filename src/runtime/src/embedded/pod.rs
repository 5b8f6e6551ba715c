//! A pod's life: sandbox and containers, made, started, stopped, removed.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::client::Shim;
use super::record::{Container, ContainerRecord, Sandbox, SandboxRecord, now, write_json};
use super::{Inner, blocking, host, oci};
use crate::cgroup;
use crate::image::Store;
use crate::shim::protocol::{Reply, Request, ShimConfig, Start, State};
use crate::{ContainerConfig, Error, Resources, Result, SandboxConfig};

/// How long the kernel may take to end what was killed.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

impl Inner {
    pub(super) async fn run_sandbox(self: Arc<Self>, config: SandboxConfig) -> Result<String> {
        if config.uid.is_empty() || config.uid.contains(['/', '.']) {
            return Err(Error::Create(format!("invalid pod uid \"{}\"", config.uid)));
        }
        let id = new_id();
        let sandbox = self.new_sandbox(&id, SandboxRecord { config, created_nanos: now(), ..Default::default() });
        let made = self.make_sandbox(&sandbox).await;
        if let Err(error) = made {
            self.destroy_sandbox(sandbox).await?;
            return Err(error);
        }
        self.sandboxes.lock().insert(id.clone(), sandbox.clone());
        self.tell(&sandbox);
        Ok(id)
    }

    pub(super) fn new_sandbox(&self, id: &str, record: SandboxRecord) -> Arc<Sandbox> {
        Arc::new(Sandbox {
            id: id.to_owned(),
            directory: self.config.state_dir.join("sandboxes").join(id),
            run: self.config.run_dir.join("m").join(id),
            socket: self.config.run_dir.join("s").join(format!("{}.sock", &id[..id.len().min(16)])),
            record: Mutex::new(record),
            shim: Mutex::default(),
            shim_pid: AtomicI32::new(0),
            init_pid: AtomicI32::new(0),
        })
    }

    async fn make_sandbox(self: &Arc<Self>, sandbox: &Arc<Sandbox>) -> Result<()> {
        let config = sandbox.record.lock().config.clone();
        fs::create_dir_all(&sandbox.directory)?;
        fs::create_dir_all(&sandbox.run)?;
        sandbox.save()?;
        let group = self.pod_cgroup(&config);
        self.cgroups.create(&group, &config.resources, false)?;
        if config.qos == "besteffort"
            && let Some((parent, _)) = group.rsplit_once('/')
        {
            self.cgroups.set(parent, &Resources { cpu_shares: 2, ..Default::default() }, false)?;
        }
        let shim = ShimConfig {
            socket: sandbox.socket.clone(),
            run: sandbox.run.clone(),
            hostname: if config.host_network { String::new() } else { config.hostname.clone() },
            network: !config.host_network,
            ipc: !config.host_ipc,
            pid: config.share_process_namespace && !config.host_pid,
            sysctls: config.sysctls.clone(),
            cgroup: self.shim_cgroup(),
        };
        write_json(&sandbox.directory.join("shim.json"), &shim)?;
        let output = tokio::process::Command::new(&self.config.shim)
            .arg("shim")
            .arg(&sandbox.directory)
            // for whoever reads a process list
            .arg(format!("{}/{}", config.namespace, config.name))
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .await
            .map_err(|e| Error::Create(format!("{}: {e}", self.config.shim.display())))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Error::Create(format!("failed to create the pod sandbox: {text}")));
        }
        self.connect(sandbox).await.map(drop)
    }

    /// Connects to a sandbox's shim. Returns what it runs.
    pub(super) async fn connect(self: &Arc<Self>, sandbox: &Arc<Sandbox>) -> Result<Vec<State>> {
        let (inner, weak) = (Arc::downgrade(self), Arc::downgrade(sandbox));
        let shim = Shim::connect(&sandbox.socket, move |event| {
            if let (Some(inner), Some(sandbox)) = (inner.upgrade(), weak.upgrade()) {
                inner.happened(&sandbox, event);
            }
        })?;
        let hello = tokio::time::timeout(KILL_PATIENCE, shim.request(Request::Hello)).await;
        let Ok(Ok(Reply::Hello { pid, init, containers })) = hello else {
            return Err(Error::Other("the shim does not answer".to_owned()));
        };
        sandbox.shim_pid.store(pid, Ordering::Relaxed);
        sandbox.init_pid.store(init.unwrap_or(0), Ordering::Relaxed);
        *sandbox.shim.lock() = Some(Arc::new(shim));
        Ok(containers)
    }

    pub(super) fn shim(&self, sandbox: &Sandbox) -> Result<Arc<Shim>> {
        sandbox.shim.lock().clone().ok_or_else(|| Error::Other(format!("sandbox {} is not running", sandbox.id)))
    }

    /// `/kubepods/burstable/pod<uid>`; guaranteed pods are right below the root, as upstream has them.
    pub(super) fn pod_cgroup(&self, config: &SandboxConfig) -> String {
        let root = self.config.cgroup_root.trim_end_matches('/');
        match config.qos.as_str() {
            "burstable" | "besteffort" => format!("{root}/{}/pod{}", config.qos, config.uid),
            _ => format!("{root}/pod{}", config.uid),
        }
    }

    fn shim_cgroup(&self) -> String {
        format!("{}.shims", self.config.cgroup_root.trim_end_matches('/'))
    }

    pub(super) async fn create_container(self: Arc<Self>, sandbox: &str, config: ContainerConfig) -> Result<String> {
        let sandbox = self.sandbox(sandbox)?;
        if !sandbox.status().ready {
            return Err(Error::Create(format!("sandbox {} is not running", sandbox.id)));
        }
        let (image, entry) = self
            .images
            .find(&config.image)?
            .ok_or_else(|| Error::Image(format!("image \"{}\" is not present", config.image)))?;
        self.warn_once(&config.security.seccomp);
        let id = new_id();
        let group = format!("{}/{id}", self.pod_cgroup(&sandbox.record.lock().config));
        let record = ContainerRecord {
            created_nanos: now(),
            image: image.tags.first().or(image.digests.first()).unwrap_or(&image.id).clone(),
            image_id: image.id,
            layers: entry.layers.clone(),
            stop_signal: signal_number(&entry.config.stop_signal),
            cgroup: group,
            user: oci::user(&config, &entry.config),
            binds: Vec::new(),
            config,
        };
        let container = Self::new_container(&id, &sandbox, record, State::default());
        // known before it is made, so that its layers stay
        self.containers.lock().insert(id.clone(), container.clone());
        let (inner, made) = (self.clone(), container.clone());
        let result = blocking(move || inner.make_container(&made, &entry.config)).await;
        if let Err(error) = result {
            self.remove_container(container).await?;
            return Err(error);
        }
        self.tell(&sandbox);
        Ok(id)
    }

    pub(super) fn new_container(
        id: &str,
        sandbox: &Arc<Sandbox>,
        record: ContainerRecord,
        state: State,
    ) -> Arc<Container> {
        Arc::new(Container {
            id: id.to_owned(),
            sandbox: sandbox.clone(),
            directory: sandbox.directory.join(id),
            run: sandbox.run.join(id),
            record: Mutex::new(record),
            state: watch::Sender::new(state),
            starting: tokio::sync::Mutex::default(),
        })
    }

    fn make_container(&self, container: &Container, image: &crate::image::Config) -> Result<()> {
        let mut record = container.record.lock().clone();
        let config = &record.config;
        let sandbox = &container.sandbox;
        let target = match &config.security.target_container {
            Some(id) => Some(self.container(id)?.state.borrow().pid).filter(|pid| *pid > 0),
            None => None,
        };
        let mut devices = Vec::new();
        for wanted in &config.devices {
            let device = host::device(wanted)
                .map_err(|e| Error::Create(format!("device {}: {e}", wanted.host_path.display())))?;
            let access = if wanted.permissions.is_empty() { "rwm".to_owned() } else { wanted.permissions.clone() };
            devices.push((device, access));
        }
        let mut host = self.host.clone();
        if config.security.privileged {
            host.devices = host::devices();
        }
        self.cgroups.create(&record.cgroup, &record.config.resources, true)?;
        let held = config.security.privileged || self.hold_devices(&record.cgroup, &devices);
        let sandbox_config = sandbox.record.lock().config.clone();
        let (spec, binds) = oci::spec(&oci::Input {
            sandbox: &sandbox_config,
            container: config,
            image,
            host: &host,
            shim: sandbox.shim_pid.load(Ordering::Relaxed),
            init: Some(sandbox.init_pid.load(Ordering::Relaxed)).filter(|pid| *pid > 0),
            target,
            run: &container.run,
            sandbox_run: &sandbox.run,
            cgroup: &record.cgroup,
            cgroup_v1_mounts: if host.unified { Vec::new() } else { self.cgroups.v1_mounts(&record.cgroup) },
            devices_held: held,
            devices,
        })
        .map_err(Error::Create)?;
        record.binds = binds;
        for directory in [
            &container.directory,
            &container.directory.join("upper"),
            &container.directory.join("work"),
            &container.run.join("rootfs"),
            &container.run.join("v"),
        ] {
            fs::create_dir_all(directory)?;
        }
        // it is the container's `/`, whatever our umask
        fs::set_permissions(container.directory.join("upper"), fs::Permissions::from_mode(0o755))?;
        write_json(&container.directory.join("container.json"), &record)?;
        write_json(&container.directory.join("config.json"), &spec)?;
        *container.record.lock() = record;
        Ok(())
    }

    /// Whether the group now allows only these devices and the standard ones.
    fn hold_devices(&self, group: &str, devices: &[(oci::HostDevice, String)]) -> bool {
        let mut rules = cgroup::devices::defaults();
        let number = |n: u64| u32::try_from(n).ok();
        rules.extend(devices.iter().map(|(device, access)| cgroup::devices::Rule {
            kind: Some(device.kind),
            major: number(device.major),
            minor: number(device.minor),
            access: access.clone(),
        }));
        let held = self.cgroups.allow_devices(group, &rules);
        if let Err(error) = &held
            && !self.warned_devices.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(%error, "devices are not held back by BPF: containers do without CAP_MKNOD");
        }
        held.is_ok()
    }

    pub(super) async fn start_container(&self, id: &str) -> Result<()> {
        let container = self.container(id)?;
        let _starting = container.starting.lock().await;
        let state = container.state.borrow().clone();
        if state.exited() {
            return Err(Error::Create(format!("container {id} has ended already")));
        }
        if state.pid != 0 {
            return Ok(());
        }
        let record = container.record.lock().clone();
        let log = container.log_path();
        let start = Start {
            container: id.to_owned(),
            bundle: container.directory.clone(),
            run: container.run.clone(),
            layer_dir: self.images.layers_directory(),
            layers: record.layers.iter().rev().map(|l| Store::layer_name(l)).collect(),
            binds: record.binds,
            user: record.user,
            cgroup: record.cgroup,
            oom_score_adj: record.config.resources.oom_score_adj,
            // `/dev/null` is not to be renamed
            log_max_bytes: if log.starts_with("/dev") { 0 } else { self.config.log_max_bytes },
            log,
            log_max_files: self.config.log_max_files,
            stdin: record.config.stdin,
            stdin_once: record.config.stdin_once,
            tty: record.config.tty,
        };
        let result = self.shim(&container.sandbox)?.request(Request::Start(Box::new(start))).await;
        match result {
            Ok(Reply::Started(state)) => {
                // its end may have been told already
                container.state.send_if_modified(|old| !old.exited() && std::mem::replace(old, state.clone()) != state);
                self.tell(&container.sandbox);
                Ok(())
            }
            Ok(_) => Err(Error::Other("the shim answers strangely".to_owned())),
            Err(Error::Create(why)) => {
                let failed = State {
                    container: id.to_owned(),
                    finished_nanos: now(),
                    exit_code: 128,
                    error: why.clone(),
                    ..Default::default()
                };
                write_json(&container.directory.join("state.json"), &failed)?;
                container.state.send_replace(failed);
                self.tell(&container.sandbox);
                Err(Error::Create(why))
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn stop_container(&self, container: &Container, grace: Duration) -> Result<()> {
        // a start that is under way is stopped after it
        drop(container.starting.lock().await);
        if !container.running() {
            return Ok(());
        }
        let Ok(shim) = self.shim(&container.sandbox) else { return Ok(()) };
        let mut state = container.state.subscribe();
        let signal = container.record.lock().stop_signal;
        if !grace.is_zero() {
            shim.request(Request::Signal { container: container.id.clone(), signal, all: false }).await?;
            if tokio::time::timeout(grace, state.wait_for(State::exited)).await.is_ok() {
                return Ok(());
            }
        }
        shim.request(Request::Signal { container: container.id.clone(), signal: libc::SIGKILL, all: true }).await?;
        match tokio::time::timeout(KILL_PATIENCE, state.wait_for(State::exited)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::Other(format!("container {} does not end after SIGKILL", container.id))),
        }
    }

    pub(super) async fn remove_container(self: Arc<Self>, container: Arc<Container>) -> Result<()> {
        self.stop_container(&container, Duration::ZERO).await?;
        if let Ok(shim) = self.shim(&container.sandbox) {
            shim.request(Request::Remove { container: container.id.clone() }).await?;
        }
        let (inner, gone) = (self.clone(), container.clone());
        blocking(move || {
            inner.cgroups.remove(&gone.record.lock().cgroup.clone(), KILL_PATIENCE)?;
            remove_tree(&gone.run)?;
            remove_tree(&gone.directory)
        })
        .await?;
        self.containers.lock().remove(&container.id);
        if self.images.find(&container.record.lock().image_id)?.is_none() {
            // it may have been the last that needed its image's layers
            let (store, in_use) = (self.images.clone(), self.layers_in_use());
            blocking(move || store.collect(&in_use)).await?;
        }
        self.tell(&container.sandbox);
        Ok(())
    }

    pub(super) async fn stop_sandbox(&self, id: &str) -> Result<()> {
        let Ok(sandbox) = self.sandbox(id) else { return Ok(()) };
        for container in self.containers_of(id) {
            self.stop_container(&container, Duration::ZERO).await?;
        }
        let stopped = std::mem::replace(&mut sandbox.record.lock().stopped, true);
        if !stopped {
            sandbox.save()?;
            self.tell(&sandbox);
        }
        Ok(())
    }

    pub(super) async fn remove_sandbox(self: Arc<Self>, id: &str) -> Result<()> {
        let Ok(sandbox) = self.sandbox(id) else { return Ok(()) };
        self.stop_sandbox(id).await?;
        for container in self.containers_of(id) {
            self.clone().remove_container(container).await?;
        }
        self.clone().destroy_sandbox(sandbox.clone()).await?;
        self.sandboxes.lock().remove(id);
        self.tell(&sandbox);
        Ok(())
    }

    /// Ends the shim and removes all that is a sandbox's. Again is as well.
    pub(super) async fn destroy_sandbox(self: Arc<Self>, sandbox: Arc<Sandbox>) -> Result<()> {
        // taken first, so that its end is no surprise
        let shim = sandbox.shim.lock().take();
        if let Some(shim) = shim {
            let told = tokio::time::timeout(KILL_PATIENCE, shim.request(Request::Shutdown)).await;
            if !matches!(told, Ok(Ok(_))) {
                // it is this sandbox's shim as long as its socket was not closed
                let _ = crate::sys::kill(sandbox.shim_pid.load(Ordering::Relaxed), libc::SIGKILL);
            }
        }
        let inner = self.clone();
        blocking(move || {
            let config = sandbox.record.lock().config.clone();
            let others = inner.sandboxes.lock().values().any(|s| s.id != sandbox.id && s.uid() == config.uid);
            if !others {
                inner.cgroups.remove(&inner.pod_cgroup(&config), KILL_PATIENCE)?;
            }
            super::clean::unmount_below(&sandbox.run)?;
            remove_tree(&sandbox.run)?;
            remove_file(&sandbox.socket)?;
            remove_tree(&sandbox.directory)
        })
        .await
    }
}

pub(super) fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::Io(io::Error::new(error.kind(), format!("{}: {error}", path.display()))))
        }
        _ => Ok(()),
    }
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// 64 hex digits, as tools expect of a container's id.
fn new_id() -> String {
    crate::image::hex(&rand::random::<[u8; 32]>())
}

/// `SIGQUIT`, `QUIT`, `3`, `SIGRTMIN+3`; SIGTERM for what is none.
fn signal_number(name: &str) -> i32 {
    if let Ok(number) = name.parse::<i32>() {
        return number;
    }
    let name = name.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if let Some(offset) = name.strip_prefix("RTMIN") {
        return libc::SIGRTMIN() + offset.trim_start_matches('+').parse::<i32>().unwrap_or(0);
    }
    format!("SIG{name}").parse::<nix::sys::signal::Signal>().map_or(libc::SIGTERM, |signal| signal as i32)
}

#[cfg(test)]
mod tests {
    #[test]
    fn signals() {
        for (name, want) in
            [("", 15), ("SIGQUIT", 3), ("quit", 3), ("9", 9), ("SIGRTMIN+3", libc::SIGRTMIN() + 3), ("nonsense", 15)]
        {
            assert_eq!(super::signal_number(name), want, "{name}");
        }
    }
}
