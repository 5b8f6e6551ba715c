//! Pods from their birth to their end, against a fake runtime and a fake API.

use std::sync::Arc;
use std::time::Duration;

use api::k8s_openapi::api::coordination::v1::Lease;
use api::k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Service};
use api::{Resource, Value};
use client::fake::FakeClient;
use client::{Informer, Selector};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::context::SignalSource;
use crate::eviction::signals::{Amount, Signals};
use crate::fake::{FakeNetwork, FakeRuntime, NoMounts, TokioClock};
use crate::kubelet::Shared;
use crate::{Config, Kubelet};

pub(crate) struct Node1 {
    pub api: FakeClient,
    pub runtime: Arc<FakeRuntime>,
    network: Arc<FakeNetwork>,
    dir: tempfile::TempDir,
    stop: CancellationToken,
    clock: Arc<TokioClock>,
    signals: SignalSource,
    run: tokio::task::JoinHandle<()>,
    pub kubelet: Arc<Kubelet>,
}

fn start(
    api: &FakeClient,
    runtime: &Arc<FakeRuntime>,
    network: &Arc<FakeNetwork>,
    dir: &std::path::Path,
    clock: &Arc<TokioClock>,
    signals: &SignalSource,
) -> (Arc<Kubelet>, CancellationToken, tokio::task::JoinHandle<()>) {
    let config = Config {
        node_name: "node1".into(),
        node_ips: vec!["192.168.0.1".parse().unwrap()],
        root_dir: dir.join("agent"),
        log_dir: dir.join("logs"),
        cluster_dns: vec!["10.43.0.10".parse().unwrap()],
        ..Config::default()
    };
    let own = CancellationToken::new();
    let follow = |resource| Informer::start(api.arc(), Selector::all(resource), own.clone());
    let shared = Shared { services: follow(Service::gvr()), nodes: follow(Node::gvr()), signals: signals.clone() };
    let (runtime, network, mounts) = (runtime.clone(), network.clone(), Arc::new(NoMounts));
    let kubelet = Kubelet::sharing(config, api.arc(), runtime, network, mounts, clock.clone(), shared, own);
    let kubelet = Arc::new(kubelet);
    let stop = CancellationToken::new();
    let (k, s) = (kubelet.clone(), stop.clone());
    (kubelet, stop, tokio::spawn(async move { k.run(s).await }))
}

impl Node1 {
    pub fn new() -> Node1 {
        let plenty = Amount { available: 1 << 30, capacity: 1 << 30 };
        Node1::with(Arc::new(move |_| Signals { memory: plenty, ..Signals::default() }))
    }
    pub fn with(signals: SignalSource) -> Node1 {
        let clock = Arc::new(TokioClock::new());
        let (api, runtime, network) = (FakeClient::new(), FakeRuntime::new(clock.clone()), Arc::default());
        let dir = tempfile::tempdir().unwrap();
        let (kubelet, stop, run) = start(&api, &runtime, &network, dir.path(), &clock, &signals);
        Node1 { api, runtime, network, dir, stop, clock, signals, run, kubelet }
    }
    /// Stops this kubelet and starts another over the same runtime.
    async fn restart(&mut self, between: impl FnOnce(&Node1)) {
        self.stop.cancel();
        (&mut self.run).await.unwrap();
        between(self);
        let (kubelet, stop, run) =
            start(&self.api, &self.runtime, &self.network, self.dir.path(), &self.clock, &self.signals);
        (self.kubelet, self.stop, self.run) = (kubelet, stop, run);
    }
    pub fn pod(&self, name: &str, spec: Value) {
        let mut tree =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "ns"}, "spec": spec});
        tree["spec"]["nodeName"] = json!("node1");
        self.api.seed(Pod::gvr(), tree);
    }
    pub fn tree(&self, name: &str) -> Value {
        self.api.tree(&Pod::gvr(), "ns", name)
    }
    /// Waits for a condition on the pod's tree.
    pub async fn until(&self, name: &str, what: &str, ok: impl Fn(&Value) -> bool) -> Value {
        let limit = Instant::now() + Duration::from_secs(3600);
        loop {
            let tree = self.tree(name);
            if ok(&tree) {
                return tree;
            }
            assert!(Instant::now() < limit, "never {what}: {tree:#} {:?}", self.runtime.state.lock().calls);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    pub async fn phase(&self, name: &str, phase: &str) -> Value {
        self.until(name, phase, |t| t["status"]["phase"] == phase).await
    }
    pub async fn eventually(&self, what: &str, ok: impl Fn() -> bool) {
        let limit = Instant::now() + Duration::from_secs(3600);
        while !ok() {
            assert!(Instant::now() < limit, "never {what}: {:?}", self.runtime.state.lock().calls);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    pub fn delete(&self, name: &str, grace: i64) {
        self.api.edit(&Pod::gvr(), "ns", name, |t| {
            t["metadata"]["deletionTimestamp"] = json!("2026-11-21T00:00:00Z");
            t["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        });
    }
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.runtime.state.lock().calls)
    }
}

impl Drop for Node1 {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(crate) fn condition<'a>(tree: &'a Value, kind: &str) -> &'a Value {
    let all = tree["status"]["conditions"].as_array().unwrap();
    &all.iter().find(|c| c["type"] == kind).unwrap()["status"]
}

pub(crate) fn one(extra: Value) -> Value {
    let mut c = json!({"name": "c", "image": "img"});
    for (k, v) in extra.as_object().unwrap() {
        c[k] = v.clone();
    }
    json!({"containers": [c]})
}

#[tokio::test(start_paused = true)]
async fn a_pod_runs_ends_gracefully_and_leaves_nothing() {
    let n = Node1::new();
    n.pod("p", one(json!({})));
    let t = n.phase("p", "Running").await;
    for kind in ["Ready", "ContainersReady", "Initialized", "PodScheduled", "PodReadyToStartContainers"] {
        assert_eq!(condition(&t, kind), "True", "{kind}");
    }
    assert_eq!(t["status"]["podIP"], "10.42.0.2");
    assert_eq!(t["status"]["podIPs"], json!([{"ip": "10.42.0.2"}]));
    assert_eq!(t["status"]["hostIP"], "192.168.0.1");
    assert_eq!(t["status"]["qosClass"], "BestEffort");
    let c = &t["status"]["containerStatuses"][0];
    assert_eq!((&c["ready"], &c["started"], &c["restartCount"]), (&json!(true), &json!(true), &json!(0)));
    assert!(c["state"]["running"]["startedAt"].is_string());
    assert!(c["containerID"].as_str().unwrap().starts_with("skiff://c-"));
    n.delete("p", 30);
    n.until("p", "gone", Value::is_null).await;
    assert!(n.calls().contains(&"stop c 30".to_owned()));
    assert!(n.runtime.state.lock().sandboxes.is_empty());
    assert!(n.network.pods.lock().is_empty());
    n.eventually("no files", || {
        !std::fs::read_dir(n.dir.path().join("agent/pods")).is_ok_and(|mut d| d.next().is_some())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_crashing_container_backs_off_as_upstreams() {
    let n = Node1::new();
    n.pod("p", one(json!({})));
    n.phase("p", "Running").await;
    n.runtime.exit("c", 1);
    // the first restart is immediate
    n.until("p", "restarted", |t| t["status"]["containerStatuses"][0]["restartCount"] == 1).await;
    n.runtime.exit("c", 3);
    let t = n
        .until("p", "backing off", |t| {
            t["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        })
        .await;
    let c = &t["status"]["containerStatuses"][0];
    let uid = t["metadata"]["uid"].as_str().unwrap();
    assert_eq!(c["state"]["waiting"]["message"], format!("back-off 10s restarting failed container=c pod=p_ns({uid})"));
    assert_eq!(c["lastState"]["terminated"]["exitCode"], 3);
    assert_eq!(t["status"]["phase"], "Running");
    assert_eq!(condition(&t, "Ready"), "False");
    let waited = Instant::now();
    n.until("p", "restarted", |t| t["status"]["containerStatuses"][0]["restartCount"] == 2).await;
    assert!((9..=11).contains(&waited.elapsed().as_secs()), "{:?}", waited.elapsed());
}

#[tokio::test(start_paused = true)]
async fn policies_decide_what_a_pod_ends_as() {
    let n = Node1::new();
    for (policy, code, phase) in [("Never", 0, "Succeeded"), ("Never", 2, "Failed"), ("OnFailure", 0, "Succeeded")] {
        let name = format!("p-{}-{code}", policy.to_lowercase());
        let mut spec = one(json!({}));
        spec["restartPolicy"] = json!(policy);
        n.pod(&name, spec);
        n.phase(&name, "Running").await;
        n.runtime.exit("c", code);
        let t = n.phase(&name, phase).await;
        let c = &t["status"]["containerStatuses"][0];
        assert_eq!(c["state"]["terminated"]["exitCode"], code);
        assert_eq!(c["state"]["terminated"]["reason"], if code == 0 { "Completed" } else { "Error" });
        n.eventually("swept", || n.runtime.state.lock().sandboxes.is_empty()).await;
        let after = n.tree(&name);
        assert_eq!(
            after["status"]["containerStatuses"], t["status"]["containerStatuses"],
            "kept after the sandbox has gone"
        );
        assert_eq!(after["status"]["podIP"], t["status"]["podIP"]);
    }
}

#[tokio::test(start_paused = true)]
async fn init_containers_run_in_order_and_sidecars_stay() {
    let n = Node1::new();
    n.pod(
        "p",
        json!({"restartPolicy": "Never",
            "initContainers": [
                {"name": "i1", "image": "img"},
                {"name": "side", "image": "img", "restartPolicy": "Always"},
                {"name": "i2", "image": "img"}],
            "containers": [{"name": "c", "image": "img"}]}),
    );
    n.eventually("i1 runs", || n.runtime.running("i1").is_some()).await;
    let t = n.until("p", "told", |t| t["status"]["initContainerStatuses"][0]["state"]["running"].is_object()).await;
    assert_eq!(t["status"]["phase"], "Pending");
    assert_eq!(t["status"]["containerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");
    assert_eq!(condition(&t, "Initialized"), "False");
    assert!(n.runtime.running("side").is_none());
    n.runtime.exit("i1", 0);
    n.eventually("i2 runs", || n.runtime.running("i2").is_some()).await;
    assert!(n.runtime.running("side").is_some() && n.runtime.running("c").is_none());
    n.runtime.exit("i2", 0);
    let t = n.phase("p", "Running").await;
    assert_eq!(condition(&t, "Initialized"), "True");
    n.runtime.exit("side", 1);
    n.eventually("the sidecar is back", || n.runtime.running("side").is_some()).await;
    n.runtime.exit("c", 0);
    n.phase("p", "Succeeded").await;
    assert!(n.runtime.running("side").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_failed_init_container_fails_a_pod_that_never_restarts() {
    let n = Node1::new();
    n.pod(
        "p",
        json!({"restartPolicy": "Never", "initContainers": [{"name": "i", "image": "img"}], "containers": [{"name": "c", "image": "img"}]}),
    );
    n.eventually("i runs", || n.runtime.running("i").is_some()).await;
    n.runtime.exit("i", 1);
    let t = n.phase("p", "Failed").await;
    assert!(t["status"]["containerStatuses"][0]["state"]["waiting"].is_object());
    n.pod(
        "q",
        json!({"initContainers": [{"name": "i", "image": "img"}], "containers": [{"name": "c", "image": "img"}]}),
    );
    n.eventually("i runs", || n.runtime.running("i").is_some()).await;
    n.runtime.exit("i", 1);
    n.eventually("i runs again", || n.runtime.running("i").is_some_and(|c| c.attempt == 1)).await;
    assert_eq!(n.tree("q")["status"]["phase"], "Pending");
}

#[tokio::test(start_paused = true)]
async fn images_are_pulled_and_what_cannot_be_pulled_is_told() {
    let n = Node1::new();
    n.runtime.state.lock().registry.insert("remote".into());
    n.pod("p", one(json!({"image": "remote"})));
    n.phase("p", "Running").await;
    n.pod("q", one(json!({"image": "absent"})));
    let reason = |t: &Value| t["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].clone();
    n.until("q", "told", |t| reason(t) == "ErrImagePull").await;
    let t = n.until("q", "told", |t| reason(t) == "ImagePullBackOff").await;
    assert_eq!(t["status"]["phase"], "Pending");
    n.runtime.state.lock().registry.insert("absent".into());
    n.phase("q", "Running").await;
    n.pod("r", one(json!({"image": "never", "imagePullPolicy": "Never"})));
    let t = n.until("r", "told", |t| reason(t) == "ErrImageNeverPull").await;
    let message = &t["status"]["containerStatuses"][0]["state"]["waiting"]["message"];
    assert_eq!(message, "Container image \"never\" is not present with pull policy of Never");
}

#[tokio::test(start_paused = true)]
async fn a_new_kubelet_adopts_what_runs_and_ends_orphans() {
    let mut n = Node1::new();
    n.pod("p", one(json!({"readinessProbe": {"exec": {"command": ["ready"]}}})));
    n.pod("orphan", json!({"containers": [{"name": "o", "image": "img"}]}));
    let before = n.until("p", "ready", |t| t["status"]["containerStatuses"][0]["ready"] == true).await;
    n.phase("orphan", "Running").await;
    n.calls();
    n.restart(|n| n.api.remove(&Pod::gvr(), "ns", "orphan")).await;
    n.eventually("the orphan is gone", || n.runtime.state.lock().sandboxes.len() == 1).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(n.tree("p")["status"], before["status"]);
    assert!(!n.calls().iter().any(|c| c.starts_with("start") || c.starts_with("run_sandbox")));
    // and the adopted pod is still looked after
    n.runtime.exit("c", 1);
    n.until("p", "restarted", |t| t["status"]["containerStatuses"][0]["restartCount"] == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_sandbox_is_made_anew() {
    let n = Node1::new();
    n.pod("p", one(json!({})));
    n.phase("p", "Running").await;
    n.runtime.kill_sandbox();
    n.until("p", "restarted", |t| {
        t["status"]["containerStatuses"][0]["restartCount"] == 1 && *condition(t, "Ready") == json!("True")
    })
    .await;
    n.eventually("one sandbox", || {
        let s = n.runtime.state.lock();
        s.sandboxes.len() == 1 && s.sandboxes[0].config.attempt == 1
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn probes_restart_and_unready_containers() {
    let n = Node1::new();
    n.runtime.state.lock().execs.insert("ready".into(), 1);
    n.pod(
        "p",
        one(json!({
            "startupProbe": {"exec": {"command": ["startup"]}, "periodSeconds": 1},
            "livenessProbe": {"exec": {"command": ["live"]}, "periodSeconds": 2, "failureThreshold": 2},
            "readinessProbe": {"exec": {"command": ["ready"]}, "periodSeconds": 1}})),
    );
    let t = n.until("p", "started", |t| t["status"]["containerStatuses"][0]["started"] == true).await;
    assert_eq!(t["status"]["containerStatuses"][0]["ready"], false);
    n.runtime.state.lock().execs.insert("ready".into(), 0);
    n.until("p", "ready", |t| *condition(t, "Ready") == json!("True")).await;
    let at = Instant::now();
    n.runtime.state.lock().execs.insert("live".into(), 1);
    n.until("p", "restarted", |t| t["status"]["containerStatuses"][0]["restartCount"] == 1).await;
    assert!((2..=6).contains(&at.elapsed().as_secs()), "{:?}", at.elapsed());
}

#[tokio::test(start_paused = true)]
async fn hooks_run_and_pre_stop_counts_within_the_grace_period() {
    let n = Node1::new();
    n.runtime.state.lock().stubborn.insert("c".into());
    n.pod(
        "p",
        one(json!({"lifecycle": {"postStart": {"exec": {"command": ["post"]}}, "preStop": {"sleep": {"seconds": 4}}}})),
    );
    n.until("p", "ready", |t| t["status"]["containerStatuses"][0]["ready"] == true).await;
    assert_eq!(n.runtime.state.lock().exec_log[0].1, ["post"]);
    let at = Instant::now();
    n.delete("p", 10);
    n.until("p", "gone", Value::is_null).await;
    assert!(n.calls().contains(&"stop c 6".to_owned()));
    assert!((10..=11).contains(&at.elapsed().as_secs()), "{:?}", at.elapsed());
    // a failing postStart hook kills its container
    n.runtime.state.lock().execs.insert("post".into(), 1);
    n.runtime.state.lock().stubborn.clear();
    n.pod("q", one(json!({"lifecycle": {"postStart": {"exec": {"command": ["post"]}}}})));
    n.until("q", "restarted", |t| t["status"]["containerStatuses"][0]["restartCount"] == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_shorter_grace_period_takes_over() {
    let n = Node1::new();
    n.runtime.state.lock().stubborn.insert("c".into());
    n.pod("p", one(json!({})));
    n.phase("p", "Running").await;
    let at = Instant::now();
    n.delete("p", 600);
    tokio::time::sleep(Duration::from_secs(5)).await;
    n.delete("p", 1);
    n.until("p", "gone", Value::is_null).await;
    assert!(at.elapsed() < Duration::from_secs(8), "{:?}", at.elapsed());
}

#[tokio::test(start_paused = true)]
async fn config_maps_reach_variables_and_files_and_their_changes_too() {
    let n = Node1::new();
    n.pod(
        "p",
        json!({"volumes": [{"name": "v", "configMap": {"name": "cm"}}],
            "containers": [{"name": "c", "image": "img", "volumeMounts": [{"name": "v", "mountPath": "/etc/v"}],
                "env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "k"}}},
                        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                "command": ["run", "$(X)"]}]}),
    );
    tokio::time::sleep(Duration::from_secs(5)).await;
    let t = n.tree("p");
    assert_eq!(t["status"]["phase"], "Pending");
    assert_eq!(t["status"]["containerStatuses"][0]["state"]["waiting"]["reason"], "ContainerCreating");
    let cm = |v: &str| json!({"metadata": {"name": "cm", "namespace": "ns"}, "data": {"k": v}});
    n.api.seed(ConfigMap::gvr(), cm("one"));
    n.phase("p", "Running").await;
    let config = n.runtime.config("c");
    assert_eq!(config.command, ["run", "one"]);
    assert!(
        config.env.contains(&("X".into(), "one".into())) && config.env.contains(&("IP".into(), "10.42.0.2".into()))
    );
    let mount = config.mounts.iter().find(|m| m.container_path == std::path::Path::new("/etc/v")).unwrap().clone();
    let file = mount.host_path.join("k");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "one");
    n.api.edit(&ConfigMap::gvr(), "ns", "cm", |t| t["data"]["k"] = json!("two"));
    n.eventually("the file follows", || std::fs::read_to_string(&file).unwrap() == "two").await;
    for path in ["/etc/hosts", "/etc/resolv.conf", "/etc/hostname"] {
        assert!(config.mounts.iter().any(|m| m.container_path == std::path::Path::new(path)), "{path}");
    }
    let hosts = config.mounts.iter().find(|m| m.container_path == std::path::Path::new("/etc/hosts")).unwrap();
    assert!(std::fs::read_to_string(&hosts.host_path).unwrap().contains("10.42.0.2\tp\n"));
}

#[tokio::test(start_paused = true)]
async fn a_missing_key_is_a_configuration_error_until_it_is_there() {
    let n = Node1::new();
    n.pod("p", one(json!({"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]})));
    let t = n
        .until("p", "told", |t| {
            t["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError"
        })
        .await;
    assert_eq!(t["status"]["containerStatuses"][0]["state"]["waiting"]["message"], "secret \"s\" not found");
    let at = Instant::now();
    n.api.seed(
        api::k8s_openapi::api::core::v1::Secret::gvr(),
        json!({"metadata": {"name": "s", "namespace": "ns"}, "data": {"k": "YQ=="}}),
    );
    n.phase("p", "Running").await;
    assert!(at.elapsed() < Duration::from_secs(1), "the secret's coming wakes the pod");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_fails_a_pod() {
    let n = Node1::new();
    let mut spec = one(json!({}));
    spec["activeDeadlineSeconds"] = json!(7);
    n.pod("p", spec);
    n.phase("p", "Running").await;
    let t = n.phase("p", "Failed").await;
    assert_eq!(t["status"]["reason"], "DeadlineExceeded");
    assert!(n.runtime.running("c").is_none());
}

#[tokio::test(start_paused = true)]
async fn readiness_gates_hold_a_pod_unready() {
    let n = Node1::new();
    let mut spec = one(json!({}));
    spec["readinessGates"] = json!([{"conditionType": "www.example.com/gate"}]);
    n.pod("p", spec);
    let t = n.until("p", "containers ready", |t| t["status"]["phase"] == "Running").await;
    assert_eq!((condition(&t, "ContainersReady"), condition(&t, "Ready")), (&json!("True"), &json!("False")));
    n.api.edit(&Pod::gvr(), "ns", "p", |t| {
        let all = t["status"]["conditions"].as_array_mut().unwrap();
        all.push(json!({"type": "www.example.com/gate", "status": "True"}));
    });
    n.until("p", "ready", |t| *condition(t, "Ready") == json!("True")).await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_image_restarts_its_container_and_an_ephemeral_one_joins() {
    let n = Node1::new();
    n.runtime.state.lock().images.insert("img2".into());
    n.pod("p", one(json!({})));
    n.phase("p", "Running").await;
    n.api.edit(&Pod::gvr(), "ns", "p", |t| t["spec"]["containers"][0]["image"] = json!("img2"));
    n.until("p", "restarted", |t| t["status"]["containerStatuses"][0]["restartCount"] == 1).await;
    assert_eq!(n.runtime.config("c").image, "img2");
    n.api.edit(&Pod::gvr(), "ns", "p", |t| {
        t["spec"]["ephemeralContainers"] = json!([{"name": "debug", "image": "img", "targetContainerName": "c"}]);
    });
    n.until("p", "debugged", |t| t["status"]["ephemeralContainerStatuses"][0]["state"]["running"].is_object()).await;
    assert_eq!(n.runtime.config("debug").security.target_container, n.runtime.running("c").map(|c| c.id));
}

#[tokio::test(start_paused = true)]
async fn the_node_is_registered_and_its_lease_renewed() {
    let n = Node1::new();
    let node = || n.api.tree(&Node::gvr(), "", "node1");
    n.eventually("registered", || node()["status"]["conditions"].is_array()).await;
    let t = node();
    assert_eq!(t["metadata"]["labels"]["kubernetes.io/hostname"], "node1");
    let ready = t["status"]["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Ready").unwrap().clone();
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("True"), &json!("KubeletReady")));
    assert_eq!(t["status"]["capacity"]["pods"], "110");
    assert_eq!(t["status"]["nodeInfo"]["kubeletVersion"], "v1.36.0+skiff");
    let renewed = || n.api.tree(&Lease::gvr(), "kube-node-lease", "node1")["spec"]["renewTime"].clone();
    n.eventually("held", || renewed().is_string()).await;
    let first = renewed();
    let at = Instant::now();
    n.eventually("renewed", || renewed() != first).await;
    assert_eq!(at.elapsed().as_secs(), 10);
    n.api.take_writes();
    tokio::time::sleep(Duration::from_secs(100)).await;
    let writes = n.api.take_writes();
    assert_eq!(writes.len(), 10, "an idle node renews its lease and nothing else: {writes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_given_up_or_deleted_says_that_it_is_there() {
    let n = Node1::new();
    let node = || n.api.tree(&Node::gvr(), "", "node1");
    let ready = || node()["status"]["conditions"].is_array() && *condition(&node(), "Ready") == json!("True");
    n.eventually("registered", ready).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    n.api.edit(&Node::gvr(), "", "node1", |t| {
        let conditions = t["status"]["conditions"].as_array_mut().unwrap();
        conditions.iter_mut().for_each(|c| c["status"] = json!("Unknown"));
    });
    let at = Instant::now();
    n.eventually("ready again", ready).await;
    assert!(at.elapsed() < Duration::from_secs(1));
    n.api.remove(&Node::gvr(), "", "node1");
    n.eventually("registered anew", ready).await;
    assert!(at.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn two_pods_with_one_host_port_are_not_both_let_in() {
    let n = Node1::new();
    let port = || one(json!({"ports": [{"containerPort": 80, "hostPort": 80}]}));
    n.pod("a", port());
    n.phase("a", "Running").await;
    n.pod("b", port());
    let refused = n.phase("b", "Failed").await;
    assert_eq!(refused["status"]["reason"], "NodePorts");
    n.delete("a", 0);
    n.until("a", "gone", |t| t.is_null()).await;
    n.pod("c", port());
    n.phase("c", "Running").await;
}

#[tokio::test(start_paused = true)]
async fn a_new_generation_is_told_with_what_it_brings_about() {
    let n = Node1::new();
    n.pod("p", one(json!({})));
    n.phase("p", "Running").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let at = Instant::now();
    n.api.edit(&Pod::gvr(), "ns", "p", |t| t["spec"]["activeDeadlineSeconds"] = json!(100_000));
    let generation = n.tree("p")["metadata"]["generation"].clone();
    n.until("p", "seen", |t| t["status"]["observedGeneration"] == generation).await;
    assert!((200..500).contains(&at.elapsed().as_millis()), "{:?}", at.elapsed());
}

#[tokio::test(start_paused = true)]
async fn without_a_server_containers_restart_and_it_is_told_on_return() {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
    let n = Node1::new();
    n.runtime.state.lock().registry.insert("img".into());
    n.pod("p", one(json!({"imagePullPolicy": "Always"})));
    n.phase("p", "Running").await;
    let (away, tries) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let (is_away, count) = (away.clone(), tries.clone());
    n.api.react(move |_, _| {
        is_away.load(Relaxed).then(|| {
            count.fetch_add(1, Relaxed);
            client::unreachable("away")
        })
    });
    n.api.break_watches(client::unreachable("away"));
    tokio::time::sleep(Duration::from_secs(15)).await;
    n.runtime.state.lock().registry.clear();
    n.runtime.exit("c", 1);
    n.eventually("restarted", || n.runtime.running("c").is_some_and(|c| c.attempt == 1)).await;
    let before = tries.load(Relaxed);
    tokio::time::sleep(Duration::from_secs(600)).await;
    let per_second = (tries.load(Relaxed) - before) / 600;
    assert!(per_second <= 8, "informers and the lease look for the server, nothing else does: {per_second}");
    assert_eq!(n.tree("p")["status"]["containerStatuses"][0]["restartCount"], 0);
    away.store(false, Relaxed);
    let at = Instant::now();
    n.until("p", "told", |t| t["status"]["containerStatuses"][0]["restartCount"] == 1).await;
    assert!(at.elapsed() < Duration::from_secs(2), "{:?}", at.elapsed());
    assert_eq!(n.runtime.running("c").unwrap().attempt, 1);
}
