//! A runtime, a network and mounts in memory, for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use client::Clock;
use jiff::Timestamp;
use parking_lot::Mutex;
use runtime::*;
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::network::{PodKey, PodNetwork};

/// Follows tokio's clock, paused or not.
pub(crate) struct TokioClock {
    base: Timestamp,
    start: Instant,
}

impl TokioClock {
    pub fn new() -> TokioClock {
        TokioClock { base: "2026-11-21T00:00:00Z".parse().unwrap(), start: Instant::now() }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        self.base + jiff::SignedDuration::try_from(self.start.elapsed()).unwrap()
    }
}

#[derive(Default)]
pub(crate) struct State {
    pub sandboxes: Vec<SandboxStatus>,
    pub containers: Vec<ContainerStatus>,
    pub configs: BTreeMap<String, ContainerConfig>,
    pub images: BTreeSet<String>,
    /// Images that a pull brings.
    pub registry: BTreeSet<String>,
    /// The exit code of an exec, by its command's first word; 0 unless told.
    pub execs: BTreeMap<String, i32>,
    pub exec_log: Vec<(String, Vec<String>)>,
    /// Names of containers that exit by SIGKILL only.
    pub stubborn: BTreeSet<String>,
    pub calls: Vec<String>,
    ids: u32,
}

pub(crate) struct FakeRuntime {
    pub state: Mutex<State>,
    events: broadcast::Sender<Event>,
    clock: Arc<dyn Clock>,
}

impl FakeRuntime {
    pub fn new(clock: Arc<dyn Clock>) -> Arc<FakeRuntime> {
        let runtime = FakeRuntime { state: Mutex::default(), events: broadcast::channel(100).0, clock };
        runtime.state.lock().images.insert("img".into());
        Arc::new(runtime)
    }
    fn now(&self) -> i64 {
        self.clock.now().as_nanosecond() as i64
    }
    fn tell(&self, sandbox: &str) {
        let uid = self.state.lock().sandboxes.iter().find(|s| s.id == sandbox).map(|s| s.config.uid.clone());
        if let Some(uid) = uid {
            let _ = self.events.send(Event::Pod { uid });
        }
    }
    /// The running container of this name ends.
    pub fn exit(&self, name: &str, code: i32) {
        let id = self.running(name).unwrap_or_else(|| panic!("{name} does not run")).id;
        self.exit_id(&id, code);
    }
    fn exit_id(&self, id: &str, code: i32) {
        let now = self.now();
        let mut s = self.state.lock();
        let Some(c) = s.containers.iter_mut().find(|c| c.id == id) else { return };
        if c.state == ContainerState::Exited {
            return;
        }
        (c.state, c.exit_code, c.finished_nanos) = (ContainerState::Exited, code, now);
        c.reason = if code == 0 { "Completed" } else { "Error" }.into();
        let sandbox = c.sandbox.clone();
        drop(s);
        self.tell(&sandbox);
    }
    pub fn running(&self, name: &str) -> Option<ContainerStatus> {
        let s = self.state.lock();
        s.containers.iter().find(|c| c.name == name && c.state == ContainerState::Running).cloned()
    }
    pub fn kill_sandbox(&self) {
        let ids: Vec<String> = {
            let mut s = self.state.lock();
            s.sandboxes.iter_mut().for_each(|x| x.ready = false);
            s.containers.iter().map(|c| c.id.clone()).collect()
        };
        ids.iter().for_each(|id| self.exit_id(id, 137));
    }
    pub fn config(&self, name: &str) -> ContainerConfig {
        let s = self.state.lock();
        let all: Vec<_> = s.configs.values().filter(|c| c.name == name).cloned().collect();
        all.into_iter().max_by_key(|c| c.attempt).unwrap_or_default()
    }
}

fn missing(id: &str) -> Error {
    Error::NotFound(id.into())
}

#[async_trait]
impl Runtime for FakeRuntime {
    fn version(&self) -> (String, String) {
        ("fake".into(), "1".into())
    }
    async fn run_sandbox(&self, config: SandboxConfig) -> Result<SandboxId> {
        let now = self.now();
        let mut s = self.state.lock();
        s.ids += 1;
        let id = format!("sandbox-{}", s.ids);
        let netns = (!config.host_network).then(|| PathBuf::from(format!("/run/netns/{id}")));
        s.calls.push(format!("run_sandbox {}", config.attempt));
        s.sandboxes.push(SandboxStatus { id: id.clone(), config, ready: true, created_nanos: now, netns, ips: vec![] });
        Ok(id)
    }
    async fn set_sandbox_ips(&self, id: &str, ips: Vec<String>) -> Result<()> {
        let mut s = self.state.lock();
        s.sandboxes.iter_mut().find(|x| x.id == id).ok_or_else(|| missing(id))?.ips = ips;
        Ok(())
    }
    async fn stop_sandbox(&self, id: &str) -> Result<()> {
        let ids: Vec<String> = {
            let mut s = self.state.lock();
            s.sandboxes.iter_mut().filter(|x| x.id == id).for_each(|x| x.ready = false);
            s.containers.iter().filter(|c| c.sandbox == id).map(|c| c.id.clone()).collect()
        };
        ids.iter().for_each(|c| self.exit_id(c, 137));
        Ok(())
    }
    async fn remove_sandbox(&self, id: &str) -> Result<()> {
        let mut s = self.state.lock();
        s.calls.push("remove_sandbox".into());
        s.sandboxes.retain(|x| x.id != id);
        s.containers.retain(|c| c.sandbox != id);
        Ok(())
    }
    async fn sandboxes(&self) -> Result<Vec<SandboxStatus>> {
        Ok(self.state.lock().sandboxes.clone())
    }
    async fn create_container(&self, sandbox: &str, config: ContainerConfig) -> Result<ContainerId> {
        let now = self.now();
        let mut s = self.state.lock();
        s.ids += 1;
        let id = format!("{}-{}", config.name, s.ids);
        s.calls.push(format!("create {} {}", config.name, config.attempt));
        let log =
            s.sandboxes.iter().find(|x| x.id == sandbox).ok_or_else(|| missing(sandbox))?.config.log_directory.clone();
        s.containers.push(ContainerStatus {
            id: id.clone(),
            sandbox: sandbox.into(),
            name: config.name.clone(),
            attempt: config.attempt,
            state: ContainerState::Created,
            image: config.image.clone(),
            image_id: config.image.clone(),
            created_nanos: now,
            started_nanos: 0,
            finished_nanos: 0,
            exit_code: 0,
            reason: String::new(),
            message: String::new(),
            pid: 0,
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            resources: config.resources.clone(),
            log_path: log.join(&config.name).join(format!("{}.log", config.attempt)),
        });
        s.configs.insert(id.clone(), config);
        Ok(id)
    }
    async fn start_container(&self, id: &str) -> Result<()> {
        let now = self.now();
        let sandbox = {
            let mut s = self.state.lock();
            let c = s.containers.iter_mut().find(|c| c.id == id).ok_or_else(|| missing(id))?;
            (c.state, c.started_nanos) = (ContainerState::Running, now);
            let (sandbox, name) = (c.sandbox.clone(), c.name.clone());
            s.calls.push(format!("start {name}"));
            sandbox
        };
        self.tell(&sandbox);
        Ok(())
    }
    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        let stubborn = {
            let mut s = self.state.lock();
            let c = s.containers.iter().find(|c| c.id == id).ok_or_else(|| missing(id))?.name.clone();
            s.calls.push(format!("stop {c} {}", grace.as_secs_f64().round()));
            s.stubborn.contains(&c)
        };
        if stubborn {
            tokio::time::sleep(grace).await;
        }
        self.exit_id(id, if stubborn { 137 } else { 143 });
        Ok(())
    }
    async fn remove_container(&self, id: &str) -> Result<()> {
        self.state.lock().containers.retain(|c| c.id != id);
        Ok(())
    }
    async fn containers(&self, sandbox: Option<&str>) -> Result<Vec<ContainerStatus>> {
        let s = self.state.lock();
        Ok(s.containers.iter().filter(|c| sandbox.is_none_or(|x| x == c.sandbox)).cloned().collect())
    }
    async fn update_resources(&self, id: &str, resources: Resources) -> Result<()> {
        let mut s = self.state.lock();
        s.calls.push(format!("resize {id}"));
        if let Some(c) = s.containers.iter_mut().find(|c| c.id == id) {
            c.resources = resources;
        } else if let Some(x) = s.sandboxes.iter_mut().find(|x| x.id == id) {
            x.config.resources = resources;
        }
        Ok(())
    }
    async fn stats(&self, _: &str) -> Result<Stats> {
        Ok(Stats { cpu_nanos: 1_000_000, memory_working_set_bytes: 1 << 20, ..Stats::default() })
    }
    async fn reopen_log(&self, _: &str) -> Result<()> {
        Ok(())
    }
    async fn exec(&self, id: &str, config: ExecConfig) -> Result<Session> {
        let mut s = self.state.lock();
        s.exec_log.push((id.to_owned(), config.command.clone()));
        let code = config.command.first().and_then(|c| s.execs.get(c)).copied().unwrap_or(0);
        drop(s);
        session(config, code)
    }
    async fn attach(&self, _: &str, config: ExecConfig) -> Result<Session> {
        session(config, 0)
    }
    async fn port_forward(&self, _: &str, port: u16) -> Result<tokio::net::TcpStream> {
        Ok(tokio::net::TcpStream::connect(("127.0.0.1", port)).await?)
    }
    fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }
    async fn image(&self, name: &str) -> Result<Option<Image>> {
        Ok(self.state.lock().images.contains(name).then(|| image(name)))
    }
    async fn images(&self) -> Result<Vec<Image>> {
        Ok(self.state.lock().images.iter().map(|n| image(n)).collect())
    }
    async fn pull_image(&self, name: &str, _: Option<Credentials>) -> Result<String> {
        let mut s = self.state.lock();
        s.calls.push(format!("pull {name}"));
        if !s.registry.contains(name) {
            return Err(Error::Image(format!("{name}: not found")));
        }
        s.images.insert(name.into());
        Ok(name.into())
    }
    async fn remove_image(&self, name: &str) -> Result<()> {
        self.state.lock().images.remove(name);
        Ok(())
    }
}

/// `cat` answers with its input, `echo` with its arguments; anything else says nothing.
fn session(config: ExecConfig, code: i32) -> Result<Session> {
    let (stdin, mut input) = tokio::io::duplex(4096);
    let (mut output, stdout) = tokio::io::duplex(4096);
    let (send, exit) = tokio::sync::oneshot::channel();
    let command = config.command.clone();
    let with_stdin = config.stdin;
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        match command.first().map(String::as_str) {
            Some("echo") => {
                let _ = output.write_all(format!("{}\n", command[1..].join(" ")).as_bytes()).await;
            }
            _ if with_stdin => {
                let _ = tokio::io::copy(&mut input, &mut output).await;
            }
            _ => {}
        }
        drop(output);
        let _ = send.send(Ok(code));
    });
    Ok(Session {
        stdin: config.stdin.then(|| Box::new(stdin) as Writer),
        stdout: Some(Box::new(stdout)),
        stderr: None,
        resize: None,
        exit,
    })
}

fn image(name: &str) -> Image {
    Image { id: name.into(), tags: vec![name.into()], digests: vec![], size_bytes: 1000, user: String::new() }
}

#[derive(Default)]
pub(crate) struct FakeNetwork {
    pub pods: Mutex<BTreeMap<String, IpAddr>>,
    next: std::sync::atomic::AtomicU8,
}

#[async_trait]
impl PodNetwork for FakeNetwork {
    async fn setup(&self, pod: &PodKey, _: &Path) -> crate::Result<Vec<IpAddr>> {
        let fresh = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 2;
        let ip = *self.pods.lock().entry(pod.uid.clone()).or_insert(IpAddr::from([10, 42, 0, fresh]));
        Ok(vec![ip])
    }
    async fn teardown(&self, pod: &PodKey) -> crate::Result<()> {
        self.pods.lock().remove(&pod.uid);
        Ok(())
    }
}

/// Mounts nothing.
pub(crate) struct NoMounts;

impl crate::Mounter for NoMounts {
    fn tmpfs(&self, _: &Path, _: u64) -> crate::Result<()> {
        Ok(())
    }
    fn bind(&self, _: &Path, _: &Path) -> crate::Result<()> {
        Ok(())
    }
    fn unmount(&self, _: &Path) -> crate::Result<()> {
        Ok(())
    }
    fn below(&self, _: &Path) -> crate::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
}
