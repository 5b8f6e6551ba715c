use super::*;
use crate::testing::{Bench, settle};
use api::Value;
use std::time::Duration;

fn node(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {},
        "status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}]}})
}

fn taint_keys(bench: &Bench) -> Vec<String> {
    let tree = bench.fake.tree(&Node::gvr(), "", "a");
    let all = tree["spec"]["taints"].as_array().cloned().unwrap_or_default();
    all.iter().map(|t| format!("{}:{}", t["key"].as_str().unwrap(), t["effect"].as_str().unwrap())).collect()
}

fn beat(bench: &Bench, node: &str, n: u64) {
    let time = format!("2026-01-01T{:02}:{:02}:00.000000Z", n / 60 % 24, n % 60);
    bench.fake.seed(
        Lease::gvr(),
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": node, "namespace": "kube-node-lease"}, "spec": {"renewTime": time}}),
    );
}

/// Time passes, and node `b` lives.
async fn pass(bench: &Bench, beats: &mut u64, seconds: u64) {
    for _ in 0..seconds {
        *beats += 1;
        if beats.is_multiple_of(10) {
            beat(bench, "b", *beats);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn with_every_node_silent_nobody_is_driven_off() {
    let bench = Bench::new();
    bench.start(run);
    bench.start(eviction::run);
    for name in ["a", "b"] {
        bench.fake.seed(Node::gvr(), node(name));
    }
    bench.fake.seed(
        Pod::gvr(),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"},
            "spec": {"nodeName": "a", "containers": []}, "status": {"phase": "Running"}}),
    );
    // they fall silent together: the first of them may be tainted for a moment, but within it the last follows
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(taint_keys(&bench), ["node.kubernetes.io/unreachable:NoSchedule"]);
    bench.fake.edit(&Node::gvr(), "", "b", |n| {
        n["status"]["conditions"] =
            json!([{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T01:00:00Z"}]);
    });
    settle().await;
    let lost = ["node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"];
    assert_eq!(taint_keys(&bench), lost, "one node is heard of again: the other one is lost");
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_is_lost_and_its_pods_go_in_time() {
    let bench = Bench::new();
    bench.start(run);
    bench.start(eviction::run);
    bench.fake.seed(Node::gvr(), node("a"));
    bench.fake.seed(Node::gvr(), node("b"));
    let mut beats = 0;
    let tolerant = |seconds: Value| json!([{"key": taints::UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}]);
    for (name, tolerations) in [("soon", tolerant(json!(300))), ("never", tolerant(Value::Null)), ("now", json!([]))] {
        bench.fake.seed(
            Pod::gvr(),
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n"},
            "spec": {"nodeName": "a", "containers": [], "tolerations": tolerations},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}),
        );
    }
    for i in 0..10 {
        beat(&bench, "a", i);
        pass(&bench, &mut beats, 10).await;
    }
    assert!(taint_keys(&bench).is_empty(), "a node with a fresh lease lives");
    pass(&bench, &mut beats, 45).await;
    let status = bench.fake.tree(&Node::gvr(), "", "a")["status"].take();
    let ready = Conditions::of(&status).get("Ready").cloned().unwrap();
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("Unknown"), &json!("NodeStatusUnknown")));
    assert_eq!(
        taint_keys(&bench),
        ["node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"]
    );
    let going = |name: &str| !bench.fake.tree(&Pod::gvr(), "n", name)["metadata"]["deletionTimestamp"].is_null();
    assert_eq!((going("now"), going("soon"), going("never")), (true, false, false));
    assert_eq!(bench.fake.tree(&Pod::gvr(), "n", "soon")["status"]["conditions"][0]["status"], "False");
    pass(&bench, &mut beats, 301).await;
    assert_eq!((going("soon"), going("never")), (true, false));
    bench.fake.edit(&Node::gvr(), "", "a", |n| {
        *n = {
            let mut back = node("a");
            back["status"]["conditions"][0]["lastHeartbeatTime"] = json!("2026-01-01T01:00:00Z");
            back["metadata"] = n["metadata"].clone();
            back["spec"] = n["spec"].clone();
            back
        }
    });
    settle().await;
    assert!(taint_keys(&bench).is_empty());
}

#[tokio::test(start_paused = true)]
async fn every_node_gets_its_network() {
    let bench = Bench::with(|c| c.cluster_cidrs = vec!["10.42.0.0/16".parse().unwrap(), "fd00::/48".parse().unwrap()]);
    bench.start(run);
    for name in ["a", "b"] {
        bench.fake.seed(Node::gvr(), node(name));
    }
    settle().await;
    let cidrs = |name| bench.fake.tree(&Node::gvr(), "", name)["spec"]["podCIDRs"].take();
    assert_eq!(cidrs("a"), json!(["10.42.0.0/24", "fd00::/64"]));
    assert_eq!(cidrs("b"), json!(["10.42.1.0/24", "fd00:0:0:1::/64"]));
    bench.fake.take_writes();
    settle().await;
    assert_eq!(bench.fake.take_writes(), []);
}
