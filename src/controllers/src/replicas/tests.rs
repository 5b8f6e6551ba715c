use super::*;
use crate::testing::{Bench, settle};

fn set(replicas: i32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "web", "namespace": "n"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}},
        "status": {"replicas": 0}})
}

fn status(bench: &Bench) -> Value {
    bench.fake.tree(&ReplicaSet::gvr(), "n", "web")["status"].take()
}

#[tokio::test(start_paused = true)]
async fn makes_counts_adopts_and_removes_pods() {
    let bench = Bench::new();
    bench.start(run::<ReplicaSet>);
    bench.fake.seed(
        Pod::gvr(),
        json!({"metadata": {"name": "orphan", "namespace": "n", "labels": {"app": "web"}},
        "spec": {"containers": [], "nodeName": "x"}}),
    );
    bench.fake.seed(ReplicaSet::gvr(), set(3));
    settle().await;
    let pods = bench.fake.objects(&Pod::gvr());
    assert_eq!(pods.len(), 3);
    assert!(pods.iter().all(|p| p.meta().controller().is_some_and(|o| &*o.name == "web")));
    assert_eq!(status(&bench)["replicas"], 3);
    assert_eq!(status(&bench)["fullyLabeledReplicas"], 3);

    bench.fake.edit(&Pod::gvr(), "n", "orphan", |p| {
        p["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    });
    settle().await;
    assert_eq!(status(&bench)["availableReplicas"], 1);

    // the unready go first
    bench.fake.edit(&ReplicaSet::gvr(), "n", "web", |s| s["spec"]["replicas"] = json!(1));
    settle().await;
    let pods = bench.fake.objects(&Pod::gvr());
    assert_eq!((pods.len(), pods[0].name()), (1, "orphan"));

    // a pod that no longer matches is released and replaced
    bench.fake.edit(&Pod::gvr(), "n", "orphan", |p| p["metadata"]["labels"]["app"] = json!("other"));
    settle().await;
    let pods = bench.fake.objects(&Pod::gvr());
    assert_eq!(pods.len(), 2);
    assert!(pods.iter().any(|p| p.name() == "orphan" && p.meta().controller().is_none()));

    bench.fake.take_writes();
    bench.fake.edit(&ReplicaSet::gvr(), "n", "web", |s| s["metadata"]["annotations"] = json!({"x": "y"}));
    settle().await;
    assert_eq!(bench.fake.take_writes(), []);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_shows_as_a_condition_and_is_tried_again() {
    let bench = Bench::new();
    bench.start(run::<ReplicaSet>);
    let full = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_full = full.clone();
    bench.fake.react(move |verb, t| {
        let refuse = verb == client::fake::Verb::Create
            && t.resource == Pod::gvr()
            && is_full.load(std::sync::atomic::Ordering::Relaxed);
        refuse.then(|| api::Status::forbidden("", "pods", "", "exceeded quota"))
    });
    bench.fake.seed(ReplicaSet::gvr(), set(10));
    settle().await;
    assert_eq!(status(&bench)["conditions"][0]["reason"], "FailedCreate");
    full.store(false, std::sync::atomic::Ordering::Relaxed);
    tokio::time::sleep(std::time::Duration::from_secs(120)).await;
    assert_eq!(bench.fake.objects(&Pod::gvr()).len(), 10);
    assert_eq!(status(&bench)["conditions"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn min_ready_seconds_delay_availability() {
    let bench = Bench::new();
    bench.start(run::<ReplicationController>);
    let mut rc = set(1);
    (rc["apiVersion"], rc["kind"]) = (json!("v1"), json!("ReplicationController"));
    rc["spec"]["selector"] = json!({"app": "web"});
    rc["spec"]["minReadySeconds"] = json!(30);
    bench.fake.seed(ReplicationController::gvr(), rc);
    settle().await;
    let name = bench.fake.objects(&Pod::gvr())[0].name().to_owned();
    let now = bench.ctx.now();
    bench.fake.edit(&Pod::gvr(), "n", &name, |p| {
        p["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}]});
    });
    settle().await;
    let status = || bench.fake.tree(&ReplicationController::gvr(), "n", "web")["status"].take();
    assert_eq!((&status()["readyReplicas"], &status()["availableReplicas"]), (&json!(1), &Value::Null));
    tokio::time::sleep(std::time::Duration::from_secs(31)).await;
    assert_eq!(status()["availableReplicas"], 1);
}
