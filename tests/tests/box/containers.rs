//! Containers of a pod: what they see, how they start, fail and end.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::pods::{condition, container, merge, pod};
use tests::{Cx, SOON};

pub fn trials() -> Vec<Trial> {
    crate::trials!(Node: environment, image_defaults, init_containers, crash_loop, restart_policies, graceful, ungraceful,
        pending_says_why, images_that_are_not_there, security_context, limits, shared_sandbox, node_selection, evicted)
}

fn named(name: &str, script: &str) -> Value {
    let mut c = container(script);
    c["name"] = name.into();
    c
}

/// The status of container `c`.
fn status(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

async fn environment(cx: Cx) {
    cx.config_map("cm", json!({"FROM_MAP": "map", "key": "one key"})).await;
    cx.api.post(&cx.core("secrets"), json!({"metadata": {"name": "s"}, "stringData": {"password": "hidden"}})).await;
    let service = json!({"metadata": {"name": "early"}, "spec": {"ports": [{"port": 81}]}});
    let ip = cx.api.post(&cx.core("services"), service).await["spec"]["clusterIP"].as_str().unwrap().to_owned();
    let mut c = container("env; echo args $0 \"$@\"");
    c["args"] = json!(["arg-$(PLAIN)", "$$(PLAIN)", "$(UNKNOWN)"]);
    merge(
        &mut c,
        json!({"envFrom": [{"prefix": "P_", "configMapRef": {"name": "cm"}}], "env": [
        {"name": "PLAIN", "value": "plain"},
        {"name": "COMPOSED", "value": "<$(PLAIN)>"},
        {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "key"}}},
        {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "password"}}},
        {"name": "ABSENT", "valueFrom": {"secretKeyRef": {"name": "none", "key": "x", "optional": true}}},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "LIMIT", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}}],
        "resources": {"limits": {"memory": "64Mi"}}}),
    );
    let out = cx.output_of(pod("p", "", json!({"containers": [c]}))).await;
    let ip_of_pod = cx.api.get(&cx.core("pods/p")).await["status"]["podIP"].as_str().unwrap_or_default().to_owned();
    for want in [
        "PLAIN=plain",
        "COMPOSED=<plain>",
        "P_FROM_MAP=map",
        "KEY=one key",
        "SECRET=hidden",
        "NAME=p",
        "NODE=n1",
        "LABEL=p",
        "LIMIT=64",
        "HOSTNAME=p",
        "IMAGE_SAYS=hello",
        "KUBERNETES_SERVICE_HOST=10.43.0.1",
        "KUBERNETES_SERVICE_PORT=443",
        "EARLY_SERVICE_PORT=81",
        "args arg-plain $(PLAIN) $(UNKNOWN)",
    ] {
        assert!(out.lines().any(|l| l == want), "{want} is not in:\n{out}");
    }
    assert!(
        out.contains(&format!("EARLY_SERVICE_HOST={ip}")) && out.contains(&format!("IP={ip_of_pod}\n")),
        "{ip} {out}"
    );
    assert!(!out.contains("ABSENT"), "{out}");
}

async fn image_defaults(cx: Cx) {
    let mut p = pod("p", "", json!({}));
    p["spec"]["containers"][0].as_object_mut().unwrap().remove("command");
    cx.ready_pod(p).await;
    cx.log_has("p", "from the image").await;
    let seen = cx.api.get(&cx.core("pods/p")).await;
    assert_eq!(status(&seen)["image"], "box:1");
    assert!(status(&seen)["imageID"].as_str().is_some_and(|i| i.contains("sha256:")), "{seen}");
}

async fn init_containers(cx: Cx) {
    let p = pod(
        "p",
        "cat /v/log; exec sleep 1000",
        json!({
            "volumes": [{"name": "v", "emptyDir": {}}],
            "initContainers": [named("first", "echo first >> /v/log"), named("second", "echo second >> /v/log")],
        }),
    );
    let mut p = p;
    for list in ["initContainers", "containers"] {
        for c in p["spec"][list].as_array_mut().unwrap() {
            c["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
        }
    }
    let ready = cx.ready_pod(p).await;
    cx.log_has("p", "first\nsecond\n").await;
    assert_eq!(condition(&ready, "Initialized"), Some("True"));
    assert_eq!(ready["status"]["initContainerStatuses"][0]["state"]["terminated"]["reason"], "Completed");

    let fails =
        pod("fails", "exec sleep 1000", json!({"restartPolicy": "Never", "initContainers": [named("i", "exit 3")]}));
    cx.create_pod(fails).await;
    let failed = cx.pod_when("fails", "fails", |p| p["status"]["phase"] == "Failed").await;
    assert_eq!(failed["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"], 3);
    assert_eq!(status(&failed)["state"]["waiting"]["reason"], "PodInitializing", "it never began");
}

async fn crash_loop(cx: Cx) {
    cx.create_pod(pod("p", "echo life; exit 7", json!({}))).await;
    let looping =
        |p: &Value| status(p)["state"]["waiting"]["reason"] == "CrashLoopBackOff" && status(p)["restartCount"] == 1;
    let seen = cx.pod_when("is in its back-off", "p", looping).await;
    assert_eq!(status(&seen)["lastState"]["terminated"]["exitCode"], 7);
    assert_eq!((status(&seen)["ready"].as_bool(), &seen["status"]["phase"]), (Some(false), &json!("Running")));
    assert!(
        status(&seen)["state"]["waiting"]["message"]
            .as_str()
            .is_some_and(|m| m.starts_with("back-off 10s restarting failed container=c pod=p_"))
    );
    let events = cx.core("events?fieldSelector=reason%3DBackOff");
    cx.api.wait("says it backs off", &events, SOON, |l| l["items"].as_array().is_some_and(|i| !i.is_empty())).await;
    cx.pod_when("is started again after it", "p", |p| status(p)["restartCount"].as_u64() >= Some(2)).await;
}

async fn restart_policies(cx: Cx) {
    cx.create_pod(pod("ok", "exit 0", json!({"restartPolicy": "OnFailure"}))).await;
    cx.create_pod(pod("no", "exit 9", json!({"restartPolicy": "Never"}))).await;
    let ok = cx.pod_when("succeeds", "ok", |p| p["status"]["phase"] == "Succeeded").await;
    assert_eq!(
        (&status(&ok)["restartCount"], &status(&ok)["state"]["terminated"]["reason"]),
        (&json!(0), &json!("Completed"))
    );
    let no = cx.pod_when("fails", "no", |p| p["status"]["phase"] == "Failed").await;
    let ended = &status(&no)["state"]["terminated"];
    assert_eq!((&ended["exitCode"], &ended["reason"]), (&json!(9), &json!("Error")));
    assert!(ended["startedAt"].is_string() && ended["finishedAt"].is_string() && ended["containerID"].is_string());
    // a message for its owner
    let says = "echo what happened > /dev/termination-log; exit 1";
    cx.create_pod(pod("says", says, json!({"restartPolicy": "Never"}))).await;
    let says = cx.pod_when("fails", "says", |p| p["status"]["phase"] == "Failed").await;
    assert_eq!(status(&says)["state"]["terminated"]["message"], "what happened\n");
}

async fn graceful(cx: Cx) {
    let script = "trap 'echo bye; exit 0' TERM; echo up; while true; do sleep 0.1; done";
    let mut p = pod("p", script, json!({"terminationGracePeriodSeconds": 20}));
    // so that its log can be read while it goes
    p["spec"]["containers"][0]["lifecycle"] =
        json!({"preStop": {"exec": {"command": ["sh", "-c", "echo stopping > /proc/1/fd/1"]}}});
    cx.ready_pod(p).await;
    cx.log_has("p", "up").await;
    let mut log = cx.api.lines(&cx.core("pods/p/log?follow=true")).await;
    let began = Instant::now();
    let going = cx.api.delete(&cx.core("pods/p")).await;
    assert_eq!(going["metadata"]["deletionGracePeriodSeconds"], 20);
    let mut lines = Vec::new();
    while let Some(line) = log.next().await {
        lines.push(line);
    }
    assert_eq!(lines, ["up", "stopping", "bye"]);
    cx.api.gone(&cx.core("pods/p"), SOON).await;
    assert!(began.elapsed() < Duration::from_secs(15), "it did not take all its time: {:?}", began.elapsed());
}

async fn ungraceful(cx: Cx) {
    let script = "trap '' TERM; while true; do sleep 0.1; done";
    cx.ready_pod(pod("p", script, json!({"terminationGracePeriodSeconds": 2}))).await;
    let began = Instant::now();
    cx.api.delete(&cx.core("pods/p")).await;
    cx.api.gone(&cx.core("pods/p"), SOON).await;
    let took = began.elapsed();
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(12), "killed after its grace period: {took:?}");
    cx.ready_pod(pod("q", script, json!({"terminationGracePeriodSeconds": 100}))).await;
    cx.api.try_delete(&cx.core("pods/q"), Some(&json!({"gracePeriodSeconds": 0}))).await.ok();
    cx.api.try_get(&cx.core("pods/q")).await.refused(404, "NotFound");
}

async fn pending_says_why(cx: Cx) {
    cx.create_pod(pod("p", "true", json!({"nodeSelector": {"disk": "floppy"}}))).await;
    let mut big = pod("big", "true", json!({}));
    big["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1000"}});
    cx.create_pod(big).await;
    for (name, why) in [("p", "node(s) didn't match Pod's node affinity/selector"), ("big", "Insufficient cpu")] {
        let events = cx.core(&format!("events?fieldSelector=involvedObject.name%3D{name}"));
        let told = cx.api.wait("says why", &events, SOON, |l| l["items"][0]["reason"] == "FailedScheduling").await;
        let message = told["items"][0]["message"].as_str().unwrap_or_default();
        assert!(message.starts_with(&format!("0/1 nodes are available: 1 {why}")), "{message}");
        let seen = cx.api.get(&cx.core(&format!("pods/{name}"))).await;
        assert_eq!(condition(&seen, "PodScheduled"), Some("False"));
    }
}

async fn images_that_are_not_there(cx: Cx) {
    let mut p = pod("p", "true", json!({}));
    p["spec"]["containers"][0]["image"] = "nowhere:1".into();
    cx.create_pod(p).await;
    cx.pod_when("needs its image", "p", |p| status(p)["state"]["waiting"]["reason"] == "ErrImageNeverPull").await;
}

async fn security_context(cx: Cx) {
    let mut p = pod(
        "p",
        "id; cat /proc/self/status | grep -E 'CapEff|NoNewPrivs'; touch /x 2>&1; true",
        json!({
        "securityContext": {"runAsUser": 1000, "runAsGroup": 2000, "supplementalGroups": [3000]}}),
    );
    p["spec"]["containers"][0]["securityContext"] = json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]}});
    let out = cx.output_of(p).await;
    assert!(out.contains("uid=1000") && out.contains("gid=2000") && out.contains("3000"), "{out}");
    assert!(out.contains("CapEff:\t0000000000000000") && out.contains("NoNewPrivs:\t1"), "{out}");
    assert!(out.contains("Read-only file system"), "{out}");
    let mut root = pod("root", "true", json!({}));
    root["spec"]["containers"][0]["securityContext"] = json!({"runAsNonRoot": true});
    cx.create_pod(root).await;
    cx.pod_when("may not be root", "root", |p| status(p)["state"]["waiting"]["reason"] == "CreateContainerConfigError")
        .await;
}

async fn limits(cx: Cx) {
    let mut p = pod("p", "x=a; while true; do x=$x$x; done", json!({"restartPolicy": "Never"}));
    p["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "24Mi", "cpu": "500m"}});
    let made = cx.create_pod(p).await;
    assert_eq!(made["status"]["qosClass"], "Guaranteed");
    let killed = cx.pod_when("is killed for its memory", "p", |p| p["status"]["phase"] == "Failed").await;
    let ended = &status(&killed)["state"]["terminated"];
    assert_eq!((&ended["reason"], &ended["exitCode"]), (&json!("OOMKilled"), &json!(137)));
}

async fn shared_sandbox(cx: Cx) {
    let server = named("server", "echo hello from a neighbour > /www/index.html; exec httpd -f -p 8080 -h /www");
    let two = [server, container("exec sleep 1000")];
    cx.ready_pod(pod(
        "p",
        "",
        json!({"containers": two, "shareProcessNamespace": true, "hostname": "h", "subdomain": "sub",
        "hostAliases": [{"ip": "192.0.2.77", "hostnames": ["alias"]}]}),
    ))
    .await;
    let got =
        cx.exec_in("p", "c", &["sh", "-c", "wget -qO- http://127.0.0.1:8080/; ps; cat /etc/hosts; hostname"]).await;
    assert!(got.out.contains("hello from a neighbour") && got.out.contains("httpd -f"), "{got:?}");
    assert!(got.out.contains("192.0.2.77\talias") && got.out.ends_with("\nh\n"), "{got:?}");
}

async fn node_selection(cx: Cx) {
    let node = cx.api.get("/api/v1/nodes/n1").await;
    let labels = &node["metadata"]["labels"];
    assert_eq!(
        (&labels["disk"], &labels["zone"], &labels["kubernetes.io/hostname"]),
        (&json!("ssd"), &json!("a"), &json!("n1"))
    );
    assert_eq!(condition(&node, "Ready"), Some("True"));
    assert_eq!(node["status"]["nodeInfo"]["operatingSystem"], "linux");
    let placed = cx.ready_pod(pod("p", "exec sleep 1000", json!({"nodeSelector": {"disk": "ssd"}}))).await;
    assert_eq!((&placed["spec"]["nodeName"], &placed["status"]["hostIP"]), (&json!("n1"), &json!("192.0.2.10")));
}

async fn evicted(cx: Cx) {
    cx.ready_pod(pod("p", "exec sleep 1000", json!({}))).await;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    cx.api.post(&cx.core("pods/p/eviction"), eviction).await;
    cx.api.gone(&cx.core("pods/p"), SOON).await;
}
