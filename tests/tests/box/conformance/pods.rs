//! Pods on a node: containers that come later, generations, what containers are told, probes over gRPC, who makes room.

use std::sync::atomic::{AtomicU8, Ordering};

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::api::{JSON_PATCH, STRATEGIC_PATCH};
use tests::pods::{condition, container, is_ready, pod};
use tests::{Cx, SOON};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub fn trials() -> Vec<Trial> {
    crate::trials!(Node: ephemeral_containers, generations, what_containers_are_told, sysctls, grpc_probes, preempted, resized,
        not_resized)
}

async fn ephemeral_containers(cx: Cx) {
    cx.ready_pod(pod("p", "exec sleep 1000", json!({}))).await;
    let at = cx.core("pods/p/ephemeralcontainers");
    let debugger = |name: &str| {
        let mut c = container("echo polo; exec sleep 1000");
        c["name"] = name.into();
        c
    };
    let patch = json!({"spec": {"ephemeralContainers": [debugger("one")]}});
    cx.api.try_patch(&at, STRATEGIC_PATCH, &patch).await.ok();
    let runs = |p: &Value, name: &str| {
        let all = p["status"]["ephemeralContainerStatuses"].as_array();
        all.into_iter().flatten().any(|c| c["name"] == name && c["state"]["running"].is_object())
    };
    cx.pod_when("has one", "p", |p| runs(p, "one")).await;
    tests::until("it speaks", SOON, async || {
        let log = cx.log("p", "container=one").await;
        if log == "polo\n" { Ok(()) } else { Err(log) }
    })
    .await;
    assert_eq!(cx.exec_in("p", "one", &["echo", "marco"]).await.out, "marco\n");
    // the next one by an update
    let mut whole = cx.api.get(&at).await;
    whole["spec"]["ephemeralContainers"].as_array_mut().expect("one").push(debugger("two"));
    whole["metadata"]["resourceVersion"] = Value::Null;
    let updated = cx.api.put(&at, whole).await;
    assert_eq!(updated["spec"]["ephemeralContainers"].as_array().map(Vec::len), Some(2));
    let seen = cx.pod_when("has two", "p", |p| runs(p, "one") && runs(p, "two")).await;
    assert_eq!(seen["status"]["containerStatuses"][0]["restartCount"], 0);
    // not by an update of the pod, and never taken away
    let none = json!([{"op": "remove", "path": "/spec/ephemeralContainers/0"}]);
    cx.api.try_patch(&at, JSON_PATCH, &none).await.refused(422, "Invalid");
    cx.api.try_patch(&cx.core("pods/p"), JSON_PATCH, &none).await.refused(422, "Invalid");
}

/// Each change of the specification is one more, and the kubelet tells which it has seen.
async fn generations(cx: Cx) {
    let path = cx.core("pods/p");
    let mut p = pod("p", "exec sleep 1000", json!({}));
    // nobody else says which it is
    p["metadata"]["generation"] = 100.into();
    let made = cx.create_pod(p).await;
    assert_eq!(made["metadata"]["generation"], 1);
    let observed = |n: i64| move |p: &Value| p["status"]["observedGeneration"] == n && is_ready(p);
    cx.pod_when("is seen", "p", observed(1)).await;
    let labelled = cx.api.merge(&path, json!({"metadata": {"labels": {"more": "yes"}}})).await;
    assert_eq!(labelled["metadata"]["generation"], 1, "a label is not of the specification");
    let mut generation = 1;
    for change in [
        json!({"activeDeadlineSeconds": 10_000}),
        json!({"tolerations": [{"key": "more", "operator": "Exists"}]}),
        json!({"activeDeadlineSeconds": 9_000}),
    ] {
        generation += 1;
        let changed = cx.api.try_patch(&path, STRATEGIC_PATCH, &json!({"spec": change})).await.ok();
        assert_eq!(changed["metadata"]["generation"], generation, "{change}");
    }
    cx.pod_when("is seen", "p", observed(generation)).await;
    // as fast as they come
    for n in 0..100 {
        generation += 1;
        cx.api.merge(&path, json!({"spec": {"activeDeadlineSeconds": 8_000 - n}})).await;
    }
    let seen = cx.pod_when("all are seen", "p", observed(generation)).await;
    assert_eq!(seen["metadata"]["generation"], generation);
    let ready = seen["status"]["conditions"].as_array().and_then(|all| all.iter().find(|c| c["type"] == "Ready"));
    assert!(ready.is_some_and(|c| c["observedGeneration"].as_i64() >= Some(1)), "{}", seen["status"]);
    let gone = cx.api.delete(&path).await;
    assert_eq!(gone["metadata"]["generation"], generation + 1, "to end is a change, too");
}

async fn what_containers_are_told(cx: Cx) {
    cx.config_map("cm", json!({"one": "1"})).await;
    cx.api.post(&cx.core("secrets"), json!({"metadata": {"name": "s"}, "stringData": {"two": "2"}})).await;
    let mut p = pod("p", "id -u; id -g; cat /proc/1/environ | tr '\\0' '\\n'", json!({}));
    let c = &mut p["spec"]["containers"][0];
    c["securityContext"] = json!({"runAsUser": 1001, "runAsGroup": 2002});
    c["env"] = json!([{"name": "HOST_IPS", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIPs"}}}]);
    let prefixes = ["p-", "1.", "_", "$_", "p#", "a b "];
    let from = |kind: &str, name: &str| prefixes.map(|prefix| json!({"prefix": prefix, kind: {"name": name}}));
    c["envFrom"] = from("configMapRef", "cm").into_iter().chain(from("secretRef", "s")).collect();
    let out = cx.output_of(p).await;
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[..2], ["1001", "2002"], "{out}");
    assert!(lines.contains(&"HOST_IPS=192.0.2.10"), "{out}");
    for prefix in prefixes {
        for said in [format!("{prefix}one=1"), format!("{prefix}two=2")] {
            assert!(lines.contains(&said.as_str()), "{said} is not in {out}");
        }
    }
    let mut odd = pod("odd", "true", json!({}));
    odd["spec"]["containers"][0]["envFrom"] = json!([{"prefix": "a=b", "configMapRef": {"name": "cm"}}]);
    cx.api.try_post(&cx.core("pods"), &odd).await.refused(422, "Invalid");
}

async fn sysctls(cx: Cx) {
    let sysctls = json!([{"name": "kernel.shm_rmid_forced", "value": "1"}]);
    let out = cx
        .output_of(pod("p", "cat /proc/sys/kernel/shm_rmid_forced", json!({"securityContext": {"sysctls": sysctls}})))
        .await;
    assert_eq!(out, "1\n");
}

/// Answers one health check after another on this connection: a gRPC server as small as can be.
async fn health(mut stream: TcpStream, says: &AtomicU8) -> std::io::Result<()> {
    fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
        let mut all = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        all.extend([kind, flags]);
        all.extend(id.to_be_bytes());
        all.extend(payload);
        all
    }
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const END_STREAM: u8 = 1;
    const END_HEADERS: u8 = 4;
    // a literal field, its name not indexed
    let field = |name: &str, value: &str| {
        let mut all = vec![0, name.len() as u8];
        all.extend(name.bytes());
        all.push(value.len() as u8);
        all.extend(value.bytes());
        all
    };
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).await?;
        let (kind, flags, id) = (head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]));
        if kind == SETTINGS && flags == 0 {
            stream.write_all(&frame(SETTINGS, 1, 0, &[])).await?;
        }
        if id > 0 && kind < 2 && flags & END_STREAM != 0 {
            // :status 200 of the static table
            let fields = [vec![0x88], field("content-type", "application/grpc")].concat();
            stream.write_all(&frame(HEADERS, END_HEADERS, id, &fields)).await?;
            stream.write_all(&frame(0, 0, id, &[0, 0, 0, 0, 2, 8, says.load(Ordering::Relaxed)])).await?;
            stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, id, &field("grpc-status", "0"))).await?;
        }
    }
}

/// The server is in this process, where a pod of the machine's network has its address.
async fn grpc_probes(cx: Cx) {
    static SAYS: AtomicU8 = AtomicU8::new(1);
    let listener = TcpListener::bind("192.0.2.10:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(health(stream, &SAYS));
        }
    });
    let mut p = pod("p", "exec sleep 1000", json!({"hostNetwork": true}));
    let probe = json!({"grpc": {"port": port, "service": "s"}, "periodSeconds": 1, "failureThreshold": 1});
    p["spec"]["containers"][0]["livenessProbe"] = probe.clone();
    p["spec"]["containers"][0]["readinessProbe"] = probe;
    let seen = cx.ready_pod(p).await;
    assert_eq!(seen["status"]["containerStatuses"][0]["restartCount"], 0);
    // NOT_SERVING
    SAYS.store(2, Ordering::Relaxed);
    let again = |p: &Value| p["status"]["containerStatuses"][0]["restartCount"].as_i64() >= Some(1);
    cx.pod_when("is restarted", "p", again).await;
    server.abort();
}

/// Who makes room for a pod of a higher class is told so.
async fn preempted(cx: Cx) {
    let node = "/api/v1/nodes/n1/status";
    let resource = "example.com/seats";
    cx.api.merge(node, json!({"status": {"capacity": {resource: "1"}}})).await;
    let offered = |n: &Value| n["status"]["allocatable"][resource] == "1";
    cx.api.wait("is offered", "/api/v1/nodes/n1", SOON, offered).await;
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
    for (name, value) in [("low", 1), ("high", 1000)] {
        cx.api.post(classes, json!({"metadata": {"name": format!("{}-{name}", cx.ns)}, "value": value})).await;
    }
    let seat = |name: &str| {
        let mut p = pod(name, "exec sleep 1000", json!({"priorityClassName": format!("{}-{name}", cx.ns)}));
        p["spec"]["containers"][0]["resources"] = json!({"limits": {resource: "1"}});
        p
    };
    let mut low = seat("low");
    low["metadata"]["finalizers"] = json!(["example.com/look"]);
    cx.ready_pod(low).await;
    cx.create_pod(seat("high")).await;
    let told = cx.pod_when("is told", "low", |p| condition(p, "DisruptionTarget") == Some("True")).await;
    let why =
        told["status"]["conditions"].as_array().and_then(|all| all.iter().find(|c| c["type"] == "DisruptionTarget"));
    assert_eq!(why.map(|c| &c["reason"]), Some(&json!("PreemptionByScheduler")));
    cx.pod_when("is going", "low", |p| p["metadata"]["deletionTimestamp"].is_string()).await;
    cx.api.merge(&cx.core("pods/low"), json!({"metadata": {"finalizers": null}})).await;
    cx.pod_when("has its place", "high", is_ready).await;
    cx.api.merge(node, json!({"status": {"capacity": {resource: null}, "allocatable": {resource: null}}})).await;
    for name in ["low", "high"] {
        cx.api.delete(&format!("{classes}/{}-{name}", cx.ns)).await;
    }
}

/// What the kernel holds a container to: its memory, and its share of the processors.
async fn held(cx: &Cx, container: &str) -> (String, String) {
    let script = "cd /sys/fs/cgroup; cat memory.max 2>/dev/null || cat memory/memory.limit_in_bytes; \
        cat cpu.max 2>/dev/null || echo $(cat cpu/cpu.cfs_quota_us) $(cat cpu/cpu.cfs_period_us)";
    let said = cx.exec_in("p", container, &["sh", "-c", script]).await;
    let mut lines = said.out.lines().map(str::to_owned);
    (lines.next().unwrap_or_default(), lines.next().unwrap_or_default())
}

fn named(name: &str, cpu: &str, memory: &str, more: Value) -> Value {
    let mut c = container("exec sleep 1000");
    let amount = json!({"cpu": cpu, "memory": memory});
    tests::pods::merge(&mut c, json!({"name": name, "resources": {"requests": amount, "limits": amount}}));
    tests::pods::merge(&mut c, more);
    c
}

/// Some grow and some shrink, where they run, by a patch and by an update; only who asks for it is started anew.
async fn resized(cx: Cx) {
    let memory = json!({"resizePolicy": [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]});
    let containers = [
        named("a", "100m", "32Mi", json!({})),
        named("b", "100m", "64Mi", json!({})),
        named("c", "50m", "32Mi", memory),
    ];
    let made = cx.ready_pod(pod("p", "", json!({"containers": containers}))).await;
    assert_eq!(made["status"]["qosClass"], "Guaranteed");
    assert_eq!(held(&cx, "a").await, ("33554432".into(), "10000 100000".into()));
    let at = cx.core("pods/p/resize");
    let to = |name: &str, cpu: &str, memory: &str| {
        let amount = json!({"cpu": cpu, "memory": memory});
        json!({"name": name, "resources": {"requests": amount, "limits": amount}})
    };
    let patch = json!({"spec": {"containers": [to("a", "200m", "48Mi"), to("b", "50m", "40Mi")]}});
    let patched = cx.api.try_patch(&at, STRATEGIC_PATCH, &patch).await.ok();
    assert_eq!(patched["metadata"]["generation"], 2);
    let status = |p: &Value, name: &str| {
        let all = p["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|c| c["name"] == name).unwrap_or_default()
    };
    let is = |p: &Value, name: &str, cpu: &str, memory: &str| {
        let (c, amount) = (status(p, name), json!({"cpu": cpu, "memory": memory}));
        c["resources"]["limits"] == amount && c["resources"]["requests"] == amount && c["allocatedResources"] == amount
    };
    let seen = cx
        .pod_when("is resized", "p", |p| {
            is(p, "a", "200m", "48Mi") && is(p, "b", "50m", "40Mi") && p["status"]["observedGeneration"] == 2
        })
        .await;
    assert_eq!(held(&cx, "a").await, ("50331648".into(), "20000 100000".into()));
    assert_eq!(held(&cx, "b").await, ("41943040".into(), "5000 100000".into()));
    let restarts = |p: &Value| ["a", "b", "c"].map(|n| status(p, n)["restartCount"].clone());
    assert_eq!(restarts(&seen), [0, 0, 0].map(Value::from));
    assert_eq!(cx.api.get(&at).await["spec"], seen["spec"]);
    // as a whole; the same in another form is no change
    let mut whole = cx.api.get(&at).await;
    whole["metadata"]["resourceVersion"] = Value::Null;
    whole["spec"]["containers"][2]["resources"] = to("c", "0.05", "40Mi")["resources"].clone();
    cx.api.put(&at, whole).await;
    let again = |p: &Value| is(p, "c", "50m", "40Mi") && status(p, "c")["restartCount"] == 1 && is_ready(p);
    let seen = cx.pod_when("is started anew", "p", again).await;
    assert_eq!(restarts(&seen), [0, 0, 1].map(Value::from));
    assert_eq!(held(&cx, "c").await.0, "41943040");
    // not by an update of the pod
    let patch = json!({"spec": {"containers": [to("a", "300m", "48Mi")]}});
    cx.api.try_patch(&cx.core("pods/p"), STRATEGIC_PATCH, &patch).await.refused(422, "Invalid");
}

/// More than the machine has: it is told, and stays as it is.
async fn not_resized(cx: Cx) {
    let burstable = json!({"resources": {"requests": {"cpu": "50m"}, "limits": {"cpu": "100m"}}});
    cx.ready_pod(pod("p", "", json!({"containers": [named("a", "100m", "32Mi", burstable)]}))).await;
    let cpu = |amount: &str| json!({"spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": amount}, "limits": {"cpu": "2000"}}}]}});
    cx.api.try_patch(&cx.core("pods/p/resize"), STRATEGIC_PATCH, &cpu("1000")).await.ok();
    let waits = |p: &Value| condition(p, "PodResizePending") == Some("True");
    let seen = cx.pod_when("is told", "p", waits).await;
    let why =
        seen["status"]["conditions"].as_array().and_then(|all| all.iter().find(|c| c["type"] == "PodResizePending"));
    assert_eq!(why.map(|c| &c["reason"]), Some(&json!("Infeasible")));
    assert_eq!(seen["status"]["containerStatuses"][0]["resources"]["limits"]["cpu"], "100m");
    assert_eq!(held(&cx, "a").await.1, "10000 100000");
    cx.api.try_patch(&cx.core("pods/p/resize"), STRATEGIC_PATCH, &cpu("60m")).await.ok();
    let fits = |p: &Value| !waits(p) && p["status"]["containerStatuses"][0]["resources"]["requests"]["cpu"] == "60m";
    cx.pod_when("fits", "p", fits).await;
}
