use super::*;
use crate::testing::{Bench, settle};
use api::Value;
use serde_json::json;

fn deployment(replicas: i32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "n"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 10,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "one"}]}}}})
}

fn bench() -> Bench {
    let bench = Bench::new();
    bench.start(run);
    bench.start(crate::replicas::run::<ReplicaSet>);
    bench
}

/// Plays the kubelet: every pod becomes ready.
async fn make_ready(bench: &Bench) {
    for _ in 0..30 {
        settle().await;
        let now = bench.ctx.now();
        for pod in bench.fake.objects(&Pod::gvr()) {
            if pod.tree()["status"]["phase"].is_null() {
                bench.fake.edit(&Pod::gvr(), "n", pod.name(), |p| {
                    p["status"] = json!({"phase": "Running", "conditions":
                        [{"type": "Ready", "status": "True", "lastTransitionTime": now}]});
                });
            }
        }
    }
}

fn sets(bench: &Bench) -> Vec<(i64, i64, Value)> {
    let mut all: Vec<_> = bench
        .fake
        .objects(&ReplicaSet::gvr())
        .iter()
        .map(|o| o.tree())
        .map(|t| {
            let revision = t["metadata"]["annotations"][sets::REVISION].as_str().and_then(|r| r.parse().ok());
            let image = t["spec"]["template"]["spec"]["containers"][0]["image"].clone();
            (revision.unwrap_or(0), t["spec"]["replicas"].as_i64().unwrap_or(-1), image)
        })
        .collect();
    all.sort_by_key(|s| s.0);
    all
}

fn edit(bench: &Bench, change: impl FnOnce(&mut Value)) {
    bench.fake.edit(&Deployment::gvr(), "n", "web", change);
}

fn status(bench: &Bench) -> Value {
    bench.fake.tree(&Deployment::gvr(), "n", "web")["status"].take()
}

fn condition(bench: &Bench, kind: &str) -> (String, String) {
    let status = status(bench);
    let found = Conditions::of(&status).get(kind).cloned().unwrap_or_default();
    (found["status"].as_str().unwrap_or("").into(), found["reason"].as_str().unwrap_or("").into())
}

use crate::status::Conditions;

#[tokio::test(start_paused = true)]
async fn rolls_from_template_to_template_and_back() {
    let bench = bench();
    bench.fake.seed(Deployment::gvr(), deployment(4));
    make_ready(&bench).await;
    assert_eq!(sets(&bench), [(1, 4, json!("one"))]);
    assert_eq!(status(&bench)["availableReplicas"], 4);
    assert_eq!(condition(&bench, "Available"), ("True".into(), "MinimumReplicasAvailable".into()));
    assert_eq!(condition(&bench, "Progressing"), ("True".into(), "NewReplicaSetAvailable".into()));
    assert_eq!(bench.fake.tree(&Deployment::gvr(), "n", "web")["metadata"]["annotations"][sets::REVISION], "1");

    edit(&bench, |d| d["spec"]["template"]["spec"]["containers"][0]["image"] = json!("two"));
    settle().await;
    // one above and one missing at most, while nothing of the new is ready
    assert_eq!(sets(&bench), [(1, 3, json!("one")), (2, 2, json!("two"))]);
    make_ready(&bench).await;
    assert_eq!(sets(&bench), [(1, 0, json!("one")), (2, 4, json!("two"))]);

    edit(&bench, |d| d["spec"]["template"]["spec"]["containers"][0]["image"] = json!("one"));
    make_ready(&bench).await;
    assert_eq!(sets(&bench), [(2, 0, json!("two")), (3, 4, json!("one"))]);
    let old = bench.fake.objects(&ReplicaSet::gvr());
    let history = old
        .iter()
        .find(|o| o.tree()["spec"]["replicas"] == 4)
        .map(|o| o.tree()["metadata"]["annotations"][sets::REVISION_HISTORY].clone());
    assert_eq!(history, Some(json!("1")));

    bench.fake.take_writes();
    tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
    assert_eq!(bench.fake.take_writes(), [], "a rolled out deployment writes nothing");
}

#[tokio::test(start_paused = true)]
async fn scales_pauses_and_forgets_old_revisions() {
    let bench = bench();
    let mut d = deployment(2);
    d["spec"]["revisionHistoryLimit"] = json!(1);
    bench.fake.seed(Deployment::gvr(), d);
    make_ready(&bench).await;
    edit(&bench, |d| d["spec"]["replicas"] = json!(5));
    make_ready(&bench).await;
    assert_eq!(sets(&bench), [(1, 5, json!("one"))]);
    edit(&bench, |d| {
        d["spec"]["paused"] = json!(true);
        d["spec"]["template"]["spec"]["containers"][0]["image"] = json!("two");
    });
    make_ready(&bench).await;
    assert_eq!(sets(&bench), [(1, 5, json!("one"))]);
    assert_eq!(condition(&bench, "Progressing").1, "DeploymentPaused");
    edit(&bench, |d| d["spec"]["paused"] = json!(false));
    make_ready(&bench).await;
    for image in ["three", "four"] {
        edit(&bench, |d| d["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image));
        make_ready(&bench).await;
    }
    assert_eq!(sets(&bench), [(3, 0, json!("three")), (4, 5, json!("four"))]);
}

#[tokio::test(start_paused = true)]
async fn recreate_waits_for_the_old_pods_to_go() {
    let bench = bench();
    let mut d = deployment(1);
    d["spec"]["strategy"] = json!({"type": "Recreate"});
    bench.fake.seed(Deployment::gvr(), d);
    make_ready(&bench).await;
    let first = bench.fake.objects(&Pod::gvr())[0].name().to_owned();
    // bound, so that its deletion is graceful
    bench.fake.edit(&Pod::gvr(), "n", &first, |p| p["spec"]["nodeName"] = json!("x"));
    edit(&bench, |d| d["spec"]["template"]["spec"]["containers"][0]["image"] = json!("two"));
    make_ready(&bench).await;
    assert_eq!(sets(&bench), [(1, 0, json!("one"))]);
    bench.fake.remove(&Pod::gvr(), "n", &first);
    make_ready(&bench).await;
    assert_eq!(sets(&bench), [(1, 0, json!("one")), (2, 1, json!("two"))]);
}

#[tokio::test(start_paused = true)]
async fn says_when_it_is_stuck() {
    let bench = bench();
    bench.fake.seed(Deployment::gvr(), deployment(1));
    settle().await;
    assert_eq!(condition(&bench, "Available").0, "False");
    tokio::time::sleep(std::time::Duration::from_secs(700)).await;
    assert_eq!(condition(&bench, "Progressing"), ("False".into(), "ProgressDeadlineExceeded".into()));
    make_ready(&bench).await;
    assert_eq!(condition(&bench, "Progressing"), ("True".into(), "NewReplicaSetAvailable".into()));
}
