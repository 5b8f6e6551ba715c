use super::*;
use crate::testing::{Bench, settle};

fn bench(change: Value) -> Bench {
    let bench = Bench::new();
    bench.start(run);
    for (name, labels) in [("a", json!({})), ("b", json!({})), ("c", json!({"role": "none"}))] {
        bench.fake.seed(
            Node::gvr(),
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {}}),
        );
    }
    let mut tree = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "d", "namespace": "n"},
        "spec": {"selector": {"matchLabels": {"app": "d"}}, "template": {"metadata": {"labels": {"app": "d"}},
            "spec": {"containers": [{"name": "c", "image": "one"}]}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}}});
    crate::status::merge(&mut tree, &json!({ "spec": change }));
    bench.fake.seed(DaemonSet::gvr(), tree);
    bench
}

/// Plays scheduler and kubelet.
async fn run_pods(bench: &Bench) {
    for _ in 0..10 {
        settle().await;
        for pod in bench.fake.objects(&Pod::gvr()) {
            if pod.meta().is_deleting() {
                bench.fake.remove(&Pod::gvr(), "n", pod.name());
            } else if pod.tree()["status"]["phase"].is_null() {
                let node = node_of(pod.view::<Pod>().unwrap()).unwrap();
                bench.fake.edit(&Pod::gvr(), "n", pod.name(), |p| {
                    p["spec"]["nodeName"] = json!(node);
                    p["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
                });
            }
        }
    }
}

fn on(bench: &Bench) -> Vec<String> {
    let pods = bench.fake.objects(&Pod::gvr());
    let mut all: Vec<_> = pods
        .iter()
        .map(|p| {
            format!(
                "{}:{}",
                node_of(p.view::<Pod>().unwrap()).unwrap(),
                p.tree()["spec"]["containers"][0]["image"].as_str().unwrap()
            )
        })
        .collect();
    all.sort();
    all
}

#[tokio::test(start_paused = true)]
async fn one_pod_a_node_through_taints_updates_and_failures() {
    let bench = bench(json!({}));
    run_pods(&bench).await;
    assert_eq!(on(&bench), ["a:one", "b:one", "c:one"]);
    let status = || bench.fake.tree(&DaemonSet::gvr(), "n", "d")["status"].take();
    assert_eq!((&status()["desiredNumberScheduled"], &status()["numberAvailable"]), (&json!(3), &json!(3)));
    // a NoSchedule taint keeps what is there, a NoExecute one does not
    bench.fake.edit(&Node::gvr(), "", "a", |n| n["spec"]["taints"] = json!([{"key": "k", "effect": "NoSchedule"}]));
    bench.fake.edit(&Node::gvr(), "", "b", |n| n["spec"]["taints"] = json!([{"key": "k", "effect": "NoExecute"}]));
    run_pods(&bench).await;
    assert_eq!(on(&bench), ["a:one", "c:one"]);
    assert_eq!((&status()["desiredNumberScheduled"], &status()["numberMisscheduled"]), (&json!(1), &json!(1)));
    for node in ["a", "b"] {
        bench.fake.edit(&Node::gvr(), "", node, |n| n["spec"]["taints"] = json!([]));
    }
    run_pods(&bench).await;
    bench
        .fake
        .edit(&DaemonSet::gvr(), "n", "d", |d| d["spec"]["template"]["spec"]["containers"][0]["image"] = json!("two"));
    settle().await;
    let going = bench.fake.objects(&Pod::gvr()).iter().filter(|p| p.meta().is_deleting()).count();
    assert_eq!(going, 1);
    run_pods(&bench).await;
    assert_eq!(on(&bench), ["a:two", "b:two", "c:two"]);
    assert_eq!(bench.fake.objects(&ControllerRevision::gvr()).len(), 2);
    let failed = bench.fake.objects(&Pod::gvr())[0].name().to_owned();
    bench.fake.edit(&Pod::gvr(), "n", &failed, |p| p["status"]["phase"] = json!("Failed"));
    run_pods(&bench).await;
    assert_eq!(on(&bench).len(), 3);
    assert!(bench.fake.tree(&Pod::gvr(), "n", &failed).is_null());
    bench.fake.take_writes();
    settle().await;
    assert_eq!(bench.fake.take_writes(), []);
}

#[tokio::test(start_paused = true)]
async fn a_surge_puts_the_new_beside_the_old() {
    let bench = bench(json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}}));
    run_pods(&bench).await;
    bench
        .fake
        .edit(&DaemonSet::gvr(), "n", "d", |d| d["spec"]["template"]["spec"]["containers"][0]["image"] = json!("two"));
    settle().await;
    assert_eq!(on(&bench).len(), 4);
    run_pods(&bench).await;
    assert_eq!(on(&bench), ["a:two", "b:two", "c:two"]);
}
