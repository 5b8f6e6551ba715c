use super::*;
use crate::testing::{Bench, settle};

fn bench(change: Value) -> Bench {
    let bench = Bench::new();
    bench.start(run);
    let mut tree = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web", "namespace": "n"},
        "spec": {"replicas": 2, "serviceName": "svc", "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "one"}]}},
            "volumeClaimTemplates": [{"metadata": {"name": "www"}, "spec": {}}],
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}}});
    crate::status::merge(&mut tree, &json!({ "spec": change }));
    bench.fake.seed(StatefulSet::gvr(), tree);
    bench
}

/// Plays the kubelet for one round.
async fn round(bench: &Bench) {
    settle().await;
    for pod in bench.fake.objects(&Pod::gvr()) {
        if pod.meta().is_deleting() {
            bench.fake.remove(&Pod::gvr(), "n", pod.name());
        } else if pod.tree()["status"]["phase"].is_null() {
            bench.fake.edit(&Pod::gvr(), "n", pod.name(), |p| {
                p["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
            });
        }
    }
    settle().await;
}

fn state(bench: &Bench) -> Vec<String> {
    let pods = bench.fake.objects(&Pod::gvr());
    pods.iter()
        .map(|p| format!("{}:{}", p.name(), p.tree()["spec"]["containers"][0]["image"].as_str().unwrap()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn pods_come_and_go_in_order_and_keep_their_storage() {
    let bench = bench(json!({}));
    settle().await;
    assert_eq!(state(&bench), ["web-0:one"]);
    round(&bench).await;
    assert_eq!(state(&bench), ["web-0:one", "web-1:one"]);
    round(&bench).await;
    let pod = bench.fake.tree(&Pod::gvr(), "n", "web-1");
    assert_eq!((&pod["spec"]["hostname"], &pod["spec"]["subdomain"]), (&json!("web-1"), &json!("svc")));
    assert_eq!(pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"], "www-web-1");
    assert_eq!(bench.fake.objects(&PersistentVolumeClaim::gvr()).len(), 2);
    let status = || bench.fake.tree(&StatefulSet::gvr(), "n", "web")["status"].take();
    assert_eq!((&status()["readyReplicas"], &status()["currentRevision"]), (&json!(2), &status()["updateRevision"]));

    bench.fake.edit(&StatefulSet::gvr(), "n", "web", |s| {
        s["spec"]["template"]["spec"]["containers"][0]["image"] = json!("two")
    });
    for want in [&["web-0:one"][..], &["web-0:one", "web-1:two"], &["web-1:two"], &["web-0:two", "web-1:two"]] {
        settle().await;
        for _ in 0..5 {
            if state(&bench) == want {
                break;
            }
            round(&bench).await;
        }
    }
    round(&bench).await;
    round(&bench).await;
    assert_eq!(state(&bench), ["web-0:two", "web-1:two"]);
    assert_eq!((&status()["currentRevision"], &status()["updatedReplicas"]), (&status()["updateRevision"], &json!(2)));

    bench.fake.edit(&StatefulSet::gvr(), "n", "web", |s| s["spec"]["replicas"] = json!(0));
    for _ in 0..4 {
        round(&bench).await;
    }
    assert!(state(&bench).is_empty());
    assert_eq!(bench.fake.objects(&PersistentVolumeClaim::gvr()).len(), 2);
    bench.fake.take_writes();
    settle().await;
    assert_eq!(bench.fake.take_writes(), []);
}

#[tokio::test(start_paused = true)]
async fn a_partition_keeps_the_lower_on_the_old_revision() {
    let bench = bench(json!({"podManagementPolicy": "Parallel", "replicas": 3,
        "updateStrategy": {"rollingUpdate": {"partition": 2}}}));
    round(&bench).await;
    assert_eq!(state(&bench).len(), 3);
    bench.fake.edit(&StatefulSet::gvr(), "n", "web", |s| {
        s["spec"]["template"]["spec"]["containers"][0]["image"] = json!("two")
    });
    for _ in 0..4 {
        round(&bench).await;
    }
    assert_eq!(state(&bench), ["web-0:one", "web-1:one", "web-2:two"]);
    // a lost pod comes back as what it was
    bench.fake.remove(&Pod::gvr(), "n", "web-0");
    round(&bench).await;
    assert_eq!(state(&bench), ["web-0:one", "web-1:one", "web-2:two"]);
}
