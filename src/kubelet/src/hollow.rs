//! A node that only pretends: pods are said to run, nothing does. For planning and for load on a server, as upstream's
//! kubemark. Everything but the containers is the real kubelet: registration, heartbeats, admission, workers, statuses.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::Resource as _;
use api::k8s_openapi::api::core::v1::{Container, Node, PodSpec, Service};
use async_trait::async_trait;
use client::{Client, Clock, Informer, Selector, SystemClock};
use parking_lot::Mutex;
use runtime::*;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::context::SignalSource;
use crate::eviction::signals::{Amount, Signals};
use crate::kubelet::Shared;
use crate::network::{PodKey, PodNetwork};
use crate::volume::Mounter;
use crate::{Config, Kubelet};

/// Makes hollow kubelets of one process. What they can share they share.
pub struct Hollow {
    shared: Shared,
    addresses: Arc<Addresses>,
    own: CancellationToken,
}

/// `client` must be allowed to follow Nodes; until `stop`.
pub fn hollow(client: Arc<dyn Client>, stop: CancellationToken) -> Hollow {
    let own = stop.child_token();
    // a service's variables in a container that does not exist are of no use: nothing is followed
    let nothing = Selector::all(Service::gvr()).fields("metadata.name=none");
    let plenty = Amount { available: 1 << 40, capacity: 1 << 40 };
    let signals: SignalSource = Arc::new(move |_| Signals { memory: plenty, ..Signals::default() });
    let shared = Shared {
        services: Informer::start(client.clone(), nothing, own.clone()),
        nodes: Informer::start(client, Selector::of::<Node>(), own.clone()),
        signals,
    };
    Hollow { shared, addresses: Arc::default(), own }
}

impl Hollow {
    /// A kubelet with nothing behind it, which acts as `client`.
    pub fn kubelet(&self, config: Config, client: Arc<dyn Client>) -> Kubelet {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let runtime =
            Arc::new(Fake { state: Mutex::default(), events: broadcast::channel(256).0, clock: clock.clone() });
        let network = Arc::new(Network { addresses: self.addresses.clone() });
        let config = Config { hollow: true, ..config };
        let own = self.own.child_token();
        Kubelet::sharing(config, client, runtime, network, Arc::new(NoMounts), clock, self.shared.clone(), own)
    }
}

/// Without all that would need a real container: one that has none to wait for is ready once it runs.
pub(crate) fn simple(spec: &PodSpec) -> PodSpec {
    let container = |c: &Container| Container {
        name: c.name.clone(),
        image: c.image.clone(),
        image_pull_policy: Some("IfNotPresent".into()),
        resources: c.resources.clone(),
        restart_policy: c.restart_policy.clone(),
        ..Container::default()
    };
    PodSpec {
        containers: spec.containers.iter().map(container).collect(),
        restart_policy: spec.restart_policy.clone(),
        host_network: spec.host_network,
        priority: spec.priority,
        readiness_gates: spec.readiness_gates.clone(),
        termination_grace_period_seconds: spec.termination_grace_period_seconds,
        ..PodSpec::default()
    }
}

#[derive(Default)]
struct State {
    sandboxes: HashMap<SandboxId, SandboxStatus>,
    containers: BTreeMap<ContainerId, ContainerStatus>,
    made: u64,
}

struct Fake {
    state: Mutex<State>,
    events: broadcast::Sender<Event>,
    clock: Arc<dyn Clock>,
}

fn missing(id: &str) -> Error {
    Error::NotFound(id.into())
}

fn nothing_runs() -> Error {
    Error::Other("this node is simulated: nothing runs in its pods".into())
}

impl Fake {
    fn now(&self) -> i64 {
        i64::try_from(self.clock.now().as_nanosecond()).unwrap_or(i64::MAX)
    }
    fn exit(&self, which: impl Fn(&ContainerStatus) -> bool) {
        let now = self.now();
        let mut state = self.state.lock();
        let mut uids = Vec::new();
        let State { sandboxes, containers, .. } = &mut *state;
        for c in containers.values_mut().filter(|c| c.state != ContainerState::Exited && which(c)) {
            (c.state, c.finished_nanos, c.reason) = (ContainerState::Exited, now, "Completed".into());
            uids.extend(sandboxes.get(&c.sandbox).map(|s| s.config.uid.clone()));
        }
        drop(state);
        for uid in uids {
            let _ = self.events.send(Event::Pod { uid });
        }
    }
}

#[async_trait]
impl Runtime for Fake {
    fn version(&self) -> (String, String) {
        ("hollow".into(), env!("CARGO_PKG_VERSION").into())
    }
    async fn run_sandbox(&self, config: SandboxConfig) -> Result<SandboxId> {
        let created_nanos = self.now();
        let mut state = self.state.lock();
        state.made += 1;
        let id = format!("{}-{}", config.uid, state.made);
        let netns = (!config.host_network).then(PathBuf::new);
        // the labels would be a copy of the pod's
        let config = SandboxConfig { labels: BTreeMap::new(), annotations: BTreeMap::new(), ..config };
        let status = SandboxStatus { id: id.clone(), config, ready: true, created_nanos, netns, ips: Vec::new() };
        state.sandboxes.insert(id.clone(), status);
        Ok(id)
    }
    async fn set_sandbox_ips(&self, id: &str, ips: Vec<String>) -> Result<()> {
        self.state.lock().sandboxes.get_mut(id).ok_or_else(|| missing(id))?.ips = ips;
        Ok(())
    }
    async fn stop_sandbox(&self, id: &str) -> Result<()> {
        if let Some(s) = self.state.lock().sandboxes.get_mut(id) {
            s.ready = false;
        }
        self.exit(|c| c.sandbox == id);
        Ok(())
    }
    async fn remove_sandbox(&self, id: &str) -> Result<()> {
        let mut state = self.state.lock();
        state.sandboxes.remove(id);
        state.containers.retain(|_, c| c.sandbox != id);
        Ok(())
    }
    async fn sandboxes(&self) -> Result<Vec<SandboxStatus>> {
        Ok(self.state.lock().sandboxes.values().cloned().collect())
    }
    async fn sandboxes_of(&self, uid: &str) -> Result<Vec<SandboxStatus>> {
        Ok(self.state.lock().sandboxes.values().filter(|s| s.config.uid == uid).cloned().collect())
    }
    async fn create_container(&self, sandbox: &str, config: ContainerConfig) -> Result<ContainerId> {
        let created_nanos = self.now();
        let mut state = self.state.lock();
        if !state.sandboxes.contains_key(sandbox) {
            return Err(missing(sandbox));
        }
        // a container's id begins with its sandbox's, so that those of one lie side by side
        let id = format!("{sandbox}-{}-{}", config.name, config.attempt);
        let status = ContainerStatus {
            id: id.clone(),
            sandbox: sandbox.into(),
            name: config.name,
            attempt: config.attempt,
            state: ContainerState::Created,
            image_id: config.image.clone(),
            image: config.image,
            created_nanos,
            started_nanos: 0,
            finished_nanos: 0,
            exit_code: 0,
            reason: String::new(),
            message: String::new(),
            pid: 0,
            labels: BTreeMap::new(),
            annotations: config.annotations,
            resources: config.resources,
            log_path: PathBuf::new(),
        };
        state.containers.insert(id.clone(), status);
        Ok(id)
    }
    async fn start_container(&self, id: &str) -> Result<()> {
        let now = self.now();
        let mut state = self.state.lock();
        let c = state.containers.get_mut(id).ok_or_else(|| missing(id))?;
        (c.state, c.started_nanos) = (ContainerState::Running, now);
        Ok(())
    }
    async fn stop_container(&self, id: &str, _: Duration) -> Result<()> {
        self.exit(|c| c.id == id);
        Ok(())
    }
    async fn remove_container(&self, id: &str) -> Result<()> {
        self.state.lock().containers.remove(id);
        Ok(())
    }
    async fn containers(&self, sandbox: Option<&str>) -> Result<Vec<ContainerStatus>> {
        let state = self.state.lock();
        let all = &state.containers;
        Ok(match sandbox {
            None => all.values().cloned().collect(),
            Some(s) => {
                let from = all.range(s.to_owned()..);
                let near = from.take_while(|(id, _)| id.starts_with(s));
                near.filter(|(_, c)| c.sandbox == s).map(|(_, c)| c.clone()).collect()
            }
        })
    }
    async fn update_resources(&self, id: &str, resources: Resources) -> Result<()> {
        let mut state = self.state.lock();
        if let Some(sandbox) = state.sandboxes.get_mut(id) {
            sandbox.config.resources = resources;
        } else if let Some(container) = state.containers.get_mut(id) {
            container.resources = resources;
        }
        Ok(())
    }
    async fn stats(&self, _: &str) -> Result<Stats> {
        Ok(Stats::default())
    }
    async fn reopen_log(&self, _: &str) -> Result<()> {
        Ok(())
    }
    async fn exec(&self, _: &str, _: ExecConfig) -> Result<Session> {
        Err(nothing_runs())
    }
    async fn attach(&self, _: &str, _: ExecConfig) -> Result<Session> {
        Err(nothing_runs())
    }
    async fn port_forward(&self, _: &str, _: u16) -> Result<tokio::net::TcpStream> {
        Err(nothing_runs())
    }
    fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }
    /// Every image is there.
    async fn image(&self, name: &str) -> Result<Option<Image>> {
        Ok(Some(Image {
            id: name.into(),
            tags: vec![name.into()],
            digests: vec![],
            size_bytes: 0,
            user: String::new(),
        }))
    }
    async fn images(&self) -> Result<Vec<Image>> {
        Ok(Vec::new())
    }
    async fn pull_image(&self, name: &str, _: Option<Credentials>) -> Result<String> {
        Ok(name.into())
    }
    async fn remove_image(&self, _: &str) -> Result<()> {
        Ok(())
    }
}

/// One pool for all nodes of the process, so that no two pods have the same.
#[derive(Default)]
struct Addresses {
    pool: Mutex<Pool>,
}

#[derive(Default)]
struct Pool {
    given: HashMap<String, Ipv4Addr>,
    free: Vec<Ipv4Addr>,
    next: u32,
}

/// 10.128.0.0/9
const FIRST: u32 = 0x0a80_0000;

struct Network {
    addresses: Arc<Addresses>,
}

#[async_trait]
impl PodNetwork for Network {
    async fn setup(&self, pod: &PodKey, _: &Path) -> crate::Result<Vec<IpAddr>> {
        let mut pool = self.addresses.pool.lock();
        if let Some(ip) = pool.given.get(&pod.uid) {
            return Ok(vec![(*ip).into()]);
        }
        let ip = pool.free.pop().unwrap_or_else(|| {
            pool.next += 1;
            Ipv4Addr::from(FIRST + pool.next)
        });
        pool.given.insert(pod.uid.clone(), ip);
        Ok(vec![ip.into()])
    }
    async fn teardown(&self, pod: &PodKey) -> crate::Result<()> {
        let mut pool = self.addresses.pool.lock();
        if let Some(ip) = pool.given.remove(&pod.uid) {
            pool.free.push(ip);
        }
        Ok(())
    }
}

struct NoMounts;

impl Mounter for NoMounts {
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

#[cfg(test)]
mod tests {
    use super::*;
    use api::k8s_openapi::api::core::v1::Pod;
    use client::fake::FakeClient;
    use serde_json::json;

    #[tokio::test(start_paused = true)]
    async fn pods_are_said_to_run_and_leave_no_file() {
        let (api, stop) = (FakeClient::new(), CancellationToken::new());
        let nodes = hollow(api.arc(), stop.clone());
        let dir = tempfile::tempdir().unwrap();
        let mut running = Vec::new();
        for name in ["a", "b"] {
            let config = Config {
                node_name: name.into(),
                root_dir: dir.path().join("agent"),
                log_dir: dir.path().join("logs"),
                ..Config::default()
            };
            let (kubelet, stop) = (nodes.kubelet(config, api.arc()), stop.clone());
            running.push(tokio::spawn(async move { kubelet.run(stop).await }));
            let container = json!({"name": "c", "image": "any", "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                "readinessProbe": {"httpGet": {"port": 80}}, "env": [{"name": "X", "valueFrom":
                    {"secretKeyRef": {"name": "none", "key": "k"}}}]});
            let volume = json!({"name": "v", "secret": {"secretName": "none"}});
            api.seed(
                Pod::gvr(),
                json!({"metadata": {"name": name, "namespace": "ns"},
                    "spec": {"nodeName": name, "containers": [container], "volumes": [volume]}}),
            );
        }
        let status = |name: &str| api.tree(&Pod::gvr(), "ns", name)["status"].take();
        let ready = |name: &str| crate::tests::condition(&json!({"status": status(name)}), "Ready") == "True";
        let until = tokio::time::Instant::now() + Duration::from_secs(60);
        while ["a", "b"].iter().any(|n| status(n)["phase"] != "Running") || !ready("a") || !ready("b") {
            assert!(tokio::time::Instant::now() < until, "{:#}", status("a"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_ne!(status("a")["podIP"], status("b")["podIP"]);
        assert!(api.tree(&Node::gvr(), "", "b")["status"]["nodeInfo"]["containerRuntimeVersion"].is_string());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        api.edit(&Pod::gvr(), "ns", "a", |t| {
            t["metadata"]["deletionTimestamp"] = json!("2026-11-21T00:00:00Z");
            t["metadata"]["deletionGracePeriodSeconds"] = json!(0);
        });
        while status("a") != json!(null) {
            assert!(tokio::time::Instant::now() < until);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stop.cancel();
        for task in running {
            task.await.unwrap();
        }
    }
}
