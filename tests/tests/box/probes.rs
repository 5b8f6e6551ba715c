//! Probes: who gets traffic, and who is restarted.

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::pods::{is_ready, pod};
use tests::{Cx, SOON};

pub fn trials() -> Vec<Trial> {
    crate::trials!(Node: readiness, liveness, startup)
}

fn addresses(slices: &Value) -> Vec<(String, bool)> {
    let all =
        slices["items"].as_array().into_iter().flatten().flat_map(|s| s["endpoints"].as_array().into_iter().flatten());
    all.map(|e| (e["addresses"][0].to_string(), e["conditions"]["ready"] == true)).collect()
}

async fn readiness(cx: Cx) {
    let service = json!({"metadata": {"name": "s"}, "spec": {"selector": {"app": "p"}, "ports": [{"port": 80, "targetPort": 8080}]}});
    cx.api.post(&cx.core("services"), service).await;
    let mut p = pod("p", "exec httpd -f -p 8080 -h /www", json!({}));
    p["spec"]["containers"][0]["readinessProbe"] =
        json!({"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1, "failureThreshold": 1});
    cx.create_pod(p).await;
    let slices = cx.of("discovery.k8s.io/v1", "endpointslices?labelSelector=kubernetes.io/service-name%3Ds");
    let running = |p: &Value| p["status"]["containerStatuses"][0]["started"] == true;
    let seen = cx.pod_when("runs", "p", running).await;
    assert!(!is_ready(&seen));
    cx.api.wait("knows it as not ready", &slices, SOON, |l| addresses(l).iter().any(|(_, ready)| !ready)).await;
    cx.sh("p", "echo yes > /www/ready").await;
    cx.pod_when("gets ready", "p", is_ready).await;
    cx.api.wait("has it", &slices, SOON, |l| addresses(l).iter().any(|(_, ready)| *ready)).await;
    let endpoints = cx.core("endpoints/s");
    cx.api.wait("has it too", &endpoints, SOON, |e| e["subsets"][0]["addresses"][0]["ip"].is_string()).await;
    cx.sh("p", "rm /www/ready").await;
    cx.pod_when("is ready no more", "p", |p| !is_ready(p)).await;
    cx.api.wait("has it no more", &slices, SOON, |l| addresses(l).iter().all(|(_, ready)| !ready)).await;
    assert_eq!(cx.api.get(&cx.core("pods/p")).await["status"]["containerStatuses"][0]["restartCount"], 0);
}

async fn liveness(cx: Cx) {
    let mut p = pod("p", "touch /alive; exec sleep 1000", json!({}));
    p["spec"]["containers"][0]["livenessProbe"] =
        json!({"exec": {"command": ["cat", "/alive"]}, "periodSeconds": 1, "failureThreshold": 1});
    let first = cx.ready_pod(p).await;
    cx.sh("p", "rm /alive").await;
    let seen = cx
        .pod_when("is restarted", "p", |p| p["status"]["containerStatuses"][0]["restartCount"] == 1 && is_ready(p))
        .await;
    assert_eq!(seen["status"]["podIP"], first["status"]["podIP"], "the pod stays");
    let events = cx.core("events?fieldSelector=reason%3DUnhealthy");
    let told = cx.api.wait("says why", &events, SOON, |l| l["items"][0]["message"].is_string()).await;
    assert!(told["items"][0]["message"].as_str().is_some_and(|m| m.starts_with("Liveness probe failed: ")), "{told}");
}

async fn startup(cx: Cx) {
    let mut p = pod("p", "exec sleep 1000", json!({}));
    let c = &mut p["spec"]["containers"][0];
    c["startupProbe"] = json!({"exec": {"command": ["cat", "/started"]}, "periodSeconds": 1, "failureThreshold": 100});
    c["livenessProbe"] = json!({"exec": {"command": ["cat", "/started"]}, "periodSeconds": 1, "failureThreshold": 1});
    c["readinessProbe"] = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1});
    cx.create_pod(p).await;
    let state = |p: &Value| p["status"]["containerStatuses"][0]["state"]["running"].is_object();
    let seen = cx.pod_when("runs", "p", state).await;
    assert_eq!(seen["status"]["containerStatuses"][0]["started"], false, "nothing else is asked before it has started");
    cx.sh("p", "touch /started; httpd -p 8080 -h /www").await;
    let seen = cx.pod_when("is ready", "p", is_ready).await;
    let c = &seen["status"]["containerStatuses"][0];
    assert_eq!((&c["started"], &c["restartCount"]), (&json!(true), &json!(0)));
}
