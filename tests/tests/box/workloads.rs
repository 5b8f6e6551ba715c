//! Deployments, jobs and their like, with real pods.

use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::pods::{condition, container, pod};
use tests::{Cx, SOON};

use super::crud::names;

pub fn trials() -> Vec<Trial> {
    crate::trials!(Node: rolling_update_and_undo, a_bad_update_stops, recreated, jobs, failing_jobs, stateful_sets, daemon_sets, extended_resources)
}

fn set(name: &str, script: &str, spec: Value) -> Value {
    let labels = json!({"app": name});
    let mut object = json!({"metadata": {"name": name}, "spec": {"selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [container(script)]}}}});
    tests::pods::merge(&mut object["spec"], spec);
    object
}

/// The rollout is complete, as `kubectl rollout status` sees it.
fn rolled_out(d: &Value) -> bool {
    let (spec, status) = (&d["spec"], &d["status"]);
    let n = spec["replicas"].as_u64();
    status["observedGeneration"] == d["metadata"]["generation"]
        && ["replicas", "updatedReplicas", "availableReplicas"].iter().all(|f| status[*f].as_u64() == n)
}

async fn rolling_update_and_undo(cx: Cx) {
    let path = cx.of("apps/v1", "deployments/d");
    let made = set(
        "d",
        "echo v1; exec sleep 1000",
        json!({"replicas": 2, "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}}),
    );
    cx.api.post(&cx.of("apps/v1", "deployments"), made).await;
    let first = cx.api.wait("is rolled out", &path, SOON, rolled_out).await;
    assert_eq!(condition(&first, "Available"), Some("True"));
    let sets = cx.of("apps/v1", "replicasets?labelSelector=app%3Dd");
    let old = cx.api.get(&sets).await["items"][0]["metadata"]["name"].as_str().unwrap().to_owned();

    let mut watch = cx.api.lines(&cx.of("apps/v1", "deployments?watch=1&fieldSelector=metadata.name%3Dd")).await;
    let patch = json!({"spec": {"template": {"spec": {"containers": [container("echo v2; exec sleep 1000")]}}}});
    cx.api.merge(&path, patch).await;
    // at no moment fewer than two
    loop {
        let (_, d) = watch.event().await;
        assert!(d["status"]["availableReplicas"].as_u64() >= Some(2), "{}", d["status"]);
        if d["metadata"]["generation"] == 2 && rolled_out(&d) {
            break;
        }
    }
    let two = cx.api.wait("has the old at none", &sets, SOON, |l| {
        let all = l["items"].as_array().unwrap();
        all.len() == 2 && all.iter().all(|r| (r["metadata"]["name"] == *old) == (r["status"]["replicas"] == 0))
    });
    let two = two.await;
    let revision = |l: &Value, name: &str| {
        let found = l["items"].as_array().unwrap().iter().find(|r| r["metadata"]["name"] == name).unwrap().clone();
        found["metadata"]["annotations"]["deployment.kubernetes.io/revision"].clone()
    };
    assert_eq!(revision(&two, &old), "1");

    // back: with kubectl where there is one, else as it does it
    if let Some((ok, out)) = cx.kubectl(&["rollout", "undo", "deployment/d"]) {
        assert!(ok && out.contains("deployment.apps/d rolled back"), "{out}");
    } else {
        let back = json!({"spec": {"template": {"spec": {"containers": [container("echo v1; exec sleep 1000")]}}}});
        cx.api.merge(&path, back).await;
    }
    let back = |d: &Value| d["metadata"]["generation"] == 3 && rolled_out(d);
    let undone = cx.api.wait("is rolled back", &path, SOON, back).await;
    assert_eq!(undone["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "3");
    let sets = cx.api.get(&sets).await;
    assert_eq!(names(&sets).len(), 2, "the old replica set is used again");
    assert_eq!(revision(&sets, &old), "3");
    if let Some((ok, out)) = cx.kubectl(&["rollout", "status", "deployment/d"]) {
        assert!(ok && out.contains("successfully rolled out"), "{out}");
    }
}

async fn a_bad_update_stops(cx: Cx) {
    let path = cx.of("apps/v1", "deployments/d");
    cx.api
        .post(
            &cx.of("apps/v1", "deployments"),
            set("d", "exec sleep 1000", json!({"replicas": 2, "progressDeadlineSeconds": 3})),
        )
        .await;
    cx.api.wait("is rolled out", &path, SOON, rolled_out).await;
    let mut bad = container("true");
    bad["image"] = "nowhere:1".into();
    cx.api.merge(&path, json!({"spec": {"template": {"spec": {"containers": [bad]}}}})).await;
    let stuck = cx.api.wait("gives up", &path, SOON, |d| condition(d, "Progressing") == Some("False")).await;
    let why = stuck["status"]["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Progressing").unwrap();
    assert_eq!(why["reason"], "ProgressDeadlineExceeded");
    assert_eq!(stuck["status"]["availableReplicas"], 2, "what worked still does");
}

async fn recreated(cx: Cx) {
    cx.api.post(&cx.of("apps/v1", "deployments"), set("d", "exec sleep 1000", json!({"replicas": 1}))).await;
    let path = cx.of("apps/v1", "deployments/d");
    cx.api.wait("is rolled out", &path, SOON, rolled_out).await;
    let pods = cx.core("pods?labelSelector=app%3Dd");
    let first = names(&cx.api.get(&pods).await)[0].to_owned();
    cx.api.delete(&cx.core(&format!("pods/{first}"))).await;
    cx.api.wait("is another one", &pods, SOON, |l| names(l).len() == 1 && names(l)[0] != first).await;
    cx.api.wait("is whole again", &path, SOON, rolled_out).await;
    cx.api.delete(&path).await;
    cx.api.wait("has no pods", &pods, SOON, |l| names(l).is_empty()).await;
}

fn job(script: &str, spec: Value) -> Value {
    let mut job = json!({"metadata": {"name": "j"}, "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container(script)]}}}});
    tests::pods::merge(&mut job["spec"], spec);
    job
}

async fn jobs(cx: Cx) {
    let indexed = json!({"completions": 3, "parallelism": 2, "completionMode": "Indexed"});
    cx.api.post(&cx.of("batch/v1", "jobs"), job("echo index $JOB_COMPLETION_INDEX", indexed)).await;
    let done = cx
        .api
        .wait("completes", &cx.of("batch/v1", "jobs/j"), SOON, |j| condition(j, "Complete") == Some("True"))
        .await;
    assert_eq!((&done["status"]["succeeded"], &done["status"]["completedIndexes"]), (&json!(3), &json!("0-2")));
    assert!(done["status"]["completionTime"].is_string());
    let pods = cx.api.get(&cx.core("pods?labelSelector=batch.kubernetes.io/job-name%3Dj")).await;
    assert_eq!(names(&pods).len(), 3);
    let mut said = Vec::new();
    for name in names(&pods) {
        said.push(cx.log(name, "").await);
    }
    said.sort();
    assert_eq!(said.concat(), "index 0\nindex 1\nindex 2\n");
    cx.api.try_delete(&cx.of("batch/v1", "jobs/j"), Some(&json!({"propagationPolicy": "Background"}))).await.ok();
    cx.api.wait("has no pods", &cx.core("pods"), SOON, |l| names(l).is_empty()).await;
}

async fn failing_jobs(cx: Cx) {
    cx.api.post(&cx.of("batch/v1", "jobs"), job("exit 3", json!({"backoffLimit": 0}))).await;
    let failed =
        cx.api.wait("fails", &cx.of("batch/v1", "jobs/j"), SOON, |j| condition(j, "Failed") == Some("True")).await;
    let why = failed["status"]["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Failed").unwrap();
    assert_eq!((&why["reason"], &failed["status"]["failed"]), (&json!("BackoffLimitExceeded"), &json!(1)));
}

async fn stateful_sets(cx: Cx) {
    let service = json!({"metadata": {"name": "db"}, "spec": {"clusterIP": "None", "selector": {"app": "db"}, "ports": [{"port": 80}]}});
    cx.api.post(&cx.core("services"), service).await;
    cx.api
        .post(
            &cx.of("apps/v1", "statefulsets"),
            set("db", "exec sleep 1000", json!({"replicas": 2, "serviceName": "db"})),
        )
        .await;
    let path = cx.of("apps/v1", "statefulsets/db");
    cx.api.wait("has two", &path, SOON, |s| s["status"]["readyReplicas"] == 2).await;
    let pods = cx.api.get(&cx.core("pods?labelSelector=app%3Ddb")).await;
    assert_eq!(names(&pods), ["db-0", "db-1"]);
    let ip = pods["items"][1]["status"]["podIP"].as_str().unwrap().to_owned();
    let script = format!("nslookup db-1.db.{}.svc.cluster.local", cx.ns);
    cx.sh_until("db-0", &script, SOON, |out| out.contains(&ip)).await;
    cx.api.merge(&path, json!({"spec": {"replicas": 1}})).await;
    cx.api.gone(&cx.core("pods/db-1"), SOON).await;
}

async fn daemon_sets(cx: Cx) {
    cx.api.post(&cx.of("apps/v1", "daemonsets"), set("d", "exec sleep 1000", json!({}))).await;
    let path = cx.of("apps/v1", "daemonsets/d");
    let one =
        cx.api.wait("runs on the node", &path, Duration::from_secs(30), |d| d["status"]["numberReady"] == 1).await;
    assert_eq!(one["status"]["desiredNumberScheduled"], 1);
}

/// A resource that somebody else gives the node: `example.com/…`.
async fn extended_resources(cx: Cx) {
    let node = "/api/v1/nodes/n1";
    let given = json!({"status": {"capacity": {"example.com/boxes": "3"}}});
    cx.api.try_patch(&format!("{node}/status"), tests::api::MERGE_PATCH, &given).await.ok();
    let offered = |n: &Value| n["status"]["allocatable"]["example.com/boxes"] == "3";
    cx.api.wait("is offered", node, SOON, offered).await;
    let two = |name: &str| {
        let mut p = pod(name, "sleep 1000", json!({}));
        p["spec"]["containers"][0]["resources"] = json!({"limits": {"example.com/boxes": "2"}});
        p
    };
    cx.ready_pod(two("fits")).await;
    cx.create_pod(two("waits")).await;
    let told = |p: &Value| {
        p["status"]["conditions"][0]["message"].as_str().is_some_and(|m| m.contains("Insufficient example.com/boxes"))
    };
    cx.pod_when("is told why it waits", "waits", told).await;
    cx.api.delete(&cx.core("pods/fits")).await;
    cx.pod_when("gets its turn", "waits", tests::pods::is_ready).await;
    let taken =
        json!({"status": {"capacity": {"example.com/boxes": null}, "allocatable": {"example.com/boxes": null}}});
    cx.api.try_patch(&format!("{node}/status"), tests::api::MERGE_PATCH, &taken).await.ok();
}
