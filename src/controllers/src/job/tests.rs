use super::*;
use crate::testing::{Bench, settle};
use std::time::Duration;

fn job(change: Value) -> Value {
    let mut tree = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "n"},
        "spec": {"completions": 1, "parallelism": 1, "backoffLimit": 6, "selector": {"matchLabels": {"job": "j"}},
            "template": {"metadata": {"labels": {"job": "j"}}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c"}]}}}});
    crate::status::merge(&mut tree, &json!({ "spec": change }));
    tree
}

fn bench(change: Value) -> Bench {
    let bench = Bench::new();
    bench.start(run);
    bench.fake.seed(Job::gvr(), job(change));
    bench
}

fn status(bench: &Bench) -> Value {
    bench.fake.tree(&Job::gvr(), "n", "j")["status"].take()
}

fn conditions(bench: &Bench) -> Vec<String> {
    let all = Conditions::of(&status(bench)).0;
    all.iter()
        .filter(|c| c["status"] == "True")
        .map(|c| format!("{}:{}", c["type"].as_str().unwrap(), c["reason"].as_str().unwrap()))
        .collect()
}

fn running(bench: &Bench) -> Vec<String> {
    let all = bench.fake.objects(&Pod::gvr());
    all.iter().filter(|p| p.view::<Pod>().is_ok_and(pods::is_active)).map(|p| p.name().to_owned()).collect()
}

/// Plays the kubelet: up to `count` pods end.
fn end(bench: &Bench, count: usize, phase: &str) {
    let (now, code) = (bench.ctx.now(), i32::from(phase == "Failed"));
    for name in running(bench).into_iter().take(count) {
        bench.fake.edit(&Pod::gvr(), "n", &name, |p| {
            p["status"] = json!({"phase": phase, "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false,
                "restartCount": 0, "state": {"terminated": {"exitCode": code, "finishedAt": now}}}]});
        });
    }
}

#[tokio::test(start_paused = true)]
async fn runs_to_completion_and_lets_go_of_its_pods() {
    let bench = bench(json!({"completions": 3, "parallelism": 2, "ttlSecondsAfterFinished": 60}));
    settle().await;
    assert_eq!((running(&bench).len(), &status(&bench)["active"]), (2, &json!(2)));
    end(&bench, 2, "Succeeded");
    settle().await;
    assert_eq!((running(&bench).len(), &status(&bench)["succeeded"]), (1, &json!(2)));
    end(&bench, 1, "Succeeded");
    settle().await;
    let s = status(&bench);
    assert_eq!((&s["succeeded"], &s["active"], s["completionTime"].is_null()), (&json!(3), &Value::Null, false));
    assert_eq!(conditions(&bench), ["SuccessCriteriaMet:CompletionsReached", "Complete:CompletionsReached"]);
    assert!(bench.fake.objects(&Pod::gvr()).iter().all(|p| p.meta().finalizers.is_empty()));
    assert_eq!(s["uncountedTerminatedPods"], json!({}));
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert!(!bench.fake.tree(&Job::gvr(), "n", "j")["metadata"]["deletionTimestamp"].is_null());
}

#[tokio::test(start_paused = true)]
async fn failures_back_off_and_end_it() {
    let bench = bench(json!({"backoffLimit": 1}));
    settle().await;
    end(&bench, 1, "Failed");
    settle().await;
    assert_eq!((running(&bench).len(), &status(&bench)["failed"]), (0, &json!(1)));
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(running(&bench).len(), 1);
    end(&bench, 1, "Failed");
    settle().await;
    assert_eq!(conditions(&bench), ["FailureTarget:BackoffLimitExceeded", "Failed:BackoffLimitExceeded"]);
    assert_eq!(status(&bench)["failed"], 2);
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert!(running(&bench).is_empty());
}

#[tokio::test(start_paused = true)]
async fn indexes_are_each_done_once() {
    let bench = bench(json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed"}));
    settle().await;
    let of = |o: &Arc<Object>| tally::index_of(o.view::<Pod>().unwrap()).unwrap();
    let mut indexes: Vec<u32> = bench.fake.objects(&Pod::gvr()).iter().map(of).collect();
    indexes.sort_unstable();
    assert_eq!(indexes, [0, 1, 2]);
    let first = &bench.fake.objects(&Pod::gvr())[0].tree();
    assert_eq!(
        (&first["spec"]["hostname"], &first["spec"]["containers"][0]["env"][0]["name"]),
        (&json!("j-0"), &json!("JOB_COMPLETION_INDEX"))
    );
    end(&bench, 1, "Failed");
    tokio::time::sleep(Duration::from_secs(12)).await;
    end(&bench, 3, "Succeeded");
    settle().await;
    let s = status(&bench);
    assert_eq!((&s["completedIndexes"], &s["succeeded"], &s["failed"]), (&json!("0-2"), &json!(3), &json!(1)));
    assert_eq!(conditions(&bench).last().unwrap(), "Complete:CompletionsReached");
}

#[tokio::test(start_paused = true)]
async fn suspension_deadline_and_failure_policy() {
    let one = bench(json!({"suspend": true, "activeDeadlineSeconds": 30}));
    settle().await;
    assert_eq!((running(&one).len(), conditions(&one)), (0, vec!["Suspended:JobSuspended".to_owned()]));
    one.fake.edit(&Job::gvr(), "n", "j", |j| j["spec"]["suspend"] = json!(false));
    settle().await;
    assert_eq!(running(&one).len(), 1);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(conditions(&one), ["FailureTarget:DeadlineExceeded", "Failed:DeadlineExceeded"]);

    let two = bench(
        json!({"podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1]}}]}}),
    );
    settle().await;
    end(&two, 1, "Failed");
    settle().await;
    assert_eq!(conditions(&two), ["FailureTarget:PodFailurePolicy", "Failed:PodFailurePolicy"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_withdrawn_has_not_failed() {
    let bench = bench(json!({"completions": 4, "parallelism": 4, "backoffLimit": 0}));
    settle().await;
    for (change, left) in
        [(json!({"parallelism": 3}), 3), (json!({"suspend": true}), 0), (json!({"suspend": false}), 3)]
    {
        bench.fake.edit(&Job::gvr(), "n", "j", |j| crate::status::merge(&mut j["spec"], &change));
        settle().await;
        assert_eq!((running(&bench).len(), status(&bench).get("failed")), (left, None), "{change}");
    }
    assert!(conditions(&bench).is_empty());
}

#[tokio::test(start_paused = true)]
async fn pods_outlive_their_job_without_its_finalizer() {
    let bench = bench(json!({}));
    settle().await;
    let held = || bench.fake.objects(&Pod::gvr()).iter().filter(|p| !p.meta().finalizers.is_empty()).count();
    assert_eq!(held(), 1);
    bench.fake.remove(&Job::gvr(), "n", "j");
    settle().await;
    assert_eq!((held(), bench.fake.objects(&Pod::gvr()).len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn indexes_have_limits_of_their_own() {
    let spec = json!({"completions": 2, "parallelism": 2, "completionMode": "Indexed", "backoffLimit": 100, "backoffLimitPerIndex": 1});
    let bench = bench(spec);
    settle().await;
    let annotated = |count: &str| {
        let all = bench.fake.objects(&Pod::gvr());
        let has = |p: &Arc<Object>| {
            p.tree()["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"] == count
                && p.view::<Pod>().is_ok_and(pods::is_active)
        };
        all.iter().filter(|p| has(p)).count()
    };
    assert_eq!(annotated("0"), 2);
    let one = |bench: &Bench, index: &str, phase: &str| {
        let name = running(bench).into_iter().find(|n| n.starts_with(index)).expect("it runs");
        let (now, code) = (bench.ctx.now(), i32::from(phase == "Failed"));
        bench.fake.edit(&Pod::gvr(), "n", &name, |p| {
            p["status"] = json!({"phase": phase, "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false,
                "restartCount": 0, "state": {"terminated": {"exitCode": code, "finishedAt": now}}}]});
        });
    };
    one(&bench, "j-0", "Failed");
    settle().await;
    // the last that failed is kept until its successor is there
    let held = || bench.fake.objects(&Pod::gvr()).iter().filter(|p| !p.meta().finalizers.is_empty()).count();
    assert_eq!((held(), running(&bench).len(), &status(&bench)["failed"]), (2, 1, &Value::Null));
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!((annotated("1"), held(), &status(&bench)["failed"]), (1, 2, &json!(1)));
    one(&bench, "j-0", "Failed");
    settle().await;
    let s = status(&bench);
    assert_eq!((&s["failedIndexes"], &s["failed"], &s["active"]), (&json!("0"), &json!(2), &json!(1)));
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert_eq!(running(&bench).len(), 1, "the index is not tried again");
    one(&bench, "j-1", "Succeeded");
    settle().await;
    assert_eq!(conditions(&bench), ["FailureTarget:FailedIndexes", "Failed:FailedIndexes"]);
    assert_eq!((held(), &status(&bench)["completedIndexes"]), (0, &json!("1")));
}
